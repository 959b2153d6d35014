"""Sessions are trimmed while an agent goes on writing to them: the append and the trim never meet.

The writer is the SDK in a process of its own. It appends to one session as fast as it can, while one trim follows
the other on it; what is left afterwards must be the end of all that was appended, to the item.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sdk_cases import CASES, SdkCase, SqliteCase, made
from sdk_process import SdkProcess

from sessionctl.core.model import Guard
from sessionctl.core.report import Report, Stopped
from sessionctl.core.selector import Selector
from sessionctl.core.trimming import TrimLimits
from sessionctl.ledger import Ledger, new_run
from sessionctl.operations.execute import Terms, apply_plan
from sessionctl.operations.trim import Wish, plan_trim
from sessionctl.testing.case import turn

MAKERS = {maker.name: maker for maker in CASES}
ENGINES = ["sqlite", "sqlite-sqlalchemy", "sqlite-advanced", "postgresql", "mariadb"]
LIVE = "live"
NAMED = Selector(named=(LIVE,), named_given=True)


@dataclass(kw_only=True)
class Trims:
    """What the trims came to; ``spans`` are begin and end of those that removed something."""

    reports: list[Report] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)

    @property
    def removed(self) -> int:
        return sum(report.removed.items for report in self.reports)


def trim_again_and_again(case: SdkCase, ledger: Ledger, enough: Any) -> Trims:
    done, wish = Trims(), Wish(limits=TrimLimits(keep_turns=3))
    nobody_is_active = Terms(guard=Guard(named=frozenset({LIVE})), named=frozenset({LIVE}))
    with case.open() as store:
        while not enough(done):
            began = time.time()
            with plan_trim(store, NAMED, wish, min_idle=timedelta(0)) as plan:
                run = new_run("trim", store.address.recorded, store.now(), {})
                report = apply_plan(store, plan, nobody_is_active, ledger=ledger, run=run)
            done.reports.append(report)
            if report.removed.items:
                done.spans.append((began, time.time()))
    return done


@pytest.mark.parametrize("engine", ENGINES)
def test_no_append_is_lost(engine: str, sdk: SdkProcess, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    race(engine, sdk, request, tmp_path, appends=60, trims=30)


def race(
    engine: str, sdk: SdkProcess, request: pytest.FixtureRequest, tmp_path: Path, *, appends: int, trims: int
) -> None:
    """Until there were so many of both."""
    before = [item for number in range(30) for item in turn(number)]
    with made(MAKERS[engine], request) as case:
        case.write(LIVE, before)
        case.write("another", before)
        how = {"kind": case._class} if isinstance(case, SqliteCase) else {"kind": "SQLAlchemySession"}
        url = str(case.path) if isinstance(case, SqliteCase) else case.url  # type: ignore[attr-defined]
        with sdk.running(url, [LIVE], think_s=0.002, answered=True, **how) as writer:
            writer.wait_appends(1)
            done = trim_again_and_again(
                case,
                Ledger.open(tmp_path / "state" / "ledger.db"),
                lambda done: len(done.spans) >= trims and len(writer.appends) >= appends,
            )
        said = [*before, *writer.acknowledged[LIVE]]
        left = case.read(LIVE)
        texts = case.texts(LIVE)
        sdk.release()
        assert case.read("another") == before
    assert writer.errors == []
    assert {report.stopped for report in done.reports} == {Stopped.DONE}
    assert left == said[-len(left) :]
    assert [json.loads(text) for text in texts] == left
    assert len(left) == len(said) - done.removed
    met = sum(any(a.at < end and begin < a.at + a.latency for begin, end in done.spans) for a in writer.appends)
    print(engine, len(writer.appends), "appends,", len(done.spans), "trims,", met, "met,", done.removed, "removed")
    assert met >= appends / 4
