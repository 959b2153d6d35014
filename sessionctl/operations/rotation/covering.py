"""A rotation's targets as its cover: sessions are put there, read back and compared before they may be deleted here.

Beside the targets lies a receipt of the run: an archive of the same sessions that says of each where its texts are,
and has what the target has no place for: keys, stamps to the last digit, rows of further tables, other branches. So
a rotation is undone exactly, from target and receipt together.

A session that was put into a target by a run which was cut off is found there by the next one, and not put twice.
Where a target has another session of the same id, one more file is begun beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from sessionctl.core.address import mask
from sessionctl.core.model import Outcome, Put
from sessionctl.core.plan import PlanHeader
from sessionctl.core.record import (
    NOWHERE,
    Elsewhere,
    SessionRecord,
    StoredItem,
    WholeSession,
    digest_of,
    instant,
)
from sessionctl.errors import ArchiveDamaged
from sessionctl.ledger import Ledger, Run
from sessionctl.operations.archiving import ArchiveKeeper, ArchiveKeeping, check_space, header_of
from sessionctl.operations.covering import Covering, Kept
from sessionctl.operations.restore import BRANCHED, on_main_branch
from sessionctl.operations.rotation.rotate import Rotation, stem_of
from sessionctl.operations.rotation.targets import Targets
from sessionctl.stores import open_store
from sessionctl.stores.base import Store

if TYPE_CHECKING:
    from sessionctl.archive.writer import Sealed

_TOGETHER = 100
_BYTES_TOGETHER = 4 * 2**20
"""Sessions put into a target in one transaction, at most; one larger session goes alone."""
_FULL = 64 * 2**20
"""Octets of texts in a segment, about."""
_SIBLINGS = 1000
_LOOKED_AT = 8
"""Targets, at the start of a run."""
_SECOND = timedelta(seconds=1)
_FILE_SHARE = 1.3
"""Octets of a SQLite file for one of stored text."""
RECEIPTS = ".sessionctl"
"""The directory of receipts, beside the targets."""
_WHAT = "rotation into"
_WAY_OUT = "name a larger place with --into, or rotate fewer sessions with --max-sessions"


def rotation_of(
    store: Store, rotation: Rotation, header: PlanHeader, run: Run, ledger: Ledger, state: Path
) -> Covering:
    """The cover of ``run``, with a connection to ``store`` of its own. Receipts of URLs lie in ``state``.

    Raises SessionctlError where the disk is too small, or a target that is there cannot be used; nothing is made
    before the first session.
    """
    from sessionctl.archive.writer import RunArchive

    directory = rotation.template.directory
    if directory is not None:
        check_space(str(directory), int(header.planned.bytes * _FILE_SHARE), what=_WHAT, hint=_WAY_OUT)
    receipts = str((directory or state) / RECEIPTS)
    archive = RunArchive(receipts, header_of(store, run, elsewhere=True))
    _check_targets(store, rotation, header)
    keeper = RotationKeeper(ArchiveKeeper(archive, receipts, what=_WHAT, hint=_WAY_OUT), store, rotation)
    return Covering(open_store(store.address), keeper, ledger, run)


def _check_targets(store: Store, rotation: Rotation, header: PlanHeader) -> None:
    """What is wrong with a target that is there is told before anything is done, and not tried again and again.

    The plan has no passwords: a URL is looked at where it is the only one, and needs no filling in.
    """
    template, targets = rotation.template, Targets(store.address)
    known = header.targets if template.is_path else () if template.fields else (template.text,)
    try:
        for target in islice(known, _LOOKED_AT):
            if not template.is_path or Path(target).exists():
                targets.open(target)
    finally:
        targets.close()


class RotationKeeper:
    """Keeps the sessions of ``origin`` in the targets of ``rotation``, and their receipts."""

    def __init__(self, receipts: ArchiveKeeper, origin: Store, rotation: Rotation) -> None:
        self._receipts, self._origin, self._rotation = receipts, origin.address, rotation
        self._structured = origin.info().flavour == BRANCHED
        self.targets: Counter[str] = Counter()

    @property
    def name(self) -> str:
        return self._receipts.name

    def check_space(self) -> None:
        self._receipts.check_space()

    def segment(self) -> RotationKeeping:
        targets = Targets(self._origin)
        return RotationKeeping(
            self._receipts.segment(), targets, self._rotation, stem_of(self._origin), self._structured, self.targets
        )

    def withdraw(self, sealed: Sealed) -> None:
        """Only the receipt: what lies in a target is found there by the next run."""
        self._receipts.withdraw(sealed)


class _Moving(NamedTuple):
    """A session on its way: all its items, and those that a store without branches can show."""

    session: SessionRecord
    items: tuple[StoredItem, ...]
    shown: Sequence[StoredItem]


@dataclass(slots=True)
class RotationKeeping:
    """A segment: receipts, and sessions that lie in their targets. ``counts`` are those of all sealed segments."""

    receipts: ArchiveKeeping
    targets: Targets
    rotation: Rotation
    stem: str
    structured: bool
    counts: Counter[str]
    put: Counter[str] = field(default_factory=Counter)
    size: int = 0

    @property
    def is_full(self) -> bool:
        return self.size >= _FULL or self.receipts.is_full

    def keep(self, sessions: Iterable[WholeSession]) -> Iterator[Kept]:
        for some in self._together(sessions):
            by_target: dict[str, list[_Moving]] = {}
            for moving in some:
                by_target.setdefault(self._target(moving.session), []).append(moving)
            for target, those in by_target.items():
                yield from self._into(target, those)

    def seal(self) -> Sealed | None:
        self.targets.settle()
        sealed = self.receipts.seal()
        self.counts.update(self.put)
        return sealed

    def __enter__(self) -> Self:
        self.receipts.__enter__()
        return self

    def __exit__(self, *what: object) -> None:
        self.targets.close()
        self.receipts.__exit__(*what)

    def _together(self, sessions: Iterable[WholeSession]) -> Iterator[list[_Moving]]:
        some: list[_Moving] = []
        size = 0
        for session, streamed in sessions:
            items = tuple(streamed)
            some.append(_Moving(session, items, on_main_branch(session, items) if self.structured else items))
            size += sum(item.size for item in items)
            if len(some) == _TOGETHER or size >= _BYTES_TOGETHER:
                yield some
                self.size += size
                some, size = [], 0
        if some:
            yield some
            self.size += size

    def _target(self, session: SessionRecord) -> str:
        at = instant(session.stamps.updated, session.stamps.updated_at)
        return self.rotation.target(session.id, at, self.stem)

    def _into(self, target: str, some: Sequence[_Moving]) -> Iterator[Kept]:
        """These sessions into their target, or the first of its siblings that can take them."""
        template, left = self.rotation.template, {moving.session.id: moving for moving in some}
        for number in range(1, _SIBLINGS if template.is_path else 2):
            store = self.targets.open(template.sibling(target, number))
            if store is None:
                continue
            yield from self._put(store, left)
            if not left:
                return
        for session_id in left:
            yield Kept(session_id, 0, refused=f"{mask(target)} has another session of this id already")

    def _put(self, store: Store, left: dict[str, _Moving]) -> Iterator[Kept]:
        """Put them, and take those out of ``left`` that are there now, or never will be."""
        full = self.structured and store.info().flavour == BRANCHED
        puts = [Put(session=m.session, items=m.items if full else m.shown) for m in left.values()]
        outcomes = {put.session_id: outcome for put, outcome in zip(puts, store.put(puts), strict=True)}
        there = {session.id: (session, tuple(items)) for session, items in store.whole(list(left))}
        receipts = []
        for put in puts:
            outcome = outcomes[put.session_id]
            if outcome is Outcome.FAILED:
                del left[put.session_id]
                yield Kept(put.session_id, 0, refused=f"{store.address.label} cannot hold it")
            elif put.session_id in there and _is_kept(put, *there[put.session_id]):
                receipts.append(_receipt(left.pop(put.session_id), put.items, store))
                self.put[str(store.address)] += 1
            elif outcome is Outcome.DONE:
                raise ArchiveDamaged(f"the session {put.session_id!r} in {store.address} is not what was put there")
        yield from self.receipts.keep(receipts)


def _receipt(moving: _Moving, shown: Sequence[StoredItem], store: Store) -> WholeSession:
    """What is left to keep of a session that lies in ``store``."""
    session, items = moving.session, moving.items
    positions = {item.key: position for position, item in enumerate(items)}
    elsewhere = [positions[item.key] for item in shown]
    if elsewhere != sorted(elsewhere):  # the target has another order than the rows
        elsewhere = []
    here = tuple(sorted(set(range(len(items))).difference(elsewhere)))
    record = Elsewhere(store=store.address.recorded, sha256=digest_of(item.text for item in items), here=here)
    away = frozenset(elsewhere)
    told = [item._replace(text=NOWHERE) if position in away else item for position, item in enumerate(items)]
    return WholeSession(replace(session, elsewhere=record), told)


def _is_kept(put: Put, there: SessionRecord, items: Sequence[StoredItem]) -> bool:
    """Is it there: the texts, in their order, at their times to the second? More may have been appended since."""
    given, found = put.session.stamps, there.stamps
    is_whole = len(items) == len(put.items)
    return (
        len(items) >= len(put.items)
        and all(mine.text == its.text for mine, its in zip(put.items, items, strict=False))
        and _is_same_time(instant(given.created, given.created_at), instant(found.created, found.created_at))
        and (
            not is_whole
            or _is_same_time(instant(given.updated, given.updated_at), instant(found.updated, found.updated_at))
        )
        and _are_same_times(put.items, items)
    )


def _are_same_times(items: Sequence[StoredItem], there: Sequence[StoredItem]) -> bool:
    """Targets keep whole seconds at least; one that sorts by time has no item before the one it follows."""
    if all(mine[1:3] == its[1:3] for mine, its in zip(items, there, strict=False)):  # the usual case, told quickly
        return True
    latest: datetime | None = None
    for mine, its in zip(items, there, strict=False):
        at = instant(mine.stored_at, mine.at)
        latest = max(filter(None, (latest, at)), default=None)
        found = instant(its.stored_at, its.at)
        if not (_is_same_time(at, found) or _is_same_time(latest, found)):
            return False
    return True


def _is_same_time(given: datetime | None, found: datetime | None) -> bool:
    return given is None or (found is not None and abs(given - found) < _SECOND)
