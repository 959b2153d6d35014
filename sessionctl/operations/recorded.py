"""Runs out of the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sessionctl.errors import ArchiveDamaged, ArchiveMissing, ArchiveUnavailable, UsageError
from sessionctl.ledger import Ledger, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which runs: all that is given must hold. ``session_ids``: the run removed one of these, as its archive tells."""

    session_ids: frozenset[str] = frozenset()
    since: datetime | None = None
    store: str | None = None
    actor: str | None = None

    def matches(self, run: Run) -> bool:
        """Without a look into archives."""
        if self.since is not None and run.started_at < self.since:
            return False
        return self.actor is None or self.actor in (run.actor, run.user)


def recorded(ledger: Ledger | None, wanted: Wanted) -> tuple[list[Run], list[Run]]:
    """The runs wanted, the newest first; none without a ledger. Archives are read where ids are asked for.

    Beside them the runs whose archive could not be read, so that nobody knows whether they are meant.
    """
    if ledger is None:
        return [], []
    found = [run for run in ledger.runs(store=wanted.store) if wanted.matches(run)]
    if not wanted.session_ids:
        return found, []
    hits, unread = [], []
    for run in found:
        try:
            if any(removed in wanted.session_ids for removed in _removed(ledger, run)):
                hits.append(run)
        except (ArchiveMissing, ArchiveUnavailable, ArchiveDamaged, UsageError):
            unread.append(run)
    return hits, unread


def _removed(ledger: Ledger, run: Run) -> Iterator[str]:
    from sessionctl.archive.places import place
    from sessionctl.archive.reader import ArchiveReader

    for segment in ledger.segments(run.run_id) if run.archive else ():
        kept = frozenset(segment.kept)
        with ArchiveReader(place(run.archive or "").child(segment.name)) as reader:
            yield from (session.id for session, _ in reader.measured() if session.id not in kept)
