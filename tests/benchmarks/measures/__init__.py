"""What is measured: one module a measure, each yielding figures of ours beside a baseline in the same run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.engines import Engine
from benchmarks.figures import Figure
from benchmarks.generator import Scale
from benchmarks.measures import (
    archived,
    exporting,
    listing,
    live,
    memory,
    migrating,
    purge,
    restoring,
    startup,
    stats,
    trimming,
    validating,
)
from benchmarks.server_engines import Postgresql
from benchmarks.sqlite_engine import Sqlite
from sdk_process import sdk_process

MEASURES: tuple[str, ...] = (
    "startup", "validate", "list", "stats", "memory", "purge", "trim", "live", "export", "restore", "archived",
    "migrate",
)  # fmt: skip


def figures_of(
    engine: Engine, wanted: Sequence[str], rounds: int, directory: Path, another: Callable[[Scale], Engine]
) -> Iterator[Figure]:
    """All figures of one engine, in the order of MEASURES; ``another(scale)``: the same kind of engine so large."""
    scale = engine.generated.scale
    with tempfile.TemporaryDirectory(dir=directory) as name:
        place = Path(name)
        if "startup" in wanted and engine.name == "sqlite":
            yield from startup.figures(another(Scale(sessions=50, items=scale.items)), place, rounds)
        if "validate" in wanted and engine.name == "sqlite":
            yield from validating.figures(engine.generated, rounds)
        if "list" in wanted:
            yield from listing.figures(engine, rounds)
        if "stats" in wanted:
            yield from stats.figures(engine, rounds)
        if "memory" in wanted:
            tenth = another(Scale(sessions=max(1, scale.sessions // 10), items=scale.items))
            yield from memory.figures(engine, tenth, place, rounds)
            many, few = (
                another(Scale(sessions=max(1, n), items=1)) for n in (scale.sessions * 10, scale.sessions // 10)
            )
            yield from memory.of_purge(many, few, place, rounds)
        if "purge" in wanted:
            yield from purge.figures(engine, place, rounds)
        if "trim" in wanted:
            yield from trimming.figures(engine, place, rounds)
            tenth = another(Scale(sessions=max(1, scale.sessions // 10), items=scale.items))
            yield from trimming.memory(engine, tenth, place, rounds)
        if "live" in wanted:
            with sdk_process() as writer:
                yield from live.figures(engine, writer, place, rounds)
        yield from _of_files(engine, wanted, rounds, place)


def _of_files(engine: Engine, wanted: Sequence[str], rounds: int, place: Path) -> Iterator[Figure]:
    """What goes out of stores and back."""
    if "export" in wanted:
        yield from exporting.figures(engine, place, rounds)
    if "restore" in wanted and isinstance(engine, Postgresql):
        yield from restoring.figures(engine, place, rounds)
    if "migrate" in wanted and isinstance(engine, Postgresql):
        yield from migrating.figures(Sqlite(engine.generated.scale, place), engine, place, rounds)
    if "archived" in wanted:
        yield from archived.figures(engine, place, rounds)
