"""What is PostgreSQL's own: local times, layouts and what hangs on them, locks, and commits of unknown fate."""

from __future__ import annotations

import contextlib
import json
import operator
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from contents import assert_contents_however_many, assert_contents_in_order
from sdk_process import SdkProcess
from servers import postgres_connect, postgres_execute, postgres_role
from sqlalchemy import event

from sessionctl.core.address import parse_address
from sessionctl.core.joined import JoinedItems
from sessionctl.core.model import Cursor, Delete, Effect, Guard, Order, Outcome, Want
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
from sessionctl.stores.postgresql import adapter as postgresql
from sessionctl.testing.returning import assert_contents_of_whole

HELLO = [{"role": "user", "content": "hello"}]
LATE = [{"role": "user", "content": "late"}]
EVERY = Want.SIZE | Want.VERSION
NEW_YORK = "America/New_York"


def opened(url: str, **options: str) -> Store:
    return open_store(parse_address(url, options=options))


def planned(store: Store) -> dict[str, Delete]:
    refs = store.sessions(Query(), want=Want.VERSION)
    return {ref.id: Delete(session_id=ref.id, version=ref.version or "") for ref in refs}


def count(url: str, table: str, where: str = "true") -> int:
    return int(postgres_execute(url, f"SELECT count(*) FROM {table} WHERE {where}")[0][0])


def with_role(url: str, role: str) -> str:
    return url.replace("://postgres@", f"://{role}@", 1)


def wait_until(claim: Callable[[], bool], what: str, timeout: float = 20) -> None:
    end = time.monotonic() + timeout
    while not claim():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.01)


@pytest.fixture
def role(postgres_url: str) -> Iterator[str]:
    """A role without rights, gone after the test."""
    with postgres_role(postgres_url) as name:
        yield name


@pytest.fixture
def url(postgres_url: str, sdk: SdkProcess) -> str:
    """A store with the sessions a, b and c."""
    for session_id in "abc":
        sdk.add(postgres_url, session_id, HELLO)
    return postgres_url


# --- addresses ----------------------------------------------------------------------------------


def test_an_applications_own_url_works(url: str) -> None:
    theirs = url.replace("postgresql://", "postgresql+asyncpg://")
    options = "ssl=prefer&prepared_statement_cache_size=0&command_timeout=60&timeout=2.5&target_session_attrs=any"
    with opened(f"{theirs}?{options}") as store:
        assert {ref.id for ref in store.sessions(Query())} == set("abc")
        assert count(url, "pg_stat_activity", "application_name = 'sessionctl' AND datname = current_database()") == 1


def test_an_unknown_option_is_named(url: str) -> None:
    with pytest.raises(UsageError, match="sslmoed"):
        opened(f"{url}?sslmoed=require")


def test_encryption_that_is_asked_for_is_not_dropped(url: str) -> None:
    with contextlib.closing(postgres_connect(url)) as connection:
        has_tls = connection.execute("SHOW ssl").fetchone() == ("on",)
    if has_tls:
        with opened(f"{url}?ssl=require") as store:
            where = "s.ssl AND a.application_name = 'sessionctl' AND a.datname = current_database()"
            assert count(url, "pg_stat_ssl s JOIN pg_stat_activity a USING (pid)", where) == 1
            assert store.now() > datetime(2020, 1, 1, tzinfo=UTC)
    else:
        with pytest.raises(StoreUnavailable, match="SSL"):
            opened(f"{url}?ssl=require")


def test_errors_name_the_store_and_no_secret(url: str) -> None:
    secret = url.replace("://postgres@", "://nobody_at_all:sw0rdfish@")
    for wrong, error in (
        (secret, AccessRefused),
        (secret.replace("@127.0.0.1", "@no-such-host.invalid"), StoreUnavailable),
        (url + "_not", StoreMissing),
    ):
        with pytest.raises(error) as caught:
            opened(wrong)
        assert "sw0rdfish" not in f"{caught.value}{caught.value.hint}"
        assert "postgresql://" in caught.value.message


# --- times --------------------------------------------------------------------------------------


