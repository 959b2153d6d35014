"""Memory: the peak of whole commands beside the same on a smaller store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.engines import Engine, location
from benchmarks.figures import Figure, Target, side_by_side
from benchmarks.processes import environment, peak_of, sessionctl


def figures(engine: Engine, tenth: Engine, directory: Path, rounds: int) -> Iterator[Figure]:
    """The peak of whole commands on the store, beside the same on a tenth of it."""
    env = environment(directory)

    def peak(args: Sequence[str], of: Engine) -> float:
        half = [part.format(middle=f"{of.generated.middle:%Y-%m-%dT%H:%M:%SZ}") for part in args]
        return peak_of(sessionctl(*half, "-s", location(of.address)), env) / 2**20

    for args in (
        ("stats",),
        ("list", "-o", "jsonl"),
        ("purge", "--before", "{middle}", "--max-share", "1", "--dry-run", "-o", "jsonl"),
    ):
        mine, theirs = side_by_side(
            rounds,
            lambda args=args: peak(args, engine),  # type: ignore[misc]
            lambda args=args: peak(args, tenth),  # type: ignore[misc]
        )
        name = f"{args[0]}{' --dry-run' if '--dry-run' in args else ''}"
        yield Figure(
            measure="memory", engine=engine.name, name=name, unit="MiB", ours=mine, baseline=theirs,
            target=Target(ratio=1.2), note="peak resident, beside a tenth of the sessions",
        )  # fmt: skip
