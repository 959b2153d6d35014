"""Parquet: typed columns that pyarrow reads back, in groups of bounded size."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from exporting import session, written

from sessionctl.export import parquet
from sessionctl.export.formats import Format
from sessionctl.testing.case import BROKEN_TEXTS, HOSTILE_IDS, HOSTILE_ITEMS, assistant, turn

pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")


def table(*sessions: Any) -> Any:
    return pq.read_table(io.BytesIO(written(Format.PARQUET, *sessions)))


def test_columns() -> None:
    found = table(session("one", turn(3)), session("two", turn(4)))
    assert {field.name: str(field.type) for field in found.schema} == {
        "store": "string", "session_id": "string",
        "session_created_at": "timestamp[us, tz=UTC]", "session_updated_at": "timestamp[us, tz=UTC]",
        "position": "int32", "item_id": "string", "created_at": "timestamp[us, tz=UTC]",
        "type": "string", "role": "string", "name": "string", "call_id": "string", "bytes": "int64",
        "data": "string", "text": "string",
    }  # fmt: skip
    rows = found.to_pylist()
    assert [json.loads(row["data"]) for row in rows] == [*turn(3), *turn(4)]
    assert [(row["session_id"], row["position"]) for row in rows] == [(s, n) for s in ("one", "two") for n in range(4)]
    assert rows[1] | {"data": None} == {
        "store": "memory://", "session_id": "one", "item_id": "2", "position": 1, "type": "function_call",
        "session_created_at": datetime(2026, 1, 1, 10, tzinfo=UTC), "name": "look_up", "call_id": "call_3",
        "session_updated_at": datetime(2026, 1, 1, 10, tzinfo=UTC), "role": None,
        "created_at": datetime(2026, 1, 1, 10, tzinfo=UTC), "bytes": len(json.dumps(turn(3)[1])),
        "data": None, "text": None,
    }  # fmt: skip


def test_hostile() -> None:
    texts = [*map(json.dumps, HOSTILE_ITEMS.values()), *BROKEN_TEXTS.values(), '"\udcff"']
    for session_id in HOSTILE_IDS.values():
        rows = table(session(session_id, texts)).to_pylist()
        assert {row["session_id"] for row in rows} == {session_id}
        for row, text in zip(rows, texts, strict=True):
            assert (row["data"] is None) != (row["text"] is None)
            assert (row["data"] or row["text"]) == (text if "\udcff" not in text else '"\\udcff"') or text == ""


def test_nothing_is_a_table_too() -> None:
    assert table().num_rows == 0
    assert table(session("s", [])).num_rows == 0


def test_groups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_GROUP_BYTES", 100_000)
    data = written(Format.PARQUET, session("s", [assistant("x" * 30_000) for _ in range(20)]))
    file = pq.ParquetFile(io.BytesIO(data))
    assert file.num_row_groups == 5
    assert file.read().num_rows == 20
