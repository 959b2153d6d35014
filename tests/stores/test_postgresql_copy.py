"""Sessions that are put into PostgreSQL: by COPY where that does what INSERT would, and one by one where it must."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sdk_process import SdkProcess
from servers import postgres_execute, postgres_role

from sessionctl.core.address import parse_address
from sessionctl.core.model import Outcome, Put
from sessionctl.core.record import SessionRecord, Stamps, StoredItem
from sessionctl.stores import open_store
from sessionctl.stores.base import Store

HOSTILE = (
    "a\tb", "a\nb", "a\r\nb", "\\N", "\\.", "\\", 'back\\\\slash "x"', "", "\\t", "\x01\x7f", "é😀", '{"a": "\\u0000"}',
)  # fmt: skip
NEW_YORK = "America/New_York"
FALL = datetime(2025, 11, 2, 4, 30, tzinfo=UTC)
"""Half an hour after midnight in New York; the hour from 1 to 2 o'clock comes twice."""


@pytest.fixture
def url(postgres_url: str, sdk: SdkProcess) -> str:
    """A store with the session a."""
    sdk.add(postgres_url, "a", [{"role": "user", "content": "hello"}])
    return postgres_url


def opened(url: str, **options: str) -> Store:
    return open_store(parse_address(url, options=options))


def foreign(session_id: str, *texts: str, stamps: tuple[str, ...] = ()) -> Put:
    """A session of another store."""
    at = stamps or ("2026-01-02 03:04:05",) * len(texts)
    record = SessionRecord(id=session_id, version="1", stamps=Stamps(created="2026-01-02 03:04:05", updated=at[-1]))
    return Put(session=record, items=tuple(map(_item, range(len(texts)), at, texts)))


def _item(key: int, stamp: str, text: str) -> StoredItem:
    return StoredItem(key, stamp, None, text)


def texts(store: Store, session_id: str) -> list[str]:
    return [item.text for item in store.items(session_id)]


def test_whatever_the_texts_hold_they_are_kept(url: str) -> None:
    names = [f"s{number}\t\\{text}" for number, text in enumerate(HOSTILE) if "\n" not in text]
    with opened(url) as store:
        assert set(store.put([foreign(name, *HOSTILE) for name in names])) == {Outcome.DONE}
        assert all(texts(store, name) == list(HOSTILE) for name in names)


def test_what_does_not_fit_does_not_cost_the_others_their_place(url: str) -> None:
    puts = [foreign(f"s{number}", "{}", "[]") for number in range(20)]
    puts[3] = foreign("nul", "{}", "a\0b")
    puts[7] = foreign("a", "{}")
    puts[11] = foreign("half", "\ud800")
    puts[19] = foreign("s0", "{}")
    wrong = {3: Outcome.FAILED, 7: Outcome.CHANGED, 11: Outcome.FAILED, 19: Outcome.CHANGED}
    with opened(url) as store:
        assert list(store.put(puts)) == [wrong.get(place, Outcome.DONE) for place in range(20)]
        assert all(texts(store, f"s{n}") == ["{}", "[]"] for n in range(20) if n not in wrong)
        assert texts(store, "nul") == texts(store, "half") == []
        assert len(texts(store, "a")) == 1


@pytest.mark.parametrize("zone", ["UTC", NEW_YORK, "Asia/Kolkata"])
@pytest.mark.parametrize("named", [True, False])
def test_instants_become_the_local_times_that_the_sdk_would_have_written(url: str, zone: str, *, named: bool) -> None:
    database = url.rsplit("/", 1)[1]
    if not named:
        postgres_execute(url, f"ALTER DATABASE \"{database}\" SET timezone = '{zone}'")
    instants = [FALL + timedelta(minutes=30 * step, microseconds=step) for step in range(8)]
    stamps = tuple(f"{at:%Y-%m-%d %H:%M:%S.%f}" for at in instants)
    puts = [foreign(name, *("{}",) * 8, stamps=stamps) for name in ("x", "y")]
    with opened(url, **({"timezone": zone} if named else {})) as store:
        assert list(store.put(puts)) == [Outcome.DONE] * 2
    local = ", ".join(f"timestamptz '{stamp}+00' AT TIME ZONE '{zone}'" for stamp in stamps)
    asked = f"SELECT array_agg(created_at ORDER BY id) = ARRAY[{local}] FROM agent_messages WHERE session_id = 'x'"
    assert postgres_execute(url, asked) == [(True,)]
    last = postgres_execute(url, f"SELECT updated_at AT TIME ZONE '{zone}' FROM agent_sessions WHERE session_id = 'y'")
    assert last[0][0] == instants[-1]


