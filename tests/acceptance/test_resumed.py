"""Sessions are resumed while they are being purged: the soak (``tests/soak/resume.py``) in small, on each engine."""

from __future__ import annotations

import pytest
from sdk_cases import CASES, made
from sdk_process import SdkProcess
from soak import race
from soak.judging import judged

MAKERS = {maker.name: maker for maker in CASES}
OLD_TOO = ["sqlite-sqlalchemy", "postgresql", "mariadb", "mariadb-no-fk"]
RACES = [
    *((engine, "sdk") for engine in ("sqlite", "sqlite-advanced", *OLD_TOO)),
    *((engine, "old_sdk") for engine in OLD_TOO),
]
SHAPES = (race.Shape(flags=["--batch-size", "5"]), race.Shape(flags=["--batch-size", "25"]))


@pytest.mark.parametrize(("engine", "release"), RACES, ids=["-".join(each) for each in RACES])
def test_resumed_sessions_survive_whole_or_begin_anew(
    engine: str, release: str, sdk: SdkProcess, request: pytest.FixtureRequest
) -> None:
    writer: SdkProcess = request.getfixturevalue(release)
    plan = race.Plan(sessions=240, seed=20, old=release == "old_sdk", shapes=SHAPES)
    with made(MAKERS[engine], request) as case:
        happened = race.run(case, [writer], plan)
        tally = judged(happened, sdk, may_fail=plan.old)
        sdk.release()
        writer.release()
    print(plan, tally)  # shown where it fails
    assert not tally.breaches
    assert tally.survived
    assert tally.anew
    assert _appends_while_purging(happened) > 100


def _appends_while_purging(happened: race.Race) -> int:
    """How many began after the first batch of a purge and ended before its last one."""
    first, last = happened.batches[0].begin, max(batch.end for batch in happened.batches if batch.deleted)
    return sum(first < append.at and append.at + append.latency < last for append in happened.appends)
