"""What is MySQL's own: tables made by hand, lookalike ids, coarse and local times, engines without transactions."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from contents import assert_contents_however_many, assert_contents_in_order
from mysql_tables import create_mysql_tables
from sdk_process import SdkProcess
from servers import mysql_connect, mysql_execute, mysql_user
from sqlalchemy import event

from sessionctl.core.address import parse_address
from sessionctl.core.joined import JoinedItems
from sessionctl.core.model import Cursor, Delete, Effect, Guard, Order, Outcome, Rewrite, Span, Want
from sessionctl.core.selector import Bound, Query
from sessionctl.errors import (
    AccessRefused,
    StoreBusy,
    StoreMissing,
    StoreNotUnderstood,
    StoreUnavailable,
    UsageError,
)
from sessionctl.stores import open_store
from sessionctl.stores.base import Store
from sessionctl.testing.returning import assert_contents_of_whole

HELLO = [{"role": "user", "content": "hello"}]
LATE = [{"role": "user", "content": "late"}]
EVERY = Want.SIZE | Want.VERSION


def opened(url: str, **options: str) -> Store:
    return open_store(parse_address(url, options=options))


def planned(store: Store) -> dict[str, Delete]:
    refs = store.sessions(Query(), want=Want.VERSION)
    return {ref.id: Delete(session_id=ref.id, version=ref.version or "") for ref in refs}


def count(url: str, table: str) -> int:
    return int(mysql_execute(url, f"SELECT count(*) FROM {table}")[0][0])


def wait_until(claim: Callable[[], bool], what: str, timeout: float = 20) -> None:
    end = time.monotonic() + timeout
    while not claim():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.15)  # InnoDB refreshes what it tells of transactions when nobody asked for 0.1 s


def fill(url: str, sdk: SdkProcess, **variant: Any) -> str:
    """Tables of that kind with the sessions a, b and c."""
    create_mysql_tables(url, **variant)
    for session_id in "abc":
        sdk.add(url, session_id, HELLO)
    return url


@pytest.fixture
def url(mysql_url: str, sdk: SdkProcess) -> str:
    return fill(mysql_url, sdk)


@pytest.fixture
def user(mysql_url: str) -> Iterator[Callable[..., str]]:
    """Make a user with these rights in the test's database and give the URL for it."""
    with mysql_user(mysql_url) as granted:
        yield granted


# --- addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["mysql+aiomysql", "mysql+asyncmy", "mariadb+pymysql", "mysql"])
def test_an_applications_own_url_works(url: str, scheme: str) -> None:
    theirs = url.replace("mysql://", f"{scheme}://")
    with opened(f"{theirs}?charset=utf8&autocommit=true&minsize=2&maxsize=5&pool_recycle=60&ssl=false") as store:
        assert {ref.id for ref in store.sessions(Query())} == set("abc")


def test_the_full_width_of_unicode_is_read(url: str) -> None:
    mysql_execute(url, "UPDATE agent_messages SET message_data = %s WHERE session_id = 'a'", ('"\U0001f9ea é"',))
    with opened(f"{url}?charset=utf8") as store:
        assert next(store.items("a")).text == '"\U0001f9ea é"'
        assert store.session("a", EVERY).bytes == len('"\U0001f9ea é"'.encode())


def test_options_that_cannot_be_kept_are_refused(url: str) -> None:
    with pytest.raises(UsageError, match="ssl_caa"):
        opened(f"{url}?ssl_caa=x.pem")
    with pytest.raises(UsageError, match="names no database"):
        opened(url.rsplit("/", 1)[0] + "/")


def test_encryption_that_is_asked_for_is_not_dropped(url: str) -> None:
    if mysql_execute(url, "SHOW VARIABLES LIKE 'have_ssl'") == [("have_ssl", "YES")]:
        with opened(f"{url}?ssl_mode=REQUIRED") as store:
            assert len(list(store.sessions(Query()))) == 3
    else:
        with pytest.raises(StoreUnavailable):
            opened(f"{url}?ssl_mode=REQUIRED")
    with pytest.raises(StoreUnavailable):
        opened(f"{url}?ssl_ca=/no/such/file.pem")