def test_stamps_are_read_in_the_zone_of_the_role(postgres_url: str, sdk: SdkProcess) -> None:
    name = postgres_url.rsplit("/", 1)[1]
    postgres_execute(postgres_url, f"ALTER DATABASE {name} SET timezone = '{NEW_YORK}'")
    sdk.add(postgres_url, "a", HELLO)
    stored = postgres_execute(postgres_url, "SELECT updated_at, now() FROM agent_sessions")[0]
    assert stored[1] - stored[0].replace(tzinfo=UTC) > timedelta(hours=3)
    with opened(postgres_url) as store:
        ref = next(store.sessions(Query(), want=EVERY))
        assert abs(store.now() - ref.updated_at) < timedelta(minutes=1)
        assert ref.newest_item_at == ref.updated_at
        assert next(store.items("a")).created_at == ref.updated_at
        long_ago = store.now() - timedelta(minutes=2)
        assert [r.id for r in store.sessions(Query(bounds=(Bound("updated_at", ">", long_ago),)))] == ["a"]
        assert [r.id for r in store.sessions(Query(bounds=(Bound("updated_at", "<=", long_ago),)))] == []
        assert store.census(long_ago).ahead == 1
        assert store.apply(list(planned(store).values()), Guard(min_idle=timedelta(minutes=2))) == [Outcome.ACTIVE]


def test_a_zone_can_be_named(postgres_url: str, sdk: SdkProcess) -> None:
    """The application wrote as a role of another zone than the one sessionctl connects by."""
    name = postgres_url.rsplit("/", 1)[1]
    postgres_execute(postgres_url, f"ALTER DATABASE {name} SET timezone = '{NEW_YORK}'")
    sdk.add(postgres_url, "a", HELLO)
    sdk.release()
    postgres_execute(postgres_url, f"ALTER DATABASE {name} RESET timezone")
    with opened(postgres_url) as store:
        assert store.now() - store.session("a").updated_at > timedelta(hours=3)
    with opened(f"{postgres_url}?timezone={NEW_YORK}") as store:
        assert abs(store.now() - store.session("a").updated_at) < timedelta(minutes=1)
    with pytest.raises(UsageError, match="Nowhere/Land"):
        opened(postgres_url, timezone="Nowhere/Land")


@pytest.mark.parametrize("order", Order)
def test_bounds_agree_with_what_is_shown_where_clocks_are_set_back(url: str, order: Order) -> None:
    """01:30 of 1 November 2026 happens twice in New York: whatever is shown for it, selection goes by."""
    postgres_execute(
        url,
        "INSERT INTO agent_sessions (session_id, created_at, updated_at) SELECT 't' || n, s, s FROM"
        " (SELECT n, timestamp '2026-10-31 22:00' + n * interval '10 minutes' AS s FROM generate_series(0, 60) n) x",
    )
    with opened(url, timezone=NEW_YORK) as store:
        refs = list(store.sessions(Query(globs=("t*",))))
        assert len(refs) == 61
        first = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)
        for minutes in range(0, 600, 17):
            for op in ("<", "<=", ">", ">="):
                bound = Bound("updated_at", op, first + timedelta(minutes=minutes))
                found = {ref.id for ref in store.sessions(Query(globs=("t*",), bounds=(bound,)), order=order)}
                assert found == {ref.id for ref in refs if bound.holds(ref)}
        pages, place = [], None
        while page := list(store.sessions(Query(globs=("t*",)), limit=7, after=place)):
            pages += [ref.id for ref in page]
            place = Cursor(activity=page[-1].updated_at, id=page[-1].id)
        assert pages == [ref.id for ref in refs]


def test_zoned_columns_are_read_as_they_are(url: str) -> None:
    before = {ref.id: ref for ref in _listed(url)}
    for table, column in (("agent_sessions", "updated_at"), ("agent_messages", "created_at")):
        postgres_execute(url, f"ALTER TABLE {table} ALTER {column} TYPE timestamptz")
    assert {ref.id: ref for ref in _listed(url, timezone=NEW_YORK)} == {
        key: _moved_creation(ref) for key, ref in before.items()
    }


