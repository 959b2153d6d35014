"""Clauses on many sessions: lists are complete, ordered, bounded, and filtered as the query says."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import chain, islice, product

import pytest

from sessionctl.core.model import Cursor, Order, SessionRef, Want
from sessionctl.core.selector import Bound, Query
from sessionctl.testing.case import HOSTILE_IDS, StoreCase, turn, user
from sessionctl.testing.looking import EVERYTHING, existing, ids, octets, pages

HOUR = timedelta(hours=1)


def store_clock(case: StoreCase) -> datetime:
    """The store's time, in whole seconds."""
    with case.open() as store:
        return store.now().replace(microsecond=0)


def write_hours(case: StoreCase, hours: dict[str, float]) -> datetime:
    """One session of two items per id, last active that many hours ago; the time they are counted from."""
    for session_id in hours:
        case.write(session_id, [user(f"of {session_id}"), user("second")])
    now = store_clock(case)
    for session_id, ago in hours.items():
        case.stamp(session_id, updated_at=now - ago * HOUR, created_at=now - ago * HOUR - HOUR)
    return now


def by_activity(refs: list[SessionRef]) -> list[tuple[bool, float]]:
    """Sort keys that must ascend: unknown times last, newest first."""
    return [(ref.updated_at is None, -ref.updated_at.timestamp() if ref.updated_at else 0.0) for ref in refs]


class TestListing:
    """The whole store."""

    def test_every_session_comes_once(self, case: StoreCase) -> None:
        turns = {f"session-{number * 7919 % 101:03}": number % 5 + 1 for number in range(40)}
        for session_id, count in turns.items():
            case.write(session_id, *(turn(number) for number in range(count)))
        sizes = {name: octets(case.texts(name)) for name in turns}
        with case.open() as store:
            for order, want in product(Order, (Want.NOTHING, Want.SIZE, Want.VERSION, EVERYTHING)):
                refs = list(store.sessions(Query(), order=order, want=want))
                assert sorted(ids(refs)) == sorted(turns), (order, want)
                if want:
                    assert {ref.id: ref.items for ref in refs} == {name: 4 * count for name, count in turns.items()}
                if Want.SIZE in want:
                    assert {ref.id: ref.bytes for ref in refs} == sizes
                if Want.VERSION in want:
                    assert all(ref.version and ref.newest_item_at for ref in refs)

    def test_newest_activity_comes_first(self, case: StoreCase) -> None:
        hours = {"b": 5.0, "a": 1.0, "e": 9.0, "c": 0.5, "d": 700.0}
        now = write_hours(case, hours)
        with case.open() as store:
            refs = list(store.sessions(Query()))
            assert ids(store.sessions(Query(), order=Order.OLDEST)) == ["d", "e", "b", "a", "c"]
            named = Query(named=frozenset("abe"))
            assert ids(store.sessions(named, order=Order.OLDEST, want=Want.SIZE)) == ["e", "b", "a"]
        assert ids(refs) == ["c", "a", "b", "e", "d"]
        assert {ref.id: ref.updated_at for ref in refs} == {name: now - ago * HOUR for name, ago in hours.items()}
        assert {ref.id: ref.created_at for ref in refs} == {name: now - (ago + 1) * HOUR for name, ago in hours.items()}

    def test_equal_times_go_by_id(self, case: StoreCase) -> None:
        names = [f"id-{number:02}" for number in (7, 3, 11, 1, 8, 2)]
        write_hours(case, dict.fromkeys(names, 4.0) | {"newer": 2.0, "aaa": 6.0})
        with case.open() as store:
            assert ids(store.sessions(Query())) == ["newer", *sorted(names), "aaa"]
            assert ids(store.sessions(Query(), order=Order.OLDEST)) == ["aaa", *sorted(names), "newer"]
            assert ids(store.sessions(Query(), limit=3)) == ["newer", "id-01", "id-02"]
            assert ids(store.sessions(Query(), order=Order.OLDEST, limit=3)) == ["aaa", "id-01", "id-02"]

    def test_unknown_times_come_last_and_match_no_bound(self, case: StoreCase) -> None:
        now = write_hours(case, {"known": 500.0, "also": 2.0, "unknown": 1.0})
        if not case.unstamp("unknown"):
            return  # this store cannot lack them: there is nothing to hold
        with case.open() as store:
            refs = list(store.sessions(Query(), want=EVERYTHING))
            assert ids(refs) == ["also", "known", "unknown"]
            assert ids(store.sessions(Query(), order=Order.OLDEST)) == ["unknown", "known", "also"]
            assert (refs[-1].updated_at, refs[-1].created_at, refs[-1].items) == (None, None, 2)
            for op in ("<", "<=", ">", ">="):
                for column in ("updated_at", "created_at"):
                    query = Query(bounds=(Bound(column, op, now),))
                    assert "unknown" not in ids(store.sessions(query))
            assert [ids(page) for page in pages(store, Query(), 1)] == [["also"], ["known"], ["unknown"]]

    @pytest.mark.parametrize("order", list(Order))
    def test_a_limit_cuts_the_same_list(self, case: StoreCase, order: Order) -> None:
        write_hours(case, {f"s{number}": float(number * 5 % 9) for number in range(9)})
        with case.open() as store:
            whole = ids(store.sessions(Query(), order=order))
            assert len(whole) == 9
            for limit in (0, 1, 4, 9, 50):
                assert ids(store.sessions(Query(), order=order, limit=limit)) == whole[:limit]
                assert ids(store.sessions(Query(), order=order, limit=limit, want=EVERYTHING)) == whole[:limit]

    def test_a_listing_is_streamed_beside_other_calls(self, case: StoreCase) -> None:
        names = {f"s{number}" for number in range(12)}
        for name in names:
            case.write(name, turn(1))
        with case.open() as store:
            for order in Order:
                listing, seen = iter(store.sessions(Query(), order=order, want=EVERYTHING)), set()
                for ref in listing:
                    seen.add(ref.id)
                    assert [item.text for item in store.items(ref.id)] == case.texts(ref.id)
                    assert {found for found, _ in store.find([ref.id], "question")} == {ref.id}
                    assert existing(store, ref.id).items == 4
                    assert store.census(store.now()).sessions == 12
                assert seen == names
            first, second = store.items("s1"), store.items("s2")
            assert [item.text for pair in zip(first, second, strict=True) for item in pair] == list(
                chain.from_iterable(zip(case.texts("s1"), case.texts("s2"), strict=True))
            )

    def test_a_stream_left_in_the_middle_harms_nothing(self, case: StoreCase) -> None:
        for number in range(10):
            case.write(f"s{number}", turn(number))
        with case.open() as store:
            left = store.sessions(Query(), want=EVERYTHING)
            assert len(list(islice(left, 2))) == 2
            items = store.items("s3")
            next(items)
            assert len(list(store.sessions(Query()))) == 10
        case.write("s3", [user("later")])
        with case.open() as store:
            assert existing(store, "s3").items == 5


