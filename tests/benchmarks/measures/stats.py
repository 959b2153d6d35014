"""``stats`` beside the naive GROUP BY."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.engines import NAIVE_STATS, Engine
from benchmarks.figures import Figure, Target, seconds, side_by_side

from sessionctl.core.selector import Selector
from sessionctl.operations.stats import measure
from sessionctl.stores import open_store


def figures(engine: Engine, rounds: int) -> Iterator[Figure]:
    """All of ``stats`` in-process, beside the naive GROUP BY through the driver."""
    naive, scale = NAIVE_STATS.format(length=engine.octet_length), engine.generated.scale

    def ours() -> None:
        found = measure(store, Selector(), top=10)
        assert (found.totals.sessions, found.totals.items) == (scale.sessions, scale.sessions * scale.items)

    with open_store(engine.address) as store, engine.raw(engine.address) as run:
        mine, theirs = side_by_side(rounds, lambda: seconds(ours), lambda: seconds(lambda: run(naive)))
    target = Target(ratio=1 / 3) if engine.name == "sqlite" else None
    yield Figure(
        measure="stats", engine=engine.name, name="full stats", unit="s", ours=mine, baseline=theirs, target=target,
        note="beside the naive GROUP BY with bytes",
    )  # fmt: skip
