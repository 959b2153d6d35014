"""What archives hold, whether they are sound, one transcript of them, and the removal of old ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sessionctl.archive.format import Header
from sessionctl.archive.places import PART, Place
from sessionctl.archive.reader import ArchiveReader, Glance, glance
from sessionctl.archive.segments import is_segment, runs, segments
from sessionctl.core.model import Item, SessionRef
from sessionctl.core.record import StoredItem, WholeSession
from sessionctl.core.units import parse_time
from sessionctl.errors import (
    ArchiveDamaged,
    ArchiveMissing,
    ArchiveUnavailable,
    SessionctlError,
    SessionNotFound,
    UsageError,
)
from sessionctl.operations.inspect import Inspection, Part


def files(addresses: Iterable[str]) -> list[Place]:
    """The archive files at all of ``addresses``, in order. Raises as ``segments`` does."""
    return [file for address in addresses for file in segments(address)]


@contextmanager
def inspect_archived(address: str, session_id: str, part: Part) -> Iterator[tuple[Header, Inspection]]:
    """One session of the archive at ``address``, to be read as one of a store is.

    Every file is read up to the session, of several files all are, and the session itself is checked first.
    Raises SessionNotFound, UsageError where several files have it, and what ``ArchiveReader`` raises.
    """
    with ArchiveReader(_holder(segments(address), address, session_id)) as reader:
        for whole in reader.sessions(lambda session: session.id == session_id):
            items = map(_item, whole.items)
            yield reader.header, Inspection(reference(whole), items, part)
            return
    raise SessionNotFound(f"no session {session_id!r} in {address}")


def _holder(found: Sequence[Place], address: str, session_id: str) -> Place:
    """The one file that has the session; a file by itself is not looked into."""
    if len(found) == 1:
        return found[0]
    holders = [file for file in found if _has(file, session_id)]
    if len(holders) > 1:
        names = ", ".join(map(str, holders))
        raise UsageError(f"session {session_id!r} is in {len(holders)} of these archives: {names}", hint="name one")
    if not holders:
        raise SessionNotFound(f"no session {session_id!r} in {address}")
    return holders[0]


def _has(file: Place, session_id: str) -> bool:
    with ArchiveReader(file) as reader:
        return any(True for _ in reader.sessions(lambda session: session.id == session_id))


def reference(whole: WholeSession) -> SessionRef:
    """An archived session as a listing would tell of it; its items are read."""
    stamps = whole.session.stamps
    sizes = [_item(item).size for item in whole.items]
    return SessionRef(
        id=whole.session.id,
        created_at=_instant(stamps.created_at, stamps.created),
        updated_at=_instant(stamps.updated_at, stamps.updated),
        items=len(sizes),
        bytes=sum(sizes),
        version=whole.session.version,
    )


def _item(stored: StoredItem) -> Item:
    return Item(key=stored.key, text=stored.text, created_at=_instant(stored.at, stored.stored_at))


def _instant(at: str | None, stamp: str | None) -> datetime | None:
    """A stamp that is no time is none, as in a store."""
    text = at or stamp
    try:
        return parse_time(text) if text else None
    except ValueError:
        return None


# -- removal --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OldRun:
    """The archive of one run that is past its time: its directory, and all the files in it."""

    directory: Place
    header: Header
    files: tuple[Place, ...]
    glances: tuple[Glance, ...]

    @property
    def size(self) -> int:
        return sum(found.size for found in self.glances)

    @property
    def sessions(self) -> int:
        return sum(found.manifest.counts.sessions for found in self.glances if found.manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """What is to be removed, what is young enough to stay, and what is left alone, with the reason."""

    old: tuple[OldRun, ...]
    young: int
    left: tuple[tuple[Place, str], ...]


def plan_pruning(address: str, older_than: timedelta, now: datetime) -> Pruning:
    """Which archives of runs under ``address`` are at least ``older_than`` old, by their last segment.

    Only a directory that is named after the run in its headers and holds nothing but that archive counts.
    """
    old: list[OldRun] = []
    left: list[tuple[Place, str]] = []
    young = 0
    for directory in runs(address):
        try:
            run = _run(directory)
        except SessionctlError as error:
            left.append((directory, error.message))
            continue
        if now - run.header.created_at >= older_than:
            old.append(run)
        else:
            young += 1
    return Pruning(old=tuple(old), young=young, left=tuple(left))


def _run(directory: Place) -> OldRun:
    entries = directory.entries()
    sealed = [entry for entry in entries if is_segment(entry)]
    parts = [entry for entry in entries if is_segment(entry._replace(name=entry.name.removesuffix(PART)))]
    parts = [entry for entry in parts if entry not in sealed]
    foreign = [entry.name for entry in entries if entry not in sealed and entry not in parts]
    if foreign:
        raise ArchiveUnavailable(f"{directory} holds something else too: {foreign[0]}")
    if not sealed:
        raise ArchiveMissing(f"there is no finished archive in {directory}")
    places = [directory.child(entry.name) for entry in sealed]
    glances = [glance(at) for at in places]
    if any(found.header.run_id != directory.name for found in glances):
        raise ArchiveDamaged(f"{directory} is not named after the run in it")
    newest = max((found.header for found in glances), key=lambda header: header.created_at)
    # From the last to the first, so that a removal cut off leaves what still is an archive.
    files = [*(directory.child(entry.name) for entry in parts), *reversed(places)]
    return OldRun(directory=directory, header=newest, files=tuple(files), glances=tuple(glances))


def prune(run: OldRun) -> None:
    """Remove one archive, file by file and then its directory, which must be empty by then."""
    for file in run.files:
        file.remove()
    run.directory.remove_directory()