class TestPaging:
    """Cursors."""

    def test_pages_are_disjoint_and_complete(self, case: StoreCase) -> None:
        hours = {f"{'Ab%_ü-'[number % 6]}{number:02}": float(number % 4) for number in range(20)}
        write_hours(case, hours | dict.fromkeys(("a", "B", "c", "Z", "z1", "é", "emoji 👩‍👧", "-", "_"), 2.0))
        with case.open() as store:
            whole = list(store.sessions(Query()))
            assert len(whole) == 29
            assert by_activity(whole) == sorted(by_activity(whole))
            for size in (1, 3, 7, 100):
                paged = pages(store, Query(), size)
                assert ids(chain.from_iterable(paged)) == ids(whole), size
                assert all(len(page) == size for page in paged[:-1])

    def test_pages_of_a_query_with_sizes(self, case: StoreCase) -> None:
        for number in range(12):
            case.write(f"s{number:02}", [user("a")] * (number % 3 + 1))
        query = Query(min_items=2, globs=("s0*",))
        with case.open() as store:
            whole = list(store.sessions(query, want=EVERYTHING))
            assert sorted(ids(whole)) == ["s01", "s02", "s04", "s05", "s07", "s08"]
            assert list(chain.from_iterable(pages(store, query, 2, EVERYTHING))) == whole

    def test_pages_show_what_changes_behind_them(self, case: StoreCase) -> None:
        """A session that is appended to after its page came is not shown twice; none that stays is lost."""
        write_hours(case, {f"s{number}": float(number + 1) for number in range(6)})
        with case.open() as store:
            first = list(store.sessions(Query(), limit=3))
        case.write("s1", [user("new")])
        with case.open() as store:
            after = Cursor(activity=first[-1].last_activity, id=first[-1].id)
            assert ids(store.sessions(Query(), after=after)) == ["s3", "s4", "s5"]

    def test_a_cursor_without_an_id_leaves_a_whole_time_behind(self, case: StoreCase) -> None:
        now = write_hours(case, {"a": 1.0, "b": 2.0, "c": 2.0, "d": 3.0})
        with case.open() as store:
            assert ids(store.sessions(Query(), after=Cursor(activity=now - 2 * HOUR, id=None))) == ["d"]


