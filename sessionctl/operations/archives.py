"""What archives hold, whether they are sound, and one transcript of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from sessionctl.archive.format import Counts, Header
from sessionctl.archive.places import Place
from sessionctl.archive.reader import ArchiveReader
from sessionctl.archive.segments import segments
from sessionctl.core.address import parse_address
from sessionctl.core.model import Item, SessionRef
from sessionctl.core.record import SessionRecord, StoredItem, WholeSession
from sessionctl.core.units import parse_time
from sessionctl.errors import (
    SessionNotFound,
    UsageError,
)
from sessionctl.operations.inspect import Inspection, Part
from sessionctl.operations.rotation.elsewhere import made_whole


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
        for found in reader.sessions(lambda session: session.id == session_id):
            whole = _with_texts(found)
            items = map(_item, whole.items)
            yield reader.header, Inspection(reference(whole), items, part)
            return
    raise SessionNotFound(f"no session {session_id!r} in {address}")


def _with_texts(whole: WholeSession) -> WholeSession:
    """The session as it is, or with the texts out of the target of a rotation."""
    if whole.session.elsewhere is None:
        return whole
    [[(session, items)]] = made_whole([[(whole.session, tuple(whole.items))]], parse_address)
    return WholeSession(session, items)


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
    sizes = [item.size for item in whole.items]
    return reference_of(whole.session, Counts(1, len(sizes), sum(sizes)))


def reference_of(session: SessionRecord, counts: Counts) -> SessionRef:
    """The same of a session whose items were counted before."""
    stamps = session.stamps
    return SessionRef(
        id=session.id,
        created_at=_instant(stamps.created_at, stamps.created),
        updated_at=_instant(stamps.updated_at, stamps.updated),
        items=counts.items,
        bytes=counts.bytes,
        version=session.version,
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
