"""Clauses on what a store must not do: write when it reads, keep what it opened, let a driver's error out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice

import pytest

from sessionctl.core.model import Guard, Order
from sessionctl.core.plan import Totals
from sessionctl.core.selector import Query
from sessionctl.core.space import Space, Wish
from sessionctl.errors import StoreMissing, StoreNotUnderstood, Unsupported
from sessionctl.stores import open_store
from sessionctl.stores.base import Store
from sessionctl.testing.case import StoreCase, turn, user
from sessionctl.testing.looking import EVERYTHING, existing

READS: dict[str, Callable[[Store], object]] = {
    "now": lambda store: store.now(),
    "info": lambda store: store.info(),
    "census": lambda store: store.census(store.now()),
    "sessions": lambda store: [list(store.sessions(Query(), order=order, want=EVERYTHING)) for order in Order],
    "some sessions": lambda store: list(store.sessions(Query(globs=("s*",), min_items=1), limit=2)),
    "session": lambda store: store.session("s1", EVERYTHING),
    "items": lambda store: (list(store.items("s1")), list(store.items("s1", last=2))),
    "find": lambda store: list(store.find(["s1", "s2"], "question")),
    "sample": lambda store: list(store.sample(3)),
    "usage": lambda store: store.usage(),
    "findings": lambda store: list(store.findings(Query())),
    "recorded usage": lambda store: (store.recorded_usage(), store.recorded_usage("s1")),
    "preflight": lambda store: store.preflight(Query(), Totals(sessions=2, items=8, bytes=800)),
    "holds": lambda store: list(store.holds()),
    "space": lambda store: [*_spaces(store)],
    "apply nothing": lambda store: store.apply([], Guard()),
}


def _spaces(store: Store) -> Iterator[Space]:
    with suppress(Unsupported):
        for wish in (Wish(), Wish(full=True), Wish(compress=True)):
            yield store.space(wish)


class TestHarmless:
    """Reads."""

    def test_reads_change_nothing(self, case: StoreCase) -> None:
        for number in range(4):
            case.write(f"s{number}", turn(number))
        before = case.fingerprint()
        for name, read in READS.items():
            with case.open() as store:
                read(store)
            assert case.fingerprint() == before, name

    def test_reads_beside_an_application_change_nothing(self, case: StoreCase) -> None:
        for number in range(4):
            case.write(f"s{number}", turn(number))
        with case.live("s1") as append:
            append([user("live")])
            before = case.fingerprint()
            for name, read in READS.items():
                with case.open() as store:
                    read(store)
                    assert case.fingerprint() == before, name
                assert case.fingerprint() == before, name
            append([user("and goes on")])
        assert case.read("s1") == [*turn(1), user("live"), user("and goes on")]

    def test_a_store_sees_what_is_written_while_it_is_open(self, case: StoreCase) -> None:
        case.write("s1", turn(1))
        with case.open() as store:
            assert existing(store, "s1").items == 4
            with case.live("s1") as append:
                append([user("live")])
                assert existing(store, "s1").items == 5
                append([user("live")])
                assert len(list(store.items("s1"))) == 6
            case.write("s2", [user("a")])
            assert existing(store, "s1").items == 6
            assert existing(store, "s2").items == 1

    def test_closing_lets_go_of_everything(self, case: StoreCase) -> None:
        for number in range(5):
            case.write(f"s{number}", turn(number))
        assert case.connections() == 0
        store = case.open()
        for read in READS.values():
            read(store)
        left = [store.sessions(Query(), want=EVERYTHING), store.items("s1"), store.sample(100)]
        for stream in left:
            assert len(list(islice(stream, 1))) == 1
        assert case.connections() > 0
        store.close()
        assert case.connections() == 0
        store.close()

    def test_a_finished_or_dropped_stream_keeps_no_connection(self, case: StoreCase) -> None:
        for number in range(5):
            case.write(f"s{number}", turn(number))
        with case.open() as store:
            levels = []
            for _ in range(20):
                for stream in (store.sessions(Query(), want=EVERYTHING), store.items("s1"), store.find(["s2"], "a")):
                    next(stream)
                del stream
                list(store.items("s2"))
                levels.append(case.connections())
            assert max(levels) <= levels[0]  # some may be kept for the next stream, but they do not add up


class TestOpening:
    """What is not a store."""

    def test_nothing_there(self, case: StoreCase) -> None:
        case.write("mine", [user("a")])
        before, address = case.fingerprint(), case.absent()
        with pytest.raises(StoreMissing):
            open_store(address)
        assert case.fingerprint() == before
        assert case.connections() == 0
        with pytest.raises(StoreMissing):  # and the attempt did not make it
            open_store(address)

    def test_something_else_there(self, case: StoreCase) -> None:
        address = case.foreign()
        with pytest.raises(StoreNotUnderstood) as error:
            open_store(address)
        assert "customers" in error.value.message
        assert case.connections() == 0
