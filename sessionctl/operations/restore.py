"""Restore sessions of archives into a store, the one they came from or any other.

Nothing is merged: a session goes where there is none of its id. One that is there with the same texts, or
was only appended to since, is in its place already, so that a restore can be run again. Any other is a
conflict, which is left alone, unless it is to be replaced: then it was deleted before, by a plan like any
other, and is absent by now.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from sessionctl.archive.format import Counts
from sessionctl.archive.places import Place
from sessionctl.archive.reader import ArchiveReader
from sessionctl.core.address import parse_address
from sessionctl.core.hold import Hold
from sessionctl.core.model import Conflict, SessionRef
from sessionctl.core.patience import Trouble
from sessionctl.core.plan import Totals
from sessionctl.core.record import SessionRecord, StoredItem, octets_of
from sessionctl.core.selector import Query, Selector
from sessionctl.errors import GuardRefused, UsageError
from sessionctl.operations.archives import reference_of
from sessionctl.operations.put_back import Case, Placing, Tally, Whole, portions, put_patiently
from sessionctl.operations.rotation.elsewhere import made_whole
from sessionctl.operations.selecting import group_of, most_recent
from sessionctl.stores.base import Store

if TYPE_CHECKING:
    from sessionctl.archive.format import Header
    from sessionctl.operations.stop import Stop

BRANCHED = "AdvancedSQLiteSession"
"""The flavour of sessions that have branches, of which other stores can show the main one only."""
_STRUCTURE = "message_structure"
_MAIN = "main"
_LOOKED_UP = 500
"""Ids asked for at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Which sessions of which archive files; ``rename`` is the id that the only one gets.

    ``query`` selects, but none that is among ``kept`` or not ``grouped``, and ``only`` those where it is given.
    """

    files: tuple[Place, ...]
    query: Query
    kept: Collection[str] = field(default=frozenset())
    grouped: Callable[[str], object] = field(default=lambda _: True)
    only: Collection[str] | None = None
    rename: str | None = None

    def portions(self) -> Iterator[tuple[Header, list[Whole]]]:
        """The selected sessions, in portions that fit into one transaction, each with what its file says of itself."""
        for file in self.files:
            with ArchiveReader(file) as reader:
                header = reader.header
            for some in made_whole(portions(file, self._may_be_selected), parse_address):
                selected = (
                    some if self._is_by_ids else [(s, items) for s, items in some if self._selects(s, _counts(items))]
                )
                _refuse_parts(file, header, [session for session, _ in selected])
                yield header, selected

    def measured(self) -> Iterator[tuple[Header, list[tuple[SessionRecord, Counts]]]]:
        """The selected sessions, some at a time, each with what it counts: checked as well, in half the time.

        Those whose texts are elsewhere are all there: nothing tells their sizes.
        """
        for file in self.files:
            with ArchiveReader(file) as reader:
                is_by_ids = self._is_by_ids
                selected = (
                    (session, counts)
                    for session, counts in reader.measured()
                    if self._may_be_selected(session)
                    and (is_by_ids or session.elsewhere or self._selects(session, counts))
                )
                while some := list(islice(selected, _LOOKED_UP)):
                    _refuse_parts(file, reader.header, [session for session, _ in some])
                    yield reader.header, some

    def split(self, ids: Collection[str]) -> tuple[Source, Source]:
        """Those that go to ``ids``, and the others."""
        if self.rename is not None:
            return self, replace(self, files=())
        chosen = frozenset(ids)
        return replace(self, only=chosen), replace(self, kept=frozenset(self.kept) | chosen)

    def _may_be_selected(self, session: SessionRecord) -> bool:
        """As far as the id tells."""
        if session.id in self.kept or (self.only is not None and session.id not in self.only):
            return False
        return self.query.admits(session.id) and bool(self.grouped(session.id))

    @property
    def _is_by_ids(self) -> bool:
        """Does the id tell all?"""
        return self.query == self.query.only_ids()

    def _selects(self, session: SessionRecord, counts: Counts) -> bool:
        return self.query.matches(reference_of(session, counts))


def _counts(items: Sequence[StoredItem]) -> Counts:
    return Counts(1, len(items), octets_of(items))


def _refuse_parts(file: Place, header: Header, sessions: Iterable[SessionRecord]) -> None:
    if any(session.part is not None for session in sessions):
        raise UsageError(
            f"{file} holds items that were taken out of sessions which stayed, no whole sessions",
            hint=f"sessionctl undo {header.run_id} puts them back; sessionctl archive show reads them",
        )


def source_of(files: Sequence[Place], selector: Selector, now: datetime, *, rename: str | None = None) -> Source:
    """What ``selector`` selects of ``files`` at ``now``; ``keep_last`` goes by the sessions in them."""
    source = Source(files=tuple(files), query=selector.resolve(now), rename=rename)
    if selector.keep_last is None:
        return source
    group = group_of(selector)
    kept = most_recent(_by_activity(files, source.query), selector.keep_last, group)
    return replace(source, kept=kept, grouped=group.search) if group else replace(source, kept=kept)


def _by_activity(files: Sequence[Place], query: Query) -> list[SessionRef]:
    """As ``Order.ACTIVITY`` has it."""
    found = []
    for file in files:
        with ArchiveReader(file) as reader:
            found += [reference_of(*one) for one in reader.measured() if query.admits(one[0].id)]
    found.sort(key=lambda ref: ref.id)
    found.sort(key=lambda ref: ref.updated_at.timestamp() if ref.updated_at else float("-inf"), reverse=True)
    return found


# -- what there is --------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Foreseen:
    """What restoring would come to: ``conflicts`` by id, ``found`` the sessions named one by one that it has.

    ``several``: sessions that archives of several runs have with different items; the first of each goes in.
    """

    tally: Tally = field(default_factory=Tally)
    conflicts: dict[str, Totals] = field(default_factory=dict)
    found: set[str] = field(default_factory=set)
    several: dict[str, Totals] = field(default_factory=dict)

    def note_found(self, source: Source, session_id: str) -> None:
        if source.query.named and session_id in source.query.named:
            self.found.add(session_id)

    @property
    def is_all_absent(self) -> bool:
        """Had the store nothing of what is to be restored?"""
        return self.tally.matched == self.tally.by_case[Case.BACK]

    def after(self, replaced: Iterable[str]) -> Tally:
        """What it comes to once those that are ``replaced`` were deleted."""
        gone = frozenset(replaced)
        back = sum((totals for name, totals in self.conflicts.items() if name in gone), self.tally.by_case[Case.BACK])
        left = sum((totals for name, totals in self.conflicts.items() if name not in gone), Totals())
        left = sum(self.several.values(), left)
        return replace(
            self.tally,
            by_case={**self.tally.by_case, Case.BACK: back, Case.REFUSED: left},
            refused=[name for name in self.tally.refused if name not in gone],
        )


def foresee_restore(store: Store, source: Source, conflict: Conflict) -> Foreseen:
    """What restoring would come to at this moment. Every file is read whole and checked; nothing is written.

    A file with sessions that the store has, or whose sizes it does not tell itself, is read twice.
    Raises ArchiveDamaged, ArchiveMissing, ArchiveUnavailable.
    """
    foreseen = Foreseen()
    earlier = _Earlier(source)
    for file in source.files:
        one = replace(source, files=(file,))
        if others := _foresee_absent(store, one, conflict, foreseen, earlier):
            _foresee_others(store, replace(one, only=others), conflict, foreseen, earlier)
    return foreseen


class _Earlier:
    """Which sessions earlier files put in: later ones of the same id meet these, and not what the store has now.

    The ids are kept only where there are files of several runs; in those of one run no session is twice.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._is_needed = source.rename is None and len({*map(_run_of, source.files)}) > 1
        self._files: dict[str, Place] = {}

    def note(self, session_id: str, source: Source) -> None:
        if self._is_needed:
            [self._files[session_id]] = source.files

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._files

    def texts(self, store: Store, conflict: Conflict, ids: Iterable[str]) -> dict[str, list[str]]:
        """What the store will have of each of ``ids`` by then."""
        by_file: dict[Place, set[str]] = {}
        for session_id in ids:
            by_file.setdefault(self._files[session_id], set()).add(session_id)
        found = {}
        for file, wanted in by_file.items():
            for header, some in replace(self._source, files=(file,), only=wanted).portions():
                placings = _look(store, self._source, header, conflict).as_absent(some)
                found.update({placing.session.id: _texts(placing.items) for placing in placings})
        return found