def test_errors_name_the_store_and_no_secret(url: str) -> None:
    secret = "mysql://nobody_at_all:sw0rdfish@" + url.rsplit("@", 1)[1]
    for wrong, error in (
        (secret, AccessRefused),
        (secret.replace("@127.0.0.1", "@no-such-host.invalid"), StoreUnavailable),
        (url + "_not", StoreMissing),
    ):
        with pytest.raises(error) as caught:
            opened(wrong)
        assert "sw0rdfish" not in f"{caught.value}{caught.value.hint}"
        assert "mysql://" in caught.value.message


# --- times --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["TIMESTAMP", "TIMESTAMP(6)", "DATETIME", "DATETIME(3)"])
def test_every_kind_of_time(mysql_url: str, sdk: SdkProcess, kind: str) -> None:
    fill(mysql_url, sdk, time_type=kind)
    with opened(mysql_url) as store:
        refs = list(store.sessions(Query(), want=EVERY))
        assert len(refs) == 3
        for ref in refs:
            for at in (ref.created_at, ref.updated_at, ref.newest_item_at):
                assert timedelta(seconds=-2) < store.now() - at < timedelta(minutes=1)
            for op in ("<", "<=", ">", ">="):
                bound = Bound("updated_at", op, ref.updated_at)
                found = [r.id for r in store.sessions(Query(bounds=(bound,)))]
                assert found == [r.id for r in refs if bound.holds(r)]
        assert set(store.apply(list(planned(store).values()), Guard(min_idle=timedelta(minutes=5)))) == {Outcome.ACTIVE}


@pytest.mark.parametrize("kind", ["TIMESTAMP", "DATETIME"])
def test_a_zone_can_be_named(mysql_url: str, sdk: SdkProcess, kind: str) -> None:
    """DATETIME means what the application's zone makes of it; TIMESTAMP is an instant in any zone."""
    fill(mysql_url, sdk, time_type=kind)
    seen = {}
    for zone in ("+00:00", "-05:00"):
        with opened(mysql_url, timezone=zone) as store:
            seen[zone] = store.session("a").updated_at
            bound = Bound("updated_at", ">=", seen[zone])
            assert [ref.id for ref in store.sessions(Query(named=frozenset("a"), bounds=(bound,)))] == ["a"]
    moved = timedelta(hours=5 if kind == "DATETIME" else 0)
    assert seen["-05:00"] - seen["+00:00"] == moved
    with pytest.raises(UsageError, match="Nowhere/Land"):
        opened(mysql_url, timezone="Nowhere/Land")


