"""Parquet: one row an item with typed columns, for DuckDB, pandas and their like.

``data`` is the item as JSON text, to the letter; a stored text that is no JSON stands under ``text`` instead
(octets that are no UTF-8 spelled out). Rows are written in groups of bounded size, so memory is bounded too.
"""

from __future__ import annotations

from typing import Any, BinaryIO

from sessionctl.core.payload import Unreadable, read_item
from sessionctl.core.plan import Totals
from sessionctl.core.record import StoredItem, instant
from sessionctl.errors import UsageError
from sessionctl.export.base import Document, Exported
from sessionctl.export.jsonl import is_strict

_GROUP_BYTES = 16 << 20
_GROUP_ROWS = 100_000
_REPEATED = ["store", "session_id", "type", "role", "name"]
"""Columns worth a dictionary."""


class ParquetDocument(Document):
    """Needs pyarrow. Raises UsageError without it."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise UsageError("Parquet needs pyarrow", hint="pip install 'sessionctl[parquet]'") from None
        self._schema = _schema(pa)
        self._batch = pa.record_batch
        self._rows: dict[str, list[Any]] = {name: [] for name in self._schema.names}
        self._pending = 0
        self._writer = pq.ParquetWriter(
            pa.PythonFile(file, mode="w"), self._schema, compression="zstd", use_dictionary=_REPEATED
        )

    def add(self, exported: Exported) -> Totals:
        session, stamps = exported.session, exported.session.stamps
        same = (
            _utf8(exported.store), _utf8(session.id),
            instant(stamps.created, stamps.created_at), instant(stamps.updated, stamps.updated_at),
        )  # fmt: skip
        columns = list(self._rows.values())
        items = size = 0
        for items, item in enumerate(exported.items, 1):
            row = _row(item, items - 1)
            for column, value in zip(columns, (*same, *row), strict=True):
                column.append(value)
            size += row[7]
            self._pending += row[7]
            if self._pending >= _GROUP_BYTES or len(columns[0]) >= _GROUP_ROWS:
                self._flush()
        return Totals(sessions=1, items=items, bytes=size)

    def close(self) -> None:
        if self._rows["store"]:
            self._flush()
        self._writer.close()

    def discard(self) -> None:
        self._writer.close()

    def _flush(self) -> None:
        arrays = [self._rows[field.name] for field in self._schema]
        self._writer.write_batch(self._batch(arrays, schema=self._schema))
        self._pending = 0
        for column in self._rows.values():
            column.clear()


def _schema(pa: Any) -> Any:
    moment = pa.timestamp("us", tz="UTC")
    kinds = {
        "store": pa.string(),
        "session_id": pa.string(),
        "session_created_at": moment,
        "session_updated_at": moment,
        "position": pa.int32(),
        "item_id": pa.string(),
        "created_at": moment,
        "type": pa.string(),
        "role": pa.string(),
        "name": pa.string(),
        "call_id": pa.string(),
        "bytes": pa.int64(),
        "data": pa.string(),
        "text": pa.string(),
    }
    return pa.schema([pa.field(name, kind) for name, kind in kinds.items()])


def _row(item: StoredItem, position: int) -> tuple[Any, ...]:
    """The columns from ``position`` on."""
    key, stored_at, at, text = item
    payload = read_item(text)
    is_json = payload.unreadable in (None, Unreadable.NOT_AN_OBJECT) and is_strict(text)
    clean = text if is_json else _utf8(text)
    named = (payload.type, payload.role, payload.name, payload.call_id)
    return (
        position,
        None if key is None else str(key),
        instant(stored_at, at),
        *(None if value is None else _utf8(value) for value in named),
        len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape")),
        clean if is_json else None,
        None if is_json else clean,
    )


def _utf8(text: str) -> str:
    """Without lone surrogates, which Parquet's strings cannot hold."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
