"""Clauses on one session: what the SDK wrote is what a store tells."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, timedelta
from itertools import islice, product

import pytest

from sessionctl.core.model import Guard, Order, Want
from sessionctl.core.selector import Query
from sessionctl.testing.case import BROKEN_TEXTS, HOSTILE_IDS, HOSTILE_ITEMS, StoreCase, assistant, turn, user
from sessionctl.testing.looking import EVERYTHING, deletion, existing, octets

SECOND = timedelta(seconds=1)


def plain(value: object) -> str:
    """JSON of a value, comparable where the value holds NaN."""
    return json.dumps(value, sort_keys=True)


def parses(text: str) -> bool:
    """Is it JSON, as the SDK reads it?"""
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


def peak_of(items: Iterator[object]) -> int:
    """Octets that Python held at most at a time while ``items`` were looked at, one by one."""
    tracemalloc.start()
    try:
        for _ in items:
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class TestReading:
    """Items and sessions, to the byte."""

    def test_a_session_is_as_the_sdk_wrote_it(self, case: StoreCase) -> None:
        case.write("other", turn(1))
        with case.open() as store:
            before = store.now()
        case.write("mine", turn(1), turn(2), [user("last")])
        with case.open() as store:
            after = store.now()
            ref = existing(store, "mine")
        texts = case.texts("mine")
        assert len(texts) == 9
        assert (ref.id, ref.items, ref.bytes) == ("mine", 9, octets(texts))
        for stamp in (ref.created_at, ref.updated_at, ref.newest_item_at):
            assert stamp is not None
            assert stamp.utcoffset() == timedelta(0)
            assert before - SECOND <= stamp <= after + SECOND

    def test_items_are_the_stored_texts_in_the_order_of_the_sdk(self, case: StoreCase) -> None:
        case.write("other", turn(5))
        case.write("mine", turn(1), [user("b")], turn(2))
        with case.open() as store:
            items = list(store.items("mine"))
        assert [item.text for item in items] == case.texts("mine")
        assert [json.loads(item.text) for item in items] == case.read("mine")
        assert [item.size for item in items] == [octets([item.text]) for item in items]
        assert [item.hidden for item in items] == [None] * len(items)

    def test_items_have_keys_and_times(self, case: StoreCase) -> None:
        case.write("mine", turn(1), turn(2))
        with case.open() as store:
            items, now = list(store.items("mine")), store.now()
            timed = store.capabilities.item_times
        keys = [item.key for item in items if item.key is not None]
        assert len(set(keys)) == len(keys)
        for item in items:
            assert (item.created_at is not None) == timed
            assert item.created_at is None or abs(item.created_at - now) < 60 * SECOND

    def test_the_last_items_are_the_newest_in_order(self, case: StoreCase) -> None:
        case.write("mine", turn(1), turn(2))
        case.write("other", turn(3))
        with case.open() as store:
            assert list(store.items("mine", last=0)) == []
            for last in (1, 2, 5, 8, 100):
                assert [item.text for item in store.items("mine", last=last)] == case.texts("mine")[-last:]

    def test_both_ends_of_several_sessions(self, case: StoreCase) -> None:
        names = ["mine", "it's", "other", *(f"s{number}" for number in range(60))]
        case.write("mine", turn(1), turn(2))
        for name in names[1:]:
            case.write(name, turn(3))
        with case.open() as store:
            for first, last in ((1, 2), (2, 5), (20, 20), (0, 1)):
                found = {
                    ends.session_id: ends for ends in store.ends([*names, "nobody", "MINE"], first=first, last=last)
                }
                assert sorted(found) == sorted(names)
                for name in ("mine", "it's", "s59"):
                    items = list(store.items(name))
                    assert list(found[name].head) == items[:first]
                    assert list(found[name].tail) == items[-last:]
            assert list(store.ends([], first=1, last=1)) == []

    def test_sessions_that_may_hold_a_compaction_are_told(self, case: StoreCase) -> None:
        condensed = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA" * 500}
        case.write("mine", turn(1), [condensed], turn(2))
        case.write("other", turn(3))
        with case.open() as store:
            for query, order in product((Query(), Query(named=frozenset({"mine", "other"}))), Order):
                refs = store.sessions(query, order=order, want=Want.COMPACTED | Want.VERSION)
                assert {ref.id: ref.compacted for ref in refs} == {"mine": True, "other": False}
            assert existing(store, "mine").compacted is None

    def test_few_large_items_are_in_memory_at_a_time(self, case: StoreCase) -> None:
        """Images, most of them, of which a session may have a hundred."""
        octets, many, ids = 400_000, 60, ["a", "b"]
        for session_id in ids:
            case.write(session_id, [user("small"), *(user("x" * octets) for _ in range(many))])
        with case.open() as store:
            peaks = {
                "items": peak_of(store.items("a")),
                "find": peak_of(store.find(ids, "")),
                "sample": peak_of(store.sample(1000)),
                "whole": peak_of(item for whole in store.whole(ids) for item in whole.items),
                "contents": peak_of(item for _, items in store.contents(ids) for item in items),
            }
        assert max(peaks.values()) < octets * many // 2, peaks

    def test_items_follow_their_times_where_the_sdk_does(self, case: StoreCase) -> None:
        """Appends of one session that overlapped: the SDK's read order decides, not the order of keys."""
        case.write("mine", [user("a"), user("b")])
        with case.open() as store:
            later = store.now().replace(microsecond=0) + timedelta(hours=1)
        case.stamp("mine", items_at=later)
        case.write("mine", [user("c"), user("d")])
        with case.open() as store:
            expected = [item["content"] for item in case.read("mine")]
            assert sorted(expected) == ["a", "b", "c", "d"]
            assert [json.loads(item.text)["content"] for item in store.items("mine")] == expected
            assert [json.loads(item.text)["content"] for item in store.items("mine", last=2)] == expected[-2:]

    def test_an_unknown_session_has_nothing(self, case: StoreCase) -> None:
        case.write("mine", turn(1))
        with case.open() as store:
            assert store.session("nobody") is None
            assert store.session("nobody", EVERYTHING) is None
            assert list(store.items("nobody")) == []
            assert list(store.items("nobody", last=3)) == []

    def test_a_store_without_sessions(self, case: StoreCase) -> None:
        case.write("gone", [user("a")])
        with case.open() as store:
            ref = existing(store, "gone")
            store.apply([deletion(ref)], Guard())
        with case.open() as store:
            assert list(store.sessions(Query(), want=EVERYTHING)) == []
            assert store.census(store.now()).sessions == 0
            assert list(store.sample(10)) == []
            assert list(store.find([], "a")) == []

    def test_a_session_emptied_by_pops_is_still_there(self, case: StoreCase) -> None:
        case.write("mine", [user("a")])
        assert case.pop("mine") == user("a")
        with case.open() as store:
            ref = existing(store, "mine")
            assert (ref.items, ref.bytes, ref.newest_item_at) == (0, 0, None)
            assert list(store.items("mine")) == []

    def test_hostile_items(self, case: StoreCase) -> None:
        for name, item in HOSTILE_ITEMS.items():
            case.write(name, [user("before")], [item, assistant("after")])
        with case.open() as store:
            for name, item in HOSTILE_ITEMS.items():
                items, ref, texts = list(store.items(name)), existing(store, name), case.texts(name)
                assert [each.text for each in items] == texts, name
                assert (ref.items, ref.bytes) == (3, octets(texts)), name
                assert plain(json.loads(items[1].text)) == plain(item) == plain(case.read(name)[1]), name

    @pytest.mark.parametrize("text", ['{"role":"user","content":"日本語 é 👩‍👧"}', '  {"a" : 1}\n', '{"a":"\\u00e9"}'])
    def test_texts_of_other_spellings(self, case: StoreCase, text: str) -> None:
        """The SDK writes ASCII by default and can write UTF-8; spacing differs by backend: nothing is normalised."""
        case.write("mine", [user("before")])
        case.put_raw("mine", text)
        assert case.texts("mine")[1] == text
        with case.open() as store:
            assert [item.text for item in store.items("mine")][1] == text
            assert existing(store, "mine").bytes == octets(case.texts("mine"))

    def test_rows_that_the_sdk_skips_come_at_their_place(self, case: StoreCase) -> None:
        case.write("mine", [user("before")])
        for text in BROKEN_TEXTS.values():
            case.put_raw("mine", text)
        case.write("mine", [user("after")])
        texts = case.texts("mine")
        assert len(texts) == 2 + len(BROKEN_TEXTS)
        with case.open() as store:
            assert [item.text for item in store.items("mine")] == texts
            assert [item.text for item in store.items("mine", last=3)] == texts[-3:]
            ref = existing(store, "mine")
            assert (ref.items, ref.bytes) == (len(texts), octets(texts))
            assert BROKEN_TEXTS["broken"] in {item.text for _, item in store.find(["mine"], "cut of")}
            seen = [item.text for item in store.items("mine") if item.hidden is None]
        # what a store does not mark as hidden may be unreadable; what it marks is not read by the SDK
        assert [json.loads(text) for text in seen if parses(text)] == case.read("mine")

    def test_hostile_ids(self, case: StoreCase) -> None:
        names = {*HOSTILE_IDS.values(), "é:" * (case.longest_id // 2)}
        for name in names:
            case.write(name, [user(f"hostile {name}")], [user("again")])
        with case.open() as store:
            for name in names:
                assert (existing(store, name).id, existing(store, name).items) == (name, 2)
                assert [json.loads(item.text)["content"] for item in store.items(name)] == [f"hostile {name}", "again"]
                assert {found for found, _ in store.find([name], "hostile")} == {name}
            assert {ref.id for ref in store.sessions(Query())} == names

    def test_names_are_exact(self, case: StoreCase) -> None:
        case.write("u1", [user("a")])
        with case.open() as store:
            for other in ("U1", "u1 ", " u1", "u", "u1\x00", "u_", "u%", "ú1", "ｕ1", ""):
                assert store.session(other) is None, other
                assert list(store.items(other)) == [], other
            assert existing(store, "u1").items == 1

    def test_twins_are_two(self, case: StoreCase) -> None:
        twins = {"case": "U1", "space": "u1 "}
        mine = {"u1", *(twins[kind] for kind in case.distinct)}
        for session_id in mine:
            case.write(session_id, [user(session_id)])
        with case.open() as store:
            assert {ref.id for ref in store.sessions(Query())} == mine
            for session_id in mine:
                assert existing(store, session_id).items == 1
                assert [json.loads(item.text)["content"] for item in store.items(session_id)] == [session_id]


class TestSizing:
    """Totals and the store's own clock."""

    def test_the_clock_is_aware_and_runs(self, case: StoreCase) -> None:
        case.write("mine", [user("a")])
        with case.open() as store:
            first, second = store.now(), store.now()
        assert first.tzinfo is UTC or first.utcoffset() == timedelta(0)
        assert first <= second <= first + 30 * SECOND

    def test_a_census_counts_all_and_those_ahead(self, case: StoreCase) -> None:
        with_stamps = {f"s{number}": number for number in range(6)}
        for session_id in with_stamps:
            case.write(session_id, [user("a")])
        with case.open() as store:
            now = store.now().replace(microsecond=0)
        for session_id, hours in with_stamps.items():
            case.stamp(session_id, updated_at=now + timedelta(hours=hours - 3))
        with case.open() as store:
            census = store.census(now + timedelta(minutes=5))
            assert (census.sessions, census.ahead) == (6, 2)
            assert store.census(now + timedelta(hours=9)).ahead == 0

    def test_a_sample_is_bounded_and_of_stored_items(self, case: StoreCase) -> None:
        for number in range(30):
            case.write(f"s{number}", turn(number), turn(number + 1))
        stored = {text for number in range(30) for text in case.texts(f"s{number}")}
        with case.open() as store:
            everything = [item.text for item in store.sample(1000)]
            some = [item.text for item in islice(store.sample(24), 241)]
        assert len(everything) == 240
        assert set(everything) == stored
        assert 1 <= len(some) <= 240
        assert set(some) <= stored

    def test_usage_is_plausible(self, case: StoreCase) -> None:
        for number in range(5):
            case.write(f"s{number}", turn(number), [user("x" * 20000)])
        with case.open() as store:
            usage, volume = store.usage(), store.volume()
            counted = list(store.sessions(Query(), want=Want.COUNT))
            sized = list(store.sessions(Query(), order=Order.PHYSICAL, want=Want.SIZE))
        assert usage.total is None or usage.total >= 5 * 1000
        assert usage.free is None or 0 <= usage.free <= (usage.total or usage.free)
        assert usage.log is None or usage.log >= 0
        assert [(ref.items, ref.bytes) for ref in counted] == [(5, None)] * 5
        assert volume.items == sum(ref.items or 0 for ref in sized) == 25
        assert volume.bytes == sum(ref.bytes or 0 for ref in sized)

    def test_what_is_known_of_the_store(self, case: StoreCase) -> None:
        case.write("mine", [user("a")])
        with case.open() as store:
            info, capabilities = store.info(), store.capabilities
        assert info.flavour == case.flavour
        assert info.kind
        assert info.server
        assert info.tables
        assert (info.hazards, info.warnings, info.frozen) == ((), (), None)
        assert min(capabilities.pace.first, capabilities.pace.largest) >= 1
        assert capabilities.pace.hold_s > 0


class TestSearching:
    """``find`` never misses."""

    def test_find_gives_every_item_that_matches(self, case: StoreCase) -> None:
        names = [f"s{number}" for number in range(8)]
        for number, session_id in enumerate(names):
            case.write(session_id, turn(number), [user("100% a_b"), user("Éclair")])
        texts = {(name, text) for name in names[:6] for text in case.texts(name)}
        with case.open() as store:
            for needle in ("question 3", "QUESTION", "look_up", "100%", "a_b", "rain rain", "zebra", ""):
                expected = {(name, text) for name, text in texts if needle.lower() in text.lower()}
                assert bool(expected) == (needle != "zebra")
                assert expected <= {(name, item.text) for name, item in store.find(names[:6], needle)} <= texts, needle

    def test_find_in_many_sessions(self, case: StoreCase) -> None:
        case.write("here", [user("needle")])
        case.write("elsewhere", [user("needle")])
        asked = [f"nobody {number}" for number in range(2500)] + ["here"]
        with case.open() as store:
            assert {session_id for session_id, _ in store.find(asked, "needle")} == {"here"}
