"""What is wrong with one session, told from its items: the verdict's defects, and what single items show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sessionctl.core.envelope import Key, sealed_at
from sessionctl.core.history import Judge
from sessionctl.core.model import Item
from sessionctl.core.payload import Payload, Unreadable, string

KEPT_BY_THE_SERVER = timedelta(days=30)
"""For so long the API resolves ids of items that it made."""
TIME_TO_LIVE = timedelta(minutes=10)
"""EncryptedSession's default; what the application set is not stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What items are looked at with: the store's time, and what the application knows of its encryption.

    ``ttl``: how long an encrypted item counts. ``key``: None where it was not told.
    """

    now: datetime
    ttl: timedelta = TIME_TO_LIVE
    key: Key | None = None


_OF_SERVER = ("item_reference", "reasoning")
_LOOKED_AT = (*_OF_SERVER, "encrypted")
OF_ITEMS = ("dead_reference", "expired_rows", "plain_among_encrypted")
"""Classes of single items that mean nothing to an agent, so that they can go by themselves."""


def of_item(payload: Payload, item: Item, session_id: str, sight: Sight) -> Iterator[str]:
    """The classes that an item shows by itself."""
    if payload.type == "encrypted":
        token = payload.fields["payload"]
        sealed = sealed_at(token)
        if sealed is not None and sealed + sight.ttl.total_seconds() < sight.now.timestamp():
            yield "expired_rows"
        if sight.key is not None and not sight.key.fits(session_id, token):
            yield "wrong_key"
    elif payload.type in _OF_SERVER and _is_of_server(payload):
        is_old = item.created_at is not None and sight.now - item.created_at > KEPT_BY_THE_SERVER
        yield "dead_reference" if is_old else "server_reference"


def _is_of_server(payload: Payload) -> bool:
    """Is it nothing but an id that the server made?"""
    if payload.id is None or payload.fields.get("encrypted_content"):
        return False
    return payload.type == "item_reference" or payload.id.startswith("rs_")


def singled_out(
    read: Sequence[tuple[Item, Payload]], session_id: str, kinds: Collection[str], sight: Sight
) -> frozenset[int]:
    """The positions of the items of a session that are of one of ``kinds`` by themselves; of ``OF_ITEMS`` only."""
    found = set[int]()
    if "plain_among_encrypted" in kinds and any(payload.type == "encrypted" for _, payload in read):
        found = {at for at, (_, payload) in enumerate(read) if payload.type != "encrypted" and not payload.unreadable}
    for at, (item, payload) in enumerate(read):
        if payload.type in _LOOKED_AT and not item.hidden:
            found.update(at for kind in of_item(payload, item, session_id, sight) if kind in kinds)
    return frozenset(found)


class Diagnosis:
    """Takes the items of a session in the SDK's order; ``found`` then counts them by class."""

    def __init__(self, session_id: str, sight: Sight) -> None:
        self._judge = Judge()
        self._session_id, self._sight = session_id, sight
        self._counts = Counter[str]()
        self._position = self._plain = 0
        self._envelopes = Counter[tuple[str, str | None]]()
        self._newest: tuple[str, str | None] | None = None

    def see(self, payload: Payload, item: Item) -> None:
        """The next item."""
        if not item.hidden or payload.unreadable is Unreadable.NOT_JSON:
            self._judge.see(payload, self._position, item.key)
        if payload.type in _LOOKED_AT:
            self._counts.update(of_item(payload, item, self._session_id, self._sight))
        if payload.type == "encrypted":
            self._newest = (str(payload.fields.get("v")), string(payload.fields.get("kid")))
            self._envelopes[self._newest] += 1
        elif not payload.unreadable:
            self._plain += 1
        self._position += 1

    def found(self) -> Counter[str]:
        """How many of each class, over all seen so far."""
        verdict = self._judge.verdict()
        counts = self._counts.copy()
        if verdict.acceptable is not None:  # among encrypted items the defects of plain ones say nothing
            counts.update(defect.kind for defect in verdict.defects)
        elif self._plain:
            counts["plain_among_encrypted"] = self._plain
        if self._newest is not None and len(self._envelopes) > 1:
            counts["mixed_envelopes"] = self._envelopes.total() - self._envelopes[self._newest]
        return counts
