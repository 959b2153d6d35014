"""``list``: a page of it beside the bare query, and what it reads of the items."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.engines import NEWEST, Engine
from benchmarks.figures import Figure, Target, side_by_side, typical

from sessionctl.core.address import StoreAddress
from sessionctl.core.model import Want
from sessionctl.core.selector import Query
from sessionctl.stores import open_store
from sessionctl.stores.base import Store

PAGE = 50


def _page(store: Store) -> None:
    listed = list(store.sessions(Query(), limit=PAGE, want=Want.SIZE))
    assert all(ref.items and ref.bytes for ref in listed), "a session without items was listed"


def _open_and_list(address: StoreAddress) -> None:
    with open_store(address) as store:
        _page(store)


def figures(engine: Engine, rounds: int, *, calls: int = 11) -> Iterator[Figure]:
    """The 50 newest sessions with counts and bytes through the port, beside the bare query without them."""
    with open_store(engine.address) as store, engine.raw(engine.address) as run:
        for warm_up in (lambda: _page(store), lambda: run(NEWEST)):
            warm_up()
        mine, theirs = side_by_side(
            rounds, lambda: typical(lambda: _page(store), calls), lambda: typical(lambda: run(NEWEST), calls)
        )
    yield Figure(
        measure="list", engine=engine.name, name="newest 50 with sizes", unit="s", ours=mine, baseline=theirs,
        target=Target(ratio=3), note="beside the bare newest 50",
    )  # fmt: skip
    counted, needed, unit = engine.work_on_items(_open_and_list)
    yield Figure(
        measure="list", engine=engine.name, name="work on items", unit=unit, ours=(counted,), baseline=(needed,),
        target=Target(ratio=1.05), note="beside what these 50 sessions alone need",
    )  # fmt: skip
