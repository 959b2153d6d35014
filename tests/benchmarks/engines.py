"""The engines under measurement: a generated store on each, fresh copies of it, and the raw driver beside.

Everything raw here is the baseline: the best that one connection and hand-written SQL do.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, ClassVar

from benchmarks.figures import seconds
from benchmarks.generator import Generated, Scale
from benchmarks.shapes import Shape
from benchmarks.trims import Trim

from sessionctl.core.address import StoreAddress

NEWEST = "SELECT session_id, updated_at FROM agent_sessions ORDER BY updated_at DESC LIMIT 50"
NAIVE_STATS = "SELECT session_id, count(*), sum({length}(message_data)) FROM agent_messages GROUP BY session_id"
CHUNK = 10_000
"""Rows handed to a driver at once."""


class Engine(ABC):
    """One engine with one generated store. The store itself is only read; what changes something gets a copy."""

    name: str
    octet_length = "octet_length"
    shapes: ClassVar[Mapping[str, Shape]]
    trims: ClassVar[Mapping[str, Trim]]

    def __init__(self, scale: Scale, *, compact: bool) -> None:
        self.generated = Generated(scale, datetime.now(UTC), compact=compact)

    @property
    @abstractmethod
    def address(self) -> StoreAddress:
        """The generated store."""

    @property
    @abstractmethod
    def dump(self) -> list[str]:
        """The command that writes all items to its standard output, by the engine's own means."""

    @abstractmethod
    def copy(self) -> AbstractContextManager[StoreAddress]:
        """A fresh copy of it, gone after the block."""

    @abstractmethod
    def raw(self, address: StoreAddress, *, writes: bool = False) -> AbstractContextManager[Callable[..., list[Any]]]:
        """The driver's own: a function that runs one statement, committed, and returns all its rows."""

    @abstractmethod
    async def _clear(self, address: StoreAddress, ids: Sequence[str]) -> float:
        """Seconds of ``clear_session`` on a new SDK object for each id."""

    @abstractmethod
    def work_on_items(self, call: Callable[[StoreAddress], object]) -> tuple[float, float, str]:
        """What ``call``, which opens the store and lists its 50 newest sessions, does to the messages table.

        (What the engine counts, what it counts or would count if only those 50 sessions had items, of what.)
        Nobody else may be at work on the store.
        """

    def delete_older(self, address: StoreAddress, shape: Shape | None = None) -> float:
        """Seconds of a raw deletion of the older half; of the best single statement unless another is named."""
        chosen = shape or next(iter(self.shapes.values()))
        with self.raw(address, writes=True) as run:
            return seconds(lambda: chosen(run, utc(self.generated.middle)))

    def clear_sessions(self, address: StoreAddress, ids: Sequence[str]) -> float:
        """Seconds that the SDK's own loop takes."""
        return asyncio.run(self._clear(address, ids))

    def log_size(self, address: StoreAddress) -> int:
        """Octets of the log that lies beside a store and grows with its changes; 0 where there is none."""
        del address
        return 0

    def left(self, address: StoreAddress) -> tuple[int, int]:
        """How many sessions and items a store has."""
        with self.raw(address) as run:
            sessions, items = (run(f"SELECT count(*) FROM {t}")[0][0] for t in ("agent_sessions", "agent_messages"))
        return int(sessions), int(items)


def location(address: StoreAddress) -> str:
    """How a command line or an application names a store."""
    return str(address.path) if address.path else address.url


def utc(at: datetime) -> str:
    """A stamp of whole seconds, as all engines read it where the time zone is UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S}"
