"""Archived purges, trims, rotations and undoings killed at random instants, and what must hold after each.

Every session is in the store as it was to the byte, or gone from it and in a verified archive, or in the target
of the rotation, as its receipt has it; a trimmed one has its newest turns, and the archive the rest. When nothing
is left to purge, each session was removed by exactly one
run, as the ledger has it; and when all runs are
undone, the tables hold the same rows as at first.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from operating import ledger_file
from sdk_cases import SdkCase, SqliteCase, fill
from soak.forker import Forker

from sessionctl.archive.places import place
from sessionctl.archive.reader import ArchiveReader
from sessionctl.core.address import parse_address
from sessionctl.ledger import Ledger
from sessionctl.operations.put_back import portions
from sessionctl.operations.rotation.covering import RECEIPTS
from sessionctl.operations.rotation.elsewhere import made_whole
from sessionctl.testing.case import turn

SESSIONS = 240
LIVE = [f"live-{number}" for number in range(3)]
_LATER = "session_clear_generations"
"""It counts deletions, and never goes back."""

_AT_ONCE = ("--yes", "--hold-for", "0")  # they are purged again

Content = dict[str, tuple[Any, ...]]


@dataclass(kw_only=True)
class Tally:
    """What was killed, when, and which rules were broken."""

    kills: int = 0
    undo_kills: int = 0
    rounds: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    breaches: list[str] = field(default_factory=list)


def killed(
    case: SdkCase, directory: Path, forker: Forker, *, kills: int, seed: int, sessions: int = SESSIONS,
    command: str = "purge",
) -> Tally:  # fmt: skip
    """Fill the empty store of ``case`` and kill runs and undoings until ``kills`` runs were, or a rule broke.

    ``command``: ``purge``, ``trim``, or ``rotate`` into ten files.
    """
    kind = {"purge": _Soak, "trim": _Trims, "rotate": _Rotations}[command]
    fill(case, [f"stale-{number:04}" for number in range(sessions)], kind.items, idle=timedelta(days=60))
    fill(case, LIVE, turn(2), idle=timedelta(days=1))
    soak = kind(case, directory, forker, random.Random(seed))
    while soak.tally.kills < kills and not soak.tally.breaches:
        soak.round(kills)
    return soak.tally


class _Soak:
    items = turn(1)
    _command = "purge"

    def __init__(self, case: SdkCase, directory: Path, forker: Forker, pick: random.Random) -> None:
        self._case, self._forker, self._pick = case, forker, pick
        self._home, self._archives = directory / "home", directory / "archives"
        self._before, self._content = _rows(case), in_store(case)
        self.tally = Tally()
        self._purge_s = self._undo_s = 0.0
        url = str(case.path) if isinstance(case, SqliteCase) else getattr(case, "url", "")
        self._store = ("-s", url)

    def round(self, most: int) -> None:
        """Purge with kills until nothing is left, then undo all runs with kills, then compare."""
        self._begin_anew()
        self.tally.rounds += 1
        purge = (self._command, *self._store, "--older-than", "30d", "--max-share", "1", "--yes", "--batch-size", "7",
                 *self._destination())  # fmt: skip
        if not self._purge_s:
            self._purge_s = self._whole(purge)
        while (left := self._left()) and not self.tally.breaches:
            lasts = self._purge_s * (0.3 + 0.7 * left / (len(self._content) - len(LIVE)))
            after = self._pick.uniform(0, lasts) if self.tally.kills < most else None
            status, _ = self._forker.run(*purge, home=self._home, kill_after=after)
            if status == -9:
                self.tally.kills += 1
                self.tally.phases[self._phase()] += 1
            elif status != 0:
                self._broken(f"a run ended with {status}: {self._said()}")
            self._nothing_is_lost()
        self._each_was_removed_once()
        self._undo()

    def _undo(self) -> None:
        for run in self._runs():
            undo = ("undo", run.run_id, *self._store, *_AT_ONCE)
            while not self.tally.breaches:
                after = self._pick.uniform(0, self._undo_s) if self._undo_s and self._pick.random() < 0.5 else None
                status, took = self._forker.run(*undo, home=self._home, kill_after=after)
                self._undo_s = max(self._undo_s, took)
                if status == 0:
                    break
                if status == -9:
                    self.tally.undo_kills += 1
                else:
                    self._broken(f"an undo ended with {status}: {self._said()}")
                self._nothing_is_lost()
        if not self.tally.breaches and (now := _rows(self._case)) != self._before:
            differing = [table for table in now if now[table] != self._before[table]]
            self._broken(f"after all was undone {differing} are not what they were")

    def _whole(self, purge: tuple[str, ...]) -> float:
        """How long an undisturbed run takes; it is undone again."""
        for _ in range(2):  # the first one warms the caches
            status, took = self._forker.run(*purge, home=self._home)
            assert status == 0, self._said()
            [newest, *_] = Ledger(ledger_file(self._home)).runs(limit=1)
            status, _ = self._forker.run("undo", newest.run_id, *self._store, *_AT_ONCE, home=self._home)
            assert status == 0, self._said()
        self._begin_anew()
        return took

    def _begin_anew(self) -> None:
        for path in (self._home, self._archives.parent if self._archives.name == RECEIPTS else self._archives):
            shutil.rmtree(path, ignore_errors=True)
        self._home.mkdir(parents=True)

    def _destination(self) -> tuple[str, ...]:
        return ("--archive", str(self._archives))

    def _left(self) -> int:
        """Sessions that are to be changed still."""
        there = in_store(self._case)
        return sum(there.get(name) == content for name, content in self._content.items() if name not in LIVE)

    def _staying(self, content: tuple[Any, ...]) -> int:
        """How many of the newest items of a session stay."""
        return 0 * len(content)

    def _nothing_is_lost(self) -> None:
        there, archived = in_store(self._case), dict(self._archived())
        for session_id, content in self._content.items():
            gone = len(content) - self._staying(content)
            if session_id in there and there[session_id] == content:
                continue
            if there.get(session_id, ()) != content[gone:]:
                self._broken(f"{session_id} is in the store with {there[session_id]}")
            elif session_id not in archived:
                self._broken(f"{session_id} is in neither")
            elif archived[session_id] != content[:gone]:
                self._broken(f"{session_id} is in the archive with {archived[session_id]}")
        if strangers := there.keys() - self._content.keys():
            self._broken(f"sessions of nobody: {strangers}")

    def _archived(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """All sessions of all sealed files, each file verified to its end."""
        for file in sorted(self._archives.glob("*/*.jsonl.zst")):
            for some in made_whole(portions(place(str(file))), parse_address):
                for session, items in some:
                    yield session.id, tuple((item.key, item.text) for item in items)

    def _each_was_removed_once(self) -> None:
        """By the ledger, once it has settled what was cut off: a purge that finds nothing does not look."""
        removed: Counter[str] = Counter()
        ledger = Ledger(ledger_file(self._home))
        for run in self._runs():
            for segment in ledger.segments(run.run_id):
                with ArchiveReader(f"{run.archive}/{segment.name}") as reader:
                    ids = {whole.session.id for whole in reader.sessions()}
                if segment.committed_at is not None:
                    removed.update(ids - set(segment.kept))
        if twice := [session_id for session_id, times in removed.items() if times > 1]:
            self._broken(f"removed by several runs: {twice}")

    def _runs(self) -> list[Any]:
        return [run for run in Ledger(ledger_file(self._home)).runs() if run.archive]

    def _phase(self) -> str:
        """Where the killed run was, by what it left."""
        path = ledger_file(self._home)
        if not path.exists():
            return "before the ledger"
        try:
            with closing(sqlite3.connect(path)) as db:
                [[run_id, ended]] = db.execute(
                    "SELECT run_id, ended_at FROM runs ORDER BY run_id DESC LIMIT 1"
                ).fetchall() or [[None, None]]
                segments = db.execute("SELECT committed_at FROM segments WHERE run_id = ?", (run_id,)).fetchall()
        except sqlite3.OperationalError:
            return "before the ledger"
        if run_id is None or ended is not None:
            return "outside of a run"
        files = list((self._archives / run_id).glob("*"))
        parts = [file for file in files if file.suffix == ".part"]
        if any(committed is None for (committed,) in segments):
            return "changes under way" + (", next segment too" if len(files) > len(segments) else "")
        if parts:
            return "a segment under way, no changes"
        return "a segment sealed and not recorded" if len(files) > len(segments) else "between"

    def _said(self) -> str:
        return Path(self._home, "said").read_text("utf-8", "replace")[-2000:]

    def _broken(self, rule: str) -> None:
        self.tally.breaches.append(rule)


class _Trims(_Soak):
    """The sessions stay, with two of their five turns."""

    items = [item for number in range(5) for item in turn(number)]  # noqa: RUF012
    _command = "trim"

    def _destination(self) -> tuple[str, ...]:
        return ("--keep-turns", "2", *super()._destination())

    def _staying(self, content: tuple[Any, ...]) -> int:
        return min(8, len(content))


class _Rotations(_Soak):
    """Receipts are its archives."""

    _command = "rotate"

    def __init__(self, case: SdkCase, directory: Path, forker: Forker, pick: random.Random) -> None:
        super().__init__(case, directory, forker, pick)
        self._archives = directory / "cold" / RECEIPTS

    def _destination(self) -> tuple[str, ...]:
        return ("--by-match", r"^stale-\d*(\d)", "--into", str(self._archives.parent / "{group}.db"))

    def _each_was_removed_once(self) -> None:
        super()._each_was_removed_once()
        found = Counter[str]()
        for path in self._archives.parent.glob("*.db"):
            with closing(sqlite3.connect(path)) as db:
                found.update(name for (name,) in db.execute("SELECT session_id FROM agent_sessions"))
        if twice := [session_id for session_id, times in found.items() if times > 1]:
            self._broken(f"twice in the targets: {twice}")
        if lacking := self._content.keys() - found.keys() - set(LIVE):
            self._broken(f"not in the targets: {lacking}")


def in_store(case: SdkCase) -> Content:
    """(key, text) of all items by session, past sessionctl; sessions without items too.

    In one statement, which sees one instant: what a killed run sent to a server may be committed at any moment after.
    """
    found: dict[str, list[Any]] = {}
    for session_id, key, text, _ in case.execute(
        "SELECT session_id, NULL AS id, NULL AS message_data, NULL AS created_at FROM agent_sessions UNION ALL "
        f"SELECT session_id, id, message_data, created_at FROM agent_messages ORDER BY {case._order}"
    ):
        items = found.setdefault(session_id, [])
        if key is not None:
            items.append((key, text))
    return {session_id: tuple(items) for session_id, items in found.items()}


def _rows(case: SdkCase) -> dict[str, list[str]]:
    """All rows of all tables, in an order of their own."""
    return {
        table: sorted(json.dumps(row, default=str) for row in case.execute(f"SELECT * FROM {table}"))
        for table in case._tables
        if table != _LATER
    }