@pytest.mark.parametrize("zone", ["+00:00", "-05:00"])
@pytest.mark.parametrize(
    ("kind", "odd"),
    [
        ("TIMESTAMP(6)", None),
        ("DATETIME(6)", "3026-01-02 03:04:05.000006"),
        ("DATETIME", "1960-01-02"),
        ("DATETIME", None),
    ],
)
def test_contents_are_those_of_whole_sessions_whatever_their_times(
    mysql_url: str, sdk: SdkProcess, zone: str, kind: str, odd: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(mysql_url, sdk, time_type=kind)
    mysql_execute(mysql_url, f"ALTER TABLE agent_messages MODIFY created_at {kind} NULL")
    insert = "INSERT INTO agent_messages (session_id, message_data, created_at) VALUES (%s, '{}', %s)"
    for session_id, stamp in (("a", "2026-07-01 12:00:00.00012"), ("a", "2026-01-01 10:00:00"), ("b", odd)):
        mysql_execute(mysql_url, insert, (session_id, stamp))
    with opened(mysql_url, timezone=zone) as store:
        assert_contents_however_many(store, ["a", "b", "c"], monkeypatch)


def test_contents_beside_a_large_text_are_told_apart(url: str) -> None:
    """What is too large to come together is missing there, and a line break elsewhere must not make up for it."""
    insert = "INSERT INTO agent_messages (session_id, message_data) VALUES ('a', %s)"
    for text in ('{"role": "user",\n"content": 1}', json.dumps({"role": "user", "content": "x" * 20_000})):
        mysql_execute(url, insert, (text,))
    with opened(url, timezone="+00:00") as store:
        assert_contents_of_whole(store, ["a", "b", "c"])


def test_contents_come_in_the_order_asked_for(url: str) -> None:
    """Those that do not come together with others too."""
    large = json.dumps({"role": "user", "content": "x" * 20_000})
    mysql_execute(url, "INSERT INTO agent_messages (session_id, message_data) VALUES ('a', %s)", (large,))
    with opened(url, timezone="+00:00") as store:
        assert_contents_in_order(store, ["a", "b", "c"])


@pytest.mark.parametrize("collation", ["utf8mb4_bin", "utf8mb4_general_ci"])
def test_contents_come_together_but_not_those_of_lookalikes(mysql_url: str, sdk: SdkProcess, collation: str) -> None:
    fill(mysql_url, sdk, collation=collation)
    insert = "INSERT INTO agent_messages (session_id, message_data) VALUES ('b ', '{}')"
    mysql_execute(mysql_url, insert)
    with opened(mysql_url, timezone="+00:00") as store:
        found = {name: isinstance(items, JoinedItems) for name, items in store.contents(["a", "b"])}
        assert found == {"a": True, "b": False}
        assert_contents_of_whole(store, ["a", "b", "c"])


def test_times_outside_of_unix_time(mysql_url: str, sdk: SdkProcess) -> None:
    """Later than 2038 is far ahead, never long ago; earlier than 1970 is unknown and matches nothing."""
    fill(mysql_url, sdk, time_type="DATETIME")
    mysql_execute(mysql_url, "UPDATE agent_sessions SET updated_at = '2100-01-01' WHERE session_id = 'a'")
    mysql_execute(mysql_url, "UPDATE agent_sessions SET updated_at = '1900-01-01' WHERE session_id = 'b'")
    with opened(mysql_url) as store:
        assert [(ref.id, ref.updated_at and ref.updated_at.year) for ref in store.sessions(Query())] == [
            ("a", 2038),
            ("c", datetime.now(tz=UTC).year),
            ("b", None),
        ]
        until = Bound("updated_at", "<", datetime(2200, 1, 1, tzinfo=UTC))
        assert {ref.id for ref in store.sessions(Query(bounds=(until,)))} == set("ac")
        since = Bound("updated_at", ">=", datetime(1960, 1, 1, tzinfo=UTC))
        assert {ref.id for ref in store.sessions(Query(bounds=(since,)))} == set("ac")
        assert store.census(store.now()).ahead == 1
        assert store.apply([planned(store)["a"]], Guard()) == [Outcome.ACTIVE]


def test_pages_through_equal_seconds(mysql_url: str) -> None:
    create_mysql_tables(mysql_url, time_type="DATETIME")
    rows = [(f"s{n:02}", "2026-01-01 00:00:00" if n % 3 else "2026-01-01 00:00:01") for n in range(40)]
    with contextlib.closing(mysql_connect(mysql_url)) as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO agent_sessions (session_id, updated_at) VALUES (%s, %s)", rows)
    with opened(mysql_url) as store:
        pages, place = [], None
        while page := list(store.sessions(Query(), limit=7, after=place, want=Want.SIZE)):
            pages += [ref.id for ref in page]
            place = Cursor(activity=page[-1].updated_at, id=page[-1].id)
        assert pages == [ref.id for ref in store.sessions(Query())]
        assert pages == sorted(pages, key=lambda i: (int(i[1:]) % 3 != 0, i))


# --- ids that look alike ------------------------------------------------------------------------


def test_ids_are_exact_where_the_collation_is_not(url: str, sdk: SdkProcess) -> None:
    sdk.add(url, "u1", HELLO)
    sdk.add(url, "U1", LATE)  # the server takes it for u1
    with opened(url) as store:
        assert store.session("U1") is None
        assert store.session("u1 ") is None
        assert store.session("u1", EVERY).items == 2
        assert list(store.items("u1 ")) == []
        assert len(list(store.items("u1"))) == len(sdk.get(url, "u1")) == 2
        assert {(owner, item.text) for owner, item in store.find(["u1"], "L")} == {
            ("u1", json.dumps(HELLO[0], separators=(",", ":"))),
            ("u1", json.dumps(LATE[0], separators=(",", ":"))),
        }
        assert [ref.id for ref in store.sessions(Query(globs=("U*",)))] == []
        assert [ref.id for ref in store.sessions(Query(named=frozenset({"U1", "A", "b"})), limit=1)] == ["b"]
        version = planned(store)["u1"].version
        assert store.apply([Delete(session_id="U1", version=version)], Guard()) == [Outcome.MISSING]
        assert store.apply([Delete(session_id="u1", version=version)], Guard()) == [Outcome.DONE]
    assert count(url, "agent_messages") == 3


def test_ids_that_differ_in_case_are_two_sessions_where_they_can_be(mysql_url: str, sdk: SdkProcess) -> None:
    create_mysql_tables(mysql_url, collation="utf8mb4_bin")
    sdk.add(mysql_url, "u1", HELLO)
    sdk.add(mysql_url, "U1", LATE)
    with opened(mysql_url) as store:
        assert [ref.id for ref in store.sessions(Query(globs=("U*",)))] == ["U1"]
        assert store.apply([planned(store)["U1"]], Guard()) == [Outcome.DONE]
    assert sdk.get(mysql_url, "u1") == HELLO


def test_tables_whose_collations_differ(mysql_url: str, sdk: SdkProcess) -> None:
    fill(mysql_url, sdk, foreign_key=None)
    mysql_execute(mysql_url, "ALTER TABLE agent_messages CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
    mysql_execute(mysql_url, "ALTER TABLE agent_sessions CONVERT TO CHARACTER SET latin1")
    with opened(mysql_url) as store:
        assert [ref.items for ref in store.sessions(Query(), want=EVERY)] == [1, 1, 1]
        assert [ref.items for ref in store.sessions(Query(), limit=2, want=EVERY)] == [1, 1]
        assert store.volume().items == len(planned(store))
        assert store.apply([planned(store)["b"]], Guard()) == [Outcome.DONE]
    assert count(mysql_url, "agent_messages") == 2


# --- layouts ------------------------------------------------------------------------------------


def test_tables_of_other_names(mysql_url: str, sdk: SdkProcess) -> None:
    tables = ("chat sessions", "chat-messages")
    create_mysql_tables(mysql_url, tables=tables)
    sdk.add(mysql_url, "a", HELLO, tables=tables)
    with pytest.raises(StoreNotUnderstood, match="no table agent_sessions") as caught:
        opened(mysql_url)
    assert "sessions_table=chat sessions&messages_table=chat-messages" in (caught.value.hint or "")
    schema = mysql_url.rsplit("/", 1)[1]
    for prefix in ("", f"{schema}."):
        with opened(mysql_url, sessions_table=prefix + tables[0], messages_table=prefix + tables[1]) as store:
            assert store.info().tables == tables
            assert store.session("a", EVERY).items == 1


def test_tables_of_others_are_no_store(mysql_url: str) -> None:
    with pytest.raises(StoreNotUnderstood, match="no tables at all"):
        opened(mysql_url)
    mysql_execute(mysql_url, "CREATE TABLE agent_sessions (id int, updated_at timestamp)")
    with pytest.raises(StoreNotUnderstood, match="it has no created_at, session_id"):
        opened(mysql_url)


@pytest.mark.parametrize("foreign_key", [None, "", "ON DELETE RESTRICT"])
def test_without_a_cascade_items_go_first(mysql_url: str, sdk: SdkProcess, foreign_key: str | None) -> None:
    fill(mysql_url, sdk, foreign_key=foreign_key)
    with opened(mysql_url) as store:
        assert store.info().hazards == ()
        changes = planned(store)
        assert store.apply([changes["a"], changes["b"]], Guard()) == [Outcome.DONE, Outcome.DONE]
        assert store.volume().items == len(planned(store))
    assert mysql_execute(mysql_url, "SELECT session_id FROM agent_messages") == [("c",)]


def test_items_without_a_session_are_counted(mysql_url: str, sdk: SdkProcess) -> None:
    fill(mysql_url, sdk, foreign_key=None)
    mysql_execute(mysql_url, "INSERT INTO agent_messages (session_id, message_data) VALUES ('gone', '{}')")
    with opened(mysql_url) as store:
        assert store.volume().items - len(planned(store)) == 1
        assert [item.text for item in store.items("gone")] == ["{}"]


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["ALTER TABLE agent_sessions ADD tenant int"], "tenant"),
        (["RENAME TABLE agent_messages TO m", "CREATE VIEW agent_messages AS SELECT * FROM m"], "is a view"),
    ],
)
def test_strange_tables_are_read_never_changed(url: str, statements: list[str], reason: str) -> None:
    for statement in statements:
        mysql_execute(url, statement)
    _is_read_only(url, reason)


