"""The JSON record of a session, the same wherever one is written."""

from __future__ import annotations

from typing import Any

from sessionctl.core.model import SessionRef
from sessionctl.core.tokens import tokens_of_size
from sessionctl.core.units import format_time


def session_record(store: str, ref: SessionRef, *, held: bool | None) -> dict[str, Any]:
    """``store`` is the masked address. ``tokens`` is an estimate, null where bytes are; ``held`` None: unknown."""
    return {
        "store": store,
        "session_id": ref.id,
        "created_at": format_time(ref.created_at),
        "updated_at": format_time(ref.updated_at),
        "last_activity": format_time(ref.last_activity),
        "items": ref.items,
        "bytes": ref.bytes,
        "tokens": None if ref.bytes is None else tokens_of_size(ref.bytes),
        "held": held,
    }
