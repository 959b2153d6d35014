"""What is wrong with one session, told from its items: the verdict's defects, and what single items show."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

from sessionctl.core.history import Judge
from sessionctl.core.model import Item
from sessionctl.core.payload import Payload, Unreadable

KEPT_BY_THE_SERVER = timedelta(days=30)
"""For so long the API resolves ids of items that it made."""
TIME_TO_LIVE = timedelta(minutes=10)
"""EncryptedSession's default; what the application set is not stored."""

Check = Callable[[Payload, Item, datetime], bool]


def _is_dead_reference(payload: Payload, item: Item, now: datetime) -> bool:
    """Nothing but an id that the server made, longer ago than it keeps it."""
    if payload.type not in ("item_reference", "reasoning") or payload.id is None or item.created_at is None:
        return False
    made_by_server = payload.type == "item_reference" or payload.id.startswith("rs_")
    is_old = now - item.created_at > KEPT_BY_THE_SERVER
    return made_by_server and is_old and not payload.fields.get("encrypted_content")


def _is_expired(payload: Payload, item: Item, now: datetime) -> bool:  # noqa: ARG001
    """The time of a Fernet token stands in its first octets, for everybody to read."""
    if payload.type != "encrypted":
        return False
    try:
        head = base64.urlsafe_b64decode(payload.fields["payload"][:12])
    except (binascii.Error, ValueError):
        return False
    return head[:1] == b"\x80" and int.from_bytes(head[1:9]) + TIME_TO_LIVE.total_seconds() < now.timestamp()


ITEM_CHECKS: tuple[tuple[str, Check], ...] = (("dead_reference", _is_dead_reference), ("expired_rows", _is_expired))
"""Classes that one item shows by itself."""


class Diagnosis:
    """Takes the items of a session in the SDK's order; ``found`` then counts them by class."""

    def __init__(self, now: datetime) -> None:
        self._judge = Judge()
        self._now = now
        self._counts = Counter[str]()
        self._position = self._encrypted = self._plain = 0

    def see(self, payload: Payload, item: Item) -> None:
        """The next item."""
        if not item.hidden or payload.unreadable is Unreadable.NOT_JSON:
            self._judge.see(payload, self._position, item.key)
        if payload.type in ("item_reference", "reasoning", "encrypted"):
            self._counts.update(kind for kind, check in ITEM_CHECKS if check(payload, item, self._now))
        self._encrypted += payload.type == "encrypted"
        self._plain += payload.type != "encrypted" and not payload.unreadable
        self._position += 1

    def found(self) -> Counter[str]:
        """How many of each class, over all seen so far."""
        verdict = self._judge.verdict()
        counts = self._counts.copy()
        if verdict.acceptable is not None:  # among encrypted items the defects of plain ones say nothing
            counts.update(defect.kind for defect in verdict.defects)
        elif self._plain:
            counts["plain_among_encrypted"] = self._plain
        return counts