def _listed(url: str, **options: str) -> list[Any]:
    with opened(url, **options) as store:
        return list(store.sessions(Query(), want=EVERY))


def _moved_creation(ref: Any) -> Any:
    """``created_at`` is still a local time there, and read in the zone that was named."""
    from dataclasses import replace
    from zoneinfo import ZoneInfo

    return replace(ref, created_at=ref.created_at.replace(tzinfo=ZoneInfo(NEW_YORK)).astimezone(UTC))


def test_in_utc_whole_sessions_are_what_they_are_where_zones_are_looked_up(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = ("infinity", "-infinity", "0044-03-15 BC", "0001-01-02", "0001-01-01", "9999-12-30", "9999-12-31")
    for stamp in (*stamps, "2026-01-01 10:00:00.000001"):
        insert = "INSERT INTO agent_messages (session_id, message_data, created_at) VALUES ('a', '{}', %s)"
        postgres_execute(url, insert, (stamp,))

    def whole() -> list[Any]:
        with opened(url, timezone="UTC") as store:
            ids = [ref.id for ref in store.sessions(Query())]
            return [(session, list(items)) for session, items in store.whole(ids)]

    found = whole()
    assert any(len(items) > len(stamps) for _, items in found)
    monkeypatch.setattr("sessionctl.stores.postgresql.copy._UTC", frozenset())
    assert whole() == found


@pytest.mark.parametrize("zone", ["UTC", NEW_YORK])
@pytest.mark.parametrize("kind", ["timestamp", "timestamptz"])
@pytest.mark.parametrize("odd", ["infinity", "0044-03-15 BC", "12026-01-02", "9999-12-31 23:59:59.999999", None])
def test_contents_are_those_of_whole_sessions_whatever_their_times(
    url: str, zone: str, kind: str, odd: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres_execute(url, f"ALTER TABLE agent_messages ALTER created_at DROP NOT NULL, ALTER created_at TYPE {kind}")
    insert = "INSERT INTO agent_messages (session_id, message_data, created_at) VALUES (%s, '{}', %s)"
    for session_id, stamp in (("a", "2026-07-01 12:00:00.000120"), ("a", "2026-01-01 10:00:00"), ("b", odd)):
        postgres_execute(url, insert, (session_id, stamp))
    with opened(url, timezone=zone) as store:
        assert_contents_however_many(store, ["a", "b", "c"], monkeypatch)


def test_contents_come_together(url: str) -> None:
    with opened(url, timezone="UTC") as store:
        assert {name: type(items) for name, items in store.contents(["a", "b"])} == dict.fromkeys("ab", JoinedItems)


def test_contents_beside_a_large_text_are_told_apart(url: str) -> None:
    """What is too large to come together is missing there, and a line break elsewhere must not make up for it."""
    insert = "INSERT INTO agent_messages (session_id, message_data) VALUES ('a', %s)"
    for text in ('{"role": "user",\n"content": 1}', json.dumps({"role": "user", "content": "x" * 20_000})):
        postgres_execute(url, insert, (text,))
    with opened(url, timezone="UTC") as store:
        assert_contents_of_whole(store, ["a", "b", "c"])


def test_contents_come_in_the_order_asked_for(url: str) -> None:
    """Those that do not come together with others too."""
    large = json.dumps({"role": "user", "content": "x" * 20_000})
    postgres_execute(url, "INSERT INTO agent_messages (session_id, message_data) VALUES ('a', %s)", (large,))
    with opened(url, timezone="UTC") as store:
        assert_contents_in_order(store, ["a", "b", "c"])


def test_large_sessions_are_read_last_and_told_in_their_turn(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    large = json.dumps({"role": "user", "content": "x" * 2**20})
    postgres_execute(url, "INSERT INTO agent_messages (session_id, message_data) VALUES ('a', %s)", (large,))

    def whole() -> list[Any]:
        return [(session, list(items)) for session, items in store.whole(["c", "a", "b"])]

    with opened(url, timezone="UTC") as store:
        found = whole()
        assert [session.id for session, _ in found] == ["c", "b", "a"]
        assert [session_id for session_id, _ in store.contents(["c", "a", "b"])] == ["c", "a", "b"]
        assert_contents_of_whole(store, ["a", "b", "c"])
        monkeypatch.setattr("sessionctl.stores.sql.whole._FETCHED_BYTES", 2)
        assert sorted(whole(), key=str) == sorted(found, key=str)


def test_stamps_beyond_all_calendars_are_far_away(url: str) -> None:
    for session_id, stamp in (("a", "infinity"), ("b", "-infinity"), ("c", "0044-03-15 BC")):
        postgres_execute(url, "UPDATE agent_sessions SET updated_at = %s WHERE session_id = %s", (stamp, session_id))
    with opened(url) as store:
        assert [(ref.id, ref.updated_at.year) for ref in store.sessions(Query())] == [("a", 9999), ("c", 1), ("b", 1)]
        assert store.census(store.now()).ahead == 1
        changes = list(planned(store).values())
        assert store.apply(changes, Guard())[0] is Outcome.ACTIVE


# --- layouts ------------------------------------------------------------------------------------


def test_tables_of_other_names_and_schemas(postgres_url: str, sdk: SdkProcess) -> None:
    sdk.add(postgres_url, "a", HELLO, tables=("Chat Sessions", "chat.messages"))
    with pytest.raises(StoreNotUnderstood, match="no table agent_sessions") as caught:
        opened(postgres_url)
    assert "sessions_table=Chat Sessions&messages_table=chat.messages" in (caught.value.hint or "")
    with opened(postgres_url, sessions_table="Chat Sessions", messages_table="chat.messages") as store:
        assert store.session("a", EVERY).items == 1
        assert store.apply(list(planned(store).values()), Guard()) == [Outcome.DONE]
    for statement in (
        "CREATE SCHEMA app",
        'ALTER TABLE "Chat Sessions" SET SCHEMA app',
        'ALTER TABLE "chat.messages" SET SCHEMA app',
        'ALTER TABLE app."chat.messages" RENAME TO msg',
    ):
        postgres_execute(postgres_url, statement)
    with opened(postgres_url, sessions_table="app.Chat Sessions", messages_table="app.msg") as store:
        assert store.info().tables == ("app.Chat Sessions", "app.msg")
        assert list(store.sessions(Query(), want=EVERY)) == []
        assert store.usage().total > 0


def test_tables_of_others_are_no_store(postgres_url: str) -> None:
    with pytest.raises(StoreNotUnderstood, match="no tables at all"):
        opened(postgres_url)
    postgres_execute(postgres_url, "CREATE TABLE agent_sessions (id int, updated_at timestamp)")
    with pytest.raises(StoreNotUnderstood, match="it has no created_at, session_id"):
        opened(postgres_url)
    postgres_execute(postgres_url, "DROP TABLE agent_sessions")
    columns = "session_id text PRIMARY KEY, created_at timestamp, updated_at bigint"
    postgres_execute(postgres_url, f"CREATE TABLE agent_sessions ({columns})")
    columns = "id serial, session_id text, message_data text, created_at timestamp"
    postgres_execute(postgres_url, f"CREATE TABLE agent_messages ({columns})")
    with pytest.raises(StoreNotUnderstood, match="updated_at is of type int8"):
        opened(postgres_url)


def test_without_a_foreign_key_items_go_first(url: str) -> None:
    postgres_execute(url, "ALTER TABLE agent_messages DROP CONSTRAINT agent_messages_session_id_fkey")
    postgres_execute(url, "INSERT INTO agent_messages (session_id, message_data) VALUES ('gone', '{}')")
    with opened(url) as store:
        assert store.volume().items - len(planned(store)) == 1
        changes = planned(store)
        assert store.apply([changes["a"], changes["b"]], Guard()) == [Outcome.DONE, Outcome.DONE]
    assert postgres_execute(url, "SELECT DISTINCT session_id FROM agent_messages ORDER BY 1") == [("c",), ("gone",)]


def test_a_foreign_key_that_does_not_cascade(url: str) -> None:
    key = "FOREIGN KEY (session_id) REFERENCES agent_sessions"
    postgres_execute(url, f"ALTER TABLE agent_messages DROP CONSTRAINT agent_messages_session_id_fkey, ADD {key}")
    with opened(url) as store:
        assert store.info().hazards == ()
        assert store.apply([planned(store)["b"]], Guard()) == [Outcome.DONE]
    assert count(url, "agent_messages") == count(url, "agent_sessions") == 2


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["ALTER TABLE agent_sessions ADD tenant text"], "tenant"),
        (
            ["ALTER TABLE agent_messages RENAME TO m", "CREATE VIEW agent_messages AS SELECT * FROM m"],
            "agent_messages is a view",
        ),
        (["ALTER TABLE agent_sessions DROP CONSTRAINT agent_sessions_pkey CASCADE"], "unique"),
    ],
)
def test_strange_tables_are_read_never_changed(url: str, statements: list[str], reason: str) -> None:
    for statement in statements:
        postgres_execute(url, statement)
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


