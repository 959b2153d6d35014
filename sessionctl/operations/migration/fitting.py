"""Will all of some stores go into another? Found out before anything is written there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sessionctl.core.address import StoreAddress
from sessionctl.core.model import Room
from sessionctl.core.payload import read_item
from sessionctl.operations.migration.routes import Route
from sessionctl.stores import longest_new_text
from sessionctl.stores.base import Store
from sessionctl.stores.schema import LONGEST_IDS


class Destination(Protocol):
    """What has to be known of the target: a store tells it, or what is known of one that is not made yet."""

    def room(self) -> Room: ...

    def is_possible(self, session_id: str) -> bool: ...

    def id_keys(self, session_ids: Sequence[str]) -> Sequence[Any]: ...


@dataclass(frozen=True, slots=True)
class Unmade:
    """A store on tables that sessionctl would make."""

    address: StoreAddress

    def room(self) -> Room:
        scheme = self.address.scheme
        return Room(
            longest_id=LONGEST_IDS.get(scheme),
            longest_text=longest_new_text(self.address),
            takes_nul=scheme != "postgresql",
        )

    def is_possible(self, session_id: str) -> bool:
        return self.address.scheme == "sqlite" or _is_utf8(session_id)

    def id_keys(self, session_ids: Sequence[str]) -> Sequence[Any]:
        ignores_blanks = self.address.scheme in ("mysql", "mariadb")
        return [each.rstrip(" ") for each in session_ids] if ignores_blanks else session_ids


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


@dataclass(frozen=True, slots=True)
class Misfit:
    """A session of ``source`` (a recorded address) that has no place in the target as it is, and why."""

    source: str
    session_id: str
    why: str


class Fitting:
    """Finds the sessions of the sources that ``target`` cannot hold, or would take for others of them.

    A session that would get another id, and is encrypted by its id, is one of them too.
    """

    def __init__(self, target: Destination) -> None:
        self._target, self._room = target, target.room()
        self._seen: dict[int, str] = {}

    def by_ids(self, route: Route, source: Store, ids: Sequence[str]) -> Iterator[Misfit]:
        """Those among these sessions of which their ids tell it."""
        yield from _ids_that_do_not_fit(route, ids, self._target, self._room, self._seen)
        if route.prefix:
            yield from _bound_to_their_ids(route, source, ids)

    def by_items(self, route: Route, source: Store) -> Iterator[Misfit]:
        """Those of which their items tell it; a pass of its own, where it is needed."""
        if self._room != Room(longest_id=self._room.longest_id):
            recorded = route.source.recorded
            yield from (Misfit(recorded, session_id, why) for session_id, why in source.outsized(self._room))


def _ids_that_do_not_fit(
    route: Route, ids: Sequence[str], target: Destination, room: Room, seen: dict[int, str]
) -> Iterator[Misfit]:
    """``seen``: an id by the hash of what the target tells ids apart by."""
    possible, recorded = [], route.source.recorded
    for session_id in ids:
        there = route.id_there(session_id)
        if not target.is_possible(there):
            yield Misfit(recorded, session_id, "its id has characters that cannot be stored there")
        elif room.longest_id is not None and len(there) > room.longest_id:
            yield Misfit(recorded, session_id, f"its id is longer than {room.longest_id:,} characters")
        else:
            possible.append(session_id)
    named = [route.id_there(session_id) for session_id in possible]
    for session_id, there, key in zip(possible, named, target.id_keys(named), strict=True):
        other = seen.setdefault(hash(key), there)
        if other is not there:
            is_same = other == there
            said = "another source has the same id" if is_same else f"the target takes its id for that of {other!r}"
            yield Misfit(recorded, session_id, said)


def _bound_to_their_ids(route: Route, source: Store, ids: Sequence[str]) -> Iterator[Misfit]:
    found = {session_id for session_id, item in source.find(ids, "__enc__") if read_item(item.text).type == "encrypted"}
    for session_id in sorted(found):
        yield Misfit(route.source.recorded, session_id, "it is encrypted by its id, which must not change")
