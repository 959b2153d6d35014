"""Limits as people write them, and which of two holds."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sessionctl.core.limits import LagLimit, Limits, parse_lag_limit
from sessionctl.core.model import Lag


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("10s", LagLimit(delay=timedelta(seconds=10), retained=None)),
        ("4GiB", LagLimit(delay=None, retained=4 * 2**30)),
        ("1m, 64MiB", LagLimit(delay=timedelta(minutes=1), retained=64 * 2**20)),
        ("off", LagLimit(delay=None, retained=None)),
    ],
)
def test_lag_limits(text: str, limit: LagLimit) -> None:
    assert parse_lag_limit(text) == limit


@pytest.mark.parametrize("text", ["", "soon", "10s,", "10s,20s", "1GiB,2GiB", "-1s"])
def test_what_is_no_lag_limit(text: str) -> None:
    with pytest.raises(ValueError, match=r"neither|at most"):
        parse_lag_limit(text)


def test_what_passes_a_limit() -> None:
    limit = LagLimit()
    assert limit.passed(Lag(seconds=30.0, retained=4 * 2**30, slot="s")) is None
    assert limit.passed(Lag(seconds=30.5)) == "a replica is 30s behind, more than 30s"
    assert limit.passed(Lag(retained=5 * 2**30, slot="s")) == (
        "replication slot s holds back 5 GiB of log, more than 4 GiB"
    )
    assert not limit.can_recover(Lag(retained=5 * 2**30, slot="s", slot_active=False))
    assert limit.can_recover(Lag(seconds=99.0, slot="s", slot_active=False))


def test_the_first_that_is_set_holds() -> None:
    flags, file = Limits(rate=5, max_sessions=1), Limits(rate=9, batch_size=7)
    assert flags.over(file) == Limits(rate=5, max_sessions=1, batch_size=7)


def test_what_is_left_for_the_next_store() -> None:
    limits = Limits(max_sessions=10, max_runtime=timedelta(seconds=60), rate=3)
    assert limits.less(4, 20) == Limits(max_sessions=6, max_runtime=timedelta(seconds=40), rate=3)
    assert limits.less(40, 200) == Limits(max_sessions=0, max_runtime=timedelta(0), rate=3)
