"""``purge --archive`` beside ``purge`` alone: whole commands, the same half of a fresh copy each."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.engines import Engine, location
from benchmarks.figures import Figure, Target, side_by_side
from benchmarks.processes import environment, seconds_of, sessionctl
from benchmarks.purging import check_left

TARGETS = {"sqlite": 0.5, "postgresql": 0.4, "mariadb": 0.4}


def figures(engine: Engine, directory: Path, rounds: int) -> Iterator[Figure]:
    """Items removed a second, planning included."""
    rows = engine.generated.older * engine.generated.scale.items
    archives = directory / "archives"

    def rate(*more: str) -> float:
        with engine.copy() as address:
            middle = f"{engine.generated.middle:%Y-%m-%dT%H:%M:%SZ}"
            args = ["purge", "--before", middle, "--max-share", "1", "--yes", "-o", "json", "-s", location(address)]
            took = seconds_of(sessionctl(*args, *more), environment(directory))
            check_left(engine, address, engine.generated.older)
        shutil.rmtree(archives, ignore_errors=True)
        return rows / took

    mine, theirs = side_by_side(rounds, lambda: rate("--archive", str(archives)), lambda: rate("--no-archive"))
    yield Figure(
        measure="archived", engine=engine.name, name="purge --archive : purge", unit="rows/s", ours=mine,
        baseline=theirs, target=Target(ratio=TARGETS[engine.name], at_least=True),
        note="segments sealed and read back",
    )  # fmt: skip
