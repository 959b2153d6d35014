"""Work beside work: the next one of a row is made while the last one is dealt with."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_TURN_S = 0.0005


def take_short_turns() -> None:
    """Threads of this process give way ten times as often as they are used to.

    Else one that talks with a server, in many short exchanges, would wait 5 ms for each beside one that computes.
    """
    sys.setswitchinterval(_TURN_S)


def ahead(source: Generator[T, None, None]) -> Iterator[T]:
    """What ``source`` yields, each made by a thread while the one before it is worked on; its errors too.

    ``source`` is used by that thread until it has ended, and closed then, however that comes.
    """
    take_short_turns()
    try:
        with ThreadPoolExecutor(1, "ahead") as thread:
            coming = thread.submit(next, source, None)
            while (found := coming.result()) is not None:
                coming = thread.submit(next, source, None)
                yield found
    finally:
        source.close()  # not by the thread: where the collector finds this, it may be within the lock of all executors
