"""``trim`` of every session to its newest items beside raw SQL that deletes the same rows, and its memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.engines import Engine, location
from benchmarks.figures import Figure, Target, seconds, side_by_side
from benchmarks.processes import environment, peak_of, seconds_of, sessionctl
from benchmarks.trims import Trim

from sessionctl.core.address import StoreAddress

KEEP = 20
SPEED = Target(ratio=0.6, at_least=True)
MEMORY = Target(ratio=1.2)
FEWER = 2
"""Rounds of what has no target."""


def figures(engine: Engine, directory: Path, rounds: int, *, keep: int = KEEP) -> Iterator[Figure]:
    """Items removed a second by whole commands, planning included; every turn has four items, so that cuts fit."""
    scale = engine.generated.scale
    rows = scale.sessions * (scale.items - keep)
    env = environment(directory)

    def rate(trimming: Callable[[StoreAddress], float]) -> float:
        with engine.copy() as address:
            took = trimming(address)
            assert engine.left(address) == (scale.sessions, scale.sessions * keep)
        return rows / took

    def ours(address: StoreAddress) -> float:
        return seconds_of(_command(address, keep, "--yes", "-o", "json"), env)

    def raw(shape: Trim) -> Callable[[StoreAddress], float]:
        def took(address: StoreAddress) -> float:
            with engine.raw(address, writes=True) as run:
                return seconds(lambda: shape(run, keep))

        return took

    mine, theirs = [], {name: list[float]() for name in engine.trims}
    for turn in range(rounds):
        mine.append(rate(ours))
        for number, (name, shape) in enumerate(engine.trims.items()):
            if turn < FEWER or not number:
                theirs[name].append(rate(raw(shape)))
    for number, (name, rates) in enumerate(theirs.items()):
        yield Figure(
            measure="trim", engine=engine.name, name=f"trim --max-items {keep} : raw {name}", unit="rows/s",
            ours=tuple(mine[: len(rates)]), baseline=tuple(rates), target=None if number else SPEED,
            note="whole command, planning included",
        )  # fmt: skip
    plan = _command(engine.address, keep, "--dry-run", "-q", "-o", "json")
    planned = tuple(seconds_of(plan, env) for _ in range(min(rounds, FEWER)))
    yield Figure(measure="trim", engine=engine.name, name="plan alone", unit="s", ours=planned)


def memory(engine: Engine, tenth: Engine, directory: Path, rounds: int, *, keep: int = KEEP) -> Iterator[Figure]:
    """The peak of a whole trim, beside the same on a tenth of the sessions."""

    def peak(of: Engine) -> float:
        with of.copy() as address:
            found = peak_of(_command(address, keep, "--yes", "-o", "json"), environment(directory)) / 2**20
            assert of.left(address)[1] == of.generated.scale.sessions * keep
        return found

    mine, theirs = side_by_side(min(rounds, FEWER), lambda: peak(engine), lambda: peak(tenth))
    yield Figure(
        measure="trim", engine=engine.name, name="memory", unit="MiB", ours=mine, baseline=theirs, target=MEMORY,
        note="peak resident, beside a tenth of the sessions",
    )  # fmt: skip


def _command(address: StoreAddress, keep: int, *more: str) -> list[str]:
    return sessionctl("trim", "--all", "--max-share", "1", "--max-items", str(keep), *more, "-s", location(address))
