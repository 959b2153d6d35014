"""Runs that take items out of sessions, archived and undone, on each kind of store and with the real SDK beside."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from acceptance.test_archived_purge import MAKERS, address, rows, undone
from acceptance.transcripts import MYSQL, POSTGRESQL, SQLITE, load, read_transcripts
from operating import in_process, ledger_file
from sdk_cases import CASES, CaseMaker, PostgresCase, SdkCase, SqliteCase, made
from soak.forker import forker
from soak.killing import killed

from sessionctl.core.model import Guard, Item, Rewrite, SessionRef
from sessionctl.core.plan import Step
from sessionctl.core.report import Report, Stopped
from sessionctl.core.selector import Selector
from sessionctl.core.spans import spans
from sessionctl.ledger import Ledger, new_run
from sessionctl.operations.archiving import archiving_of
from sessionctl.operations.execute import Terms, apply_plan
from sessionctl.operations.planning import plan_changes
from sessionctl.stores.base import Store
from sessionctl.testing.case import turn, user

STALE = Selector(older_than=timedelta(days=30))
MIN_IDLE = timedelta(minutes=15)


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.name)
def case(request: pytest.FixtureRequest) -> Iterator[SdkCase]:
    maker: CaseMaker = request.param
    with made(maker, request) as made_case:
        yield made_case


def stub(item: Item) -> str:
    return json.dumps(json.loads(item.text) | {"output": f"{item.size} bytes removed"})


def shortened(store: Store, refs: Iterable[SessionRef]) -> Iterator[Step]:
    """Of each session: its first third goes, and the first output of what stays is cut."""
    for ref in refs:
        items = list(store.items(ref.id))
        keys = [item.key for item in items if isinstance(item.key, int)]
        cut = len(items) // 3
        outputs = [item for item in items[cut:] if '"function_call_output"' in item.text][:1]
        cut_short = tuple((int(item.key or 0), stub(item)) for item in outputs)
        rewrite = Rewrite(session_id=ref.id, remove=spans(keys, set(keys[:cut])), replace=cut_short)
        size = sum(item.size for item in items[:cut])
        yield Step(session_id=ref.id, version=ref.version or "", items=cut, bytes=size, rewrite=rewrite)


def shorten(case: SdkCase, home: Path, archive: Path) -> Report:
    """As a command does it."""
    ledger = Ledger.open(ledger_file(home))
    with case.open() as store:
        foresee = partial(shortened, store)
        with plan_changes(store, STALE, "trim", foresee, min_idle=MIN_IDLE, terms=("two thirds",)) as plan:
            run = new_run("trim", store.address.recorded, datetime.now(UTC), {}, criteria=plan.header.criteria)
            with archiving_of(store, str(archive), plan.header, run, ledger) as archiving:
                terms = Terms(guard=Guard(min_idle=MIN_IDLE))
                run = replace(run, archive=archiving.name)
                return apply_plan(store, plan, terms, ledger=ledger, run=run, cover=archiving)


def test_real_transcripts_get_their_items_back(case: SdkCase, tmp_path: Path, home: Path) -> None:
    dialect = SQLITE if isinstance(case, SqliteCase) else POSTGRESQL if isinstance(case, PostgresCase) else MYSQL
    store = load(case, address(case), dialect, read_transcripts()[:: 25 if isinstance(case, SqliteCase) else 12])
    stale = store.idle_for(30 * 86400)
    read = {session_id: case.read(session_id) for session_id in sorted(stale)}
    before = rows(case)
    report = shorten(case, home, tmp_path / "archive")
    assert (report.stopped, report.removed.sessions, sum(report.skipped.values())) == (Stopped.DONE, len(stale), 0)
    assert report.removed.items == sum(len(items) // 3 for items in read.values()) > 20
    left = {session_id: case.read(session_id) for session_id in read}
    assert {name: len(items) for name, items in left.items()} == {
        name: len(items) - len(items) // 3 for name, items in read.items()
    }
    assert any("bytes removed" in str(items) for items in left.values())
    assert rows(case)["agent_sessions"] == before["agent_sessions"], "a stamp moved"
    back, gone, *_ = sorted(read)
    case.write(back, [user("I am back")], turn(1)[1:])
    case._call(gone, lambda session: session.clear_session())

    refused = in_process("restore", report.archive or "", "-s", address(case), "--yes")
    assert refused.status == 2
    assert f"sessionctl undo {report.run_id}" in refused.said
    undoing = undone(case, report.run_id or "", status=3)
    assert (undoing["restored"]["sessions"], undoing["refused"]) == (len(stale) - 1, [gone])
    assert case.read(back) == [*read[back], user("I am back"), *turn(1)[1:]]
    assert case.read(gone) == []
    assert {name: case.read(name) for name in read if name not in (back, gone)} == {
        name: items for name, items in read.items() if name not in (back, gone)
    }
    for _ in range(4):
        case.pop(back)
    again = undone(case, report.run_id or "", status=3)
    assert (again["restored"]["sessions"], again["refused"]) == (0, [gone])
    assert case.read(back) == read[back]


@pytest.mark.parametrize("name", ["sqlite", "postgresql", "mariadb"])
def test_trims_killed_at_random_instants(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A few of those that tests/soak/archive_kills.py --command trim does by hundreds, on every kind of store."""
    [maker] = [maker for maker in CASES if maker.name == name]
    with made(maker, request) as store, forker() as process:
        tally = killed(store, tmp_path, process, kills=5, seed=5, sessions=40, command="trim")
    assert (tally.breaches, tally.kills) == ([], 5)