def test_columns_with_a_zone_take_instants(url: str) -> None:
    for table, column in (("sessions", "created_at"), ("sessions", "updated_at"), ("messages", "created_at")):
        postgres_execute(url, f"ALTER TABLE agent_{table} ALTER {column} TYPE timestamptz")
    put = foreign("x", "{}", stamps=("2026-01-02 03:04:05.000006",))
    with opened(url, timezone=NEW_YORK) as store:
        assert list(store.put([put, foreign("y", "{}")])) == [Outcome.DONE] * 2
        (item,) = store.items("x")
        assert item.created_at == datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize("stamp", ["infinity", "-infinity", "12026-01-02 03:04:05.000006", "0001-01-01 00:00:00"])
@pytest.mark.parametrize("kind", ["timestamp", "timestamptz"])
def test_what_was_taken_out_comes_back_at_the_time_it_had(url: str, stamp: str, kind: str) -> None:
    postgres_execute(url, f"ALTER TABLE agent_messages ALTER created_at TYPE {kind}")
    postgres_execute(url, f"UPDATE agent_messages SET created_at = '{stamp}'")
    rows = "SELECT id, session_id, message_data, created_at::text FROM agent_messages WHERE session_id = 'a'"
    before = postgres_execute(url, rows)
    with opened(url) as store:
        ((record, items),) = store.whole(["a"])
        put = Put(session=record, items=tuple(items), exact=True)
        for table in ("messages", "sessions"):
            postgres_execute(url, f"DELETE FROM agent_{table}")
        usual = replace(foreign("b", "{}"), exact=True)
        assert list(store.put([usual, put])) == [Outcome.DONE] * 2
        assert texts(store, "b") == ["{}"]
    assert postgres_execute(url, rows) == before


@pytest.mark.parametrize("key", [2**40, None, "k"])
def test_a_key_that_the_column_cannot_hold_fails_alone(url: str, key: int | str | None) -> None:
    postgres_execute(url, "ALTER SEQUENCE agent_messages_id_seq AS bigint")
    postgres_execute(url, f"SELECT setval('agent_messages_id_seq', {2**41})")
    with opened(url) as store:
        kept, odd = (replace(foreign(name, "{}"), exact=True) for name in ("x", "y"))
        odd = replace(odd, items=(odd.items[0]._replace(key=key),))
        assert list(store.put([kept, odd])) == [Outcome.DONE, Outcome.FAILED]


RULE = (
    "CREATE TABLE noted (session_id text)",
    "CREATE RULE note AS ON INSERT TO agent_messages DO ALSO INSERT INTO noted VALUES (NEW.session_id)",
)
TRIGGER = (
    "CREATE TABLE noted (session_id text)",
    """CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN INSERT INTO noted VALUES (NEW.session_id); RETURN NEW; END$$""",
    "CREATE TRIGGER note BEFORE INSERT ON agent_messages FOR EACH ROW EXECUTE FUNCTION note()",
)


@pytest.mark.parametrize("statements", [RULE, TRIGGER], ids=["rule", "trigger"])
def test_what_others_made_of_an_insert_happens(url: str, statements: tuple[str, ...]) -> None:
    for statement in statements:
        postgres_execute(url, statement)
    with opened(url) as store:
        assert list(store.put([foreign("x", "{}", "[]"), foreign("y", "{}")])) == [Outcome.DONE] * 2
    assert postgres_execute(url, "SELECT count(*) FROM noted") == [(3,)]


CUTTING = (
    """CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN NEW.message_data = rtrim(NEW.message_data); RETURN NEW; END$$""",
    "CREATE TRIGGER cut BEFORE INSERT ON agent_messages FOR EACH ROW EXECUTE FUNCTION cut()",
)
NARROW = ("ALTER TABLE agent_messages ALTER message_data TYPE varchar(60)",)


@pytest.mark.parametrize("statements", [CUTTING, NARROW], ids=["trigger", "varchar"])
def test_a_text_that_is_not_kept_as_it_is_fails_alone(url: str, statements: tuple[str, ...]) -> None:
    for statement in statements:
        postgres_execute(url, statement)
    with opened(url) as store:
        puts = [foreign("x", "{}"), foreign("y", "{}" + " " * 80), foreign("z", "{}")]
        assert list(store.put(puts)) == [Outcome.DONE, Outcome.FAILED, Outcome.DONE]
        assert (texts(store, "x"), texts(store, "y")) == (["{}"], [])


def test_where_policies_say_who_may_write_what_rows_are_inserted(url: str) -> None:
    with postgres_role(url) as role:
        for statement in (
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
            f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}",
            "ALTER TABLE agent_messages ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY every ON agent_messages USING (true) WITH CHECK (session_id <> 'forbidden')",
        ):
            postgres_execute(url, statement)
        with opened(url.replace("://postgres@", f"://{role}@", 1)) as store:
            assert list(store.put([foreign("x", *HOSTILE), foreign("y", "{}")])) == [Outcome.DONE] * 2
            assert texts(store, "x") == list(HOSTILE)
