"""doctor --fix beside users who keep retrying: a session is mended or left alone, and no append is lost.

The writer is the SDK in a process of its own. First it resumes sessions that were idle for the minute that a repair
asks for, in the midst of the repair; then it goes on with those that it made active, which are named and mended all
the same.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from operating import in_process
from sdk_cases import CASES, SqliteCase, fill, made
from sdk_process import Append, SdkProcess

from sessionctl.testing.case import assistant, turn, user

MAKERS = {maker.name: maker for maker in CASES}
ENGINES = ["sqlite", "sqlite-sqlalchemy", "sqlite-advanced", "postgresql", "mariadb"]
ORPHAN = {"type": "function_call_output", "call_id": "gone", "output": "ok"}
BROKEN = [user("a"), ORPHAN, assistant("b"), *turn(1)]
MENDED = [item for item in BROKEN if item != ORPHAN]
NAMES = [f"s-{number:02}" for number in range(40)]
_SLOWLY = ("--batch-size", "2", "--rate", "20")
_RUNS = 30


@pytest.mark.parametrize("engine", ENGINES)
def test_no_append_is_lost_where_histories_are_mended(
    engine: str, sdk: SdkProcess, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    named = tmp_path / "named"
    named.write_text("\n".join(NAMES))
    with made(MAKERS[engine], request) as case:
        fill(case, NAMES, BROKEN, idle=timedelta(minutes=2))
        is_file = isinstance(case, SqliteCase)
        how = {"kind": case._class} if isinstance(case, SqliteCase) else {"kind": "SQLAlchemySession"}
        url = str(case.path) if is_file else case.url  # type: ignore[attr-defined]
        fix = ("doctor", "--fix", "orphan_output", "-s", url, *_SLOWLY, "--yes", "--no-archive", "-o", "json")
        with sdk.running(url, NAMES, at_random=True, seed=5, think_s=0.02, **how) as writer:
            began = time.time()
            first = in_process(*fix)
            between = time.time()
            mended, skipped = first.json["changed"]["sessions"], first.json["skipped"]
            for _ in range(_RUNS):
                again = in_process(*fix, "--ids-from", named, "--min-idle", "0")
                assert again.status in (0, 3), again.said
                mended += again.json["changed"]["sessions"]
                if mended == len(NAMES):
                    break
            ended = time.time()
        appends = list(writer.appends)
        left = {name: case.read(name) for name in NAMES}
        sdk.release()
    assert writer.errors == []
    assert first.status == 0, first.said
    assert skipped["active"] > 0
    assert {key: skipped[key] for key in ("changed", "failed", "missing")} == dict.fromkeys(
        ("changed", "failed", "missing"), 0
    )
    assert 0 < first.json["changed"]["sessions"] < mended == len(NAMES)
    assert left == {name: [*MENDED, *writer.acknowledged.get(name, [])] for name in NAMES}
    assert _meet(appends, began, between) > 5
    assert _meet(appends, between, ended) > 5


def _meet(appends: Sequence[Append], since: float, until: float) -> int:
    """How many were acknowledged in that time."""
    return sum(since < append.at + append.latency < until for append in appends)