def test_a_missing_index_is_said(url: str) -> None:
    postgres_execute(url, "DROP INDEX idx_agent_messages_session_time")
    with opened(url) as store:
        assert any("no index" in warning for warning in store.info().warnings)
        assert [ref.items for ref in store.sessions(Query(), limit=2, want=EVERY)] == [1, 1]


def test_row_level_security_is_said(url: str) -> None:
    postgres_execute(url, "ALTER TABLE agent_sessions ENABLE ROW LEVEL SECURITY")
    with opened(url) as store:
        assert any("row level security" in warning for warning in store.info().warnings)


# --- what hangs on the tables -------------------------------------------------------------------


def _refer(url: str, name: str, rule: str) -> None:
    postgres_execute(url, f"CREATE TABLE {name} (session_id varchar REFERENCES agent_sessions {rule})")
    postgres_execute(url, f"INSERT INTO {name} VALUES ('b')")


def test_foreign_keys_and_triggers_of_others_are_hazards(url: str) -> None:
    _refer(url, "feedback", "ON DELETE CASCADE")
    _refer(url, "notes", "ON DELETE SET NULL")
    _refer(url, "bills", "")
    postgres_execute(url, "CREATE TABLE votes (item int REFERENCES agent_messages ON DELETE RESTRICT)")
    postgres_execute(url, "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'")
    postgres_execute(url, "CREATE TRIGGER audit AFTER DELETE ON agent_messages FOR EACH ROW EXECUTE FUNCTION f()")
    postgres_execute(url, "CREATE TRIGGER touch AFTER UPDATE ON agent_sessions FOR EACH ROW EXECUTE FUNCTION f()")
    with opened(url) as store:
        hazards = store.info().hazards
    effects = {word: h.effect for h in hazards for word in ("feedback", "notes", "bills", "votes") if word in h.what}
    assert effects == {
        "feedback": Effect.TAKES_ALONG,
        "notes": Effect.TAKES_ALONG,
        "bills": Effect.BLOCKS,
        "votes": Effect.BLOCKS,
    }
    triggers = {h.what.split()[1]: h.effect for h in hazards if h.what.startswith("trigger")}
    assert triggers == {"audit": Effect.TAKES_ALONG, "touch": Effect.UNTOUCHED}
    assert len(hazards) == 6


