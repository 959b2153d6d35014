"""Ten thousand sessions of a year move out by month beside four live agents, and the SDK continues every one.

    python tests/soak/rotating.py                                      on every kind of store
    python tests/soak/rotating.py --engine postgresql --sessions 2000 --writers 2 --seed 7

The writers resume sessions at random, stale ones too. No writer sees an error; each session is whole: in the
store, or in the file of its month and nothing or only newer appends in the store; every file is sound; and
SQLiteSession reads in it what was written, and appends to it. The exit status is 1 where a rule was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import sys
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

_MONTHS = 12
_TURNS = 5
_RESUMED = 40
"""Each so-manieth session is one that writers may resume."""


def main() -> int:
    from sdk_process import sdk_process
    from soak.command import MAKERS, Servers, fresh, some_of

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=some_of(MAKERS), default=list(MAKERS), metavar="NAME[,NAME]")
    parser.add_argument("--sessions", type=int, default=10_000, metavar="N")
    parser.add_argument("--writers", type=int, default=4, metavar="W", help="processes")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), metavar="S")
    wanted = parser.parse_args()
    broken = False
    with ExitStack() as stack:
        servers, writers = Servers(stack), [stack.enter_context(sdk_process()) for _ in range(wanted.writers)]
        for engine in wanted.engine:
            with fresh(engine, servers) as (case, directory):
                breaches, told = rotated(case, directory, writers, sessions=wanted.sessions, seed=wanted.seed)
                for process in writers:
                    process.release()
            print(f"{engine}, seed {wanted.seed}: {told}; rules broken: {len(breaches)}", flush=True)
            for breach in breaches[:10]:
                print(f"    {breach}")
            broken |= bool(breaches)
    return int(broken)


def rotated(case: Any, directory: Path, writers: list[Any], *, sessions: int, seed: int) -> tuple[list[str], str]:
    """Fill the empty store of ``case``, rotate it beside ``writers``, and look; the rules broken, and what was done."""
    from operating import running
    from sdk_cases import SqliteCase

    from sessionctl.testing.case import turn

    seeded = [item for number in range(_TURNS) for item in turn(number)]
    names = [f"s{number:05}" for number in range(sessions)]
    months = _fill(case, names, seeded)
    url, how = (str(case.path), {"kind": case._class}) if isinstance(case, SqliteCase) else (case.url, {})
    resumed = names[::_RESUMED]
    cold = directory / "cold"
    rotate = ("rotate", "-s", url, "--by", "month", "--into", cold / "{year}-{month}.db", "--max-share", "1", "--yes",
              "-o", "json")  # fmt: skip
    with ExitStack() as stack:
        live = [
            stack.enter_context(
                process.running(url, resumed[number :: len(writers)], at_random=True, think_s=0.01, seed=seed, **how)
            )
            for number, process in enumerate(writers)
        ]
        for writer in live:
            writer.wait_appends(3)
        began = time.monotonic()
        with running(*rotate) as process:
            out, err = process.communicate(timeout=1800)
        took = time.monotonic() - began
        for writer in live:
            writer.wait_appends(3)
    if process.returncode:
        return [err.decode()[-2000:]], "it failed"
    report = json.loads(out)
    appended: dict[str, list[Any]] = {}
    breaches = [f"a writer saw {error}" for writer in live for error in writer.errors]
    for writer in live:
        appended |= writer.acknowledged
    breaches += _judge(case, cold, months, seeded, appended)
    moved = report["removed"]["sessions"]
    items = report["removed"]["items"]
    appends = sum(len(writer.appends) for writer in live)
    told = f"{moved} sessions and {items} items into {len(report['targets'])} files in {took:.1f} s"
    return breaches, f"{told}, beside {appends} appends"


def _fill(case: Any, names: list[str], seeded: list[Any]) -> dict[str, str]:
    """Sessions of the last months in turn, older than this month; the month of each."""
    this_month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    months: dict[str, str] = {}
    firsts = []
    at = this_month
    for _ in range(_MONTHS):
        at = (at - timedelta(days=1)).replace(day=1)
        firsts.append(at)
    for number, first in enumerate(firsts):
        mine = names[number::_MONTHS]
        case.write(mine[0], seeded)
        when = first + timedelta(days=3, hours=7)
        case.stamp(mine[0], updated_at=when, created_at=when)
        case.multiply(mine[0], mine[1:])
        months |= dict.fromkeys(mine, f"{first:%Y-%m}")
    return months


def _judge(
    case: Any, cold: Path, months: dict[str, str], seeded: list[Any], appended: dict[str, list[Any]]
) -> list[str]:
    breaches, moved = [], dict[str, str]()
    for path in sorted(cold.glob("*.db")):
        with closing(sqlite3.connect(path)) as db:
            if db.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                breaches.append(f"{path} is damaged")
            there = [name for (name,) in db.execute("SELECT session_id FROM agent_sessions")]
        breaches += [f"{name} is in several files" for name in there if name in moved]
        moved |= dict.fromkeys(there, path.stem)
        breaches += asyncio.run(_continue(path, there, seeded))
    here: dict[str, list[Any]] = {}
    for name, text in case.execute(f"SELECT session_id, message_data FROM agent_messages ORDER BY {case._order}"):
        here.setdefault(name, []).append(json.loads(text))
    for name, month in months.items():
        late = appended.get(name, [])
        found = here.get(name, [])
        if found == seeded + late:
            continue
        if name not in moved:
            breaches.append(f"{name} is lost")
        elif moved[name] != month:
            breaches.append(f"{name} of {month} is in {moved[name]}")
        elif found != late:
            breaches.append(f"{name} has {len(found)} items in the store, and {len(late)} were appended")
    if strangers := (here.keys() | moved.keys()) - months.keys():
        breaches.append(f"sessions of nobody: {strangers}")
    return breaches


async def _continue(path: Path, names: list[str], seeded: list[Any]) -> list[str]:
    from agents import SQLiteSession

    breaches = []
    more: Any = {"role": "user", "content": "and now?"}
    for name in names:
        session = SQLiteSession(name, path)
        if await session.get_items() != seeded:
            breaches.append(f"{name} in {path.name} is not what was written")
        if names.index(name) % 20 == 0:
            await session.add_items([more])
            if await session.get_items() != [*seeded, more]:
                breaches.append(f"{name} in {path.name} does not go on")
        session.close()
    return breaches


if __name__ == "__main__":
    # The tests' directory instead of this one, as for the benchmarks.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    sys.exit(main())
