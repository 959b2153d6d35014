"""Stores of every kind migrate into the other kinds beside four live agents, and are killed again and again.

    python tests/soak/migrating.py                                          all of it
    python tests/soak/migrating.py --part live --engine mariadb --target sqlite --sessions 2000 --seed 7
    python tests/soak/migrating.py --part killed --kills 200

live     four processes go on in the source, in old sessions and in new ones, and one in the target in sessions of its
         own: none sees an error; when they have stopped, one more run finds everything in place, nothing is lost or
         doubled on either side, and ``compare`` tells no difference but the sessions of the target's own agent
killed   at random instants of the whole command, while between two runs sessions of the source grow, lose items, go
         away and come along; whatever the kill left, the last run brings all of it to what the source has, with
         every session once

The exit status is 1 where a rule was broken.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import sys
import time
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

PARTS = ("live", "killed")
TARGETS = ("sqlite", "postgresql", "mysql")
_RESUMED = 40
"""Each so-manieth session is one that writers may resume."""
_CHANGED = 3
"""Sessions of each kind of change between two runs."""


def main() -> int:
    from soak.command import MAKERS, Servers, some_of

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", type=some_of(PARTS), default=list(PARTS), metavar="PART[,PART]")
    parser.add_argument("--engine", type=some_of(MAKERS), default=list(MAKERS), metavar="NAME[,NAME]", help="sources")
    parser.add_argument("--target", type=some_of(TARGETS), default=list(TARGETS), metavar="NAME[,NAME]")
    parser.add_argument("--sessions", type=int, default=3000, metavar="N")
    parser.add_argument("--kills", type=int, default=30, metavar="N")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), metavar="S")
    wanted = parser.parse_args()
    broken = False
    with ExitStack() as stack:
        servers = Servers(stack)
        for part in wanted.part:
            for engine in wanted.engine:
                for target in wanted.target:
                    began = time.monotonic()
                    breaches, told = PART[part](engine, target, servers, wanted)
                    took = time.monotonic() - began
                    rules = f"rules broken: {len(breaches)}"
                    print(
                        f"{part}, {engine} into {target}, seed {wanted.seed}: {told}; {took:.0f} s; {rules}", flush=True
                    )
                    for breach in breaches[:10]:
                        print(f"    {breach}")
                    broken |= bool(breaches)
    return int(broken)


# --- beside agents ------------------------------------------------------------------------------


def live(engine: str, target: str, servers: Any, wanted: argparse.Namespace) -> tuple[list[str], str]:
    from sdk_process import sdk_process
    from soak.command import fresh

    with ExitStack() as stack:
        case, directory = stack.enter_context(fresh(engine, servers))
        place = stack.enter_context(_place(target, directory, servers))
        writers = [stack.enter_context(sdk_process()) for _ in range(5)]
        return migrated_beside(case, place, writers, sessions=wanted.sessions, seed=wanted.seed)


def migrated_beside(
    case: Any, place: str, writers: list[Any], *, sessions: int, seed: int, flags: tuple[str, ...] = ()
) -> tuple[list[str], str]:
    """Fill the empty ``case`` and migrate it beside writers, the last of them in the target."""
    from operating import in_process, running
    from sdk_cases import fill

    from sessionctl.core.address import parse_address
    from sessionctl.stores import create_store
    from sessionctl.testing.case import turn

    names = [f"s{number:05}" for number in range(sessions)]
    fill(case, names, turn(1), idle=timedelta(days=9))
    url, how = _way_in(case)
    resumed, own = names[::_RESUMED], [f"own-{number}" for number in range(20)]
    create_store(parse_address(place)).close()
    with ExitStack() as stack:
        work = [
            stack.enter_context(
                writer.running(
                    url, [*resumed[number :: len(writers) - 1], *(f"new-{number}-{each}" for each in range(20))],
                    at_random=True, think_s=0.01, seed=seed, **how,
                )
            )
            for number, writer in enumerate(writers[:-1])
        ]  # fmt: skip
        beside = stack.enter_context(
            writers[-1].running(place, own, at_random=True, think_s=0.01, seed=seed, **_how_of(place))
        )
        for run in [*work, beside]:
            run.wait_appends(3)
        began = time.time()
        with running("migrate", url, place, "--yes", "-o", "json", *flags) as process:
            out, err = process.communicate(timeout=1800)
        ended = time.time()
        for run in [*work, beside]:
            run.wait_appends(3)
    if process.returncode not in (0, 3):
        return [err.decode()[-2000:]], "it failed"
    report = json.loads(out)
    breaches = [f"a writer saw {error}" for run in [*work, beside] for error in run.errors]
    last = in_process("migrate", url, place, "--yes", "-o", "json")
    if last.status or not last.json["clean"]:
        breaches.append(f"the last run is not clean: {last.text} {last.said}")
    appended: dict[str, list[Any]] = {}
    for run in work:
        for name, items in run.acknowledged.items():
            appended.setdefault(name, []).extend(items)
    expected = {name: [*turn(1), *appended.pop(name, [])] for name in names} | appended
    breaches += _differences("the source", _items(url), expected)
    breaches += _differences("the target", _items(place), expected | beside.acknowledged)
    compared = in_process("compare", url, place, "-o", "json").json["differing"]
    if {(each["session_id"], each["difference"]) for each in compared} != {(n, "extra") for n in beside.acknowledged}:
        breaches.append(f"compare tells {compared[:3]} and so on")
    amid = sum(began < append.at < ended for run in [*work, beside] for append in run.appends)
    told = f"{report['restored']['sessions']} sessions in {report['passes']} passes and {ended - began:.1f} s"
    return breaches, f"{told}, beside {amid} appends"


# --- killed -------------------------------------------------------------------------------------


def killed(engine: str, target: str, servers: Any, wanted: argparse.Namespace) -> tuple[list[str], str]:
    from soak.command import fresh
    from soak.forker import forker

    with ExitStack() as stack:
        case, directory = stack.enter_context(fresh(engine, servers))
        place = stack.enter_context(_place(target, directory, servers))
        process = stack.enter_context(forker())
        return killed_and_resumed(
            case, place, directory, process, kills=wanted.kills, sessions=wanted.sessions, seed=wanted.seed
        )


def killed_and_resumed(
    case: Any, place: str, directory: Path, forker: Any, *, kills: int, sessions: int, seed: int
) -> tuple[list[str], str]:
    """Fill the empty ``case``; kill a migration so often, changing the source in between, and let the last one end."""
    from sdk_cases import fill

    from sessionctl.testing.case import turn

    pick = random.Random(seed)
    home = directory / "home"
    home.mkdir()
    fill(case, [f"s{number:05}" for number in range(sessions)], [*turn(1), *turn(2)], idle=timedelta(days=9))
    url, _ = _way_in(case)
    command = ("migrate", url, place, "--create-tables", "--yes", "--batch-size", "25", "-o", "json")
    lasts, done, made = 1.0 + sessions / 2000, 0, 0
    while done < kills:
        status, _ = forker.run(*command, home=home, kill_after=pick.uniform(0, lasts))
        if status == -9:
            done += 1
        elif status not in (0, 3):
            return [(home / "said").read_text("utf-8", "replace")[-2000:]], f"{done} kills"
        else:  # what the next ones do has to be there to be done
            lasts *= 0.8
        made += _change(case, pick, made)
    for _ in range(3):  # what a killed run sent to a server may be committed after all
        status, took = forker.run(*command, home=home)
    breaches = []
    said = (home / "said").read_text("utf-8", "replace")
    if status or not json.loads(said)["clean"]:
        breaches.append(f"the last run is not clean: {status} {said[-2000:]}")
    breaches += _differences("the target", _items(place), _items(url))
    for check in (("compare", url, place), ("schema", "check", "-s", place)):
        status, _ = forker.run(*check, home=home)
        if status:
            breaches.append(f"{check[0]}: {(home / 'said').read_text('utf-8', 'replace')[-500:]}")
    return breaches, f"{done} kills, {made} changes between them, {took:.1f} s for the last look"


def _change(case: Any, pick: random.Random, number: int) -> int:
    """A few sessions of the source grow, lose their newest item, go away and come along; how many."""
    from sessionctl.testing.case import turn, user

    there = [name for (name,) in case.execute("SELECT session_id FROM agent_sessions ORDER BY 1")]
    some = pick.sample(there, 3 * _CHANGED)
    for name in some[:_CHANGED]:
        case.write(name, [user(f"more {number}")])
    for name in some[_CHANGED : 2 * _CHANGED]:
        case.pop(name)
    for name in some[2 * _CHANGED :]:
        for table in ("agent_messages", "agent_sessions"):
            case.execute(f"DELETE FROM {table} WHERE session_id = ?", name)
    for each in range(_CHANGED):
        case.write(f"new-{number}-{each}", turn(3))
    return 4 * _CHANGED


# --- both ---------------------------------------------------------------------------------------

PART = {"live": live, "killed": killed}


def _place(kind: str, directory: Path, servers: Any) -> Any:
    """The address of a place without tables."""
    from contextlib import nullcontext

    from servers import fresh_mysql, fresh_postgres

    if kind == "sqlite":
        return nullcontext(str(directory / "target.db"))
    return fresh_postgres(servers.postgresql) if kind == "postgresql" else fresh_mysql(servers.mysql)


def _way_in(case: Any) -> tuple[str, dict[str, Any]]:
    from sdk_cases import SqliteCase

    if isinstance(case, SqliteCase):
        return str(case.path), {"kind": case._class}
    return case.url, {"kind": "SQLAlchemySession", "tables_exist": True}


def _how_of(place: str) -> dict[str, Any]:
    return {"kind": "SQLAlchemySession", "tables_exist": True} if "://" in place else {"kind": "SQLiteSession"}


def _items(place: str) -> dict[str, list[Any]]:
    """All sessions with what they say, past sessionctl; in the order in which the SDK reads."""
    from servers import mysql_execute, postgres_execute

    by = "m.id" if "://" not in place else "m.created_at, m.id"
    statement = (
        "SELECT s.session_id, m.message_data FROM agent_sessions s LEFT JOIN agent_messages m "
        f"ON m.session_id = s.session_id ORDER BY {by}"
    )
    if "://" not in place:
        with closing(sqlite3.connect(place)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            rows = db.execute(statement).fetchall()
    else:
        rows = (postgres_execute if place.startswith("postgresql") else mysql_execute)(place, statement)
    found: dict[str, list[Any]] = {}
    for name, text in rows:
        items = found.setdefault(name, [])
        if text is not None:
            items.append(json.loads(text))
    return found


def _differences(where: str, found: dict[str, list[Any]], expected: dict[str, list[Any]]) -> list[str]:
    return [
        f"{name} has {found.get(name)} in {where} instead of {expected.get(name)}"
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    ]


if __name__ == "__main__":
    # The tests' directory instead of this one, as for the benchmarks.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    sys.exit(main())
