"""Clauses on ``whole`` and ``put``: what was read whole and deleted comes back as it was, and nothing is merged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sessionctl.core.model import Guard, Onto, Outcome, Put, Want
from sessionctl.core.record import SessionRecord, StoredItem, rfc3339
from sessionctl.stores.base import Store
from sessionctl.testing.case import BROKEN_TEXTS, HOSTILE_IDS, HOSTILE_ITEMS, StoreCase, assistant, turn, user
from sessionctl.testing.changing import seen, write_idle
from sessionctl.testing.looking import existing

WHEN_BACK = [user("I am back")]


def taken_out(case: StoreCase, session_id: str) -> tuple[SessionRecord, tuple[StoredItem, ...]]:
    """The session as ``whole`` gives it, which is deleted then."""
    with case.open() as store:
        [(session, items)] = [(found.session, tuple(found.items)) for found in store.whole([session_id])]
        assert list(store.apply(seen(case, session_id), Guard())) == [Outcome.DONE]
    assert case.texts(session_id) == []
    return session, items


def put(case: StoreCase, *puts: Put) -> list[Outcome]:
    with case.open() as store:
        return list(store.put(puts))


class TestReturning:
    """Out and in again."""

    def test_large_sessions_among_small_ones_are_read_whole(self, case: StoreCase) -> None:
        large = [user("x" * 1_200_000), assistant("large enough to be streamed")]
        written = {f"s{number}": large if number % 2 else turn(number) for number in range(5)}
        for session_id, items in written.items():
            case.write(session_id, items)
        with case.open() as store:
            found = {whole.session.id: [item.text for item in whole.items] for whole in store.whole(list(written))}
            contents = {session_id: [row[3] for row in items] for session_id, items in store.contents(list(written))}
        assert found == {session_id: case.texts(session_id) for session_id in written}
        assert contents == found

    def test_the_contents_of_sessions_are_those_of_whole_ones(self, case: StoreCase) -> None:
        named = [HOSTILE_IDS[name] for name in ("quotes", "newline", "emoji", "rtl", "sql", "slash")]
        write_idle(case, *named)
        case.write("hostile", list(HOSTILE_ITEMS.values()))
        for text in BROKEN_TEXTS.values():
            case.put_raw("hostile", text)
        with case.open() as store:
            assert_contents_of_whole(store, [*named, "hostile", "none"])

    def test_what_is_read_whole_is_what_the_store_says_of_it(self, case: StoreCase) -> None:
        write_idle(case, "a", "b")
        with case.open() as store:
            found = {whole.session.id: (whole.session, list(whole.items)) for whole in store.whole(["a", "b", "none"])}
            assert set(found) == {"a", "b"}
            for session_id, (session, items) in found.items():
                assert session.version == existing(store, session_id, Want.VERSION).version
                assert [item.text for item in items] == case.texts(session_id)
                assert [item.key for item in items] == [item.key for item in store.items(session_id)]

    @pytest.mark.parametrize("name", ["quotes", "newline", "emoji", "rtl", "sql", "slash"])
    def test_a_session_comes_back_as_it_was(self, case: StoreCase, name: str) -> None:
        session_id = HOSTILE_IDS[name]
        write_idle(case, "left", session_id, "right")
        case.write("large", [HOSTILE_ITEMS["unicode"], HOSTILE_ITEMS["backslashes"], HOSTILE_ITEMS["separators"]])
        read, texts, before = case.read(session_id), case.texts(session_id), existing_whole(case, session_id)
        session, items = taken_out(case, session_id)
        assert put(case, Put(session=session, items=items, exact=True)) == [Outcome.DONE]
        assert (case.read(session_id), case.texts(session_id)) == (read, texts)
        assert existing_whole(case, session_id) == before
        case.write(session_id, WHEN_BACK)
        assert case.read(session_id) == read + WHEN_BACK

    def test_broken_texts_come_back_to_the_byte(self, case: StoreCase) -> None:
        case.write("mine", turn(1))
        for text in BROKEN_TEXTS.values():
            case.put_raw("mine", text)
        texts = case.texts("mine")
        session, items = taken_out(case, "mine")
        assert put(case, Put(session=session, items=items, exact=True)) == [Outcome.DONE]
        assert case.texts("mine") == texts

    def test_what_exists_is_not_merged_into(self, case: StoreCase) -> None:
        write_idle(case, "mine")
        before = case.texts("mine")
        with case.open() as store:
            [(session, items)] = [(found.session, tuple(found.items)) for found in store.whole(["mine"])]
        for exact in (True, False):
            assert put(case, Put(session=session, items=items, exact=exact)) == [Outcome.CHANGED]
            assert put(case, Put(session=session, items=items, exact=exact, onto=Onto.FRONT)) == [Outcome.CHANGED]
        assert case.texts("mine") == before

    def test_a_session_begun_anew_gets_its_items_back_in_front(self, case: StoreCase) -> None:
        write_idle(case, "mine", "other")
        read = case.read("mine")
        session, items = taken_out(case, "mine")
        case.write("mine", WHEN_BACK)
        whole = Put(session=session, items=items, exact=True)
        assert put(case, whole, replace(whole, onto=Onto.FRONT)) == [Outcome.CHANGED, Outcome.DONE]
        assert case.read("mine") == read + WHEN_BACK
        with case.open() as store:
            assert existing(store, "mine").created_at == existing(store, "other").created_at
        case.write("mine", turn(9))
        assert case.read("mine") == [*read, *WHEN_BACK, *turn(9)]

    def test_a_session_of_another_store_keeps_order_and_times(self, case: StoreCase) -> None:
        write_idle(case, "mine")
        read = case.read("mine")
        with case.open() as store:
            was = existing(store, "mine")
            [(session, items)] = [(found.session, tuple(found.items)) for found in store.whole(["mine"])]
            # As it would come from a store with keys of its own.
            foreign = tuple(item._replace(key=None) for item in items)
            other = Put(session=replace(session, id="theirs", extras={}), items=foreign)
            assert list(store.put([other])) == [Outcome.DONE]
            now = existing(store, "theirs")
            assert (now.created_at, now.updated_at) == (was.created_at, was.updated_at)
        assert case.read("theirs") == read
        case.write("theirs", WHEN_BACK)
        assert case.read("theirs") == read + WHEN_BACK


def assert_contents_of_whole(store: Store, ids: list[str]) -> None:
    """``contents`` are what ``whole`` has of these sessions, as far as a reader of plain items is concerned."""
    whole = {
        session.id: [(item.key, rfc3339(item.stored_at, item.at), item.text) for item in items]
        for session, items in store.whole(ids)
    }
    plain = {
        session_id: [(key, rfc3339(stored_at, at), text) for key, stored_at, at, text in items]
        for session_id, items in store.contents(ids)
    }
    assert plain == whole
    assert any(whole.values())


def existing_whole(case: StoreCase, session_id: str) -> tuple[SessionRecord, list[StoredItem]]:
    """All that ``whole`` says of what was written: not the generation and the version, which tell that it was."""
    with case.open() as store:
        [(session, items)] = [(found.session, list(found.items)) for found in store.whole([session_id])]
    extras = {table: rows for table, rows in session.extras.items() if table != "session_clear_generations"}
    return replace(session, version="", extras=extras), items