@pytest.mark.parametrize("rule", ["", "ON DELETE RESTRICT", "DEFERRABLE INITIALLY DEFERRED"])
def test_a_session_that_others_refer_to_fails_alone(url: str, rule: str) -> None:
    _refer(url, "bills", rule)
    with opened(url) as store:
        changes = planned(store)
        outcomes = store.apply([changes[s] for s in "abc"], Guard())
    assert outcomes == [Outcome.DONE, Outcome.FAILED, Outcome.DONE]
    assert postgres_execute(url, "SELECT session_id FROM agent_messages") == [("b",)]


@pytest.mark.parametrize("body", ["RAISE EXCEPTION 'keep';", "RETURN NULL;"])
def test_a_trigger_that_refuses_makes_it_fail_alone(url: str, body: str) -> None:
    text = f"BEGIN IF OLD.session_id = 'b' THEN {body} END IF; RETURN OLD; END"
    postgres_execute(url, f"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $f${text}$f$")
    postgres_execute(url, "CREATE TRIGGER guard BEFORE DELETE ON agent_sessions FOR EACH ROW EXECUTE FUNCTION f()")
    with opened(url) as store:
        changes = planned(store)
        outcomes = store.apply([changes[s] for s in "abc"], Guard())
    assert outcomes == [Outcome.DONE, Outcome.FAILED, Outcome.DONE]
    assert postgres_execute(url, "SELECT session_id FROM agent_messages") == [("b",)]