def test_tables_without_transactions_are_read_never_changed(mysql_url: str, sdk: SdkProcess) -> None:
    _is_read_only(fill(mysql_url, sdk, engine="MyISAM", id_type="VARCHAR(190)", foreign_key=None), "MyISAM")


def _is_read_only(url: str, reason: str) -> None:
    with opened(url) as store:
        info = store.info()
        assert reason in (info.frozen or "")
        assert any(reason in warning for warning in info.warnings)
        changes = planned(store)
        assert set(changes) == set("abc")
        assert len(list(store.sessions(Query(), order=Order.PHYSICAL, want=EVERY))) == 3
        with pytest.raises(StoreNotUnderstood):
            store.apply(list(changes.values()), Guard())
    assert count(url, "agent_sessions") == 3


def test_a_missing_index_is_said(mysql_url: str, sdk: SdkProcess) -> None:
    fill(mysql_url, sdk, foreign_key=None, index=False)
    with opened(mysql_url) as store:
        assert any("no index" in warning for warning in store.info().warnings)
        assert [ref.items for ref in store.sessions(Query(), limit=2, want=EVERY)] == [1, 1]
        assert store.apply([planned(store)["a"]], Guard()) == [Outcome.DONE]


# --- what hangs on the tables -------------------------------------------------------------------


