"""migrate and compare: between all SQL engines, caught up with, resumed, and refused where something has no place."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mysql_tables import create_mysql_tables
from operating import Ran, in_process, write_sessions
from sdk_cases import CASES, SdkCase, SqliteCase, made
from servers import fresh_mysql, fresh_postgres, mysql_execute, postgres_connect, postgres_execute

from sessionctl.core.address import parse_address
from sessionctl.core.serialising import Style
from sessionctl.stores import create_store
from sessionctl.testing.case import HOSTILE_IDS, HOSTILE_ITEMS, turn, user

MAKERS = {maker.name: maker for maker in CASES}
SOURCES = ["sqlite", "sqlite-sqlalchemy", "sqlite-advanced", "postgresql", "mariadb"]
TARGETS = ["sqlite", "postgresql", "mysql"]
ITEMS = [item for name, item in HOSTILE_ITEMS.items() if name != "large"]
AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(days=40)


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSIONCTL_STATE_DIR", str(tmp_path / "state"))


Target = Callable[[str], str]


@pytest.fixture
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    """The address of an empty place of a kind, where tables can be made."""
    with contextlib.ExitStack() as stack:

        def make(kind: str) -> str:
            if kind == "sqlite":
                return str(tmp_path / "target.db")
            server = request.getfixturevalue(f"{'postgres' if kind == 'postgresql' else 'mysql'}_server")
            return stack.enter_context((fresh_postgres if kind == "postgresql" else fresh_mysql)(server))

        yield make


def read(target: str, ids: Sequence[str]) -> dict[str, list[Any]]:
    """What the SDK reads there."""

    async def all_of_them() -> dict[str, list[Any]]:
        found = {}
        for session_id in ids:
            session: Any
            if "://" not in target:
                from agents import SQLiteSession

                session = SQLiteSession(session_id, target)
                found[session_id] = await session.get_items()
                session.close()
                continue
            from agents.extensions.memory import SQLAlchemySession

            scheme = {"postgresql": "postgresql+asyncpg", "mysql": "mysql+aiomysql"}[target.split(":", 1)[0]]
            url = f"{scheme}://{target.split('://', 1)[1]}"
            session = SQLAlchemySession.from_url(session_id, url=url, create_tables=False)
            found[session_id] = await session.get_items()
            await session.engine.dispose()
        return found

    return asyncio.run(all_of_them())


def execute(target: str, statement: str) -> list[tuple[Any, ...]]:
    if target.startswith("postgresql"):
        return postgres_execute(target, statement)
    if target.startswith("mysql"):
        return mysql_execute(target, statement)
    with closing(sqlite3.connect(target)) as connection, connection:
        return connection.execute(statement).fetchall()


def address(case: SdkCase) -> str:
    return str(case.path) if isinstance(case, SqliteCase) else case.address.url


def migrate(source: str | Path, target: str | Path, *flags: str) -> Ran:
    return in_process("migrate", source, target, "--yes", "-o", "json", *flags)


def assert_same(source: str | Path, target: str | Path, *flags: str) -> None:
    done = in_process("compare", source, target, *flags, "-o", "json")
    assert done.json["differing"] == []
    assert done.status == 0


def said(items: Sequence[Any]) -> list[str]:
    """Comparable where NaN is in it."""
    return [json.dumps(item) for item in items]


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("kind", TARGETS)
def test_every_engine_into_every_other(name: str, kind: str, target: Target, request: pytest.FixtureRequest) -> None:
    hostile = "".join(HOSTILE_IDS.values())[:200]
    ids = [hostile, "plain"]
    with made(MAKERS[name], request) as case:
        case.write(hostile, ITEMS)
        case.write("plain", turn(1), turn(2))
        case.stamp("plain", updated_at=AGO, created_at=AGO, items_at=AGO)
        case.put_raw(hostile, '{"role": "user", "content": "cut of')
        before = case.fingerprint()
        place = target(kind)
        assert migrate(address(case), place).status == 10
        done = migrate(address(case), place, "--create-tables")
        assert done.status == 0, done.said
        assert done.json["clean"]
        assert done.json["restored"]["sessions"] == len(ids)
        assert_same(address(case), place)
        assert {key: said(items) for key, items in read(place, ids).items()} == {
            session_id: said(case.read(session_id)) for session_id in ids
        }
        if not isinstance(case, SqliteCase):
            assert case.fingerprint() == before
        assert in_process("schema", "check", "-s", place).status == 0
        style = Style.SPACED if kind == "sqlite" else Style.COMPACT
        texts = [
            text for (text,) in execute(place, "SELECT message_data FROM agent_messages WHERE session_id = 'plain'")
        ]
        assert texts == [json.dumps(item, separators=style.separators) for item in [*turn(1), *turn(2)]]
        again = migrate(address(case), place)
        assert (again.json["restored"]["sessions"], again.json["in_place"]) == (0, len(ids))


@pytest.mark.parametrize("kind", TARGETS)
def test_what_changed_or_went_away_meanwhile_is_caught_up_with(kind: str, target: Target, tmp_path: Path) -> None:
    source, place = tmp_path / "source.db", target(kind)
    ids = ["same", "longer", "shorter", "gone", "touched", "gone but touched"]
    write_sessions(source, {session_id: turn(1) for session_id in ids})
    assert migrate(source, place, "--create-tables").status == 0
    write_sessions(source, {"longer": turn(2), "touched": turn(2), "new": turn(1)})
    execute(str(source), "DELETE FROM agent_messages WHERE session_id = 'shorter' AND id % 4 = 0")
    for table in ("agent_messages", "agent_sessions"):
        execute(str(source), f"DELETE FROM {table} WHERE session_id LIKE 'gone%'")
    other = "INSERT INTO agent_messages (session_id, message_data) VALUES ('{}', '{{}}')"
    for session_id in ("touched", "gone but touched"):
        execute(place, other.format(session_id))
    done = migrate(source, place)
    assert done.status == 3, done.said
    assert (done.json["replaced"], done.json["deleted"]) == ({"sessions": 2}, {"sessions": 1})
    assert done.json["restored"]["sessions"] == 1
    assert done.json["refused"] == ["touched"]
    assert done.json["left"] == ["gone but touched"]
    differing = in_process("compare", source, place, "-o", "json").json["differing"]
    assert {each["session_id"]: each["difference"] for each in differing} == {
        "touched": "items", "gone but touched": "extra"
    }  # fmt: skip


def test_a_record_that_was_lost_or_is_of_another_target_harms_nothing(tmp_path: Path) -> None:
    source, place = tmp_path / "source.db", tmp_path / "target.db"
    write_sessions(source, {f"s{number}": turn(number) for number in range(5)})
    assert migrate(source, place, "--create-tables").status == 0
    for record in (tmp_path / "state").glob("migration-*"):
        record.unlink()
    done = migrate(source, place)
    assert (done.status, done.json["already"]["sessions"], done.json["clean"]) == (0, 5, True)
    for file in tmp_path.glob("target.db*"):
        file.unlink()
    done = migrate(source, place, "--create-tables")
    assert (done.status, done.json["restored"]["sessions"]) == (0, 5)
    assert_same(source, place)


def test_a_fleet_goes_into_one_store(tmp_path: Path, target: Target) -> None:
    for tenant in ("acme", "umbrella"):
        (tmp_path / "tenants").mkdir(exist_ok=True)
        write_sessions(tmp_path / "tenants" / f"{tenant}.db", {"u1": turn(1), f"only {tenant}": turn(2)})
    (tmp_path / "tenants" / "notes.db").write_bytes(b"no store")
    fleet, place = str(tmp_path / "tenants" / "*.db"), target("postgresql")
    refused = migrate(fleet, place, "--create-tables")
    assert refused.status == 2
    assert "another source has the same id" in refused.said
    done = migrate(fleet, place, "--create-tables", "--id-prefix", "{stem}:")
    assert (done.status, done.json["restored"]["sessions"]) == (0, 4), done.said
    assert_same(fleet, place, "--id-prefix", "{stem}:")
    assert read(place, ["acme:u1"])["acme:u1"] == turn(1)
    envelope = {"__enc__": 1, "v": 1, "kid": "hkdf-v1", "payload": "gAAAAA"}
    write_sessions(tmp_path / "tenants" / "acme.db", {"secret": [envelope]})
    refused = migrate(fleet, place, "--id-prefix", "{stem}:")
    assert refused.status == 2
    assert "encrypted by its id" in refused.said


def test_a_source_that_lost_most_of_its_sessions_or_is_away_takes_nothing_along(tmp_path: Path) -> None:
    place, tenants = tmp_path / "target.db", tmp_path / "tenants"
    tenants.mkdir()
    for tenant in ("acme", "umbrella"):
        write_sessions(tenants / f"{tenant}.db", {f"{tenant} {number}": turn(1) for number in range(20)})
    assert migrate(tenants, place, "--create-tables").status == 0
    (tenants / "umbrella.db").rename(tmp_path / "away.db")
    assert migrate(tenants, place).json["deleted"] == {"sessions": 0}
    (tmp_path / "away.db").rename(tenants / "umbrella.db")
    for tenant in ("acme", "umbrella"):
        for table in ("agent_sessions", "agent_messages"):
            execute(str(tenants / f"{tenant}.db"), f"DELETE FROM {table} WHERE session_id LIKE '%1%'")
    done = migrate(tenants, place)
    assert (done.status, done.json["deleted"], len(done.json["left"])) == (3, {"sessions": 0}, 22)
    assert execute(str(place), "SELECT count(*) FROM agent_sessions") == [(40,)]


def test_what_has_no_place_is_found_before_the_first_write(tmp_path: Path, mysql_url: str) -> None:
    create_mysql_tables(mysql_url, id_type="VARCHAR(20)", text_type="TEXT", collation="utf8mb4_general_ci")
    source = tmp_path / "source.db"
    write_sessions(source, {
        "Ada": turn(1), "ada": turn(1), "é": turn(1), "E": turn(1), "blank": turn(1), "blank ": turn(1),
        "x" * 21: turn(1), "large": [user("y" * 70_000)], "fits": turn(1),
    })  # fmt: skip
    execute(str(source), "INSERT INTO agent_sessions (session_id) VALUES (CAST(x'ff41' AS TEXT))")
    refused = migrate(source, mysql_url)
    assert refused.status == 2
    assert mysql_execute(mysql_url, "SELECT count(*) FROM agent_sessions") == [(0,)]
    told = in_process("migrate", source, mysql_url, "--dry-run", "-o", "json")
    names = {each["session_id"] for each in told.json["misfits"]}
    assert names == {"ada", "E", "blank ", "x" * 21, "large", "\udcffA"}
    done = migrate(source, mysql_url, "--skip-misfits")
    assert done.status == 3
    assert mysql_execute(mysql_url, "SELECT count(*) FROM agent_sessions") == [(4,)]


def test_what_has_no_place_in_tables_still_to_be_made_is_found_before_they_are(tmp_path: Path, mysql_url: str) -> None:
    source = tmp_path / "source.db"
    [(packet,)] = mysql_execute(mysql_url, "SELECT @@max_allowed_packet")
    write_sessions(source, {
        "blank": turn(1), "blank ": turn(1), "fits": turn(1), "large ": [user("y" * packet)],
        "quotes": [user("\n" * (packet // 3))],
    })  # fmt: skip
    told = in_process("migrate", source, mysql_url, "--create-tables", "--dry-run", "-o", "json")
    assert {each["session_id"] for each in told.json["misfits"]} == {"blank ", "large "}
    assert migrate(source, mysql_url, "--create-tables").status == 2
    done = migrate(source, mysql_url, "--create-tables", "--skip-misfits")
    assert (done.status, done.json["restored"]["sessions"], done.json["skipped"]["failed"]) == (3, 2, 1), done.said
    again = in_process("migrate", source, mysql_url, "--yes", "--skip-misfits")
    assert "in place    2 sessions" in again.text
    assert "no place    2 sessions" in again.text
    assert "not everything is in place" in again.text


def test_of_a_fleet_only_the_session_that_has_no_place_is_left_out(tmp_path: Path) -> None:
    tenants, place = tmp_path / "tenants", tmp_path / "target.db"
    tenants.mkdir()
    for tenant in ("acme", "umbrella"):
        write_sessions(tenants / f"{tenant}.db", {"u1": [user(tenant)], f"only {tenant}": turn(2)})
    done = in_process("migrate", tenants, place, "--create-tables", "--yes", "--skip-misfits")
    assert done.status == 3
    assert "in place    3 sessions" in done.text
    assert "all that has a place there is in place" in done.text
    assert read(str(place), ["u1"]) == {"u1": [user("acme")]}


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_time_that_the_target_cannot_hold_fails_its_session_alone(kind: str, target: Target, tmp_path: Path) -> None:
    source, place = tmp_path / "source.db", target(kind)
    late = {"postgresql": "no time", "mysql": "2039-01-01 00:00:00"}[kind]
    write_sessions(source, {"good": turn(1), "late": turn(1)})
    for table in ("agent_sessions", "agent_messages"):
        execute(str(source), f"UPDATE {table} SET created_at = '{late}' WHERE session_id = 'late'")
    done = migrate(source, place, "--create-tables")
    assert (done.status, done.json["restored"]["sessions"], done.json["refused"]) == (3, 1, ["late"])
    assert (done.json["skipped"]["failed"], done.json["skipped"]["changed"]) == (1, 0)


def test_that_branches_stay_is_told_before_and_after(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with made(MAKERS["sqlite-advanced"], request) as case:
        case.write("branched", turn(1))
        for flags in (["--dry-run"], ["--yes"]):
            told = in_process("migrate", address(case), tmp_path / "target.db", "--create-tables", *flags)
            assert "stays       what AdvancedSQLiteSession has beside its main branches, and usage" in told.text


def test_holds_are_carried_over(tmp_path: Path) -> None:
    source, place = tmp_path / "source.db", tmp_path / "target.db"
    write_sessions(source, {"a*b": turn(1), "legal:1": turn(1)})
    in_process("hold", "add", "-s", source, "--id", "a*b", "--reason", "complaint", "--for", "9d")
    in_process("hold", "add", "-s", source, "--match", "legal:*", "--reason", "litigation")
    for _ in range(2):
        assert migrate(source, place, "--create-tables", "--id-prefix", "x:").status == 0
    held = in_process("hold", "list", "-s", place, "-o", "json").json["holds"]
    assert sorted(hold["value"] for hold in held) == ["x:a*b", "x:legal:*"]


def test_a_full_disk_is_told_and_the_source_is_intact(disk: Path, tmp_path: Path) -> None:
    source = tmp_path / "source.db"
    write_sessions(source, {f"s{number}": [user("y" * 40_000)] * 4 for number in range(40)})
    before = source.read_bytes()
    done = migrate(source, disk / "target.db", "--create-tables")
    assert done.status in (1, 3), done.said
    assert "full" in done.said + done.json.get("error", "")
    assert source.read_bytes() == before
    assert in_process("compare", source, disk / "target.db").status in (6, 10)


@contextlib.contextmanager
def locked(place: str) -> Iterator[None]:
    """Somebody else keeps writers out."""
    if "://" not in place:
        with closing(sqlite3.connect(place, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
        return
    with closing(postgres_connect(place)) as other:
        other.autocommit = False
        other.execute("LOCK TABLE agent_messages IN EXCLUSIVE MODE")
        yield
        other.rollback()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_lock_of_others_ends_it_in_time_with_a_clear_message(
    kind: str, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessionctl.stores.sqlite.file.BUSY_TIMEOUT_S", 0.5)
    monkeypatch.setattr("sessionctl.stores.postgresql.adapter.LOCK_WAIT_S", 0.5)
    monkeypatch.setattr("sessionctl.core.patience.GIVE_UP_S", 1.0)
    source, place = tmp_path / "source.db", target(kind)
    write_sessions(source, {"s": turn(1)})
    create_store(parse_address(place)).close()
    with locked(place):
        told = migrate(source, place, "--jobs", "1")
    assert told.status == 1
    assert "lock" in told.json["error"]
    assert execute(place, "SELECT count(*) FROM agent_messages") == [(0,)]
    assert migrate(source, place).status == 0
    assert_same(source, place)


def test_limits_end_a_run_that_goes_on_later(tmp_path: Path) -> None:
    source, place = tmp_path / "source.db", tmp_path / "target.db"
    write_sessions(source, {f"s{number}": turn(1) for number in range(12)})
    done = migrate(source, place, "--create-tables", "--batch-size", "3", "--max-sessions", "4")
    assert done.status == 4
    assert done.json["restored"]["sessions"] == 4
    assert migrate(source, place).status == 0
    assert_same(source, place)
    assert in_process("schema", "check", "-s", place).status == 0


def test_a_store_is_not_copied_into_itself(tmp_path: Path) -> None:
    source = tmp_path / "source.db"
    write_sessions(source, {"s": turn(1)})
    assert migrate(source, source).status == 2
    (tmp_path / "link.db").symlink_to(source)
    for other in (tmp_path / "link.db", tmp_path / "sub" / ".." / "source.db"):
        (tmp_path / "sub").mkdir(exist_ok=True)
        done = migrate(source, other, "--id-prefix", "x:")
        assert (done.status, "is itself among the sources" in done.said) == (2, True)
