"""A file that processes write in turn: what they made need not pass through the one that began them."""

from __future__ import annotations

import os
import select
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice

_LOOK_UP_MS = 500
_AT_ONCE = 1000
"""Blocks that are written with one call; more than 1,024 the system refuses."""


class Turns:
    """Turns at an open file, by their numbers from 0 on. Made before the processes are forked that take them.

    Of ``many`` turns that follow each other each may be waited for at once. A byte stands for the turn, and lies in
    the pipe of its number.
    """

    def __init__(self, file: int, many: int) -> None:
        self._file, self._parent = file, os.getpid()
        self._pipes = [os.pipe() for _ in range(many)]
        os.write(self._pipes[0][1], b".")
        self._taken = -1

    def has(self, number: int) -> bool:
        """Is it this turn already?"""
        return self._taken == number or bool(_coming(self._pipes[number % len(self._pipes)][0]).poll(0))

    def write(self, number: int, blocks: Iterable[bytes | memoryview]) -> None:
        """Write what comes next in this turn, which is waited for.

        Raises BrokenPipeError where the process that began this one is gone, and the turn may never come.
        """
        if self._taken != number:
            self._take(self._pipes[number % len(self._pipes)][0])
            self._taken = number
        began = os.lseek(self._file, 0, os.SEEK_CUR)
        every = iter(blocks)
        while some := list(islice(every, _AT_ONCE)):
            written = os.writev(self._file, some)
            for block in some:  # those that were not written to their ends, as on a disk that is nearly full
                left = memoryview(block)[written:]
                written = max(0, written - len(block))
                while left:
                    left = left[os.write(self._file, left) :]
        if hasattr(os, "posix_fadvise"):
            # Linux begins to bring it to the disk then: in the end less is left to be waited for.
            length = os.lseek(self._file, 0, os.SEEK_CUR) - began
            with suppress(OSError):  # it is advice, of which not every file system knows
                os.posix_fadvise(self._file, began, length, os.POSIX_FADV_DONTNEED)

    def _take(self, pipe: int) -> None:
        coming = _coming(pipe)
        while not coming.poll(_LOOK_UP_MS):
            if os.getppid() != self._parent:
                raise BrokenPipeError
        os.read(pipe, 1)

    def pass_on(self, number: int) -> None:
        """Nothing more comes in this turn, which was written in."""
        os.write(self._pipes[(number + 1) % len(self._pipes)][1], b".")

    def close(self) -> None:
        """Of this process; the file itself is the caller's."""
        for pipe in self._pipes:
            for end in pipe:
                os.close(end)
        self._pipes.clear()


def _coming(pipe: int) -> select.poll:
    """What tells whether there is something to read; a select could not for numbers above 1,023."""
    coming = select.poll()
    coming.register(pipe, select.POLLIN)
    return coming
