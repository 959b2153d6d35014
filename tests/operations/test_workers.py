"""Workers: results in order, errors and ends of processes told, and none of them left behind."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from sessionctl.errors import SessionctlError, StoreBusy
from sessionctl.operations.workers import Workers


class Counting:
    """Counts up to each portion; negative ones go wrong in a way of their own."""

    def __call__(self, portion: int) -> Iterator[object]:
        if portion == -1:
            raise StoreBusy("it is busy", hint="later")
        if portion == -2:
            raise ZeroDivisionError(lambda: "cannot travel")
        if portion == -3:
            os.kill(os.getpid(), signal.SIGKILL)
        yield os.getpid()
        yield from range(portion)
        if portion > 100_000:
            time.sleep(60)

    def close(self) -> None:
        pass


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    before = children()
    yield
    assert children() == before


def test_results_come_in_the_order_of_the_portions() -> None:
    sizes = [3, 0, 5000, 1, 70, 2, 9]
    with Workers(Counting(), 2) as workers:
        found = [(portion, list(results)) for portion, results in workers.each(iter(sizes))]
        again = [len(list(results)) for _, results in workers.each([4, 4])]
    assert [(portion, list(range(size))) for portion, size in zip(sizes, sizes, strict=True)] == [
        (portion, results[1:]) for portion, results in found
    ]
    assert len({results[0] for _, results in found}) == 2, "both had something to do"
    assert again == [5, 5]


def test_portions_may_be_larger_than_any_pipe() -> None:
    class Echo(Counting):
        def __call__(self, portion: object) -> Iterator[object]:
            yield portion

    portions = [str(number) * 3_000_000 for number in range(6)]
    with Workers(Echo(), 2) as workers:
        assert [list(results) for _, results in workers.each(portions)] == [[portion] for portion in portions]


@pytest.mark.parametrize(
    ("portion", "error", "message"),
    [
        (-1, StoreBusy, "it is busy"),
        (-2, SessionctlError, "ZeroDivisionError"),
        (-3, SessionctlError, "a process beside this one has ended: Killed"),
    ],
)
def test_errors_come_in_their_place(portion: int, error: type[SessionctlError], message: str) -> None:
    seen = []
    with pytest.raises(error, match=message) as raised, Workers(Counting(), 2) as workers:  # noqa: PT012
        for number, results in workers.each([2, portion, 2]):
            seen.append(number)
            list(results)
    assert seen == [2, portion]
    if portion == -1:
        assert raised.value.hint == "later"


def test_what_was_under_way_when_an_error_came_is_passed_over() -> None:
    with Workers(Counting(), 2) as workers:
        with pytest.raises(StoreBusy):
            deque(next(results) for _, results in workers.each([1, -1, 2, 3, 4]))
        assert [len(list(results)) for _, results in workers.each([7, 8])] == [8, 9]


def test_what_is_at_work_is_taken_away_when_something_else_goes_wrong() -> None:
    began = time.monotonic()
    with pytest.raises(KeyError), Workers(Counting(), 2) as workers:  # noqa: PT012 - it is left amid a loop
        for _, results in workers.each([200_000, 200_000, 200_000]):
            next(results)
            raise KeyError
    assert time.monotonic() - began < 30


def test_a_worker_does_not_outlive_its_parent() -> None:
    """Nor do two of them keep each other alive."""
    read, write = os.pipe()
    parent = os.fork()
    if parent == 0:
        workers = Workers(Counting(), 2)
        given = workers.each([3] * 8)
        _, results = next(given)
        os.write(write, " ".join(children()).encode())
        next(results)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(parent, 0)
    pids = os.read(read, 100).split()
    os.close(read)
    os.close(write)
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    while not all(gone(pid.decode()) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(pid: str) -> bool:
    """Has it ended, and only waits for its status to be fetched?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
