"""What is held at a moment, for those who show sessions."""

from __future__ import annotations

from datetime import datetime

from sessionctl.core.hold import Holds
from sessionctl.errors import AccessRefused
from sessionctl.stores.base import Store


def in_force(store: Store, now: datetime) -> Holds | None:
    """What holds sessions of the store at ``now``, its clock; None where this role may not know."""
    try:
        return Holds(store.holds(), now)
    except AccessRefused:
        return None
