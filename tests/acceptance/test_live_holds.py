"""Holds placed beside a purge at work: from the moment `hold add` has returned, what it means stays.

Each test makes the two overlap at a known point and proves that they did: the plan is shown and not yet
applied, some batches are done and others still to come, a batch has looked for holds and not yet committed.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pexpect
import pytest
from operating import in_process, on_terminal, running, wait_for
from purged_servers import MIDDLE, Purged, PurgedMariadb, PurgedPostgres, report_of
from sdk_cases import CASES, SdkCase, SqliteCase, fill, made

from sessionctl.core.address import parse_address
from sessionctl.core.hold import Hold, HoldKind
from sessionctl.core.model import Guard, Outcome
from sessionctl.core.selector import Query
from sessionctl.stores import open_store
from sessionctl.testing.case import turn
from sessionctl.testing.looking import deletion, existing

SESSIONS = [f"s{number:02}" for number in range(12)]
STALE = ("--older-than", "30d", "--max-share", "1", "-o", "json")
EVERYWHERE = ["sqlite", "sqlite-advanced", "postgresql", "mariadb"]
MAKERS = {maker.name: maker for maker in CASES}
WHY = ("--reason", "complaint 1714")


@pytest.fixture(params=EVERYWHERE)
def case(request: pytest.FixtureRequest) -> Iterator[SdkCase]:
    with made(MAKERS[request.param], request) as store:
        fill(store, SESSIONS, turn(1), idle=timedelta(days=60))
        yield store


def address_of(case: Any) -> str:
    return str(case.path) if isinstance(case, SqliteCase) else str(case.url)


def left(case: SdkCase) -> set[str]:
    with case.open() as store:
        return {ref.id for ref in store.sessions(Query())}


def test_a_hold_placed_while_the_plan_is_shown(case: SdkCase) -> None:
    child = on_terminal("purge", "-s", address_of(case), *STALE)
    with contextlib.closing(child):
        child.expect(rb"Delete 12 sessions.*\[y/N\] ")
        assert in_process("hold", "add", "-s", address_of(case), *WHY, "--id", "s03", "--match", "s1*").status == 0
        child.sendline(b"y")
        child.expect(re.compile(rb'\{"schema".*\}'))
        report = json.loads(child.after)
        child.expect(pexpect.EOF)
    assert (report["removed"]["sessions"], report["skipped"]["held"]) == (9, 3)
    assert left(case) == {"s03", "s10", "s11"}
    assert case.read("s03") == turn(1)


def test_a_hold_placed_between_two_batches(case: SdkCase) -> None:
    slowly = ("--batch-size", "1", "--rate", "3", "--yes")
    with running("purge", "-s", address_of(case), *STALE, *slowly) as purge:
        wait_for(lambda: len(left(case)) < len(SESSIONS), "the first batch")
        assert in_process("hold", "add", "-s", address_of(case), *WHY, "--match", "s*").status == 0
        held = left(case)
        report = report_of(purge)
    assert left(case) == held
    assert (report["removed"]["sessions"], report["skipped"]["held"]) == (12 - len(held), len(held))
    assert 0 < len(held) < len(SESSIONS)


@pytest.fixture(params=["postgresql", "mariadb"])
def purged(request: pytest.FixtureRequest) -> Purged:
    if request.param == "postgresql":
        return PurgedPostgres(request.getfixturevalue("postgres_url"))
    return PurgedMariadb(request.getfixturevalue("mysql_url"))


@pytest.mark.parametrize("kind", list(HoldKind))
def test_a_hold_returns_when_a_batch_that_did_not_see_it_is_over(purged: Purged, kind: HoldKind) -> None:
    address = parse_address(purged.url)
    with open_store(address) as ours, open_store(address) as theirs, ThreadPoolExecutor(2) as threads:
        change = deletion(existing(ours, MIDDLE))
        hold = Hold(hold_id="h", kind=kind, value=MIDDLE, reason="r", who="w", since=theirs.now())

        def placed() -> bool:
            theirs.hold([hold])
            return MIDDLE in purged.left()

        with purged.locked():  # an item: the batch has looked for holds by then, and is about to delete
            batch = threads.submit(ours.apply, [change], Guard())
            _, deleting = purged.wait_held()
            holding = threads.submit(placed)
            purged.wait_held(but=deleting)
            assert not holding.done()
        assert list(batch.result()) == [Outcome.DONE]
        assert holding.result() is False
    assert MIDDLE not in purged.left()