def _refer(url: str, name: str, rule: str) -> None:
    key = f"FOREIGN KEY (sid) REFERENCES agent_sessions (session_id) {rule}"
    mysql_execute(url, f"CREATE TABLE {name} (sid VARCHAR(255), {key})")
    mysql_execute(url, f"INSERT INTO {name} VALUES ('b')")


def test_foreign_keys_and_triggers_of_others_are_hazards(url: str) -> None:
    _refer(url, "feedback", "ON DELETE CASCADE")
    _refer(url, "notes", "ON DELETE SET NULL")
    _refer(url, "bills", "")
    mysql_execute(url, "CREATE TRIGGER audit AFTER DELETE ON agent_sessions FOR EACH ROW SET @x = 1")
    mysql_execute(url, "CREATE TRIGGER touch AFTER INSERT ON agent_messages FOR EACH ROW SET @x = 1")
    with opened(url) as store:
        hazards = store.info().hazards
    effects = {word: h.effect for h in hazards for word in ("feedback", "notes", "bills") if f"table {word}" in h.what}
    assert effects == {"feedback": Effect.TAKES_ALONG, "notes": Effect.TAKES_ALONG, "bills": Effect.BLOCKS}
    triggers = {h.what.split()[1]: h.effect for h in hazards if h.what.startswith("trigger")}
    assert triggers == {"audit": Effect.TAKES_ALONG, "touch": Effect.UNTOUCHED}
    assert len(hazards) == 5


def test_triggers_on_items_fire_as_when_the_sdk_clears(url: str) -> None:
    """A cascade of InnoDB passes over them."""
    mysql_execute(url, "CREATE TABLE audit (sid VARCHAR(255))")
    trigger = "CREATE TRIGGER t AFTER DELETE ON agent_messages FOR EACH ROW INSERT INTO audit VALUES (OLD.session_id)"
    mysql_execute(url, trigger)
    with opened(url) as store:
        assert store.apply([planned(store)["a"]], Guard()) == [Outcome.DONE]
    assert mysql_execute(url, "SELECT sid FROM audit") == [("a",)]


def test_a_session_that_others_refer_to_fails_alone(url: str) -> None:
    _refer(url, "bills", "ON DELETE RESTRICT")
    with opened(url) as store:
        changes = planned(store)
        outcomes = store.apply([changes[s] for s in "abc"], Guard())
    assert outcomes == [Outcome.DONE, Outcome.FAILED, Outcome.DONE]
    assert mysql_execute(url, "SELECT session_id FROM agent_messages") == [("b",)]


