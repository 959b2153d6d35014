"""Batches are sized by what they took; strain makes the pauses longer, calm makes them shorter again."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionctl.core.model import Pace, Spent
from sessionctl.core.pacing import Pacer, Steady

PACE = Pace(first=1000, largest=500, hold_s=0.010, gap_s=0.002)


def run(pacer: Pacer, batches: int, *, per_row_s: float, waited_s: float = 0.0, met: int = 1) -> None:
    for _ in range(batches):
        pacer.took(pacer.rows, Spent(delete=pacer.rows * per_row_s, wait=waited_s, met=met))


def test_batches_come_to_hold_their_locks_for_the_time_asked_for() -> None:
    for per_row_s in (1e-7, 1e-5, 1e-3):
        pacer = Pacer(PACE)
        run(pacer, 60, per_row_s=per_row_s)
        assert 0.009 <= pacer.rows * per_row_s <= 0.011


def test_growth_is_bounded_and_shrinking_is_not() -> None:
    pacer = Pacer(PACE)
    pacer.took(1000, Spent())
    assert pacer.rows == 2000
    pacer.took(2000, Spent(delete=20.0))
    assert pacer.rows < 10


def test_slow_batches_shrink_no_further_than_to_what_a_batch_costs_anyway() -> None:
    pacer = Pacer(Pace(first=1000, largest=500, hold_s=0.010, gap_s=0.0, least=200))
    for _ in range(20):
        pacer.took(pacer.rows, Spent(delete=0.050))
    assert pacer.rows == 200
    pacer.strained(200)
    assert pacer.rows == 100


def test_one_slow_commit_does_not_shrink_the_batches_for_long() -> None:
    pacer = Pacer(PACE)
    run(pacer, 60, per_row_s=1e-5)
    pacer.took(1000, Spent(delete=0.1))
    run(pacer, 10, per_row_s=1e-5)
    assert pacer.rows > 800


def test_waiting_for_locks_lengthens_the_pause_up_to_a_second_and_calm_shortens_it() -> None:
    pacer = Pacer(PACE)
    pauses = []
    for _ in range(12):
        run(pacer, 1, per_row_s=1e-5, waited_s=0.5)
        pauses.append(pacer.pause_s)
    assert pauses == sorted(pauses)
    assert pauses[-1] == 1.0
    run(pacer, 12, per_row_s=1e-5)
    assert pacer.pause_s == PACE.gap_s


def test_a_batch_that_failed_is_halved_however_many_rows_were_allowed() -> None:
    pacer = Pacer(PACE)
    pacer.strained(300)
    assert pacer.rows == 150
    assert pacer.pause_s == PACE.hold_s
    for _ in range(20):
        pacer.strained(pacer.rows)
    assert (pacer.rows, pacer.pause_s) == (1, 1.0)


def test_alone_batches_hold_longer_without_pauses_until_someone_writes() -> None:
    pacer = Pacer(Pace(first=1000, largest=500, hold_s=0.010, gap_s=0.002, alone_hold_s=0.050))
    run(pacer, 60, per_row_s=1e-5, met=0)
    assert (pacer.rows, pacer.pause_s) == (5000, 0.0)
    run(pacer, 1, per_row_s=1e-5, met=1)
    assert (pacer.rows, pacer.pause_s) == (1000, 0.010)  # it held five times as long as it may beside others
    run(pacer, 2, per_row_s=1e-5, met=0)
    assert (pacer.rows, pacer.pause_s) == (1000, 0.002)


def test_a_batch_that_held_too_long_is_followed_by_a_pause_as_much_longer() -> None:
    pacer = Pacer(PACE)
    pacer.took(1000, Spent(delete=0.040, met=1))
    assert pacer.pause_s == pytest.approx(0.008)
    pacer.took(1000, Spent(delete=0.001, met=1))
    assert pacer.pause_s == PACE.gap_s


def test_what_a_store_does_with_its_locks_given_back_is_part_of_the_pause() -> None:
    pacer = Pacer(PACE)
    pacer.took(1000, Spent(delete=0.001, tidy=0.0015, met=1))
    assert pacer.pause_s == pytest.approx(PACE.gap_s - 0.0015)
    pacer.took(1000, Spent(delete=0.001, tidy=0.050, met=1))
    assert pacer.pause_s == 0


@pytest.mark.parametrize("met", [0, 1])
def test_every_two_seconds_there_is_a_rest_where_the_store_asks_for_it(met: int) -> None:
    pacer = Pacer(Pace(first=1000, largest=500, hold_s=0.010, gap_s=0.002, alone_hold_s=0.050, rest_s=0.100))
    worked, rests = 0.0, []
    while worked < 20:
        rows = pacer.rows
        run(pacer, 1, per_row_s=1e-5, met=met)
        worked += rows * 1e-5
        if pacer.pause_s == 0.100:
            rests.append(worked)
            worked += 0.100
        else:
            assert pacer.pause_s <= 0.002
            worked += pacer.pause_s
    apart = [later - earlier for earlier, later in itertools.pairwise(rests)]
    assert 1.9 < min(apart) <= max(apart) < 2.2


@given(
    st.lists(st.tuples(st.integers(0, 10**7), st.floats(0, 100), st.floats(0, 100)), max_size=50),
    st.none() | st.integers(1, 10**6),
)
def test_there_is_always_a_next_batch_within_the_bounds(
    batches: list[tuple[int, float, float]], most: int | None
) -> None:
    pacer = Pacer(PACE, most)
    for rows, held_s, waited_s in batches:
        pacer.took(rows, Spent(check=held_s, wait=waited_s))
        assert pacer.rows >= 1
        assert 1 <= pacer.sessions <= min(500, most or 500)
        assert PACE.gap_s <= pacer.pause_s <= 1.0


class TestSteady:
    def test_it_keeps_to_the_rate(self) -> None:
        steady = Steady(10, 100.0)
        assert steady.pause(5, 100.1) == pytest.approx(0.4)
        assert steady.pause(6, 100.5) == pytest.approx(0.1)

    def test_a_stall_is_made_up_for_by_a_second_at_most(self) -> None:
        steady = Steady(10, 100.0)
        assert steady.pause(10, 160.0) == 0.0
        assert steady.pause(20, 160.0) == pytest.approx(1.0)

    def test_no_rate_no_pause(self) -> None:
        assert Steady(None, 0.0).pause(1_000_000, 0.0) == 0.0
