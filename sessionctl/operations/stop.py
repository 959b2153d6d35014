"""A request to stop, which everything that works in batches looks at between two of them."""

from __future__ import annotations


class Stop:
    """A request to stop after the current batch, made by a signal handler; truthy once made."""

    signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None