def test_a_trigger_that_refuses_makes_it_fail_alone(url: str) -> None:
    body = "IF OLD.session_id = 'b' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'keep'; END IF"
    mysql_execute(url, f"CREATE TRIGGER g BEFORE DELETE ON agent_sessions FOR EACH ROW BEGIN {body}; END")
    with opened(url) as store:
        changes = planned(store)
        outcomes = store.apply([changes[s] for s in "abc"], Guard())
    assert outcomes == [Outcome.DONE, Outcome.FAILED, Outcome.DONE]
    assert mysql_execute(url, "SELECT session_id FROM agent_messages") == [("b",)]


def test_a_trigger_on_items_makes_only_their_rewrite_fail(url: str) -> None:
    body = "IF OLD.session_id = 'b' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'keep'; END IF"
    mysql_execute(url, f"CREATE TRIGGER g BEFORE DELETE ON agent_messages FOR EACH ROW BEGIN {body}; END")
    with opened(url) as store:
        keys = {name: int(next(store.items(name)).key or 0) for name in "abc"}
        changes = [Rewrite(session_id=name, remove=(Span(key, key, 1),)) for name, key in keys.items()]
        assert store.apply(changes, Guard()) == [Outcome.DONE, Outcome.FAILED, Outcome.DONE]
    assert mysql_execute(url, "SELECT session_id FROM agent_messages") == [("b",)]
    assert count(url, "agent_sessions") == 3


def test_stamps_that_move_by_themselves_stay_when_a_text_is_replaced(url: str) -> None:
    """As older servers make them of a TIMESTAMP that is declared without a default."""
    stamp = "TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP"
    mysql_execute(url, f"ALTER TABLE agent_messages MODIFY created_at {stamp}")
    mysql_execute(url, "UPDATE agent_messages SET created_at = '2026-01-01 12:00:00'")
    with opened(url) as store:
        [before] = store.items("a")
        rewrite = Rewrite(session_id="a", replace=((int(before.key or 0), "cut"),))
        assert store.apply([rewrite], Guard()) == [Outcome.DONE]
        [after] = store.items("a")
    assert (after.text, after.created_at) == ("cut", before.created_at)


# --- rights -------------------------------------------------------------------------------------


def test_reading_takes_no_more_than_select(url: str, user: Callable[..., str]) -> None:
    schema = url.rsplit("/", 1)[1]
    mysql_execute(url, "CREATE TABLE theirs (id int)")
    with pytest.raises(AccessRefused):
        opened(user(f"SELECT ON {schema}.theirs"))
    with opened(user(f"SELECT ON {schema}.agent_sessions", f"SELECT ON {schema}.agent_messages")) as store:
        changes = planned(store)
        assert set(changes) == set("abc")
        assert len(list(store.sample(10))) == 3
        assert store.usage().total > 0
        assert len(list(store.find(["a", "b"], "HELLO"))) == 2
        with pytest.raises(AccessRefused) as caught:
            store.apply(list(changes.values()), Guard())
    assert "sw0rdfish" not in str(caught.value)
    assert count(url, "agent_sessions") == 3


def test_a_read_cannot_write(url: str) -> None:
    with opened(url) as store, store._engine.connect() as connection, pytest.raises(Exception, match="READ ONLY"):
        connection.exec_driver_sql("DELETE FROM agent_messages")
    assert count(url, "agent_messages") == 3


# --- beside live agents -------------------------------------------------------------------------


def test_what_was_appended_to_since_the_plan_is_left(url: str, sdk: SdkProcess) -> None:
    """Within the same second, which the stamp cannot tell apart."""
    with opened(url) as store:
        changes = planned(store)
        sdk.add(url, "a", LATE)
        assert store.apply([changes["a"]], Guard()) == [Outcome.CHANGED]
        changes = planned(store)
        sdk.pop(url, "a")
        assert store.apply([changes["a"]], Guard()) == [Outcome.CHANGED]
    assert sdk.get(url, "a") == HELLO


