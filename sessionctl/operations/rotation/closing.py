"""Files that rotations made and that are closed: compressed, and removed when there are more than are to be kept.

A file is closed when its window is over. Nothing is touched but files that a rotation marked as its own. One that
holds a held session of a store from which sessions came into it is not removed, nor is one of which nobody can tell.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from sessionctl.archive.codecs import Compression
from sessionctl.archive.reader import glance
from sessionctl.archive.segments import runs, segments
from sessionctl.core.hold import Holds
from sessionctl.core.rotation import GROUP, PACKED, STEM, Template, beyond, plain_stem
from sessionctl.core.selector import Query
from sessionctl.errors import SessionctlError
from sessionctl.export.rotated_file import InUse, discard, is_marked, is_same, pack
from sessionctl.operations.rotation.covering import RECEIPTS
from sessionctl.operations.rotation.targets import AddressOf, packed_of, read_target
from sessionctl.stores import open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A file of a window that is over. ``series`` tells it from files of other groups and stores."""

    path: Path
    begins: datetime
    series: tuple[str, ...]
    size: int

    @property
    def is_packed(self) -> bool:
        return self.path.name.endswith(PACKED)

    @property
    def plain(self) -> Path:
        """The path it has, or had, uncompressed."""
        return self.path.with_suffix("") if self.is_packed else self.path


Window = tuple[tuple[str, ...], datetime]
"""The series of a file, and when its window begins."""


def window_of(template: Template, fields: Mapping[str, str]) -> Window | None:
    """The window of a file with these fields; None for what is none."""
    begins = template.begins(fields) if fields else None
    return None if begins is None else (tuple(fields[name] for name in (GROUP, STEM) if name in fields), begins)


def closed_files(template: Template, now: datetime, stems: Sequence[str]) -> list[Closed]:
    """The closed files of ``template``, of these ``stems`` where it tells them apart; the oldest first."""
    assert template.period is not None  # noqa: S101 - windows are what it is asked about
    found, known = [], {plain_stem(stem) for stem in stems}
    for name in glob.glob(template.glob, include_hidden=True):  # noqa: PTH207 - it is absolute
        fields, path = template.found(name) or {}, Path(name)
        window = window_of(template, fields)
        if window is None or window[1] >= template.period.begins(now) or (STEM in fields and fields[STEM] not in known):
            continue
        if path.is_file() and is_marked(path):
            found.append(Closed(path=path, series=window[0], begins=window[1], size=path.stat().st_size))
    return sorted(found, key=lambda file: (file.begins, file.path))


def surplus(files: Sequence[Closed], keep: int | None, coming: Iterable[Window] = ()) -> list[Closed]:
    """The files of all but the ``keep`` newest windows of each series; ``coming`` are windows that will have files."""
    if keep is None:
        return []
    windows: dict[tuple[str, ...], set[datetime]] = {}
    for series, begins in (*((file.series, file.begins) for file in files), *coming):
        windows.setdefault(series, set()).add(begins)
    old = {series: beyond(tuple(found), keep) for series, found in windows.items()}
    return [file for file in files if file.begins in old[file.series]]


def compress(file: Closed, compression: Compression) -> Closed:
    """Compress it: what it became. Of one that a crash left in both forms the plain one goes.

    Raises SessionctlError, and leaves the file as it is, where somebody uses it or the disk refuses.
    """
    try:
        if (path := packed_of(file.path)) is None:
            path = pack(file.path, compression)
        elif not is_same(file.path, path):
            raise SessionctlError(f"{path} is there already, and is not {file.path.name}")
        else:
            discard(file.path)
    except InUse as error:
        raise SessionctlError(f"{file.path} is in use: it is not compressed") from error
    return replace(file, path=path, size=path.stat().st_size)


def remove(file: Closed, template: Template, stores: Iterable[str], address_of: AddressOf) -> None:
    """Remove it for good. Raises SessionctlError with the reason where it must stay."""
    if why := why_kept(file, template, stores, address_of):
        raise SessionctlError(why)
    try:
        discard(file.path)
    except InUse as error:
        raise SessionctlError(f"{file.path} is in use: it is not removed") from error


def why_kept(file: Closed, template: Template, stores: Iterable[str], address_of: AddressOf) -> str | None:
    """Why it must not be removed; ``stores`` are recorded addresses besides those that receipts name."""
    for recorded in sorted({*stores, *_origins(template)}):
        try:
            with open_store(address_of(recorded)) as store:
                now = store.now()
                lasting = [hold for hold in store.holds() if hold.lasts(now)]
            holds = Holds(lasting, now)
            if lasting and (held := _held(file, holds, address_of)):
                hold = holds.over(held)[0]
                return f"{file.path}: its session {held!r} is held by {hold.hold_id}: {hold.reason}"
        except SessionctlError as error:
            return f"{file.path}: nobody can tell whether it has a held session of {recorded}: {error.message}"
    return None


def _held(file: Closed, holds: Holds, address_of: AddressOf) -> str | None:
    with ExitStack() as stack:
        store = read_target(f"sqlite:///{file.plain}", address_of, stack)
        return next((ref.id for ref in store.sessions(Query()) if holds.keep(ref.id, named=False)), None)


def _origins(template: Template) -> Iterator[str]:
    """The stores whose sessions came into files of ``template``, as far as receipts tell."""
    directory = template.directory
    if directory is None or not (directory / RECEIPTS).is_dir():
        return
    for run in runs(str(directory / RECEIPTS)):
        with suppress(SessionctlError):
            yield glance(segments(run)[0]).header.store
