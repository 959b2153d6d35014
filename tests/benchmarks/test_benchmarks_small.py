"""The benchmarks in small: the generator makes what it says, and every measure runs. Never how fast."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from benchmarks import pt_archiver
from benchmarks.engines import Engine
from benchmarks.figures import Figure, Target, table
from benchmarks.generator import IDLE, LARGEST, SMALLEST, SPAN, Generated, Scale
from benchmarks.measures import (
    archived,
    exporting,
    listing,
    live,
    memory,
    migrating,
    purge,
    restoring,
    startup,
    stats,
    trimming,
    validating,
)
from benchmarks.server_engines import Mariadb, Postgresql
from benchmarks.sqlite_engine import Sqlite
from sdk_process import SdkProcess

from sessionctl.core.model import Want
from sessionctl.core.selector import Query
from sessionctl.operations.execute import Limits
from sessionctl.stores import open_store

SCALE = Scale(sessions=3000, items=4)
SMALL = Scale(sessions=1000, items=4)
"""For the others: PostgreSQL would rightly read tables of this size whole instead of by their indexes."""
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with ExitStack() as stack:
        if request.param == "sqlite":
            yield Sqlite(SMALL, tmp_path_factory.mktemp("engine"))
        elif request.param == "postgresql":
            yield Postgresql(SCALE, request.getfixturevalue("postgres_server"), stack)
        else:
            yield Mariadb(SMALL, request.getfixturevalue("mysql_server"), stack)


def test_the_generator_makes_the_same_rows_every_time() -> None:
    first, second = (Generated(SCALE, NOW, compact=False) for _ in range(2))
    assert list(first.items()) == list(second.items()) == list(first.items())
    assert list(first.sessions()) == list(second.sessions())
    assert list(Generated(Scale(sessions=3000, items=4, seed=1), NOW, compact=False).items()) != list(first.items())


def test_generated_items_are_sound_and_of_the_size_said() -> None:
    generated = Generated(SCALE, NOW, compact=True)
    rows = list(generated.items())
    sizes = [len(row.text.encode()) for row in rows]
    assert len(rows) == 12_000
    assert min(sizes) >= SMALLEST - 10
    assert max(sizes) <= LARGEST
    assert 900 <= sum(sizes) / len(sizes) <= 1000
    calls: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        item = json.loads(row.text)
        assert json.dumps(item, separators=(",", ":")) == row.text
        if "call_id" in item:
            calls[row.session_id, item["call_id"], item["type"]] += 1
    assert set(calls.values()) == {1}
    assert {(s, c) for s, c, kind in calls if kind == "function_call"} >= {
        (s, c) for s, c, kind in calls if kind == "function_call_output"
    }


def test_generated_sessions_are_interleaved_and_spread_over_the_time_said() -> None:
    generated = Generated(SCALE, NOW, compact=False)
    sessions, items = list(generated.sessions()), list(generated.items())
    stamps = sorted(session.updated_at for session in sessions)
    assert len({session.id for session in sessions}) == 3000
    assert stamps[-1] == NOW - IDLE
    assert stamps[0] >= NOW - IDLE - SPAN
    assert stamps[-1] - stamps[0] > SPAN / 2
    assert generated.older == sum(stamp < generated.middle for stamp in stamps)
    assert 1450 <= generated.older <= 1500
    neighbours = sum(a.session_id == b.session_id for a, b in pairwise(items))
    assert neighbours < len(items) / 2  # the pairs of one append, and a few by chance
    last: dict[str, datetime] = {}
    for item in items:
        assert item.created_at >= last.get(item.session_id, datetime.min.replace(tzinfo=UTC))
        last[item.session_id] = item.created_at
    assert last == {session.id: session.updated_at for session in sessions}


def test_the_store_is_what_the_sdk_reads_and_the_port_sees(engine: Engine) -> None:
    expected: dict[str, list[Any]] = {}
    for item in engine.generated.items():
        expected.setdefault(item.session_id, []).append(json.loads(item.text))
    chosen = engine.generated.newest(1)[0]
    assert asyncio.run(_read_by_sdk(engine, chosen)) == expected[chosen]
    with open_store(engine.address) as store:
        found = {ref.id: ref for ref in store.sessions(Query(), want=Want.SIZE)}
        assert not store.info().warnings
    assert {ref.id: (ref.updated_at, ref.items) for ref in found.values()} == {
        session.id: (session.updated_at, 4) for session in engine.generated.sessions()
    }


async def _read_by_sdk(engine: Engine, session_id: str) -> list[Any]:
    if engine.address.path is not None:
        from agents import SQLiteSession

        session = SQLiteSession(session_id, engine.address.path)
        try:
            return list(await session.get_items())
        finally:
            session.close()
    from agents.extensions.memory import SQLAlchemySession

    driver = {"postgresql": "asyncpg", "mysql": "aiomysql"}[engine.address.scheme]
    url = engine.address.url.replace("://", f"+{driver}://", 1)
    stored = SQLAlchemySession.from_url(session_id, url=url)
    try:
        return list(await stored.get_items())
    finally:
        await stored.engine.dispose()


def test_list_and_stats_are_measured(engine: Engine) -> None:
    figures = [*listing.figures(engine, 2, calls=1), *stats.figures(engine, 2)]
    assert [figure.name for figure in figures] == ["newest 50 with sizes", "work on items", "full stats"]
    _are_sane(figures)
    assert figures[1].holds, "list --limit 50 works on the items of other sessions"


def test_validating_is_measured() -> None:
    (figure,) = validating.figures(Generated(SCALE, NOW, compact=False), 1)
    assert figure.ours[0] > 0
    assert figure.target is not None


def test_work_on_the_items_of_other_sessions_would_show(engine: Engine) -> None:
    def everything(address: Any) -> None:
        with open_store(address) as store:
            assert len(list(store.sessions(Query(), want=Want.SIZE))) == engine.generated.scale.sessions

    counted, needed, _ = engine.work_on_items(everything)
    assert counted > 1.2 * needed


def test_purge_is_measured_and_takes_exactly_the_older_half(engine: Engine, tmp_path: Path) -> None:
    before = engine.left(engine.address)
    figures = list(purge.figures(engine, tmp_path, 1, sample=5))
    _are_sane(figures)
    archiver = {"pt-archiver at its best", "pt-archiver, plain"}
    others = archiver if engine.name == "mariadb" and pt_archiver.is_installed() else set()
    aimed = {figure.name for figure in figures if figure.target}
    assert aimed == {f"apply : {way}" for way in {"one raw statement", "clear_session loop"} | others}
    assert len(figures) == len(engine.shapes) + 1 + len(others) + 2
    assert engine.left(engine.address) == before == _whole(engine)


def test_trims_are_measured_beside_raw_sql_that_deletes_the_same_rows(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    scale = Scale(sessions=30, items=40)
    with ExitStack() as stack:
        small = [
            Sqlite(scale, tmp_path),
            Postgresql(scale, request.getfixturevalue("postgres_server"), stack),
            Mariadb(scale, request.getfixturevalue("mysql_server"), stack),
        ]
        for engine in small:
            figures = list(trimming.figures(engine, tmp_path, 1, keep=8))
            _are_sane(figures)
            assert [figure.target is not None for figure in figures] == [True, False, False]
            assert engine.left(engine.address) == (30, 1200)
        _are_sane(list(trimming.memory(small[0], small[0], tmp_path, 1, keep=8)))


def test_a_missing_archiver_is_left_out_with_a_line_that_says_how_to_get_it(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not list(purge._archiver(engine, 1, 5))
    said = capsys.readouterr().err
    assert said == (f"{pt_archiver.HOW_TO_GET}\n" if engine.name == "mariadb" else "")


def test_a_live_writer_is_measured_while_sessions_are_purged(engine: Engine, sdk: SdkProcess, tmp_path: Path) -> None:
    sessions = engine.generated.scale.sessions
    slow = Limits(batch_size=sessions // 30, rate=sessions / 2)  # a second, so that the writer gets in between
    found = {
        figure.name: figure for figure in live.figures(engine, sdk, tmp_path, 1, idle=50, think_s=0.001, limits=slow)
    }
    errors, amid = found.pop("writer errors, all rounds"), found.pop("appends amid the batches")
    assert (errors.ours, errors.holds) == ((0,), True), errors.note
    assert amid.ours[0] > 0
    found.pop("largest log, all rounds", None)
    _are_sane(list(found.values()))
    aimed = {name.partition(",")[0] for name, figure in found.items() if figure.target}
    assert (
        aimed
        == {
            "sqlite": {"apply : one raw statement", "writer p99", "writer max"},
            "postgresql": {"apply : one raw statement", "writer p99"},
            "mariadb": {"writer p99"},
        }[engine.name]
    )


def test_exports_are_measured_beside_the_engines_own_dumps(engine: Engine, tmp_path: Path) -> None:
    figures = list(exporting.figures(engine, tmp_path, 1))
    _are_sane(figures)
    assert len(figures) == (4 if engine.name == "sqlite" else 2)
    assert 10 < figures[-1].ours[0] < 300, "MiB of all processes"
    assert not any(tmp_path.glob("*export*"))


def test_archived_purges_restores_and_migrations_are_measured(engine: Engine, tmp_path: Path) -> None:
    before = engine.left(engine.address)
    figures = list(archived.figures(engine, tmp_path, 1))
    if isinstance(engine, Postgresql):
        figures += restoring.figures(engine, tmp_path, 1)
        figures += migrating.figures(Sqlite(SMALL, tmp_path), engine, tmp_path, 1)
    _are_sane(figures)
    assert all(figure.target for figure in figures)
    assert engine.left(engine.address) == before


def test_memory_is_measured(tmp_path: Path) -> None:
    whole, tenth = Sqlite(SMALL, tmp_path), Sqlite(Scale(sessions=100, items=4), tmp_path)
    figures = list(memory.figures(whole, tenth, tmp_path, 1))
    assert [figure.name for figure in figures] == ["stats", "list", "purge --dry-run"]
    _are_sane(figures)
    assert all(10 < figure.ours[0] < 500 for figure in figures)


def test_memory_of_a_whole_purge_is_measured(tmp_path: Path) -> None:
    many, few = (Sqlite(Scale(sessions=sessions, items=1), tmp_path) for sessions in (2000, 20))
    (figure,) = memory.of_purge(many, few, tmp_path, 1)
    _are_sane([figure])
    assert figure.target == Target(ratio=1.2)
    assert many.left(many.address) == (2000, 2000)  # the copy was purged


def test_startup_is_measured_and_nothing_heavy_is_imported(tmp_path: Path) -> None:
    figures = list(startup.figures(Sqlite(Scale(sessions=50, items=2), tmp_path), tmp_path, 1, calls=1))
    _are_sane(figures)
    assert [figure.note for figure in figures] == ["imports nothing heavy"] * 2


def test_the_documented_line_runs(tmp_path: Path) -> None:
    saved = tmp_path / "figures.json"
    command = [
        sys.executable, str(Path(__file__).with_name("run.py")), "--engine", "sqlite", "--sessions", "60",
        "--items", "4", "--rounds", "1", "--only", "list,stats", "--json", str(saved), "--directory", str(tmp_path),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "newest 50 with sizes" in done.stdout
    found = json.loads(saved.read_text())
    assert {figure["measure"] for figure in found["figures"]} == {"list", "stats"}
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


def test_a_figure_is_the_median_of_the_rounds_against_its_target() -> None:
    figure = Figure(
        measure="m",
        engine="e",
        name="n",
        unit="s",
        ours=(1.0, 9.0, 4.0),
        baseline=(1.0, 3.0, 2.0),
        target=Target(ratio=2),
    )
    assert (figure.ratios, figure.ratio, figure.holds) == ((1.0, 3.0, 2.0), 2.0, True)
    assert not Target(ratio=2.5, at_least=True).holds(figure.ratio, 4.0)
    assert "1.00-3.00  <= 2    ok" in table([figure])


def test_a_target_may_be_of_our_own_value_and_one_of_two_suffices() -> None:
    either = Target(ratio=2, ours=15)
    assert (either.holds(3.0, 14.0), either.holds(1.5, 80.0), either.holds(3.0, 80.0)) == (True, True, False)
    assert either.shown("ms") == "<= 2 or 15 ms"
    counted = Figure(measure="m", engine="e", name="n", unit="errors", ours=(0.0,), target=Target(ours=0))
    assert (counted.ratio, counted.holds) == (None, True)
    assert "0 errors" in table([counted])


def _whole(engine: Engine) -> tuple[int, int]:
    scale = engine.generated.scale
    return scale.sessions, scale.sessions * scale.items


def _are_sane(figures: list[Figure]) -> None:
    for figure in figures:
        assert figure.ours, figure
        assert all(value > 0 and math.isfinite(value) for value in (*figure.ours, *figure.baseline)), figure
        assert table([figure])