@pytest.mark.parametrize("process", ["sdk", "old_sdk"])
@pytest.mark.parametrize("point", ["items", "commit"])
@pytest.mark.parametrize("skips", [True, False])
def test_an_append_under_way_keeps_its_session(
    url: str, process: str, point: str, skips: bool, request: pytest.FixtureRequest
) -> None:
    """``skips`` False: as on servers that cannot pass over locked rows."""
    writer: SdkProcess = request.getfixturevalue(process)
    with opened(url) as store:
        store._skips_locked = skips  # type: ignore[attr-defined]
        changes = planned(store)
        append = writer.begin_add(url, "a", LATE, hold=point)
        append.wait_holding()
        assert store.apply([changes["a"], changes["b"]], Guard()) == [Outcome.ACTIVE, Outcome.DONE]
        append.go()
        append.result()
        assert store.apply([changes["a"]], Guard()) == [Outcome.CHANGED]
    assert writer.get(url, "a") == HELLO + LATE


@pytest.mark.parametrize("foreign_key", ["ON DELETE CASCADE", None])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_large_share_of_a_table_goes_beside_an_open_append(
    mysql_url: str, sdk: SdkProcess, foreign_key: str | None, share: float
) -> None:
    fill(mysql_url, sdk, foreign_key=foreign_key)
    ids = [f"t{number:03}" for number in range(600)]
    with contextlib.closing(mysql_connect(mysql_url)) as connection, connection.cursor() as cursor:
        for columns, more in (
            ("agent_sessions (session_id)", ()),
            ("agent_messages (session_id, message_data)", ("{}",)),
        ):
            places = ", ".join("%s" for _ in ("", *more))
            cursor.executemany(f"INSERT INTO {columns} VALUES ({places})", [(name, *more) for name in ids])
        cursor.execute("ANALYZE TABLE agent_sessions, agent_messages")
    held = sdk.begin_add(mysql_url, "b", LATE, hold="commit")
    held.wait_holding()
    with opened(mysql_url) as store:
        changes = planned(store)
        outcomes = store.apply([changes["b"], *(changes[name] for name in ids[: int(share * len(ids))])], Guard())
    assert not held.is_done
    assert outcomes == [Outcome.ACTIVE] + [Outcome.DONE] * int(share * len(ids))
    held.go()
    held.result()
    assert sdk.get(mysql_url, "b")[-1:] == LATE


@pytest.mark.parametrize("foreign_key", ["ON DELETE CASCADE", None])
@pytest.mark.parametrize("repeats", [True, False])
def test_an_append_that_meets_the_deletion_is_never_lost(
    mysql_url: str, sdk: SdkProcess, foreign_key: str | None, repeats: bool
) -> None:
    """``repeats`` True: as on servers that replicate by statements."""
    url = fill(mysql_url, sdk, foreign_key=foreign_key)
    appends = []

    def append_now(_connection: Any) -> None:
        append = sdk.begin_add(url, "a", LATE, hold=None)
        appends.append(append)
        waiting = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
        wait_until(lambda: bool(mysql_execute(url, waiting)), "the append waits")

    with opened(url) as store:
        store._repeats = repeats  # type: ignore[attr-defined]
        changes = planned(store)
        event.listen(store._engine, "commit", append_now)
        assert store.apply([changes["a"]], Guard()) == [Outcome.DONE]
        assert len(appends) == 1
        appends[0].result()
    assert sdk.get(url, "a") == LATE


@pytest.mark.parametrize("foreign_key", ["ON DELETE CASCADE", None])
def test_live_writers_lose_nothing(mysql_url: str, sdk: SdkProcess, foreign_key: str | None) -> None:
    """What was acknowledged is there, or was there when the plan was made that deleted it."""
    create_mysql_tables(mysql_url, foreign_key=foreign_key)
    ids = [f"s{number}" for number in range(12)]
    deleted: dict[str, list[str]] = {session_id: [] for session_id in ids}
    with opened(mysql_url) as store, sdk.running(mysql_url, ids, think_s=0.001) as writer:
        for _ in range(40):
            writer.wait_appends(2)
            changes = planned(store)
            texts = {session_id: [item.text for item in store.items(session_id)] for session_id in changes}
            outcomes = store.apply(list(changes.values()), Guard())
            for session_id, outcome in zip(changes, outcomes, strict=True):
                deleted[session_id] += texts[session_id] if outcome is Outcome.DONE else []
    assert writer.errors == []
    assert sum(map(len, deleted.values())) > 40
    for session_id, items in writer.acknowledged.items():
        kept = [json.dumps(item, separators=(",", ":")) for item in sdk.get(mysql_url, session_id)]
        assert deleted[session_id] + kept == [json.dumps(item, separators=(",", ":")) for item in items]