def test_sessions_in_partitions_are_told_apart(postgres_url: str) -> None:
    """Rows of two partitions may lie at the same place."""
    postgres_execute(
        postgres_url,
        """
        CREATE TABLE agent_sessions (session_id varchar PRIMARY KEY, created_at timestamp NOT NULL DEFAULT now(),
            updated_at timestamp NOT NULL DEFAULT now()) PARTITION BY HASH (session_id);
        CREATE TABLE part_0 PARTITION OF agent_sessions FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE part_1 PARTITION OF agent_sessions FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        CREATE TABLE agent_messages (id serial PRIMARY KEY, message_data text NOT NULL,
            session_id varchar NOT NULL REFERENCES agent_sessions ON DELETE CASCADE, created_at timestamp);
        INSERT INTO agent_sessions SELECT chr(96 + n) FROM generate_series(1, 16) n;
        INSERT INTO agent_messages (session_id, message_data) SELECT session_id, '{}' FROM agent_sessions
        """,
    )
    shared = "SELECT count(*) FROM part_0 a JOIN part_1 b ON a.ctid = b.ctid"
    assert postgres_execute(postgres_url, shared)[0][0] >= 3
    with opened(postgres_url) as store:
        changes = planned(store)
        going = [row[0] for row in postgres_execute(postgres_url, "SELECT session_id FROM part_0")]
        assert set(store.apply([changes[session_id] for session_id in going], Guard())) == {Outcome.DONE}
    assert count(postgres_url, "part_0") == 0
    assert count(postgres_url, "agent_messages") == count(postgres_url, "part_1") == 16 - len(going)


# --- rights -------------------------------------------------------------------------------------


def test_reading_takes_no_more_than_select(url: str, role: str) -> None:
    with pytest.raises(AccessRefused):
        opened(with_role(url, role))
    postgres_execute(url, f"GRANT SELECT ON agent_sessions, agent_messages TO {role}")
    postgres_execute(url, f"ALTER ROLE {role} SET default_transaction_read_only = on")
    with opened(with_role(url, role)) as store:
        changes = planned(store)
        assert set(changes) == set("abc")
        assert len(list(store.sample(10))) == 3
        assert store.usage().total > 0
        assert [item.text for _, item in store.find(["a"], "HELLO")] == ['{"role":"user","content":"hello"}']
        with pytest.raises(AccessRefused):
            store.apply(list(changes.values()), Guard())
    assert count(url, "agent_sessions") == 3


def test_nothing_is_left_in_a_transaction(url: str) -> None:
    with opened(url) as store:
        planned(store)
        stream = store.sessions(Query())
        next(stream)
        stream.close()
        store.apply(list(planned(store).values())[:1], Guard(min_idle=timedelta(days=1)))
        mine = "application_name = 'sessionctl' AND datname = current_database()"
        states = postgres_execute(url, f"SELECT state FROM pg_stat_activity WHERE {mine}")
    assert states == [("idle",)]


# --- beside live agents -------------------------------------------------------------------------


def test_what_was_appended_to_since_the_plan_is_left(url: str, sdk: SdkProcess) -> None:
    with opened(url) as store:
        changes = planned(store)
        sdk.add(url, "a", LATE)
        assert store.apply([changes["a"]], Guard()) == [Outcome.CHANGED]
    assert sdk.get(url, "a") == HELLO + LATE


