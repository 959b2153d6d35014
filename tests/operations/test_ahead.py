"""What is made ahead: in order, errors in their place, and its source closed however it ends."""

from __future__ import annotations

from collections.abc import Generator
from threading import Event, current_thread

import pytest

from sessionctl.operations.ahead import ahead


class Source:
    """Counts up, and knows whether it was closed and which thread it runs on."""

    def __init__(self, fails_at: int = 5) -> None:
        self.fails_at, self.made = fails_at, 0
        self.threads: set[str] = set()
        self.closed = Event()

    def __call__(self) -> Generator[int, None, None]:
        try:
            for number in range(self.fails_at):
                self.made = number
                self.threads.add(current_thread().name)
                yield number
            raise ValueError("enough")
        finally:
            self.closed.set()


def test_the_next_one_is_made_while_one_is_looked_at() -> None:
    source = Source()
    seen: list[int] = []
    with pytest.raises(ValueError, match="enough"):
        seen.extend(ahead(source()))
    assert seen == [0, 1, 2, 3, 4]
    assert len(source.threads) == 1
    assert current_thread().name not in source.threads
    assert source.closed.is_set()


def test_no_more_than_one_is_made_ahead() -> None:
    source = Source(fails_at=100)
    coming = ahead(source())
    assert [next(coming), next(coming)] == [0, 1]
    coming.close()  # type: ignore[attr-defined] # a generator it is
    assert source.closed.is_set()
    assert source.made <= 2


def test_a_source_that_ends_ends_it() -> None:
    assert list(ahead(number for number in range(3))) == [0, 1, 2]
    assert list(ahead(number for number in range(0))) == []