def test_other_writers_are_noticed_and_so_is_that_there_are_none(url: str, sdk: SdkProcess) -> None:
    nothing = [Delete(session_id="never", version="")]
    with opened(url) as store:

        def met() -> int:
            before = store.spent.met
            store.apply(nothing, Guard())
            return store.spent.met - before

        met()
        sdk.add(url, "other", HELLO)
        assert met() == 1
        wait_until(lambda: (met(), met())[1] == 0, "a moment in which nobody else writes on this server")


def test_a_store_that_stays_locked_is_busy_and_unchanged(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessionctl.drivers.mysql.LOCK_WAIT_S", 1)
    with opened(url) as store, contextlib.closing(mysql_connect(url)) as other:
        changes = planned(store)
        cursor = other.cursor()
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM agent_messages WHERE session_id = 'b' FOR UPDATE")
        with pytest.raises(StoreBusy):
            store.apply(list(changes.values()), Guard())
        cursor.execute("ROLLBACK")
        assert count(url, "agent_sessions") == 3
        assert set(store.apply(list(changes.values()), Guard())) == {Outcome.DONE}


@pytest.mark.parametrize("arrived", [True, False])
def test_a_connection_lost_while_committing_is_cleared_up(url: str, *, arrived: bool) -> None:
    """Whether the COMMIT came through or not: what is gone was deleted by us, what is there is deleted now."""
    kills = []

    def kill(connection: Any) -> None:
        if kills:
            return
        raw = connection.connection.dbapi_connection
        kills.append(raw.thread_id())
        if arrived:
            raw.query("COMMIT")
        mysql_execute(url, f"KILL {kills[0]}")
        alive = f"SELECT 1 FROM information_schema.processlist WHERE id = {kills[0]}"
        wait_until(lambda: not mysql_execute(url, alive), "the connection ends")

    with opened(url) as store:
        changes = planned(store)
        event.listen(store._engine, "commit", kill)
        batch = [changes["a"], changes["b"], Delete(session_id="never", version="")]
        with pytest.raises(StoreUnavailable, match="lost while committing: up to 2 sessions") as caught:
            store.apply(batch, Guard())
        assert caught.value.transient
        assert store.apply(batch, Guard()) == [Outcome.DONE, Outcome.DONE, Outcome.MISSING]
        assert store.apply(batch, Guard()) == [Outcome.MISSING] * 3
        assert len(kills) == 1
        assert {ref.id for ref in store.sessions(Query())} == {"c"}


def test_a_connection_lost_before_the_commit_changes_nothing(url: str) -> None:
    kills = []

    def kill(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if kills or not statement.startswith("DELETE"):
            return
        raw = connection.connection.dbapi_connection
        pid = raw.thread_id()
        kills.append(pid)
        mysql_execute(url, f"KILL {pid}")
        wait_until(
            lambda: not mysql_execute(url, f"SELECT 1 FROM information_schema.processlist WHERE id = {pid}"),
            "the connection ends",
        )

    with opened(url) as store:
        changes = list(planned(store).values())
        event.listen(store._engine, "before_cursor_execute", kill)
        with pytest.raises(StoreUnavailable) as caught:
            store.apply(changes, Guard())
        assert caught.value.transient
        assert len(kills) == 1
        assert count(url, "agent_sessions") == 3
        assert store.apply(changes, Guard()) == [Outcome.DONE] * 3


# --- reading ------------------------------------------------------------------------------------


def test_long_lists_of_ids(url: str) -> None:
    rows = [(f"n{number:05}",) for number in range(1, 25001)]
    with contextlib.closing(mysql_connect(url)) as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO agent_sessions (session_id) VALUES (%s)", rows)
        cursor.execute("UPDATE agent_sessions SET updated_at = '2026-01-01' WHERE session_id LIKE 'n%'")
    with opened(url) as store:
        for size in (5, 5000, 22000):
            ids = frozenset(f"n{number:05}" for number in range(1, size + 1)) | {"a", "absent", "N00001"}
            found = [ref.id for ref in store.sessions(Query(named=ids))]
            assert found == ["a", *sorted(ids - {"a", "absent", "N00001"})]
            assert len(list(store.sessions(Query(named=ids), limit=3, want=Want.SIZE))) == 3