@pytest.mark.parametrize("process", ["sdk", "old_sdk"])
@pytest.mark.parametrize("point", ["items", "commit"])
def test_an_append_under_way_keeps_its_session(
    url: str, process: str, point: str, request: pytest.FixtureRequest
) -> None:
    writer: SdkProcess = request.getfixturevalue(process)
    with opened(url) as store:
        changes = planned(store)
        append = writer.begin_add(url, "a", LATE, hold=point)
        append.wait_holding()
        assert store.apply([changes["a"], changes["b"]], Guard()) == [Outcome.ACTIVE, Outcome.DONE]
        append.go()
        append.result()
        assert store.apply([changes["a"]], Guard()) == [Outcome.CHANGED]
    assert writer.get(url, "a") == HELLO + LATE


def test_a_session_that_lost_an_item_is_left_and_the_others_go(url: str, sdk: SdkProcess) -> None:
    sdk.add(url, "b", HELLO)
    with opened(url) as store:
        plan = planned(store)
        postgres_execute(url, "DELETE FROM agent_messages WHERE id = (SELECT max(id) FROM agent_messages)")
        changes = [plan["a"], plan["b"], plan["c"]]
        assert store.apply(changes, Guard()) == [Outcome.DONE, Outcome.CHANGED, Outcome.DONE]
    assert (count(url, "agent_sessions"), count(url, "agent_messages")) == (1, 1)


def test_an_append_that_meets_the_deletion_is_never_lost(url: str, sdk: SdkProcess) -> None:
    appends = []

    def append_now(_connection: Any) -> None:
        appends.append(sdk.start("add", url=url, session="a", items=LATE))
        wait_until(
            lambda: count(url, "pg_stat_activity", "wait_event_type = 'Lock' AND datname = current_database()") > 0,
            "the append waits",
        )

    with opened(url) as store:
        changes = planned(store)
        event.listen(store._engine, "commit", append_now)
        assert store.apply([changes["a"]], Guard()) == [Outcome.DONE]
        assert len(appends) == 1
        appends[0].result()
    assert sdk.get(url, "a") == LATE


def test_live_writers_lose_nothing(postgres_url: str, sdk: SdkProcess) -> None:
    """What was acknowledged is there, or was there when the plan was made that deleted it."""
    ids = [f"s{number}" for number in range(12)]
    deleted: dict[str, list[str]] = {session_id: [] for session_id in ids}
    with sdk.running(postgres_url, ids, think_s=0.001) as writer:
        writer.wait_appends(len(ids))
        with opened(postgres_url) as store:
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
        kept = [json.dumps(item, separators=(",", ":")) for item in sdk.get(postgres_url, session_id)]
        assert deleted[session_id] + kept == [json.dumps(item, separators=(",", ":")) for item in items]


def test_other_writers_are_noticed(postgres_url: str, sdk: SdkProcess) -> None:
    for number in range(6):
        sdk.add(postgres_url, f"s{number}", HELLO)
    with opened(postgres_url) as store:
        changes = planned(store)
        store.apply([changes["s0"]], Guard())
        before = store.spent.met
        sdk.add(postgres_url, "other", HELLO)
        store.apply([changes["s1"]], Guard())
        assert store.spent.met == before + 1


def test_a_batch_is_found_by_the_index_whatever_share_of_the_table_it_is(url: str) -> None:
    """A pass over the table would read all of it for each batch, and plans for small tables prefer one."""
    scans = "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'agent_sessions'"
    seen = []
    postgres_execute(url, "INSERT INTO agent_sessions (session_id) SELECT 'n' || n FROM generate_series(1, 497) n")
    postgres_execute(url, "ANALYZE agent_sessions")
    with opened(url) as store:
        changes = list(planned(store).values())
    with opened(url) as store:  # a connection that has not counted the planning
        event.listen(
            store._engine, "commit", lambda connection: seen.append(connection.exec_driver_sql(scans).scalar())
        )
        assert store.apply(changes, Guard()) == [Outcome.DONE] * 500
    assert seen == [0]