_QUERY_HOURS = {
    "alpha": 1.0, "Alpha": 2.0, "ALPHA-2": 2.0, "beta:1": 10.0, "beta:2": 20.0, "beta/3": 30.0, "100%": 40.0,
    "1000": 41.0, "a_b": 42.0, "axb": 43.0, "[x]": 44.0, "x": 45.0, "star*": 46.0, "start": 47.0, "what?": 48.0,
    "whats": 49.0, "back\\slash": 50.0, "two\nlines": 51.0, "مرحبا": 52.0, "emoji 👩‍👧": 53.0, "it's": 54.0,
}  # fmt: skip
"""Hours since the last activity of the sessions that queries are tried on."""


def _ago(column: str, op: str, hours: float) -> tuple[str, str, float]:
    return column, op, hours


_QUERIES: dict[str, tuple[Query, list[tuple[str, str, float]], set[str]]] = {
    "everything": (Query(), [], set(_QUERY_HOURS)),
    "named": (Query(named=frozenset({"alpha", "100%", "nobody"})), [], {"alpha", "100%"}),
    "named none": (Query(named=frozenset()), [], set()),
    "named exactly": (Query(named=frozenset({"aLPHA", "alpha ", "STAR*"})), [], set()),
    "many named": (Query(named=frozenset({*map(str, range(3000)), "x"})), [], {"1000", "x"}),
    "very many named": (Query(named=frozenset({*map(str, range(30000)), "x"})), [], {"1000", "x"}),
    "glob of case": (Query(globs=("alpha*",)), [], {"alpha"}),
    "glob in upper case": (Query(globs=("A*",)), [], {"Alpha", "ALPHA-2"}),
    "glob over slash and colon": (Query(globs=("beta*",)), [], {"beta:1", "beta:2", "beta/3"}),
    "glob with percent": (Query(globs=("100%",)), [], {"100%"}),
    "glob with underscore": (Query(globs=("a_b",)), [], {"a_b"}),
    "glob with a question mark": (Query(globs=("a?b",)), [], {"a_b", "axb"}),
    "glob with brackets": (Query(globs=("[x]",)), [], {"[x]"}),
    "glob with backslash": (Query(globs=("back\\*",)), [], {"back\\slash"}),
    "glob over a newline": (Query(globs=("two*lines", "two?lines")), [], {"two\nlines"}),
    "glob with a quote": (Query(globs=("it's",)), [], {"it's"}),
    "glob of one emoji": (Query(globs=("emoji ???",)), [], {"emoji 👩‍👧"}),
    "glob of everything": (Query(globs=("*",)), [], set(_QUERY_HOURS)),
    "glob in arabic": (Query(globs=("مر*",)), [], {"مرحبا"}),
    "any of named and globs": (Query(named=frozenset({"x"}), globs=("1*",)), [], {"x", "1000", "100%"}),
    "excluded": (Query(globs=("*a*",), excluded=("*:*", "st*", "ALPHA*")), [],
                 {"alpha", "Alpha", "beta/3", "a_b", "axb", "whats", "what?", "back\\slash"}),
    "only excluded": (Query(excluded=("?*",)), [], set()),
    "excluded by percent": (Query(globs=("1*",), excluded=("1%0*", "100_")), [], {"1000", "100%"}),
    "older": (Query(), [_ago("updated_at", "<=", 50.0)], {"back\\slash", "two\nlines", "مرحبا", "emoji 👩‍👧", "it's"}),
    "older, bound excluded": (Query(), [_ago("updated_at", "<", 50.0)], {"two\nlines", "مرحبا", "emoji 👩‍👧", "it's"}),
    "newer": (Query(), [_ago("updated_at", ">", 2.0)], {"alpha"}),
    "newer, bound included": (Query(), [_ago("updated_at", ">=", 2.0)], {"alpha", "Alpha", "ALPHA-2"}),
    "created": (Query(), [_ago("created_at", "<", 54.0), _ago("created_at", ">=", 55.0)], {"it's"}),
    "between": (Query(), [_ago("updated_at", "<", 9.5), _ago("updated_at", ">", 21.0)], {"beta:1", "beta:2"}),
    "bounds and globs": (Query(globs=("b*",)), [_ago("updated_at", "<=", 20.0)], {"beta:2", "beta/3", "back\\slash"}),
    "items": (Query(min_items=4), [], {"beta:1", "start"}),
    "items of some": (Query(min_items=2, globs=("st*",)), [], {"star*", "start"}),
    "no items needed": (Query(min_items=0, globs=("x",)), [], {"x"}),
    "octets": (Query(min_bytes=5000), [], {"start"}),
    "octets and items": (Query(min_bytes=100, min_items=4, globs=("beta*",)), [], {"beta:1"}),
    "tokens": (Query(min_tokens=1000), [], {"start"}),
    "empty": (Query(empty=True), [], {"whats"}),
    "empty and old": (Query(empty=True), [_ago("updated_at", "<", 60.0)], set()),
}  # fmt: skip


