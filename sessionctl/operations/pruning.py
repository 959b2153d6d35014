"""Removal of archives that are past their time.

Only a directory that is named after the run in its headers and holds nothing but that archive is ever removed.
An archive stays while its run is under way, and while it has a session that is held in the store it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from sessionctl.archive.format import Header
from sessionctl.archive.places import PART, Place
from sessionctl.archive.reader import ArchiveReader, Glance, glance
from sessionctl.archive.segments import is_segment, runs
from sessionctl.core.address import StoreAddress
from sessionctl.core.hold import Hold, Holds
from sessionctl.errors import ArchiveDamaged, ArchiveMissing, ArchiveUnavailable, SessionctlError
from sessionctl.ledger import Ledger, Run, begun_at
from sessionctl.stores import open_store
from sessionctl.stores.base import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class OldRun:
    """The archive of one run that is past its time: its directory, and all the files in it."""

    directory: Place
    header: Header
    segments: tuple[Place, ...]
    unfinished: tuple[Place, ...]
    glances: tuple[Glance, ...]

    @property
    def files(self) -> tuple[Place, ...]:
        """From the last to the first, so that a removal cut off leaves what still is an archive."""
        return (*self.unfinished, *reversed(self.segments))

    @property
    def size(self) -> int:
        return sum(found.size for found in self.glances)

    @property
    def sessions(self) -> int:
        return sum(found.manifest.counts.sessions for found in self.glances if found.manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Which archives are past their time.

    ``keep`` tells by the recorded address of a store how long archives of it stay, None where nothing says so.
    ``only``: of these stores, None for all.
    """

    keep: Callable[[str], timedelta | None]
    only: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """What is to be removed, how many are young enough to stay, and what is left alone, with the reason."""

    old: tuple[OldRun, ...]
    young: int
    left: tuple[tuple[Place, str], ...]


class Watch:
    """Says of an archive why it must not go. Keeps the stores that it asks open: close it, or use it as a context.

    ``address_of`` finds a store by its recorded address. ``allow_unknown``: where a store cannot be asked for its
    holds, none is taken to be there.
    """

    def __init__(
        self, address_of: Callable[[str], StoreAddress | None], ledger: Ledger | None, *, allow_unknown: bool = False
    ) -> None:
        self._address_of, self._ledger, self._allow_unknown = address_of, ledger, allow_unknown
        self._open = ExitStack()
        self._stores: dict[str, Store | SessionctlError] = {}
        self._found: dict[tuple[str, tuple[Hold, ...]], str | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def keeps(self, run: OldRun) -> str | None:
        """The reason, None where there is none. Asked again it looks again, at all that may have become different."""
        known = self._ledger.run(run.header.run_id) if self._ledger else None
        if self._ledger and known and not known.is_over(self._ledger.now()):
            return f"{run.directory}: its run is still under way"
        try:
            holds, clock = self._holds(run.header.store, known)
        except SessionctlError as error:
            if self._allow_unknown:
                return None
            return (
                f"{run.directory}: nobody can tell whether it has a held session of {run.header.store}: "
                f"{error.message} (--allow-unknown-holds goes on without)"
            )
        if not holds:
            return None
        asked = (str(run.directory), holds)
        if asked not in self._found:
            self._found[asked] = _held(run, Holds(holds, clock))
        return self._found[asked]

    def _holds(self, recorded: str, run: Run | None) -> tuple[tuple[Hold, ...], datetime]:
        address = self._address(recorded)
        if self._ledger and run and self._ledger.may_mean_another(run, address):
            raise SessionctlError(f"that store is on {run.host}, and another may be here")
        if recorded not in self._stores:
            try:
                self._stores[recorded] = self._open.enter_context(open_store(address))
            except SessionctlError as error:
                self._stores[recorded] = error
        store = self._stores[recorded]
        if isinstance(store, SessionctlError):
            raise store
        clock = store.now()
        return tuple(hold for hold in store.holds() if hold.lasts(clock)), clock

    def _address(self, recorded: str) -> StoreAddress:
        address = self._address_of(recorded)
        if address is None:
            raise SessionctlError("the settings do not name that store, nor does --store")
        return address


def _held(run: OldRun, holds: Holds) -> str | None:
    """The first held session that the archive has, in a sentence; what cannot be read may have one too."""
    try:
        for segment in run.segments:
            with ArchiveReader(segment) as reader:
                for whole in reader.sessions(lambda session: holds.keep(session.id, named=False)):
                    hold = holds.over(whole.session.id)[0]
                    return f"{run.directory}: its session {whole.session.id!r} is held by {hold.hold_id}: {hold.reason}"
    except SessionctlError as error:
        return f"{run.directory}: nobody can tell whether it has a held session: {error.message}"
    return None


def plan_pruning(addresses: Iterable[str], rules: Rules, watch: Watch, now: datetime) -> Pruning:
    """Which archives of runs under ``addresses`` are past their time by ``rules``, counted from their last segment.

    Raises ArchiveMissing, ArchiveUnavailable, AccessRefused for an address.
    """
    old: list[OldRun] = []
    left: list[tuple[Place, str]] = []
    young = 0
    for directory in (found for address in addresses for found in runs(address)):
        try:
            run = _run(directory)
        except SessionctlError as error:
            left.append((directory, error.message))
            continue
        if rules.only is not None and run.header.store not in rules.only:
            continue
        keep = rules.keep(run.header.store)
        if keep is None:
            left.append((directory, f"{directory}: nothing says how long archives of {run.header.store} are kept"))
        elif now - run.header.created_at < keep:
            young += 1
        elif why := watch.keeps(run):
            left.append((directory, why))
        else:
            old.append(run)
    return Pruning(old=tuple(old), young=young, left=tuple(left))


def _run(directory: Place) -> OldRun:
    entries = directory.entries()
    sealed = [entry for entry in entries if is_segment(entry)]
    parts = [entry for entry in entries if is_segment(entry._replace(name=entry.name.removesuffix(PART)))]
    parts = [entry for entry in parts if entry not in sealed]
    foreign = [entry.name for entry in entries if entry not in sealed and entry not in parts]
    if foreign:
        raise ArchiveUnavailable(f"{directory} holds something else too: {foreign[0]}")
    if not sealed:
        raise ArchiveMissing(f"there is no finished archive in {directory}")
    segments, unfinished = (tuple(directory.child(entry.name) for entry in some) for some in (sealed, parts))
    glances = tuple(glance(at) for at in segments)
    if any(found.header.run_id != directory.name for found in glances):
        raise ArchiveDamaged(f"{directory} is not named after the run in it")
    newest = max((found.header for found in glances), key=lambda header: header.created_at)
    return OldRun(directory=directory, header=newest, segments=segments, unfinished=unfinished, glances=glances)


def prune(run: OldRun, watch: Watch) -> None:
    """Remove one archive, file by file and then its directory, which must be empty by then.

    Raises SessionctlError where it must stay by now.
    """
    if why := watch.keeps(run):
        raise SessionctlError(why)
    for file in run.files:
        file.remove()
    run.directory.remove_directory()


def past_keep(address: str, keep: timedelta, now: datetime) -> int:
    """About how many archives under ``address`` are past their time, by the names of their directories alone."""
    begun = (begun_at(directory.name) for directory in runs(address))
    return sum(1 for at in begun if at is not None and now - at >= keep)
