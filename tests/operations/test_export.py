"""Exports of every kind of store hold what the SDK reads from it, in its order; the store stays untouched."""

from __future__ import annotations

import asyncio
import io
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sdk_cases import CASES, CaseMaker, SdkCase, SqliteCase, made

from sessionctl.archive.codecs import Compression, decompressed
from sessionctl.core.selector import Selector
from sessionctl.errors import SessionctlError
from sessionctl.export.formats import Format
from sessionctl.export.jsonl import JsonlDocument
from sessionctl.export.redaction import Redactor
from sessionctl.export.shelf import Layout, Shelf
from sessionctl.ledger import Ledger, new_run
from sessionctl.operations.export import Record, Tally, export
from sessionctl.operations.rendering import Batch, Portion, Rendering, rendered
from sessionctl.operations.turns import Turns
from sessionctl.operations.workers import Workers
from sessionctl.stores.memory import MemoryStore
from sessionctl.testing.case import HOSTILE_ITEMS, turn, user

SESSIONS: dict[str, list[list[Any]]] = {
    "plain": [turn(1), turn(2)],
    "hostile": [[item] for name, item in HOSTILE_ITEMS.items() if name not in ("nan", "large")],
    "other": [[user("not to be exported")]],
}
WANTED = Selector(named=("plain", "hostile", "nobody"), named_given=True)


@pytest.fixture(params=CASES, ids=lambda maker: maker.name)
def case(request: pytest.FixtureRequest) -> Iterator[SdkCase]:
    maker: CaseMaker = request.param
    with made(maker, request) as store:
        for session_id, batches in SESSIONS.items():
            store.write(session_id, *batches)
        yield store


def exported(
    case: SdkCase,
    form: Format,
    workers: Workers[Portion, Batch] | None = None,
    redactor: Redactor | None = None,
    compression: Compression = Compression.NONE,
    wanted: Selector = WANTED,
) -> tuple[Tally, bytes]:
    stream = io.BytesIO()
    layout = Layout(place=None, format=form, compression=compression)
    with case.open() as store, Shelf(layout, stream) as shelf:
        run = new_run("export", "store", datetime(2026, 1, 1, tzinfo=UTC), {})
        record = Record(ledger=None, run=run)
        tally = export(store, wanted, shelf, record=record, workers=workers, redactor=redactor)
    return tally, stream.getvalue()