def _run_of(file: Place) -> str:
    with ArchiveReader(file) as reader:
        return reader.header.run_id


def _foresee_absent(
    store: Store, source: Source, conflict: Conflict, foreseen: Foreseen, earlier: _Earlier
) -> set[str]:
    """Count sessions that are plainly absent, as the archive counts them; the ids of all others."""
    others: set[str] = set()
    for header, some in source.measured():
        look = _look(store, source, header, conflict)
        there = look.existing([session for session, _ in some])
        for session, (_, items, size) in some:
            if session.id in there or session.id in earlier or not look.fits_whole(session):
                others.add(session.id)
                continue
            earlier.note(session.id, source)
            foreseen.note_found(source, session.id)
            foreseen.tally.add([session.id], Case.BACK, Totals(sessions=1, items=items, bytes=size))
    return others


def _foresee_others(store: Store, source: Source, conflict: Conflict, foreseen: Foreseen, earlier: _Earlier) -> None:
    for header, some in source.portions():
        for session, _ in some:
            foreseen.note_found(source, session.id)
        again = {session.id for session, _ in some if session.id in earlier}
        look = _look(store, source, header, conflict)
        for placing in look(some, earlier.texts(store, conflict, again)):
            session_id = placing.session.id
            foreseen.tally.count(placing)
            if session_id not in again and (placing.case.is_writing or conflict is Conflict.REPLACE):
                earlier.note(session_id, source)
            if placing.case is Case.REFUSED:
                known = foreseen.several if session_id in again else foreseen.conflicts
                known[session_id] = known.get(session_id, Totals()) + placing.totals


