"""Purge of the older half beside raw statements, the SDK's own loop and, on MariaDB, pt-archiver."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import pt_archiver
from benchmarks.engines import Engine, utc
from benchmarks.figures import Figure, Target
from benchmarks.purging import Purged, check_left, purge_older

from sessionctl.core.address import StoreAddress

STATEMENT_TARGETS = {"sqlite": 1.0, "postgresql": 0.75, "mariadb": 0.7}
LOOP_TARGETS = {"sqlite": 15.0, "postgresql": 60.0, "mariadb": 20.0}
PT_BEST, PT_PLAIN = 0.8, 5.0
"""Near its best setting, which checks nothing, and far ahead of its plain one."""
FEWER = 2
"""Rounds of what has no target or a distant one."""


@dataclass(slots=True, kw_only=True)
class Way:
    """Another way to the same end: seconds it takes for the older half, or would, from its sample.

    ``seconds`` looks for itself at what it left. ``rounds``: in how many of the rounds it takes part at most.
    """

    name: str
    seconds: Callable[[StoreAddress], float]
    target: float | None = None
    rounds: int = FEWER
    note: str = ""
    took: list[float] = field(default_factory=list)


def figures(engine: Engine, directory: Path, rounds: int, *, sample: int = 1000) -> Iterator[Figure]:
    """Ours and every other way in turn, each on a fresh copy."""
    ways = [*_raw(engine, rounds), _loop(engine, rounds, sample), *_archiver(engine, rounds, sample)]
    purged: list[Purged] = []
    for number in range(rounds):
        with engine.copy() as address:
            purged.append(purge_older(engine, address, directory))
            check_left(engine, address, engine.generated.older)
        for way in ways:
            if number < way.rounds:
                with engine.copy() as address:
                    way.took.append(way.seconds(address))
    rows = engine.generated.older * engine.generated.scale.items

    def beside(name: str, ours: list[float], way: Way, *, target: float | None, note: str) -> Figure:
        return Figure(
            measure="purge", engine=engine.name, name=f"{name} : {way.name}", unit="rows/s",
            ours=tuple(rows / s for s in ours[: len(way.took)]), baseline=tuple(rows / s for s in way.took),
            target=Target(ratio=target, at_least=True) if target else None, note=note,
        )  # fmt: skip

    for way in ways:
        yield beside("apply", [p.apply_s for p in purged], way, target=way.target, note=way.note)
    whole = [p.plan_s + p.apply_s for p in purged]
    yield beside("plan + apply", whole, ways[0], target=None, note="planning counts items and bytes too")
    log = max(p.log for p in purged)
    note = f"log at most {log / 2**20:.0f} MiB" if log else ""
    yield beside("plan alone", [p.plan_s for p in purged], ways[0], target=None, note=note)


def _raw(engine: Engine, rounds: int) -> Iterator[Way]:
    """The best single statement, which the target is about, and other shapes."""
    for number, (name, shape) in enumerate(engine.shapes.items()):

        def seconds(address: StoreAddress, shape: Callable[..., object] = shape) -> float:
            took = engine.delete_older(address, shape)
            check_left(engine, address, engine.generated.older)
            return took

        yield Way(
            name=name,
            seconds=seconds,
            target=None if number else STATEMENT_TARGETS[engine.name],
            rounds=FEWER if number else rounds,
        )


def _loop(engine: Engine, rounds: int, sample: int) -> Way:
    ids = engine.generated.spread(sample)

    def seconds(address: StoreAddress) -> float:
        took = engine.clear_sessions(address, ids)
        check_left(engine, address, len(ids))
        return took / len(ids) * engine.generated.older

    return Way(
        name="clear_session loop",
        seconds=seconds,
        target=LOOP_TARGETS[engine.name],
        rounds=rounds,
        note=f"{len(ids)} sessions sampled, a new object each",
    )


def _archiver(engine: Engine, rounds: int, sample: int) -> Iterator[Way]:
    if engine.name != "mariadb":
        return
    if not pt_archiver.is_installed():
        print(pt_archiver.HOW_TO_GET, file=sys.stderr)
        return
    generated = engine.generated

    def best(address: StoreAddress) -> float:
        took = pt_archiver.cascade_seconds(address.url, utc(generated.middle))
        check_left(engine, address, generated.older)
        return took

    def plain(address: StoreAddress) -> float:
        oldest = utc(sorted(session.updated_at for session in generated.sessions())[:sample][-1])
        of_oldest = "agent_messages JOIN agent_sessions USING (session_id) WHERE updated_at < %s"
        with engine.raw(address) as run:
            ((count, last),) = run(f"SELECT count(*), max(id) FROM {of_oldest}", oldest)
        took = pt_archiver.items_seconds(address.url, oldest, last)
        check_left(engine, address, 0, items=-count)
        return took / count * generated.older * generated.scale.items

    settings = "--limit 1000 --commit-each"
    yield Way(
        name="pt-archiver at its best",
        seconds=best,
        target=PT_BEST,
        rounds=rounds,
        note=f"sessions, FK cascade, --bulk-delete {settings}; no check",
    )
    yield Way(
        name="pt-archiver, plain",
        seconds=plain,
        target=PT_PLAIN,
        note=f"items of {sample} sessions sampled, {settings}",
    )
