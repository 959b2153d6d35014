"""Purge of the older half beside raw statements and the SDK's own loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.engines import Engine
from benchmarks.figures import Figure, Target
from benchmarks.purging import Purged, check_left, purge_older

STATEMENT_TARGETS = {"sqlite": 1.0, "postgresql": 0.75, "mariadb": 0.7}
LOOP_TARGETS = {"sqlite": 15.0, "postgresql": 60.0, "mariadb": 20.0}


def figures(engine: Engine, directory: Path, rounds: int, *, sample: int = 1000) -> Iterator[Figure]:
    """Purge of the older half on a fresh copy, beside one raw statement and the SDK's own loop on others."""
    generated = engine.generated
    rows = generated.older * generated.scale.items
    ids = generated.spread(sample)
    purged: list[Purged] = []
    raw, loop = [], []
    for _ in range(rounds):
        with engine.copy() as address:
            purged.append(purge_older(engine, address, directory))
            check_left(engine, address, generated.older)
        with engine.copy() as address:
            raw.append(engine.delete_older(address, generated.middle))
            check_left(engine, address, generated.older)
        with engine.copy() as address:
            loop.append(engine.clear_sessions(address, ids) / len(ids) * generated.older)
            check_left(engine, address, len(ids))
    log = max(p.log for p in purged)
    note = f"log at most {log / 2**20:.0f} MiB" if log else ""

    def beside(name: str, ours: Sequence[float], theirs: Sequence[float], target: float | None, note: str) -> Figure:
        return Figure(
            measure="purge", engine=engine.name, name=name, unit="rows/s", ours=tuple(rows / s for s in ours),
            baseline=tuple(rows / s for s in theirs), note=note,
            target=Target(ratio=target, at_least=True) if target else None,
        )  # fmt: skip

    applied = [p.apply_s for p in purged]
    yield beside("apply : one raw statement", applied, raw, STATEMENT_TARGETS[engine.name], note)
    loop_note = f"{len(ids)} sessions sampled, a new object each"
    yield beside("apply : clear_session loop", applied, loop, LOOP_TARGETS[engine.name], loop_note)
    whole = [p.plan_s + p.apply_s for p in purged]
    yield beside("plan + apply : one raw statement", whole, raw, None, "planning counts items and bytes too")
    yield beside("plan alone : one raw statement", [p.plan_s for p in purged], raw, None, "")