@dataclass(frozen=True, slots=True)
class _Look:
    """Looks what the store has of archived sessions. ``structured``: it knows branches, and is told those archived."""

    store: Store
    conflict: Conflict
    rename: str | None
    exact: bool
    structured: bool

    def existing(self, sessions: Iterable[SessionRecord]) -> set[str]:
        """The ids, as the archive has them, of those that the store has something of."""
        names = {self._named(session).id: session.id for session in sessions}
        return {names[ref.id] for ref in self.store.sessions(Query(named=frozenset(names)))}

    def fits_whole(self, session: SessionRecord) -> bool:
        """Would all items that the archive counts have a place there?"""
        return session.elsewhere is None and (self.exact or self.structured or not session.extras.get(_STRUCTURE))

    def __call__(self, some: Sequence[Whole], by_then: Mapping[str, list[str]] | None = None) -> list[Placing]:
        """``by_then``: the texts of sessions that will be there, in place of what the store has of them now."""
        some = [(self._named(session), items) for session, items in some]
        there = dict(by_then or {})
        ids = [session.id for session, _ in some if session.id not in there]
        there |= {whole.session.id: _texts(whole.items) for whole in self.store.whole(ids)}
        return [self._placing(session, items, there.get(session.id)) for session, items in some]

    def as_absent(self, some: Sequence[Whole]) -> list[Placing]:
        """The cases where the store has none of them; it looks again where it puts them."""
        return [self._placing(self._named(session), items, None) for session, items in some]

    def _named(self, session: SessionRecord) -> SessionRecord:
        return session if self.rename is None else replace(session, id=self.rename)

    def _placing(self, session: SessionRecord, items: Sequence[StoredItem], there: list[str] | None) -> Placing:
        fitting = items if self.exact or self.structured else on_main_branch(session, items)
        case = Case.BACK if there is None else self._case(_texts(fitting), there)
        return Placing(session, fitting, case, exact=self.exact, left_out=len(items) - len(fitting))

    def _case(self, archived: list[str], there: list[str]) -> Case:
        if there == archived:
            return Case.ALREADY
        appended_to = there[: len(archived)] == archived
        return Case.ALREADY if appended_to and self.conflict is not Conflict.REPLACE else Case.REFUSED


def _look(store: Store, source: Source, header: Header, conflict: Conflict) -> _Look:
    """Keys and stamps are written as they were only where they came from: in this very store."""
    info = store.info()
    same = (header.store, header.kind, header.flavour) == (store.address.recorded, info.kind, info.flavour)
    structured = header.flavour == info.flavour == BRANCHED
    return _Look(store, conflict, source.rename, exact=same and source.rename is None, structured=structured)


def _texts(items: Iterable[StoredItem]) -> list[str]:
    return [item.text for item in items]


def on_main_branch(session: SessionRecord, items: Sequence[StoredItem]) -> Sequence[StoredItem]:
    """What is left of a session with branches where there are none: the main one, in its order."""
    rows = session.extras.get(_STRUCTURE)
    if not rows:
        return items
    places = {row["message_id"]: row["sequence_number"] for row in rows if row["branch_id"] == _MAIN}
    return tuple(sorted((item for item in items if item.key in places), key=lambda item: places[item.key]))


# -- putting it in --------------------------------------------------------------------------------------


def restore(
    store: Store,
    source: Source,
    conflict: Conflict,
    done: Tally,
    *,
    stop: Stop,
    absent: bool = False,
    hold: Hold | None = None,
    observe: Callable[[Sequence[str]], None] = lambda _: None,
) -> None:
    """Put in all that can be, and count it in ``done``. Trouble that passes is borne; another error comes out.

    Each portion is one transaction, with ``hold`` on what it puts in; ``observe`` is told the ids. ``absent``: the
    store had none of them just now, so that it is asked only where they are put. Raises GuardRefused where a conflict
    came up meanwhile and is to ``FAIL`` the run.
    """
    trouble = Trouble()
    for header, some in source.portions():
        if stop:
            return
        look = _look(store, source, header, conflict)
        # Its old keys may be those of others by now, where the store was made anew.
        again = replace(look, exact=False)
        placed = put_patiently(store, some, look.as_absent if absent else look, trouble, stop, hold, again=again)
        for placing in placed:
            done.count(placing)
        observe([placing.session.id for placing in placed if placing.case.is_writing])
        if conflict is Conflict.FAIL and any(placing.case is Case.REFUSED for placing in placed):
            raise GuardRefused("sessions that are there by now are not those of the archive; the rest was not restored")
