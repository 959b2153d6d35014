"""Sessions whose texts lie in the target of a rotation, made whole again, exactly as they were."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from typing import Self

from sessionctl.core.record import SessionRecord, StoredItem, digest_of
from sessionctl.errors import ArchiveDamaged
from sessionctl.operations.put_back import Whole
from sessionctl.operations.rotation.targets import AddressOf, read_target
from sessionctl.stores.base import Store

_OPEN = 32
"""Targets at once; compressed ones lie unpacked in the place for temporary files meanwhile."""


def made_whole(
    portions: Iterable[list[Whole]], address_of: AddressOf, *, but: Collection[str] = ()
) -> Iterator[list[Whole]]:
    """The same sessions with all their texts.

    Nothing is read for those of the ids ``but``, which stay as they are.
    Raises ArchiveMissing for a target that is gone, ArchiveDamaged for a session that is not there as it was put.
    """
    with _Opened(address_of) as opened:
        for some in portions:
            yield [
                found
                for recorded, those in groupby(some, lambda whole: _store_of(whole[0], but))
                for found in (_filled(opened.store(recorded), list(those)) if recorded else those)
            ]


class _Opened:
    """Targets that were read last, and will be read again soon."""

    def __init__(self, address_of: AddressOf) -> None:
        self._address_of = address_of
        self._stores: OrderedDict[str, tuple[Store, ExitStack]] = OrderedDict()

    def store(self, recorded: str) -> Store:
        if recorded not in self._stores:
            while len(self._stores) >= _OPEN:
                self._stores.popitem(last=False)[1][1].close()
            with ExitStack() as stack:
                store = read_target(recorded, self._address_of, stack)
                self._stores[recorded] = store, stack.pop_all()
        self._stores.move_to_end(recorded)
        return self._stores[recorded][0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._stores:
            self._stores.popitem()[1][1].close()


def _store_of(record: SessionRecord, but: Collection[str]) -> str:
    return record.elsewhere.store if record.elsewhere and record.id not in but else ""


def _filled(store: Store, some: Sequence[Whole]) -> Iterator[Whole]:
    found = store.whole([record.id for record, _ in some])
    texts = {session.id: [item.text for item in items] for session, items in found}
    for record, items in some:
        yield _whole(store, record, items, texts.get(record.id, []))


def _whole(store: Store, record: SessionRecord, items: Sequence[StoredItem], texts: Sequence[str]) -> Whole:
    there = record.elsewhere
    if there is None:
        return record, tuple(items)
    here, those = frozenset(there.here), iter(texts)
    filled = tuple(
        item if position in here else item._replace(text=next(those, "")) for position, item in enumerate(items)
    )
    if digest_of(item.text for item in filled) != there.sha256:
        raise ArchiveDamaged(f"the session {record.id!r} in {store.address} is not what was put there any more")
    return replace(record, elsewhere=None), filled
