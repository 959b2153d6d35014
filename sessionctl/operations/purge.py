"""Plan the deletion of whole sessions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from sessionctl.core.address import StoreAddress
from sessionctl.core.model import SessionRef, StoreInfo
from sessionctl.core.plan import Step
from sessionctl.core.releases import LOCKS_SESSIONS, parse_release
from sessionctl.core.selector import Selector
from sessionctl.operations.planning import plan_changes
from sessionctl.operations.spool import SpooledPlan
from sessionctl.stores.base import Store


def plan_purge(
    store: Store, selector: Selector, *, min_idle: timedelta, named: Collection[str] | None = None,
    spool_directory: Path | None = None,
) -> SpooledPlan:  # fmt: skip
    """Freeze what a purge would delete; see ``plan_changes``."""
    plan = plan_changes(
        store, selector, "purge", deletions, min_idle=min_idle, named=named, spool_directory=spool_directory
    )
    warnings = (*plan.header.warnings, *old_writers(store.address, store.info()))
    return replace(plan, header=replace(plan.header, warnings=warnings))


def deletions(refs: Iterable[SessionRef]) -> Iterator[Step]:
    """Each of these sessions to be deleted whole."""
    for ref in refs:
        yield Step(
            session_id=ref.id,
            version=ref.version or "",
            items=ref.items or 0,
            bytes=ref.bytes or 0,
            last_activity=ref.last_activity,
        )


def old_writers(address: StoreAddress, info: StoreInfo) -> Iterator[str]:
    """A warning where the store's ``sdk`` key says that releases write there which lock no session."""
    oldest = address.options.get("sdk")
    if oldest and info.flavour == "SQLAlchemySession" and parse_release(oldest) < LOCKS_SESSIONS:
        locking = ".".join(map(str, LOCKS_SESSIONS))
        yield (
            f"SDK {oldest} writes to {address.label}: before {locking} an append does not lock its session, and one "
            "that resumes a session in the very moment of its deletion may fail and has to be made again"
        )