class TestQuerying:
    """Filters, pushed down or not, agree with ``Query.matches``."""

    @pytest.fixture
    def asked(self, case: StoreCase) -> datetime:
        """A store of twenty odd sessions; the time their ages are counted from."""
        hours = {name: ago for name, ago in _QUERY_HOURS.items() if self._can_be(case, name)}
        now = write_hours(case, hours)
        case.write("beta:1", turn(1))
        case.write("start", turn(2), [user("é" * 1000)])
        case.pop("whats")
        case.pop("whats")
        for name in ("beta:1", "start"):
            case.stamp(name, updated_at=now - hours[name] * HOUR)
        return now

    @staticmethod
    def _can_be(case: StoreCase, name: str) -> bool:
        return "case" in case.distinct or name != "Alpha"

    def test_queries_select_what_matches(self, case: StoreCase, asked: datetime) -> None:
        wrong = {}
        with case.open() as store:
            everything = list(store.sessions(Query(), want=EVERYTHING))
            for name, (pattern, ages, names) in _QUERIES.items():
                query = pattern.also(*(Bound(column, op, asked - hours * HOUR) for column, op, hours in ages))
                expected = {each for each in names if self._can_be(case, each)}
                matching = [ref for ref in everything if query.matches(ref)]
                assert set(ids(matching)) == expected, name
                found = list(store.sessions(query, want=EVERYTHING))
                if found != matching:
                    wrong[name] = ids(found)
        assert wrong == {}

    def test_queries_hold_in_every_form_of_listing(self, case: StoreCase, asked: datetime) -> None:
        wrong = []
        with case.open() as store:
            for name, (pattern, ages, _) in _QUERIES.items():
                query = pattern.also(*(Bound(column, op, asked - hours * HOUR) for column, op, hours in ages))
                found = ids(store.sessions(query, want=EVERYTHING))
                forms = {
                    "without sizes": ids(store.sessions(query)) == found,
                    "oldest first": sorted(ids(store.sessions(query, order=Order.OLDEST))) == sorted(found),
                    "physical": sorted(ids(store.sessions(query, order=Order.PHYSICAL))) == sorted(found),
                    "limited": ids(store.sessions(query, limit=2)) == found[:2],
                    "in pages": ids(chain.from_iterable(pages(store, query, 2))) == found,
                }
                wrong += [(name, form) for form, holds in forms.items() if not holds]
        assert wrong == []

    def test_bounds_cut_within_a_second(self, case: StoreCase) -> None:
        now = write_hours(case, {"a": 1.0, "b": 2.0})
        at, tick = now - HOUR, timedelta(milliseconds=1)
        with case.open() as store:
            for op, bound, expected in (
                ("<=", at, ["a", "b"]), ("<", at, ["b"]), ("<", at + tick, ["a", "b"]), ("<=", at - tick, ["b"]),
                (">=", at, ["a"]), (">", at, []), (">", at - tick, ["a"]), (">=", at + tick, []),
            ):  # fmt: skip
                assert ids(store.sessions(Query(bounds=(Bound("updated_at", op, bound),)))) == expected, (op, bound)

    def test_hostile_ids_are_found_by_name_and_by_glob(self, case: StoreCase) -> None:
        for session_id in HOSTILE_IDS.values():
            case.write(session_id, [user("a")])
        with case.open() as store:
            assert sorted(ids(store.sessions(Query()))) == sorted(HOSTILE_IDS.values())
            assert sorted(ids(store.sessions(Query(named=frozenset(HOSTILE_IDS.values()))))) == sorted(
                HOSTILE_IDS.values()
            )
            for session_id in HOSTILE_IDS.values():
                assert session_id in ids(store.sessions(Query(globs=(session_id,))))
                assert ids(store.sessions(Query(named=frozenset({session_id})))) == [session_id]
                assert session_id not in ids(store.sessions(Query(excluded=(session_id,))))