@pytest.mark.parametrize("form", [Format.JSONL, Format.MARKDOWN, Format.ARCHIVE])
def test_workers_write_what_one_process_writes(case: SdkCase, form: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessionctl.operations.export._CHUNK", 1)
    patterns = {"word": re.compile("[aeiou][a-z]+")}
    here = exported(case, form, redactor=Redactor([], patterns))
    kind = rendered(form)
    assert kind is not None
    with Workers(Rendering(kind, Redactor([], patterns)), 2) as workers:
        there = exported(case, form, workers, Redactor([], patterns))
    assert there[0] == here[0]
    assert there[0].redacted["word"] > 0
    if form is not Format.ARCHIVE:  # its header tells when it was made
        assert there[1] == here[1]
    assert there[1].splitlines()[1:-1] == here[1].splitlines()[1:-1]


@pytest.mark.parametrize("packing", [Compression.ZSTD, Compression.GZIP])
def test_what_workers_compress_is_what_one_process_writes(
    tmp_path: Path, packing: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessionctl.operations.export._CHUNK", 1)
    with closing(SqliteCase(tmp_path / "case", "SQLiteSession")) as case:
        for session_id, batches in SESSIONS.items():
            case.write(session_id, *batches)
        plain = exported(case, Format.JSONL)
        with Workers(Rendering(JsonlDocument, packing=packing), 2) as workers:
            tally, packed = exported(case, Format.JSONL, workers, compression=packing)
    assert tally == plain[0]
    assert b"".join(decompressed(io.BytesIO(packed))) == plain[1]
    assert packed.count(packing.magic) >= 2


@pytest.mark.parametrize("packing", Compression)
def test_workers_write_a_file_by_themselves_in_turn(
    tmp_path: Path, packing: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessionctl.operations.export._CHUNK", 2)
    monkeypatch.setattr("sessionctl.operations.rendering._WAITING", 3000)
    monkeypatch.setattr("sessionctl.operations.rendering._TOGETHER", 1000)
    names = [f"s{number:02}" for number in range(23)]
    with closing(SqliteCase(tmp_path / "case", "SQLiteSession")) as case:
        for number, name in enumerate(names):
            case.write(name, *[turn(number)] * (1 + 7 * (number % 3)))
        # The newest comes first, however many sessions are read at once, which depends on what was done so far.
        case.execute("UPDATE agent_sessions SET updated_at = datetime('now', substr(session_id, 2) || ' seconds')")
        wanted = Selector(named=tuple(names), named_given=True)
        tally, plain = exported(case, Format.JSONL, wanted=wanted)
        layout = Layout(place=tmp_path / "out.jsonl", format=Format.JSONL, compression=packing)
        run = new_run("export", "store", datetime(2026, 1, 1, tzinfo=UTC), {})
        with (
            case.open() as store, Shelf(layout) as shelf, closing(Turns(shelf.descriptor or -1, 4)) as turns,
            Workers(Rendering(JsonlDocument, packing=packing, turns=turns), 2) as workers,
        ):  # fmt: skip
            again = export(store, wanted, shelf, record=Record(ledger=None, run=run), workers=workers)
    written = (tmp_path / "out.jsonl").read_bytes()
    assert again == tally
    assert shelf.written.bytes == len(written)
    assert b"".join(decompressed(io.BytesIO(written))) == plain
    assert packing is Compression.NONE or written.count(packing.magic) >= 12


def test_what_the_disk_refuses_workers_is_told_like_all_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessionctl.operations.export._CHUNK", 1)
    layout = Layout(place=tmp_path / "out.jsonl", format=Format.JSONL)
    record = Record(ledger=None, run=new_run("export", "store", datetime(2026, 1, 1, tzinfo=UTC), {}))
    with closing(SqliteCase(tmp_path / "case", "SQLiteSession")) as case, Path(__file__).open("rb") as unwritable:
        for name in ("plain", "hostile"):
            case.write(name, turn(1))
        with (
            pytest.raises(SessionctlError, match=r"cannot be written: bad file descriptor: .*out\.jsonl"),
            case.open() as store, Shelf(layout) as shelf, closing(Turns(unwritable.fileno(), 4)) as turns,
            Workers(Rendering(JsonlDocument, turns=turns), 2) as workers,
        ):  # fmt: skip
            export(store, WANTED, shelf, record=record, workers=workers)
    assert not list(tmp_path.glob("out*"))


def test_records_are_what_the_sdk_reads(case: SdkCase) -> None:
    before = case.fingerprint()
    tally, data = exported(case, Format.JSONL)
    assert case.fingerprint() == before
    found: dict[str, list[Any]] = {"plain": [], "hostile": []}
    for line in data.splitlines():
        record = json.loads(line)
        assert record["position"] == len(found[record["session_id"]])
        assert record["created_at"].endswith("Z")
        found[record["session_id"]].append(record["data"])
    assert found == {session_id: case.read(session_id) for session_id in found}
    texts = [text for session_id in found for text in case.texts(session_id)]
    assert (tally.exported.sessions, tally.exported.items, tally.missing) == (2, len(texts), 1)
    assert tally.exported.bytes == sum(len(text.encode()) for text in texts)


def test_a_sqlite_file_of_any_store_is_read_by_the_sdk(case: SdkCase, tmp_path: Path) -> None:
    from agents import SQLiteSession

    path = tmp_path / "made.db"
    path.write_bytes(exported(case, Format.SQLITE)[1])

    async def read(session_id: str) -> list[Any]:
        session = SQLiteSession(session_id, path)
        found = await session.get_items()
        session.close()
        return list(found)

    for session_id in ("plain", "hostile"):
        assert asyncio.run(read(session_id)) == case.read(session_id)
    assert asyncio.run(read("other")) == []


def test_a_ledger_that_goes_away_is_told_and_the_export_made(tmp_path: Path) -> None:
    store, told = MemoryStore(), list[str]()
    store.append("a", "one")
    ledger = Ledger.open(tmp_path / "state" / "ledger.db")
    run = new_run("export", "memory:", datetime.now(UTC), {})
    record = Record(ledger=ledger, run=run, warn=told.append)

    def lose(_: object) -> None:
        shutil.rmtree(tmp_path / "state")

    stream = io.BytesIO()
    with Shelf(Layout(place=None, format=Format.JSONL), stream) as shelf:
        tally = export(store, Selector(), shelf, record=record, observe=lose)
    assert (tally.exported.sessions, len(stream.getvalue().splitlines())) == (1, 1)
    [sentence] = told
    assert "this export is not recorded" in sentence
