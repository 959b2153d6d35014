"""A run's archive as its cover: each segment is sealed, read back and verified before what it covers is changed."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sessionctl import __version__
from sessionctl.core.plan import PlanHeader
from sessionctl.core.record import WholeSession
from sessionctl.core.units import format_size
from sessionctl.errors import ArchiveUnavailable, ItemTooLarge, SessionctlError
from sessionctl.ledger import Ledger, Run
from sessionctl.operations.covering import Covering, Kept, UnfitSession
from sessionctl.stores import open_store
from sessionctl.stores.base import Store

if TYPE_CHECKING:
    from sessionctl.archive.format import Header
    from sessionctl.archive.writer import RunArchive, Sealed, SegmentWriter

_PACKED = 3
"""Transcripts are packed to a third at least, as a rule to a fifth."""
_FLOOR = 64 * 2**20
"""Octets that stay free on the archive's disk."""
_WAY_OUT = "name a larger place with --archive, or remove old archives with sessionctl archive prune"


def check_space(address: str, needed: int, *, what: str = "archive", hint: str = _WAY_OUT) -> None:
    """SessionctlError where the disk under a local ``address`` has no room for ``needed`` octets and some to spare.

    Raises ArchiveUnavailable where the disk cannot be asked.
    """
    if "://" in address:
        return
    try:
        existing = next(path for path in (Path(address), *Path(address).absolute().parents) if path.exists())
        free = shutil.disk_usage(existing).free
    except OSError as error:
        raise ArchiveUnavailable(f"{address}: {error.strerror or error}") from error
    if free < needed + _FLOOR:
        raise SessionctlError(
            f"the disk of the {what} {address} has {format_size(free)} free, and about {format_size(needed)} are "
            f"needed beside {format_size(_FLOOR)} that stay free",
            hint=hint,
        )


def archiving_of(store: Store, address: str, header: PlanHeader, run: Run, ledger: Ledger) -> Covering:
    """The archive of ``run`` under ``address``, with a connection to ``store`` of its own.

    Raises SessionctlError where the disk is too small; nothing is made before the first segment.
    """
    from sessionctl.archive.writer import RunArchive

    if "://" not in address:
        address = str(Path(address).absolute())  # undo may come from another directory
    check_space(address, header.planned.bytes // _PACKED)
    archive = RunArchive(address, header_of(store, run, parts=bool(header.terms)))
    return Covering(open_store(store.address), ArchiveKeeper(archive, address), ledger, run)


def header_of(store: Store, run: Run, *, parts: bool = False, elsewhere: bool = False) -> Header:
    """What an archive made by ``run`` says of itself.

    ``parts``: it may take items out of sessions that stay. ``elsewhere``: it has no texts of what lies in other stores.
    """
    from sessionctl.archive.format import Header

    info = store.info()
    return Header(
        run_id=run.run_id, created_at=datetime.now(UTC), tool=__version__, sdk=store.address.options.get("sdk"),
        command=run.command, store=store.address.recorded, kind=info.kind, flavour=info.flavour,
        zone=store.address.options.get("timezone"), selectors=run.criteria, reason=run.reason,
        parts=parts, elsewhere=elsewhere,
    )  # fmt: skip


class ArchiveKeeper:
    """Keeps sessions in the archive of a run, which lies under ``address``."""

    def __init__(self, archive: RunArchive, address: str, *, what: str = "archive", hint: str = _WAY_OUT) -> None:
        self._archive, self._address = archive, address
        self._what, self._hint = what, hint
        self.targets: Mapping[str, int] = {}

    @property
    def name(self) -> str:
        return self._archive.name

    def check_space(self) -> None:
        check_space(self._address, 0, what=self._what, hint=self._hint)

    def segment(self) -> ArchiveKeeping:
        return ArchiveKeeping(self._archive)

    def withdraw(self, sealed: Sealed) -> None:
        self._archive.withdraw(sealed)


class ArchiveKeeping:
    """A segment of an archive; there is no file before the first session."""

    def __init__(self, archive: RunArchive) -> None:
        self._archive = archive
        self._writer: SegmentWriter | None = None
        self._unsealed = ExitStack()

    @property
    def is_full(self) -> bool:
        return self._writer is not None and self._writer.is_full

    def keep(self, sessions: Iterable[WholeSession]) -> Iterator[Kept]:
        for session, items in sessions:
            if self._writer is None:
                self._writer = self._unsealed.enter_context(self._archive.segment())
            try:
                yield Kept(session.id, self._writer.add(session, items).items)
            except ItemTooLarge as error:
                raise UnfitSession(session.id, error.message) from error

    def seal(self) -> Sealed | None:
        return self._writer.seal() if self._writer else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._unsealed.close()
