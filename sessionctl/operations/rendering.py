"""Sessions read and rendered in a worker (``operations.workers``), and handed to the shelf of the parent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from sessionctl.archive.codecs import Compression, compressor
from sessionctl.core.address import StoreAddress
from sessionctl.core.plan import Totals
from sessionctl.core.record import SessionRecord, Stamps, StoredItem
from sessionctl.export.base import Document, Exported, Piece, Rendered
from sessionctl.export.formats import Format
from sessionctl.export.redaction import Redactor
from sessionctl.operations.turns import Turns
from sessionctl.stores import open_store
from sessionctl.stores.base import Store

_UNTOLD = Stamps(created=None, updated=None)
_TOGETHER = 1 << 18
"""Octets sent at once, about."""
_WAITING = 4 << 20
"""Octets of a portion at most that are made before it has its turn, about."""


class Portion(NamedTuple):
    """Sessions of one store to be rendered; ``several`` as in ``Exported``. ``day`` is theirs, for who gives it.

    ``number``: so many portions were given before it.
    """

    address: StoreAddress
    ids: Sequence[str]
    several: bool
    day: str
    number: int


Part = tuple[str, bool, int, int, int]
"""Of a session: its id, whether it begins here, how many octets, and at its end its items and their octets, else -1."""


class Batch(NamedTuple):
    """Parts of sessions one behind the other, and what was taken out of them, by name.

    ``is_packed``: the data is compressed, and those of one portion together are whole frames.
    """

    parts: Sequence[Part]
    data: bytes
    redacted: Mapping[str, int]
    is_packed: bool = False

    def with_more(self, more: Batch) -> Batch:
        """What came behind it is told with it; their data is elsewhere."""
        found = Counter(self.redacted)
        found.update(more.redacted)
        return Batch([*self.parts, *more.parts], b"", found, more.is_packed)

    def totals(self) -> Totals:
        """Of the sessions that end here."""
        ended = [(items, size) for *_, items, size in self.parts if items >= 0]
        return Totals(sessions=len(ended), items=sum(e[0] for e in ended), bytes=sum(e[1] for e in ended))

    def pieces(self) -> Iterator[tuple[str, bool, Piece]]:
        """The parts with their octets."""
        start, data = 0, memoryview(self.data)
        for session_id, begins, length, items, size in self.parts:
            totals = Totals(sessions=1, items=items, bytes=size) if items >= 0 else None
            yield session_id, begins, Piece(data[start : start + length], totals)
            start += length


_Made = tuple[Batch, Sequence[bytes | memoryview]]
"""A batch, and its octets in as many pieces as they came: to put them together costs a copy into new memory."""


@dataclass(slots=True)
class Rendering:
    """The work of a worker: opens the store by itself and keeps it until it is asked about another one.

    Two are for documents that are ``is_seamless``. ``packing``: portions are compressed here, each as a frame of its
    own. ``turns``: what was made is written from here, and comes back without its octets.
    """

    kind: type[Rendered]
    redactor: Redactor | None = None
    packing: Compression = Compression.NONE
    turns: Turns | None = None
    _store: Store | None = None

    def __call__(self, portion: Portion) -> Iterator[Batch]:
        made = self._made(portion)
        if self.packing is not Compression.NONE:
            made = self._packed(made)
        if self.turns is not None:
            return _written(made, self.turns, portion.number)
        return (batch._replace(data=b"".join(blocks)) for batch, blocks in made)

    def _packed(self, made: Iterable[_Made]) -> Iterator[_Made]:
        frame = compressor(self.packing, alone=True)
        for batch, blocks in made:
            yield batch._replace(is_packed=True), [frame.compress(b"".join(blocks))]
        yield Batch([], b"", {}, is_packed=True), [frame.flush()]

    def _made(self, portion: Portion) -> Iterator[_Made]:
        parts: list[Part] = []
        blocks: list[bytes | memoryview] = []
        pending = 0
        for session_id, begins, piece in self._pieces(portion):
            ended = (-1, -1) if piece.totals is None else (piece.totals.items, piece.totals.bytes)
            parts.append((session_id, begins, len(piece.data), *ended))
            blocks.append(piece.data)
            pending += len(piece.data)
            if pending >= _TOGETHER:
                yield self._batch(parts), blocks
                parts, blocks, pending = [], [], 0
        if parts:
            yield self._batch(parts), blocks

    def _pieces(self, portion: Portion) -> Iterator[tuple[str, bool, Piece]]:
        store = self._opened(portion.address)
        for exported in sessions_for(self.kind, store, portion.ids, self.redactor, several=portion.several):
            begins = True
            for piece in self.kind.render(exported):
                yield exported.session.id, begins, piece
                begins = False

    def _batch(self, parts: Sequence[Part]) -> Batch:
        found: Mapping[str, int] = {}
        if self.redactor is not None:
            found, self.redactor.found = self.redactor.found, Counter()
        return Batch(parts, b"", found)

    def _opened(self, address: StoreAddress) -> Store:
        if self._store is None or self._store.address != address:
            self.close()
            self._store = open_store(address)
        return self._store

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None


def _written(made: Iterable[_Made], turns: Turns, number: int) -> Iterator[Batch]:
    """Write the octets when it is their turn, and tell in as few batches of it: each is work for the parent."""
    batch, waiting, size, untold = Batch([], b"", {}), list[bytes | memoryview](), 0, 0
    for more, blocks in made:
        batch = batch.with_more(more)
        waiting += blocks
        size += sum(map(len, blocks))
        if size >= _WAITING or turns.has(number):  # at once, as long as it is in the processor's cache
            turns.write(number, waiting)
            waiting, size, untold = [], 0, untold + size
        if untold >= _WAITING:
            yield batch
            batch, untold = Batch([], b"", {}, more.is_packed), 0
    turns.write(number, waiting)
    turns.pass_on(number)
    yield batch


def sessions_for(
    kind: type[Document], store: Store, ids: Sequence[str], redactor: Redactor | None, **more: Any
) -> Iterator[Exported]:
    """These sessions as a document of this kind takes them, without what ``redactor`` takes out.

    ``more`` are the further fields of ``Exported``.
    """
    shown = str(store.address)
    if redactor is None and issubclass(kind, Rendered) and kind.is_plain:
        for session_id, plain in store.contents(ids):
            items = cast("Iterable[StoredItem]", plain)  # which is all that it asks of them
            yield Exported(store=shown, session=only_named(session_id), items=items, **more)
        return
    for session, stored in store.whole(ids):
        clean = stored if redactor is None else (item._replace(text=redactor.text(item.text)) for item in stored)
        yield Exported(store=shown, session=session, items=clean, **more)


def only_named(session_id: str) -> SessionRecord:
    """A session of which nothing is told but its id."""
    return SessionRecord(id=session_id, version="", stamps=_UNTOLD)


def rendered(form: Format) -> type[Rendered] | None:
    """The documents of this format, where their sessions can be rendered apart and in any order."""
    kind = form.kind()
    return kind if issubclass(kind, Rendered) and not form.is_paged else None
