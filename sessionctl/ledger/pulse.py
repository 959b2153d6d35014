"""Signs of life of a run at work, so that nobody takes it for cut off."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Event, Thread
from typing import Any, Self

from sessionctl.errors import SessionctlError

_BEAT_S = 15.0
_NOTED_EVERY_S = 1.0
_PARTING_S = 1.0


class Pulse:
    """A sign of life now and then while the block lasts, from a thread of its own: a batch may take its time."""

    def __init__(self, sign: Callable[[], None], progress: Callable[[Mapping[str, Any]], None]) -> None:
        self._sign, self._progress = sign, progress
        self._is_over = Event()
        self._thread = Thread(target=self._beat, name="pulse", daemon=True)
        self._noted = time.monotonic()

    def note(self, counts: Callable[[], Mapping[str, Any]]) -> None:
        """How far the run is, if that was not said within a second: what a run cut off after this leaves behind.

        Raises as ``Ledger.progress`` does.
        """
        if time.monotonic() - self._noted < _NOTED_EVERY_S:
            return
        self._progress(counts())
        self._noted = time.monotonic()

    def _beat(self) -> None:
        while not self._is_over.wait(_BEAT_S):
            with suppress(SessionctlError):  # what the run itself writes next will tell
                self._sign()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(_PARTING_S)  # a server that does not answer holds up no end
