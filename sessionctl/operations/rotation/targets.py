"""The stores that a rotation moves sessions into, open as long as they are of use."""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from sessionctl.core.address import StoreAddress, parse_address
from sessionctl.core.rotation import PACKED
from sessionctl.errors import ArchiveMissing, ArchiveUnavailable, SessionctlError, StoreMissing, UsageError
from sessionctl.export.rotated_file import PART, mark, sync, unpack
from sessionctl.stores import create_store, open_store
from sessionctl.stores.base import Store

_OPEN = 8
"""Targets at once."""

AddressOf = Callable[[str], StoreAddress]
"""A store by its recorded address, which has no password."""


class Targets:
    """Opens targets for writing, and makes the files that are missing. ``settle`` it, and close it when done."""

    def __init__(self, origin: StoreAddress) -> None:
        self._origin = origin
        self._open: OrderedDict[str, Store] = OrderedDict()
        self._written: set[Path] = set()

    def open(self, target: str) -> Store | None:
        """The store of ``target``, a path or URL; None where it was compressed and takes no more.

        Raises UsageError where it is the very store that sessions are moved out of.
        """
        if target in self._open:
            self._open.move_to_end(target)
            return self._open[target]
        address = parse_address(target, origin="--into")
        if address.path is not None and packed_of(address.path) is not None:
            return None
        store = self._opened(address)
        try:
            self._check(store)
        except BaseException:
            store.close()
            raise
        while len(self._open) >= _OPEN:
            self._open.popitem(last=False)[1].close()
        self._open[target] = store
        return store

    def settle(self) -> None:
        """Close all, so that what was written lies in the files, and is there after a power cut too."""
        while self._open:
            self._open.popitem()[1].close()
        while self._written:
            path = self._written.pop()
            try:
                sync(path)
            except OSError as error:
                raise ArchiveUnavailable(f"{path} cannot be written: {error.strerror or error}") from error

    def close(self) -> None:
        """Without a look at what was written."""
        while self._open:
            self._open.popitem()[1].close()

    def _opened(self, address: StoreAddress) -> Store:
        if address.path is not None:
            if not address.path.exists():
                _make(address.path)
            self._written.add(address.path)
        return open_store(address)

    def _check(self, store: Store) -> None:
        mine, path = store.address, self._origin.path
        is_origin = mine.path.samefile(path) if mine.path and path else mine.recorded == self._origin.recorded
        if is_origin:
            raise UsageError(f"--into names the store itself: {mine}")
        if frozen := store.info().frozen:
            raise SessionctlError(f"nothing is moved into {mine}: {frozen}")


def packed_of(path: Path) -> Path | None:
    """The compressed file that lies beside ``path``, or in its place."""
    return next((packed for suffix in PACKED if (packed := Path(f"{path}{suffix}")).exists()), None)


def read_target(recorded: str, address_of: AddressOf, stack: ExitStack) -> Store:
    """A target for reading, open as long as ``stack``. A compressed one is unpacked for that time.

    Raises ArchiveMissing where it is gone.
    """
    address = address_of(recorded)
    if address.path is not None and not address.path.exists():
        packed = packed_of(address.path)
        if packed is None:
            raise ArchiveMissing(f"{address.path}, where a rotation put sessions, is gone, and not there compressed")
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sessionctl-")))
        unpacked = directory / address.path.name
        unpack(packed, unpacked)
        address = StoreAddress(scheme="sqlite", path=unpacked)
    try:
        return stack.enter_context(open_store(address))
    except StoreMissing as error:
        raise ArchiveMissing(f"{error.message}, where a rotation put sessions") from error


def _make(path: Path) -> None:
    """A store of SQLiteSession with nothing in it. It bears its name only once it is whole."""
    part = path.with_name(path.name + PART)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in (part, Path(f"{part}-wal"), Path(f"{part}-shm"), Path(f"{part}-journal")):
            left.unlink(missing_ok=True)  # of one that was cut off
        create_store(StoreAddress(scheme="sqlite", path=part)).close()
        mark(part)
        with suppress(FileExistsError):
            os.link(part, path)
        part.unlink()
    except OSError as error:
        raise ArchiveUnavailable(f"{path} cannot be made: {error.strerror or error}") from error
