"""Plans on disk."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionctl.core.model import Rewrite, Span
from sessionctl.core.plan import Step
from sessionctl.errors import SessionctlError
from sessionctl.operations.spool import Spool

any_text = st.text(st.characters(exclude_categories=()), max_size=30)  # lone surrogates too
keys = st.integers(0, 2**63 - 1)
rewrites = st.builds(
    Rewrite,
    session_id=st.just(""),
    version=st.none() | any_text,
    remove=st.lists(st.builds(Span, keys, keys, keys), max_size=3).map(tuple),
    replace=st.lists(st.tuples(keys, any_text), max_size=3).map(tuple),
)
steps = st.builds(
    Step,
    session_id=any_text,
    version=any_text,
    items=st.integers(0, 10**9),
    bytes=st.integers(0, 10**12),
    last_activity=st.none() | st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - its bounds
    rewrite=st.none() | rewrites,
    condensed=st.just(0),  # none before the model has answered
).map(lambda step: step._replace(rewrite=step.rewrite and replace(step.rewrite, session_id=step.session_id)))


@given(st.lists(steps, max_size=20))
def test_steps_come_back_as_they_went_in_as_often_as_needed(planned: list[Step]) -> None:
    spool = Spool()
    try:
        for step in planned:
            spool.add(step)
        assert list(spool.steps()) == planned
        assert list(spool.steps()) == planned
    finally:
        spool.close()


def big_step(number: int) -> Step:
    return Step(session_id=f"{number:04}" + "x" * 10_000, version="1", items=1, bytes=1)


def fill(spool: Spool) -> None:
    for number in range(600):
        spool.add(big_step(number))


def test_a_large_plan_goes_to_disk_without_a_name(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    fill(spool)
    assert list(tmp_path.iterdir()) == []
    assert [step.session_id[:4] for step in spool.steps()] == [f"{number:04}" for number in range(600)]
    spool.close()


def test_a_disk_that_does_not_take_it_is_a_sentence(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    spool = Spool(gone)
    with pytest.raises(SessionctlError, match=r"the plan cannot be kept in .*gone"):
        fill(spool)
    spool.close()
