"""Closed files of rotations for the command line: which are compressed, which removed, and the record of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sessionctl.archive.codecs import Compression
from sessionctl.cli.context import current
from sessionctl.cli.flows.stores_in_use import Recorded, settings
from sessionctl.cli.options.rotating import Wish
from sessionctl.cli.options.safeguarding import Consent
from sessionctl.cli.output import Output
from sessionctl.core.address import StoreAddress, parse_address
from sessionctl.core.report import Report, Stopped
from sessionctl.core.units import count, format_size
from sessionctl.errors import SessionctlError
from sessionctl.ledger import Ledger, new_run
from sessionctl.operations.rotation.closing import (
    Closed,
    Window,
    closed_files,
    compress,
    remove,
    surplus,
    why_kept,
    window_of,
)
from sessionctl.operations.rotation.rotate import stem_of
from sessionctl.operations.rotation.targets import AddressOf
from sessionctl.stores import open_store

if TYPE_CHECKING:
    from sessionctl.cli.flows.running import Planned

_SHOWN = 10


class FileClosing:
    """What ``--compress`` and ``--keep`` do once the sessions were moved. Only what was shown before is removed."""

    def __init__(self, out: Output, wish: Wish, consent: Consent) -> None:
        self._out, self._wish, self._consent = out, wish, consent
        self._template = wish.rotation.template
        self._addresses: list[StoreAddress] = []
        self._packing: list[Closed] = []
        self._removing: list[Closed] = []
        self._left: dict[str, str] = {}
        self._is_done = False

    def foresee(self, plans: Sequence[Planned]) -> None:
        """What there will be to do, by the files that are there and those that the plans will make."""
        self._addresses = [plan.address for plan in plans]
        coming = {target for plan in plans for target in plan.header.targets}
        files = self._files()
        self._removing = self._removable(surplus(files, self._wish.keep, self._windows(coming)))
        self._packing = self._packable(files, moved=coming)

    @property
    def question(self) -> str | None:
        """What is to be confirmed, None where there is nothing to do."""
        parts = []
        if self._packing:
            parts.append(f"Compress {count(len(self._packing), 'file')}.")
        if self._removing:
            parts.append(f"Remove {count(len(self._removing), 'file')} past --keep {self._wish.keep}, for good?")
        return " ".join(parts) or None

    @property
    def failed(self) -> bool:
        """Could something not be done?"""
        return self._is_done and bool(self._left)

    def carry_out(self, ledger: Ledger, reports: Sequence[Report]) -> None:
        """Itself a run in the ledger, if there is something to do. After a rotation cut short nothing is compressed."""
        shown = {file.path for file in self._removing} | {file.plain for file in self._removing}
        files = self._files()
        removing = [file for file in surplus(files, self._wish.keep) if file.path in shown]
        self._removing, self._packing, self._left, self._is_done = removing, [], {}, True
        is_done = all(report.stopped is Stopped.DONE for report in reports)
        packing = self._packable(files) if is_done else []
        if not removing and not packing:
            return
        run = new_run(
            "rotate", str(self._template.directory), datetime.now(UTC),
            current().env, reason=self._consent.reason, criteria=tuple(self._criteria(removing)),
        )  # fmt: skip
        ledger.begin(run)
        with ledger.alive(run.run_id):
            self._removing = []
            for file in removing:
                self._did(file, self._remove)
            for file in packing:
                self._did(file, self._compress)
        counts = {"files": {"compressed": len(self._packing), "removed": len(self._removing)}}
        error = next(iter(self._left.values()), None)
        ledger.finish(run.run_id, counts, Stopped.ERROR if error else Stopped.DONE, error)

    def show(self, *, to_stderr: bool = False) -> None:
        """What will be done, or was."""
        console = self._out.err if to_stderr else self._out.console
        told = ("compressed", "removed") if self._is_done else ("compresses", "removes")
        for word, files in zip(told, (self._packing, self._removing), strict=True):
            if files:
                size = format_size(sum(file.size for file in files))
                self._out.line(f"  {word:<11} {count(len(files), 'file')}, {size}", console=console)
            for file in files[:_SHOWN]:
                self._out.line(f"              {file.path}", console=console)
        for why in list(self._left.values())[:_SHOWN]:
            self._out.warn(f"left alone: {why}")

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return {
            "files": {
                "compressed": [str(file.path) for file in self._packing],
                "removed": [str(file.path) for file in self._removing],
                "left_alone": [{"file": file, "why": why} for file, why in self._left.items()],
            }
        }

    def _files(self) -> list[Closed]:
        stems = [stem_of(address) for address in self._addresses]
        return closed_files(self._template, datetime.now(UTC), stems) if stems else []

    def _packable(self, files: Sequence[Closed], moved: Collection[str] = ()) -> list[Closed]:
        """Those that can be compressed, once what goes to the targets ``moved`` is there."""
        plain = [file for file in files if not file.is_packed and file not in self._removing]
        if not plain or not self._wish.compression:
            return []
        awaited = set(self._windows(self._staying().difference(moved)))
        return [file for file in plain if (file.series, file.begins) not in awaited]

    def _staying(self) -> set[str]:
        """Where sessions would go that are in the stores still: held ones, and others that are not selected."""
        found: set[str] = set()
        for address in self._addresses:
            with open_store(address) as store:
                found |= self._wish.rotation.targets(store)
        return found

    def _removable(self, files: Sequence[Closed]) -> list[Closed]:
        found = []
        for file in files:
            why = why_kept(file, self._template, self._stores, self._address_of)
            if why:
                self._left[str(file.path)] = why
            else:
                found.append(file)
        return found

    def _windows(self, targets: Iterable[str]) -> Iterator[Window]:
        for target in targets:
            if window := window_of(self._template, self._template.found(target) or {}):
                yield window

    @property
    def _stores(self) -> list[str]:
        return [address.recorded for address in self._addresses]

    @property
    def _address_of(self) -> AddressOf:
        recorded = Recorded(settings(), self._addresses)
        return lambda address: recorded.address(address) or parse_address(address)

    def _criteria(self, removing: Sequence[Closed]) -> Iterator[str]:
        if self._wish.compression:
            yield f"compresses closed files of {self._template.text}"
        if self._wish.keep:
            yield f"keeps {count(self._wish.keep, 'window')} of them"
        for file in removing:
            yield f"removes {file.plain}"

    def _did(self, file: Closed, act: Callable[[Closed], None]) -> None:
        """What cannot be done does not keep the rest."""
        try:
            act(file)
        except SessionctlError as error:
            self._left[str(file.path)] = error.message

    def _compress(self, file: Closed) -> None:
        self._packing.append(compress(file, Compression(str(self._wish.compression))))

    def _remove(self, file: Closed) -> None:
        remove(file, self._template, self._stores, self._address_of)
        self._removing.append(file)
