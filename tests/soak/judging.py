"""What a race must leave behind, and what is counted of it.

Whatever was acknowledged is there, once, and in the order in which it was acknowledged; nothing else is. A session
that was not deleted has all it had before; one that was deleted has nothing of that. An append may only
fail where its SDK release has the unlocked window.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

from sdk_cases import SdkCase
from sdk_process import Append, SdkProcess
from soak.race import ORIGINAL, Race, way_in

Items = list[Any]


@dataclass(kw_only=True)
class Tally:
    """Counts of one race or of several. ``survived`` and ``anew`` are acknowledged appends, by what became of the past
    of their session; ``overlapped`` are those under way together with a transaction that looked at their session.
    """

    sessions: int = 0
    deleted: int = 0
    batches: int = 0
    resumes: int = 0
    survived: int = 0
    anew: int = 0
    overlapped: int = 0
    overlapped_deletion: int = 0
    failed_overlapped: int = 0
    restored: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    refused_batches: Counter[str] = field(default_factory=Counter)
    breaches: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the tables hold, past the SDK."""

    rows: set[str]
    items: dict[str, Items]

    @staticmethod
    def of(case: SdkCase) -> Found:
        items: dict[str, Items] = defaultdict(list)
        for session_id, text in case.execute(
            f"SELECT session_id, message_data FROM agent_messages ORDER BY session_id, {case._order}"
        ):
            items[session_id].append(json.loads(text))
        return Found(rows={id_ for (id_,) in case.execute("SELECT session_id FROM agent_sessions")}, items=items)


def judged(race: Race, reader: SdkProcess, *, may_fail: bool) -> Tally:
    """Count, and compare each session with what it must be. ``may_fail``: the writers' release has the window."""
    found = Found.of(race.case)
    deleted = Counter(session_id for batch in race.batches for session_id in batch.deleted)
    by_session: dict[str, list[Append]] = defaultdict(list)
    for append in race.appends:
        by_session[append.session].append(append)
    tally = _counted(race, by_session, set(deleted))
    tally.breaches += race.complaints
    for session_id in race.ids:
        was_deleted = deleted[session_id] > 0
        for fault in faults(session_id, by_session[session_id], found, was_deleted=was_deleted):
            tally.breaches.append(f"{session_id} {fault}")
    if strangers := (found.rows | found.items.keys()) - set(race.ids):
        tally.breaches.append(f"sessions of nobody: {sorted(strangers)}")
    way = way_in(race.case)
    for session_id, items in reader.read(sessions=sorted(found.rows | found.items.keys()), **way).items():
        if items != found.items.get(session_id, []):
            tally.breaches.append(f"{session_id} is not to the SDK what is stored")
    if race.case.flavour == "AdvancedSQLiteSession":
        tally.breaches += _structure_faults(race, found, deleted)
    if tally.errors and not may_fail:
        tally.breaches.append(f"errors reached the writers: {dict(tally.errors)}")
    return tally


def _counted(race: Race, by_session: dict[str, list[Append]], deleted: set[str]) -> Tally:
    tally = Tally(sessions=len(race.ids), deleted=len(deleted), batches=len(race.batches), restored=race.restored)
    tally.refused_batches.update(error.partition(":")[0] for error in race.failures)
    met: dict[str, list[tuple[float, float, bool]]] = defaultdict(list)
    for batch in race.batches:
        removed = set(batch.deleted)
        for session_id in batch.ids:
            met[session_id].append((batch.begin, batch.end, session_id in removed))
    for session_id, appends in by_session.items():
        for append in appends:
            meetings = [m for m in met[session_id] if m[0] <= append.at + append.latency and append.at <= m[1]]
            if append.error is None:
                tally.resumes += 1
                tally.anew += session_id in deleted
                tally.survived += session_id not in deleted
                tally.overlapped += bool(meetings)
                tally.overlapped_deletion += any(removed for _, _, removed in meetings)
            else:
                tally.errors[_kind_of(append.error)] += 1
                tally.failed_overlapped += bool(meetings)
    return tally


def _kind_of(error: str) -> str:
    """The class and what the driver said, without ids and statements."""
    return error.splitlines()[0][:120]


def faults(session_id: str, appends: Sequence[Append], found: Found, *, was_deleted: bool) -> Iterator[str]:
    past = [] if was_deleted else ORIGINAL
    items, has_row = found.items.get(session_id, []), session_id in found.rows
    acknowledged = {append.items[0]["content"]: append for append in appends if append.error is None}
    if items[: len(past)] != past:
        yield f"has lost something of its past: {items}"
        return
    since = [item["content"] for item in items[len(past) :] if item.get("role") == "user"]
    if len(since) != len(items) - len(past) or Counter(since) != Counter(acknowledged.keys()):
        yield f"holds {items[len(past) :]}, acknowledged were {list(acknowledged)}, deleted: {was_deleted}"
        return
    for earlier, later in pairwise(acknowledged[content] for content in since):
        if later.at + later.latency < earlier.at:
            yield f"holds its appends in another order than they were made: {since}"
    if items and not has_row:
        yield f"has items ({len(items)}) but no row, deleted: {was_deleted}"
    if has_row and not items:
        yield "has a row but no items"
    if not appends and not was_deleted:
        yield "was resumed by nobody, and is still there"


def _structure_faults(race: Race, found: Found, deleted: Counter[str]) -> Iterator[str]:
    """AdvancedSQLiteSession's own tables: one row for each item in their order, turns counted, no leftovers."""
    run = race.case.execute
    keys, structure = defaultdict(list), defaultdict(list)
    for session_id, key in run("SELECT session_id, id FROM agent_messages ORDER BY id"):
        keys[session_id].append(key)
    for session_id, *row in run(
        "SELECT session_id, message_id, branch_id, sequence_number, user_turn_number FROM message_structure "
        "ORDER BY session_id, sequence_number"
    ):
        structure[session_id].append(tuple(row))
    for session_id in race.ids:
        turn, wanted = 0, []
        for place, (key, item) in enumerate(zip(keys[session_id], found.items.get(session_id, []), strict=True), 1):
            turn += item.get("role") == "user"
            wanted.append((key, "main", place, turn))
        if structure[session_id] != wanted:
            yield f"{session_id} has structure {structure[session_id]}, not {wanted}"
    reserved = {session_id for (session_id,) in run("SELECT session_id FROM branch_reservations")}
    if reserved != found.rows:
        yield f"branches are reserved for {sorted(reserved ^ found.rows)} or missing there"
    generations = dict(run("SELECT session_id, generation FROM session_clear_generations"))
    for session_id in race.ids:
        if generations.get(session_id, 0) != deleted[session_id]:
            yield f"{session_id} was deleted {deleted[session_id]} times, its generation is {generations[session_id]}"
