"""Going through several stores in turn: fleets taken apart, one failing store not stopping the others."""

from __future__ import annotations

import glob
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from sessionctl.core.address import StoreAddress
from sessionctl.errors import SessionctlError, StoreMissing, StoreNotUnderstood
from sessionctl.stores import adapter, open_store
from sessionctl.stores.base import Store

T = TypeVar("T")
_SIDE_FILES = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A store that could not be worked on, and why."""

    address: StoreAddress
    error: SessionctlError


class Visit:
    """The stores of one command. Members of fleets are listed when the visit begins.

    ``failures`` and ``skipped`` (files of fleets that are no SDK stores) fill while it goes on. A visit to
    one plain address raises its error; among several, errors are collected.
    """

    def __init__(self, addresses: Sequence[StoreAddress]) -> None:
        self.failures: list[Failure] = []
        self.skipped = 0
        self.fleets = [address for address in addresses if address.is_fleet]
        self._targets = [(member, a.is_fleet) for a in addresses for member in members(a)]

    @property
    def several(self) -> bool:
        """Is this about more than one plain store?"""
        return bool(self.fleets) or len(self._targets) > 1

    def prepare(self) -> None:
        """Import what opens these stores, as far as it is there; nothing is opened."""
        for scheme in {address.scheme for address, _ in self._targets}:
            with suppress(SessionctlError, ImportError):
                adapter(scheme)

    def each(self, action: Callable[[Store], Iterator[T]]) -> Generator[T, None, None]:
        """What ``action`` yields for each store, which is open meanwhile and closed after."""
        visited = 0
        for address, in_fleet in self._targets:
            opened = False
            try:
                with open_store(address) as store:
                    opened = True
                    visited += 1
                    yield from action(store)
            except StoreNotUnderstood as error:
                if in_fleet and not opened:
                    self.skipped += 1
                else:
                    self._failed(address, error)
            except SessionctlError as error:
                self._failed(address, error)
        if self.fleets and not visited and not self.failures:
            looked = ", ".join(str(fleet.path) for fleet in self.fleets)
            raise StoreMissing(f"there is no SDK store in {looked} ({self.skipped} other files)")

    def _failed(self, address: StoreAddress, error: SessionctlError) -> None:
        if not self.several:
            raise error
        self.failures.append(Failure(address=address, error=error))


def members(address: StoreAddress) -> list[StoreAddress]:
    """The files of a fleet by name, without SQLite's side files; a plain address by itself."""
    if not address.is_fleet:
        return [address]
    path = address.path or Path()
    pattern = glob.escape(str(path)) + "/*" if path.is_dir() else str(path)
    found = (Path(name) for name in sorted(glob.glob(pattern, recursive=True)))  # noqa: PTH207 - it may be absolute
    return [
        replace(address, path=file, name=None, fleet=address.name)
        for file in found
        if file.is_file() and not file.name.endswith(_SIDE_FILES)
    ]
