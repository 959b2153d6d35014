"""Our purge of the older half of a store, as the command does it, and a look at what it left."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.engines import Engine

from sessionctl.core.address import StoreAddress
from sessionctl.core.model import Guard
from sessionctl.core.report import Stopped
from sessionctl.core.selector import Selector
from sessionctl.ledger import Ledger, new_run
from sessionctl.operations.execute import Limits, Terms, apply_plan
from sessionctl.operations.purge import plan_purge
from sessionctl.stores import open_store

MIN_IDLE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """When a purge began, was planned, had done each of its batches, and ended, by the system's clock.

    ``log``: octets of the log when it ended.
    """

    began: float
    planned: float
    batches: tuple[float, ...]
    ended: float
    log: int

    @property
    def plan_s(self) -> float:
        return self.planned - self.began

    @property
    def apply_s(self) -> float:
        return self.ended - self.planned


def purge_older(engine: Engine, address: StoreAddress, directory: Path, limits: Limits | None = None) -> Purged:
    """Purge the older half with the ledger and the defaults of the command; it must end well."""
    ledger = Ledger.open(directory / "ledger.db")
    terms = Terms(guard=Guard(min_idle=MIN_IDLE), limits=limits or Limits())
    older = Selector(before=engine.generated.middle)
    batches: list[float] = []
    with open_store(address) as store:
        began = time.time()
        with plan_purge(store, older, min_idle=MIN_IDLE, spool_directory=directory) as plan:
            run = new_run("purge", str(address), datetime.now(UTC), {})
            planned = time.time()
            report = apply_plan(
                store, plan, terms, ledger=ledger, run=run, observe=lambda _: batches.append(time.time())
            )
            ended = time.time()
        assert report.stopped is Stopped.DONE, report
        log = store.usage().log or 0
    return Purged(began=began, planned=planned, batches=tuple(batches), ended=ended, log=log)


def check_left(engine: Engine, address: StoreAddress, gone: int, *, sessions: int = 0, items: int = 0) -> None:
    """Exactly ``gone`` of the generated sessions are gone; ``sessions`` and ``items`` came from others meanwhile."""
    rest, each = engine.generated.scale.sessions - gone, engine.generated.scale.items
    assert engine.left(address) == (rest + sessions, rest * each + items)
