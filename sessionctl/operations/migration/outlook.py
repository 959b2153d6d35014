"""What a migration would come to, as far as lists of sessions tell; no item is compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from sessionctl.core.model import Order, SessionRef, Want
from sessionctl.core.plan import Totals
from sessionctl.core.selector import Query
from sessionctl.errors import StoreNotUnderstood
from sessionctl.operations.migration.fitting import Fitting, Misfit, Unmade
from sessionctl.operations.migration.record import MigrationRecord
from sessionctl.operations.migration.routes import Route
from sessionctl.operations.restore import BRANCHED
from sessionctl.stores import open_store
from sessionctl.stores.base import Store

_TOGETHER = 1000


@dataclass(slots=True, kw_only=True)
class Outlook:
    """``in_place``: copied before and unchanged since; ``there``: sessions that the target has under these ids.

    ``loses_branches``: sources know branches, and the target does not. Octets are not known beforehand: that would
    take a pass over all items.
    """

    makes_tables: bool = False
    matched: Totals = field(default_factory=Totals)
    in_place: int = 0
    there: int = 0
    holds: int = 0
    loses_branches: bool = False
    misfits: list[Misfit] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Sessions that are to be copied, or compared with what is there."""
        return self.matched.sessions - self.in_place

    @property
    def left_items(self) -> int:
        """About how many items they have."""
        return self.matched.items * self.left // max(1, self.matched.sessions)


def usable(ways: Sequence[Route]) -> tuple[list[Route], int]:
    """Those whose source is a store of the SDK, and how many others there are in a fleet.

    A source that is not part of a fleet raises what is wrong with it.
    """
    found, skipped = [], 0
    for route in ways:
        try:
            open_store(route.source).close()
        except StoreNotUnderstood:
            if len(ways) == 1:
                raise
            skipped += 1
        else:
            found.append(route)
    return found, skipped


def look(ways: Sequence[Route], target: Store | None, record: MigrationRecord) -> Outlook:
    """``target`` is None where its tables are still to be made."""
    outlook, fitting = Outlook(makes_tables=target is None), Fitting(target or Unmade(ways[0].target))
    ids_there = {hash(ref.id) for ref in target.sessions(Query(), order=Order.PHYSICAL)} if target else set()
    is_branched = target is not None and target.info().flavour == BRANCHED
    for route in ways:
        with open_store(route.source) as source:
            outlook.loses_branches |= source.info().flavour == BRANCHED and not is_branched
            now, misfits = source.now(), dict[str, Misfit]()
            outlook.holds += sum(hold.lasts(now) for hold in source.holds())
            for refs in _portions(source, Want.COUNT if record.is_empty else Want.VERSION):
                _count(outlook, route, refs, record, ids_there)
                misfits |= {each.session_id: each for each in fitting.by_ids(route, source, [ref.id for ref in refs])}
            for each in fitting.by_items(route, source):
                misfits.setdefault(each.session_id, each)
            outlook.misfits += misfits.values()
    return outlook


def _count(
    outlook: Outlook, route: Route, refs: Sequence[SessionRef], record: MigrationRecord, ids_there: set[int]
) -> None:
    there = [route.id_there(ref.id) for ref in refs]
    present = [name for name in there if hash(name) in ids_there]
    known = record.find(present)
    outlook.matched += Totals(sessions=len(refs), items=sum(ref.items or 0 for ref in refs))
    outlook.there += len(present)
    outlook.in_place += sum(
        name in known and known[name].version == ref.version for name, ref in zip(there, refs, strict=True)
    )


def _portions(source: Store, want: Want) -> Iterator[list[SessionRef]]:
    refs = source.sessions(Query(), order=Order.PHYSICAL, want=want)
    while some := list(islice(refs, _TOGETHER)):
        yield some
