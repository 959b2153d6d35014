"""The program at work, telling on a file descriptor each batch that it hands to its store and what came of it.

    watched.py TELL HEAR ARGUMENTS...      runs ``sessionctl ARGUMENTS...``

Nothing is changed about the run but its pace: the store's ``apply`` and ``settle`` are called as ever. JSON lines
are written to TELL when a batch is about to be applied, when that begins and ends, and after each ``settle``. A
batch begins once a line has come from HEAR.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import sessionctl.stores
from sessionctl.core.address import StoreAddress
from sessionctl.core.model import Change, Guard, Outcome
from sessionctl.stores.base import Store


class Telling:
    """Stores that tell what they are asked to do."""

    def __init__(self, to: TextIO, hear: TextIO, adapter: Callable[[str], Callable[[StoreAddress], Store]]) -> None:
        self._to, self._hear, self._adapter = to, hear, adapter

    def adapter(self, scheme: str) -> Callable[[StoreAddress], Store]:
        make = self._adapter(scheme)

        def opened(address: StoreAddress) -> Store:
            store = make(address)
            store.apply, store.settle = self._apply(store.apply), self._settle(store.settle)  # type: ignore[method-assign]
            return store

        return opened

    def _tell(self, **event: Any) -> None:
        self._to.write(json.dumps(event | {"at": time.time()}) + "\n")

    def _apply(self, apply: Callable[..., Sequence[Outcome]]) -> Callable[..., Sequence[Outcome]]:
        def telling(changes: Sequence[Change], guard: Guard) -> Sequence[Outcome]:
            self._tell(event="batch", ids=[change.session_id for change in changes])
            self._hear.readline()
            self._tell(event="begin")
            try:
                outcomes = apply(changes, guard)
            except Exception as error:
                self._tell(event="failed", error=f"{type(error).__name__}: {error}")
                raise
            self._tell(event="end", outcomes=list(outcomes))
            return outcomes

        return telling

    def _settle(self, settle: Callable[[], int]) -> Callable[[], int]:
        def telling() -> int:
            restored = settle()
            self._tell(event="settled", restored=restored)
            return restored

        return telling


if __name__ == "__main__":
    with os.fdopen(int(sys.argv.pop(1)), "w", 1) as tell, os.fdopen(int(sys.argv.pop(1))) as heard:
        sessionctl.stores.adapter = Telling(tell, heard, sessionctl.stores.adapter).adapter
        from sessionctl.cli.app import main

        main()
