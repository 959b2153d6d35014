"""What a store is and how far away: the look to take before anything is done to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from sessionctl.core.address import StoreAddress
from sessionctl.core.model import Capabilities, StoreInfo
from sessionctl.stores.base import Store

_ROUND_TRIPS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """An opened store, described.

    ``latency_s`` is the median of a few round trips that do next to nothing. ``clock_ahead_s`` is by how much
    the store's clock, the one that ages are counted by, is ahead of this machine's, give or take the latency.
    """

    address: StoreAddress
    info: StoreInfo
    capabilities: Capabilities
    latency_s: float
    clock_ahead_s: float


def ping(store: Store) -> Iterator[Ping]:
    """Look at one opened store; the one Ping is yielded, as ``Visit.each`` takes it. Writes nothing."""
    trips, leads = [], []
    for _ in range(_ROUND_TRIPS):
        asked, began = datetime.now(UTC), time.perf_counter()
        answer = store.now()
        trips.append(time.perf_counter() - began)
        leads.append((answer - asked).total_seconds() - trips[-1] / 2)
    yield Ping(
        address=store.address,
        info=store.info(),
        capabilities=store.capabilities,
        latency_s=median(trips),
        clock_ahead_s=median(leads),
    )
