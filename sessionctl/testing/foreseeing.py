"""Clauses on what a store foresees of a deletion before it is done."""

from __future__ import annotations

from datetime import datetime, timedelta

from sessionctl.core.plan import Totals
from sessionctl.core.selector import Bound, Query
from sessionctl.testing.case import StoreCase, turn


def _queries(now: datetime) -> dict[str, Query]:
    long_ago = now - timedelta(days=30)
    return {
        "everything": Query(),
        "by activity": Query(bounds=(Bound("updated_at", "<=", long_ago),)),
        "by creation": Query(bounds=(Bound("created_at", "<", long_ago),)),
        "named": Query(named=frozenset({"s1", 'it\'s "not" there :x %s'})),
        "named or matched": Query(named=frozenset({"s1"}), globs=("s*",)),
        "nothing": Query(named=frozenset()),
        "matched": Query(globs=("s*", "100%:[x]"), excluded=("s2",)),
        "sized": Query(min_items=2, min_bytes=10),
        "empty": Query(empty=True),
    }


class TestForeseeing:
    """The preflight."""

    def test_it_is_told_in_short_words(self, case: StoreCase) -> None:
        for number in range(3):
            case.write(f"s{number}", turn(number))
        with case.open() as store:
            for name, query in _queries(store.now()).items():
                found = store.preflight(query, Totals(sessions=1, items=4, bytes=400))
                for words in (found.selection, found.deletion, found.log):
                    assert 0 < len(words) < 100, name
                    assert words.isprintable(), name
                assert found.slow == (), name  # the SDK's own layout has the indexes it takes
                assert found.rows_per_s > 0, name

    def test_more_to_delete_writes_no_less(self, case: StoreCase) -> None:
        for number in range(3):
            case.write(f"s{number}", turn(number))
        with case.open() as store:
            plans = [Totals(sessions=n, items=4 * n, bytes=1000 * n) for n in (0, 1, 2)]
            written = [store.preflight(Query(), planned).log_bytes for planned in plans]
        assert written == sorted(written)
        assert written[0] == 0
