"""Memory: the peak of whole commands beside the same on a smaller store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.engines import Engine, location
from benchmarks.figures import Figure, Target, side_by_side
from benchmarks.processes import environment, peak_of, sessionctl
from benchmarks.purging import check_left

TARGET = Target(ratio=1.2)
MOST_ROUNDS = 3


def figures(engine: Engine, tenth: Engine, directory: Path, rounds: int) -> Iterator[Figure]:
    """The peak of commands that only look, on the store, beside the same on a tenth of it."""
    for name, args in (
        ("stats", ["stats"]),
        ("list", ["list", "-o", "jsonl"]),
        ("purge --dry-run", ["purge", "--before", "{middle}", "--max-share", "1", "--dry-run", "-o", "jsonl"]),
    ):

        def peak(of: Engine, args: list[str] = args) -> float:
            half = [part.format(middle=f"{of.generated.middle:%Y-%m-%dT%H:%M:%SZ}") for part in args]
            return _peak([*half, "-s", location(of.address)], directory)

        yield _figure(name, peak, engine, tenth, rounds, "a tenth of the sessions")


def of_purge(many: Engine, few: Engine, directory: Path, rounds: int) -> Iterator[Figure]:
    """The peak of a purge that takes every session, beside the same on a store of far fewer."""

    def peak(of: Engine) -> float:
        with of.copy() as address:
            args = ["purge", "--all", "--max-share", "1", "--yes", "-o", "json", "-s", location(address)]
            found = _peak(args, directory)
            check_left(of, address, of.generated.scale.sessions)
        return found

    sizes = f"{few.generated.scale.sessions:,} sessions instead of {many.generated.scale.sessions:,}"
    yield _figure("purge --yes", peak, many, few, rounds, sizes)


def _figure(
    name: str, peak: Callable[[Engine], float], engine: Engine, smaller: Engine, rounds: int, beside: str
) -> Figure:
    mine, theirs = side_by_side(min(rounds, MOST_ROUNDS), lambda: peak(engine), lambda: peak(smaller))
    return Figure(
        measure="memory", engine=engine.name, name=name, unit="MiB", ours=mine, baseline=theirs, target=TARGET,
        note=f"peak resident, beside {beside}",
    )  # fmt: skip


def _peak(args: list[str], directory: Path) -> float:
    """MiB."""
    return peak_of(sessionctl(*args), environment(directory)) / 2**20
