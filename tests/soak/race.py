"""One race: a store of stale sessions, the program purging it, and SDK writers that resume what it is about to delete.

The purge tells each batch before it begins (``watched``), and the writers aim at the sessions of that batch and
its neighbours; the batch begins when they have made some appends there. So a good share of appends overlaps the
transaction that decides about their session, however busy the machine is. Several purges follow each other,
with batches of different sizes, until every stale session was met.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from operating import wait_for
from sdk_cases import MariadbCase, SdkCase, SqliteCase, fill
from sdk_process import Append, LiveWriter, SdkProcess

from sessionctl.testing.case import turn

ORIGINAL = turn(3)
"""What each session holds before."""
WITNESS_EVERY = 10
"""The last of every ten sessions is resumed by nobody: all of these must go."""
AT_A_TIME = 3
"""Conversations that each writer holds at the same time."""
KEPT_OPEN = 20
PURGE_S = 600
"""How long one purge may take, on a machine that does other things too."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A purge of a race: its flags, and how many appends a batch waits for, as a share of its sessions."""

    flags: Sequence[str] = ()
    appends: float = 0.3


SHAPES = (
    Shape(flags=["--batch-size", "5"]),
    Shape(flags=["--batch-size", "40"]),
    Shape(flags=["--batch-size", "1"]),
    Shape(),
    Shape(appends=0),
)
"""The purges of a race, in turn; the last goes at its own pace."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One ``apply``: from before it to after it, and what became of each session (nothing, if it failed)."""

    begin: float
    end: float
    ids: Sequence[str] = ()
    outcomes: Sequence[str] = ()

    @property
    def deleted(self) -> list[str]:
        return [id_ for id_, outcome in zip(self.ids, self.outcomes, strict=False) if outcome == "done"]


@dataclass(kw_only=True)
class Race:
    """What happened. ``failures`` are the attempts of the purge that its store refused for the moment."""

    case: SdkCase
    ids: Sequence[str]
    appends: list[Append] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    restored: int = 0
    complaints: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``old``: the writers' release has the unlocked window."""

    sessions: int
    seed: int
    old: bool = False
    shapes: Sequence[Shape] = SHAPES


def location(case: SdkCase) -> str:
    return str(case.path) if isinstance(case, SqliteCase) else str(case.url)


def way_in(case: SdkCase) -> dict[str, Any]:
    """How the SDK opens the store; its tables are there, and looking for them would take longer than an append."""
    kind = case._class if isinstance(case, SqliteCase) else "SQLAlchemySession"
    return {"url": location(case), "kind": kind, "tables_exist": True}


def run(case: SdkCase, writers: Sequence[SdkProcess], plan: Plan) -> Race:
    """Fill the empty ``case`` and let the race take place."""
    race = Race(case=case, ids=[f"session-{number:06}" for number in range(plan.sessions)])
    fill(case, race.ids, ORIGINAL, idle=timedelta(days=60))
    resumed = [session_id for place, session_id in enumerate(race.ids) if (place + 1) % WITNESS_EVERY]
    with contextlib.ExitStack() as stack:
        runs = [
            stack.enter_context(
                writer.running(
                    sessions=resumed, aimed=True, seed=f"{plan.seed} {number} {part}", keep=KEPT_OPEN, think_s=0.005,
                    **way_in(case),
                )
            )
            for number, writer in enumerate(writers)
            for part in range(AT_A_TIME)
        ]  # fmt: skip
        sights = _Sights(resumed, runs, apart=plan.old or isinstance(case, MariadbCase))
        share = str(-(-plan.sessions // len(plan.shapes)))
        for shape in plan.shapes[:-1]:
            _purge(race, [*shape.flags, "--max-sessions", share], partial(sights.follow, shape.appends))
            sights.rest()
        _purge(race, plan.shapes[-1].flags, partial(sights.follow, plan.shapes[-1].appends))
    race.appends = sorted((append for run_ in runs for append in run_.appends), key=lambda append: append.at)
    rows = {session_id for (session_id,) in case.execute("SELECT session_id FROM agent_sessions")}
    if rows - {append.session for append in race.appends if append.error is None}:
        _purge(race, [])  # what a failed append had locked when its turn came is met now
    return race


class _Sights:
    """Where the writers aim: at the batch under way, as far again behind it, and not so far ahead of it.

    What is resumed long before its batch survives, which is no race. ``apart``: no session is shared by two
    conversations. Old releases collide among themselves, and on MariaDB all do when several begin a session
    anew at once (the insertion of its row, which only one wins, leaves shared locks: deadlock 1213).
    """

    def __init__(self, resumed: Sequence[str], runs: Sequence[LiveWriter], *, apart: bool) -> None:
        self._place = {session_id: place for place, session_id in enumerate(resumed)}
        self._runs, self._apart = runs, apart

    def follow(self, appends: float, batch: Sequence[str]) -> None:
        """Aim at a batch, and wait until so many appends were made for each of its sessions."""
        before = self._made()
        places = [self._place[session_id] for session_id in batch if session_id in self._place]
        if not places:
            return
        beside = max(len(places), len(self._runs))
        first, last = max(0, min(places) - beside), min(len(self._place), max(places) + 1 + beside // 3)
        for number, writer in enumerate(self._runs):
            own = range(first + (number - first) % len(self._runs), last, len(self._runs))
            writer.aim(own if self._apart else range(first, last))
        wait_for(lambda: self._made() >= before + appends * len(places), "appends to the batch")

    def _made(self) -> int:
        return sum(len(writer.appends) for writer in self._runs)

    def rest(self) -> None:
        for writer in self._runs:
            writer.aim(range(0))


def _purge(race: Race, flags: Sequence[str], follow: Callable[[Sequence[str]], None] = lambda _: None) -> None:
    """One purge from start to end; ``follow`` is told the sessions of each batch as it begins."""
    (told, tell), (hear, say) = os.pipe(), os.pipe()
    watched = [sys.executable, str(Path(__file__).with_name("watched.py")), str(tell), str(hear)]
    what = ["purge", "-s", location(race.case), "--older-than", "30d", "--max-share", "1.0", *flags]
    command = [*watched, *what, "--yes", "--quiet", "-o", "json"]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, pass_fds=[tell, hear], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said
        )
        os.close(tell)
        os.close(hear)
        limit = threading.Timer(PURGE_S, process.kill)
        limit.start()
        with os.fdopen(told) as events, os.fdopen(say, "w", 1) as answers:
            deleted = _heard(race, map(json.loads, events), answers, follow)
        out, _ = process.communicate()
        limit.cancel()
        said.seek(0)
        assert process.returncode in {0, 4}, f"exit {process.returncode} of {command}: {said.read().decode()}"
    report = json.loads(out)
    if report["removed"]["sessions"] != deleted:
        race.complaints.append(f"{deleted} sessions were deleted, and reported: {report}")


def _heard(
    race: Race, events: Iterator[dict[str, Any]], answers: TextIO, follow: Callable[[Sequence[str]], None]
) -> int:
    """Note what a purge tells; the sessions it deleted."""
    deleted, batch = 0, Batch(begin=0, end=0)
    for event in events:
        match event["event"]:
            case "batch":
                follow(event["ids"])
                batch = replace(batch, ids=event["ids"])
                answers.write("\n")
            case "begin":
                batch = replace(batch, begin=event["at"])
            case "settled":
                race.restored += event["restored"]
            case ended:
                batch = replace(batch, end=event["at"], outcomes=event.get("outcomes", ()))
                race.batches.append(batch)
                deleted += len(batch.deleted)
                if ended == "failed":
                    race.failures.append(event["error"])
    return deleted