def test_a_store_that_stays_locked_is_busy_and_unchanged(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "LOCK_WAIT_S", 0.1)
    with opened(url) as store, contextlib.closing(postgres_connect(url)) as other:
        changes = planned(store)
        other.execute("BEGIN")
        other.execute("SELECT * FROM agent_messages WHERE session_id = 'b' FOR UPDATE")
        with pytest.raises(StoreBusy):
            store.apply(list(changes.values()), Guard())
        other.execute("ROLLBACK")
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
        kills.append(raw.info.backend_pid)
        if arrived:
            raw.pgconn.send_query(b"COMMIT")  # whose answer nobody reads
            wait_until(lambda: count(url, "agent_sessions") == 1, "the commit arrives")
        postgres_execute(url, "SELECT pg_terminate_backend(%s)", (raw.info.backend_pid,))
        wait_until(lambda: count(url, "pg_stat_activity", f"pid = {kills[0]}") == 0, "the backend ends")

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
        pid = raw.info.backend_pid
        kills.append(pid)
        postgres_execute(url, "SELECT pg_terminate_backend(%s)", (pid,))
        wait_until(lambda: count(url, "pg_stat_activity", f"pid = {pid}") == 0, "the connection ends")

    with opened(url) as store:
        changes = list(planned(store).values())
        event.listen(store._engine, "before_cursor_execute", kill)
        with pytest.raises(StoreUnavailable) as caught:
            store.apply(changes, Guard())
        assert caught.value.transient
        assert len(kills) == 1
        assert count(url, "agent_sessions") == 3
        assert store.apply(changes, Guard()) == [Outcome.DONE] * 3


def test_a_connection_dropped_between_calls_is_replaced(url: str) -> None:
    with opened(url) as store:
        where = "application_name = 'sessionctl' AND datname = current_database()"
        postgres_execute(url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {where}")
        wait_until(lambda: count(url, "pg_stat_activity", where) == 0, "the backend ends")
        assert store.census(store.now()).sessions == 3


# --- reading ------------------------------------------------------------------------------------


def test_long_lists_of_ids(url: str) -> None:
    postgres_execute(
        url,
        "INSERT INTO agent_sessions (session_id) SELECT 'n' || to_char(n, 'FM00000') FROM generate_series(1, 25000) n",
    )
    with opened(url) as store:
        for size in (5, 5000, 22000):
            ids = frozenset(f"n{number:05}" for number in range(1, size + 1)) | {"a", "absent"}
            found = [ref.id for ref in store.sessions(Query(named=ids))]
            assert found == [*sorted(ids - {"a", "absent"}), "a"]
            assert len(list(store.sessions(Query(named=ids), limit=3, want=Want.SIZE))) == 3


def test_order_of_items_is_the_sdks(url: str, sdk: SdkProcess) -> None:
    """By created_at first: a transaction that began early may get the later key."""
    sdk.add(url, "a", LATE)
    postgres_execute(
        url, "UPDATE agent_messages SET created_at = now() - interval '1 day' WHERE message_data LIKE '%late%'"
    )
    with opened(url) as store:
        texts = ['{"role":"user","content":"late"}', '{"role":"user","content":"hello"}']
        assert [item.text for item in store.items("a")] == texts
        assert [item.text for item in store.items("a", last=1)] == texts[1:]
    assert sdk.get(url, "a") == LATE + HELLO


def test_a_sample_is_spread_and_bounded(url: str) -> None:
    postgres_execute(
        url,
        "INSERT INTO agent_messages (session_id, message_data) SELECT 'a', n::text FROM generate_series(1, 20000) n",
    )
    postgres_execute(url, "DELETE FROM agent_messages WHERE id BETWEEN 5000 AND 15000")
    with opened(url) as store:
        keys = [item.key for item in store.sample(1000)]
    assert 800 <= len(keys) <= 1000
    assert len(set(keys)) == len(keys)
    assert operator.gt(sum(key < 5000 for key in keys), 200)
    assert operator.gt(sum(key > 15000 for key in keys), 200)
