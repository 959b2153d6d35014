"""Purge beside a live agent: what the purge still does, and what the agent feels of it.

The agent is the SDK in another process, appending to sessions of its own, one item at a time, with a short
rest in between. How long an append takes is measured there, around ``add_items``.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks.engines import Engine, location
from benchmarks.figures import Figure, Target
from benchmarks.purging import Purged, check_left, purge_older
from sdk_process import Append, SdkProcess

from sessionctl.core.address import StoreAddress
from sessionctl.operations.execute import Limits

SPEED_TARGETS = {"sqlite": Target(ratio=0.75, at_least=True), "postgresql": Target(ratio=0.6, at_least=True)}
P99_TARGETS = {"sqlite": Target(ours=25), "postgresql": Target(ratio=2), "mariadb": Target(ratio=2, ours=15)}
MAX_TARGETS = {"sqlite": Target(ours=100)}
LOG_MIB = 64
SESSIONS = 20
"""The writer's own, which it appends to in turn."""
_PATIENCE_S = 300
_LOOK_EVERY_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """One purge and the appends that were under way while the store was otherwise idle, while the purge was
    planned, and while it was applied. ``log``: the largest seen, in octets."""

    purged: Purged
    idle: Sequence[Append]
    planning: Sequence[Append]
    applying: Sequence[Append]
    errors: Sequence[str]
    log: int

    @property
    def amid(self) -> int:
        """Appends acknowledged after the end of the first batch and before that of the last."""
        first, last = self.purged.batches[0], self.purged.batches[-1]
        return sum(first < append.at + append.latency < last for append in self.applying)


def figures(
    engine: Engine,
    sdk: SdkProcess,
    directory: Path,
    rounds: int,
    *,
    idle: int = 500,
    think_s: float = 0.01,
    limits: Limits | None = None,
) -> Iterator[Figure]:
    """A purge of the older half beside a writer, and one raw statement on a copy where nobody writes.

    ``idle``: appends measured before the purge; ``think_s``: the writer's rest after each.
    """
    generated = engine.generated
    rows = generated.older * generated.scale.items
    found: list[Beside] = []
    raw: list[float] = []
    for _ in range(rounds):
        with engine.copy() as address:
            found.append(_beside(engine, address, sdk, directory, idle, think_s, limits))
        with engine.copy() as address:
            raw.append(rows / engine.delete_older(address))
    yield Figure(
        measure="live", engine=engine.name, name="apply : one raw statement, idle", unit="rows/s",
        ours=tuple(rows / each.purged.apply_s for each in found), baseline=tuple(raw),
        target=SPEED_TARGETS.get(engine.name), note=f"SDK {sdk.version} appends meanwhile",
    )  # fmt: skip
    yield from _latencies(engine.name, found)
    yield from _counts(engine, found)


def _beside(
    engine: Engine,
    address: StoreAddress,
    sdk: SdkProcess,
    directory: Path,
    idle: int,
    think_s: float,
    limits: Limits | None,
) -> Beside:
    """The purge beside the writer; whatever either lost or left too much would be seen."""
    with sdk.running(location(address), [f"live-{n}" for n in range(SESSIONS)], think_s=think_s) as writer:
        writer.wait_appends(2 * SESSIONS, _PATIENCE_S)  # the first in each session makes what later ones find
        warm = len(writer.appends)
        writer.wait_appends(idle, _PATIENCE_S)
        with _watched(engine, address) as sizes:
            purged = purge_older(engine, address, directory, limits)
    sdk.release()
    acknowledged = sum(map(len, writer.acknowledged.values()))
    check_left(engine, address, engine.generated.older, sessions=SESSIONS, items=acknowledged)
    return Beside(
        purged=purged,
        idle=_under_way(writer.appends[warm:], 0, purged.began),
        planning=_under_way(writer.appends, purged.began, purged.planned),
        applying=_under_way(writer.appends, purged.planned, purged.ended),
        errors=writer.errors,
        log=max(sizes),
    )


def _under_way(appends: Sequence[Append], since: float, until: float) -> list[Append]:
    return [append for append in appends if append.at + append.latency > since and append.at < until]


@contextmanager
def _watched(engine: Engine, address: StoreAddress) -> Iterator[list[int]]:
    """The sizes of the store's log, looked at again and again during the block."""
    sizes, over = [engine.log_size(address)], threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_EVERY_S):
            sizes.append(engine.log_size(address))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield sizes
    finally:
        over.set()
        watcher.join()


def _latencies(engine: str, found: Sequence[Beside]) -> Iterator[Figure]:
    """Each a latency of appends under way during a phase, beside that of the idle phase of the same round."""
    counted = f"{_typically(found, 'applying')} appends beside {_typically(found, 'idle')} idle ones"
    for name, phase, share, target, note in (
        ("writer p50, applying : idle", "applying", 0.5, None, ""),
        ("writer p99, applying : idle", "applying", 0.99, P99_TARGETS[engine], counted),
        ("writer max, applying : idle", "applying", 1, MAX_TARGETS.get(engine), ""),
        ("writer p99, planning : idle", "planning", 0.99, None, f"{_typically(found, 'planning')} appends"),
    ):
        yield Figure(
            measure="live", engine=engine, name=name, unit="ms", target=target, note=note,
            ours=tuple(_milliseconds(getattr(each, phase), share) for each in found),
            baseline=tuple(_milliseconds(each.idle, share) for each in found),
        )  # fmt: skip


def _typically(found: Sequence[Beside], phase: str) -> int:
    return int(median(len(getattr(each, phase)) for each in found))


def _milliseconds(appends: Sequence[Append], share: float) -> float:
    """What this share of the appends took at most; 0 where there were none."""
    latencies = sorted(append.latency for append in appends)
    return 1000 * latencies[math.ceil(share * len(latencies)) - 1] if latencies else 0.0


def _counts(engine: Engine, found: Sequence[Beside]) -> Iterator[Figure]:
    errors = [error for each in found for error in each.errors]
    yield Figure(
        measure="live", engine=engine.name, name="writer errors, all rounds", unit="errors", ours=(len(errors),),
        target=Target(ours=0), note=errors[0] if errors else "",
    )  # fmt: skip
    longest = max((later - earlier for each in found for earlier, later in pairwise(each.purged.batches)), default=0)
    yield Figure(
        measure="live", engine=engine.name, name="appends amid the batches", unit="appends",
        ours=tuple(each.amid for each in found), target=Target(ours=1, at_least=True),
        note=f"{int(median(len(each.purged.batches) for each in found))} batches, the longest with its pause "
        f"{1000 * longest:.0f} ms",
    )  # fmt: skip
    if log := max(each.log for each in found):
        yield Figure(
            measure="live", engine=engine.name, name="largest log, all rounds", unit="MiB", ours=(log / 2**20,),
            target=Target(ours=LOG_MIB),
        )  # fmt: skip
