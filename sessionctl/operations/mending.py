"""Plan repairs: what leaves each selected session so that the model takes it again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from sessionctl.core.diagnosis import TIME_TO_LIVE, Sight, singled_out
from sessionctl.core.model import Rewrite, SessionRef
from sessionctl.core.payload import read_item
from sessionctl.core.plan import Step
from sessionctl.core.repairing import repair
from sessionctl.core.selector import Selector
from sessionctl.core.spans import spans
from sessionctl.core.units import count
from sessionctl.operations.planning import plan_changes
from sessionctl.operations.spool import SpooledPlan
from sessionctl.stores.base import Store

COMMAND = "doctor"
MIN_IDLE = timedelta(minutes=1)
"""Enough, for a repair is of items that no append changes: a session that its user keeps retrying is mendable."""


def plan_mending(
    store: Store, selector: Selector, kinds: Collection[str],
    *, min_idle: timedelta, ttl: timedelta | None = None, spool_directory: Path | None = None,
) -> SpooledPlan:  # fmt: skip
    """Freeze what leaves which sessions to mend defects of ``kinds``; see ``plan_changes``, ``Sight`` for ``ttl``."""
    terms = tuple(f"no {kind}" for kind in sorted(kinds))
    foreseeing = _Foreseeing(store, kinds, Sight(now=store.now(), ttl=ttl or TIME_TO_LIVE))
    plan = plan_changes(
        store, selector, COMMAND, foreseeing.steps, min_idle=min_idle, terms=terms, spool_directory=spool_directory
    )
    if not foreseeing.unmendable:
        return plan
    said = f"{count(foreseeing.unmendable, 'session')} cannot be mended by taking items out, and nothing is done there"
    return replace(plan, header=replace(plan.header, warnings=(*plan.header.warnings, said)))


@dataclass(slots=True)
class _Foreseeing:
    """Says what would be taken out of each session; counts those where that does not help."""

    store: Store
    kinds: Collection[str]
    sight: Sight
    unmendable: int = 0

    def steps(self, refs: Iterable[SessionRef]) -> Iterator[Step]:
        for ref in refs:
            step = self._step(ref)
            if step is not None:
                yield step

    def _step(self, ref: SessionRef) -> Step | None:
        read = [(item, read_item(item.text)) for item in self.store.items(ref.id)]
        positions = repair(read, self.kinds, singled_out(read, ref.id, self.kinds, self.sight))
        going = [read[position][0] for position in sorted(positions or ())]
        keys = [item.key for item, _ in read if isinstance(item.key, int)]
        remove = {item.key for item in going if isinstance(item.key, int)}
        self.unmendable += positions is None or len(remove) < len(going)
        if len(remove) < len(going) or not remove:
            return None
        return Step(
            session_id=ref.id,
            version=ref.version or "",
            items=len(going),
            bytes=sum(item.size for item in going),
            last_activity=ref.last_activity,
            rewrite=Rewrite(session_id=ref.id, remove=spans(keys, remove)),
        )
