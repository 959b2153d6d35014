"""Plan rotations: which closed sessions leave a store, and where each goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from sessionctl.core.address import StoreAddress, mask
from sessionctl.core.model import Order, Preflight, SessionRef, StoreInfo
from sessionctl.core.plan import Step
from sessionctl.core.rotation import OldestFirst, Template, grouping
from sessionctl.core.selector import Query, Selector
from sessionctl.core.units import format_size
from sessionctl.operations.planning import plan_changes
from sessionctl.operations.purge import deletions, old_writers
from sessionctl.operations.spool import Spool, SpooledPlan
from sessionctl.stores.base import Store

_ROWS_PER_S = 15_000
"""Items that are put into a target, read back and deleted here in a second, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """Which sessions go besides what selectors say, and where to.

    ``by_match`` makes the groups, and ids that it does not match stay. ``max_size``: of stored text, what stays may
    have so much; the oldest go until it fits. ``include_open``: also of a window that is not over.
    """

    template: Template
    by_match: str | None = None
    max_size: int | None = None
    include_open: bool = False

    def target(self, session_id: str, at: datetime | None, stem: str) -> str:
        """Where a session goes that was last active ``at``, out of a store called ``stem``."""
        return self.template.target(at, group=self._group(session_id) or "", stem=stem)

    def admits(self, ref: SessionRef) -> bool:
        """Does this session have a target? Not without a group or a time where the template needs one."""
        return self._group(ref.id) is not None and (self.template.period is None or ref.last_activity is not None)

    def targets(self, store: Store) -> set[str]:
        """Where all sessions of ``store`` would go that could, now or later."""
        refs, stem = store.sessions(Query(), order=Order.PHYSICAL), stem_of(store.address)
        return {self.target(ref.id, ref.last_activity, stem) for ref in refs if self.admits(ref)}

    def _group(self, session_id: str) -> str | None:
        """Its group; without groups all are in one."""
        return grouping(self.by_match)(session_id) if self.by_match else ""


def stem_of(address: StoreAddress) -> str:
    """What ``{stem}`` stands for: the file's name without its suffix, or the name of the database."""
    return address.path.stem if address.path is not None else Path(urlsplit(address.url).path).name


def plan_rotate(
    store: Store, selector: Selector, rotation: Rotation, *, min_idle: timedelta, spool_directory: Path | None = None
) -> SpooledPlan:
    """Freeze what a rotation would move; see ``plan_changes``."""
    selector = _closed(store, selector, rotation)
    choosing = _Choosing(rotation, store, frozenset(selector.named), spool_directory)
    plan = plan_changes(
        store, selector, "rotate", choosing.steps, min_idle=min_idle, spool_directory=spool_directory,
        admit=rotation.admits,
    )  # fmt: skip
    header = replace(
        plan.header,
        criteria=(*plan.header.criteria, *choosing.criteria),
        share_basis=plan.header.share_basis if rotation.max_size is None else choosing.unnamed,
        into=mask(rotation.template.text),
        targets=dict(sorted(choosing.targets.items())),
        warnings=(*plan.header.warnings, *old_writers(store.address, store.info())),
        losses=tuple(losses(store.info(), rotation)),
        preflight=_slower(plan.header.preflight),
    )
    return replace(plan, header=header)


def _slower(preflight: Preflight | None) -> Preflight | None:
    """A deletion that has to wait for its cover."""
    return preflight and replace(preflight, rows_per_s=min(preflight.rows_per_s, _ROWS_PER_S))


def _closed(store: Store, selector: Selector, rotation: Rotation) -> Selector:
    """The same without sessions of a window that is not over: more may come into it."""
    period = rotation.template.period
    if period is None or rotation.include_open:
        return selector
    begins = period.begins(store.now())
    return replace(selector, before=begins if selector.before is None else min(selector.before, begins))


def losses(info: StoreInfo, rotation: Rotation) -> Iterator[str]:
    """What targets do not show of the sessions; a receipt beside them keeps it for an undo."""
    if info.flavour == "AdvancedSQLiteSession":
        yield "branches other than main, turn numbers and recorded usage"
    if info.kind != "sqlite" and rotation.template.is_path:
        yield "fractions of seconds"


class _Choosing:
    """Turns sessions into steps, counts them by target, and with ``max_size`` leaves the newest out."""

    def __init__(self, rotation: Rotation, store: Store, named: frozenset[str], directory: Path | None) -> None:
        self._rotation, self._store, self._named, self._directory = rotation, store, named, directory
        self._stem = stem_of(store.address)
        self.targets: Counter[str] = Counter()
        self.unnamed = 0
        self.criteria: tuple[str, ...] = ()
        if rotation.by_match:
            self.criteria += (f"id matches {rotation.by_match}",)

    def steps(self, refs: Iterable[SessionRef]) -> Iterator[Step]:
        most = self._rotation.max_size
        for step in deletions(refs) if most is None else self._oldest(deletions(refs), most):
            self.targets[mask(self._rotation.target(step.session_id, step.last_activity, self._stem))] += 1
            self.unnamed += step.session_id not in self._named
            yield step

    def _oldest(self, steps: Iterable[Step], most: int) -> Iterator[Step]:
        """Those of ``steps`` that must go, the oldest, for ``most`` to hold what stays; all wait on disk meanwhile."""
        total = self._store.volume().bytes
        self.criteria += (f"the oldest, until what stays fits {format_size(most)}: it has {format_size(total)}",)
        spool, oldest = Spool(self._directory), OldestFirst()
        try:
            for step in steps:
                spool.add(step)
                oldest.add(step.last_activity, step.bytes)
            chosen = oldest.choose(total - most)
            yield from (step for step, goes in zip(spool.steps(), chosen, strict=True) if goes)
        finally:
            spool.close()
