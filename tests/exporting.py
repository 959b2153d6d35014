"""Sessions to export, without a store."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sessionctl.archive.format import Header
from sessionctl.core.record import SessionRecord, Stamps, StoredItem
from sessionctl.export.base import Exported
from sessionctl.export.formats import Format

STAMP = "2026-01-01 10:00:00"
ORIGIN = Header(
    run_id="r1", created_at=datetime(2026, 1, 1, tzinfo=UTC), tool="0", command="export", store="memory://",
    kind="memory", flavour="MemoryStore",
)  # fmt: skip


def session(session_id: str, items: Sequence[Mapping[str, Any] | str], *, several: bool = False) -> Exported:
    """A session of these items (texts as they are), all of one second."""
    texts = [item if isinstance(item, str) else json.dumps(item) for item in items]
    return Exported(
        store="memory://",
        session=SessionRecord(id=session_id, version="1", stamps=Stamps(created=STAMP, updated=STAMP)),
        items=[StoredItem(key, STAMP, None, text) for key, text in enumerate(texts, 1)],
        several=several,
        origin=ORIGIN,
    )


def written(form: Format, *sessions: Exported) -> bytes:
    """A document with these sessions."""
    file = io.BytesIO()
    document = form.document()(file)
    try:
        for one in sessions:
            document.add(one)
        document.close()
    finally:
        document.discard()
    return file.getvalue()
