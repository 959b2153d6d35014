"""The store port: what every backend must do, in terms of sessions and items.

The contract, which ``sessionctl.testing`` turns into tests for every adapter:

* Reads never write. No table, index, key or side file is made, no time to live refreshed; read-only
  credentials and hot standbys are enough.
* Everything is streamed: memory does not grow with the store.
* Times are aware UTC, by the store's own clock and zone rules. Texts are the stored ones, to the byte.
* ``create`` and ``complete`` make tables, and are called only where the user asked for that.
* ``apply`` takes sessions or items away and only ``operations.execute`` calls it; ``put`` puts some in and only
  ``operations.put_back`` and ``operations.rotation.covering`` call it. ``hold`` and ``release`` change nothing but
  sessionctl's own table of holds, ``vacuum`` nothing but how sessions lie on disk.
  No other method changes anything.
* Driver errors never get out: they are raised as ``SessionctlError`` with the driver's as the cause,
  and no message holds a secret.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self

from sessionctl.core.address import StoreAddress
from sessionctl.core.finding import Finding
from sessionctl.core.hold import Hold
from sessionctl.core.model import (
    Capabilities,
    Census,
    Change,
    Cursor,
    Ends,
    Guard,
    Item,
    Lag,
    Order,
    Outcome,
    Preflight,
    Put,
    RecordedUsage,
    Rewrite,
    Room,
    SessionRef,
    Spent,
    StoreInfo,
    Usage,
    Volume,
    Want,
)
from sessionctl.core.plan import Totals
from sessionctl.core.record import PlainItem, WholeSession, plain_items
from sessionctl.core.selector import Query
from sessionctl.core.space import Part, Space, Step, Wish
from sessionctl.core.spans import touches
from sessionctl.errors import Unsupported


class Store(ABC):
    """An opened store. One thread at a time; ``close`` it, or use it as a context manager.

    It is never carried into another process: exports open the same address once more in each of theirs.

    The constructor connects and looks at the layout. It raises StoreMissing, StoreUnavailable,
    StoreNotUnderstood or AccessRefused, and leaves nothing open then.
    """

    capabilities: ClassVar[Capabilities]
    address: StoreAddress
    only_filler: bool = False
    """Nobody but its user puts anything into this store's tables, which were made bare: ``put`` need not look for
    items without a session, which takes the index that is not there yet."""

    @cached_property
    def spent(self) -> Spent:
        """Where the time of ``apply`` went, over the life of this object; it grows with every call."""
        return Spent()

    @classmethod
    def create(cls, address: StoreAddress) -> None:
        """Make the SDK's tables at ``address``, those of them that are missing, as its session class has them.

        Bare: without the keys and the index of items that ``complete`` adds, which is faster once the rows
        are in; until then nobody else should use them. A SQLite file that is missing is made (0600), a database
        never. Raises Unsupported where this kind of store cannot.
        """
        raise Unsupported(f"the tables of {address} cannot be made by sessionctl")

    @classmethod
    def longest_new_text(cls, address: StoreAddress) -> int | None:  # noqa: ARG003
        """The most octets of a text in tables that ``create`` would make there; None where there is no limit."""
        return None

    @classmethod
    def complete(cls, address: StoreAddress) -> None:
        """Add what ``create`` left out. Idempotent."""
        raise Unsupported(f"the tables of {address} cannot be completed by sessionctl")

    @abstractmethod
    def now(self) -> datetime:
        """The store's own clock, the one its stamps are made by."""

    @abstractmethod
    def info(self) -> StoreInfo:
        """What this store is, what hangs on it, and whether it may be changed."""

    @abstractmethod
    def census(self, ahead_of: datetime) -> Census:
        """All sessions, and those last active later than ``ahead_of``, counted in one look."""

    @abstractmethod
    def sessions(
        self,
        query: Query,
        *,
        order: Order = Order.ACTIVITY,
        limit: int | None = None,
        after: Cursor | None = None,
        want: Want = Want.NOTHING,
    ) -> Iterator[SessionRef]:
        """The sessions for which ``query.matches`` holds, each once, in ``order``, streamed.

        ``limit`` counts sessions yielded; with it and without size criteria nothing is read of the
        items of other sessions. ``after`` (order ACTIVITY only) continues behind a place. Bodies of
        items are never fetched.
        """

    def session(self, session_id: str, want: Want = Want.NOTHING) -> SessionRef | None:
        """The session of exactly this id, None where there is none."""
        return next(self.sessions(Query(named=frozenset({session_id})), want=want), None)

    @abstractmethod
    def items(self, session_id: str, *, last: int | None = None) -> Iterator[Item]:
        """The items in the order in which the SDK reads them, streamed; ``last``: only that many newest.

        Rows that the SDK skips come too, at their place, with ``hidden`` saying why where the store
        knows it. An unknown session has no items.
        """

    def ends(self, session_ids: Sequence[str], *, first: int, last: int) -> Iterator[Ends]:
        """The ``first`` and the ``last`` items of each of these sessions, which may overlap; any order of sessions.

        Both ends as ``items`` gives them, though not necessarily at one instant. Sessions without items are left out.
        """
        for session_id in session_ids:
            tail = list(self.items(session_id, last=last))
            if tail:
                yield Ends(session_id, list(islice(self.items(session_id), first)), tail)

    @abstractmethod
    def find(self, session_ids: Sequence[str], needle: str) -> Iterator[tuple[str, Item]]:
        """Candidates for a text search: (session id, item) whose stored text may contain ``needle``.

        ``needle`` is printable ASCII without quotes and backslashes, compared without regard to case
        (empty: every item is a candidate). Never fewer than the matching ones, maybe more; any order.
        """

    @abstractmethod
    def sample(self, count: int) -> Iterator[Item]:
        """About ``count`` items spread evenly over the store; all of them if it has no more."""

    @abstractmethod
    def volume(self) -> Volume:
        """All items counted and summed, in one pass as they lie: much cheaper than session by session."""

    @abstractmethod
    def usage(self) -> Usage:
        """Space on disk, as far as the engine tells it cheaply."""

    def recorded_usage(self, session_id: str | None = None) -> RecordedUsage | None:  # noqa: ARG002
        """What was recorded of this session's runs (None: of all together); None where nothing was."""
        return None

    def whole(self, session_ids: Sequence[str]) -> Iterator[WholeSession]:  # noqa: ARG002
        """These sessions with all that the store keeps of them, one after the other, any order.

        Each is as it was at one instant, ``version`` included (as ``Want.VERSION`` gives it). Ids of no
        session are left out. Raises Unsupported where this kind of store cannot.
        """
        raise Unsupported(f"{self.address} cannot be archived yet: its sessions cannot be read whole")

    def contents(self, session_ids: Sequence[str]) -> Iterator[tuple[str, Iterable[PlainItem]]]:
        """As ``whole``, but of each session only its id and its items, which costs less."""
        for session, items in self.whole(session_ids):
            yield session.id, plain_items(items)

    def taken(self, rewrites: Sequence[Rewrite]) -> Iterator[WholeSession]:
        """What these changes would take, each session once, as ``whole``: with ``SessionRecord.part``.

        Its items are those that the change removes or replaces, as far as they are there.
        """
        wanted = {rewrite.session_id: rewrite for rewrite in rewrites}
        for session, items in self.whole(list(wanted)):
            rewrite = wanted[session.id]
            is_touched = touches(rewrite)
            extras = self._extras_taken(session.extras, rewrite)
            part = replace(session, extras=extras, part=dict(rewrite.replace))
            yield WholeSession(part, (item for item in items if is_touched(item.key)))

    def has_branches(self, session_id: str) -> bool:  # noqa: ARG002
        """Has the session a branch beside its main one, which holds items of that?"""
        return False

    def _extras_taken(self, extras: Mapping[str, Any], rewrite: Rewrite) -> Mapping[str, Any]:  # noqa: ARG002
        """Of what the backend keeps beyond the items: what the change takes along, or alters."""
        return {}

    def copy_to(self, path: Path) -> None:
        """Write a copy of the whole store, as it is at one instant, into the file ``path``, which must not exist.

        Only for stores that are files of their own; writers go on meanwhile. Raises Unsupported elsewhere.
        """
        raise Unsupported(f"{self.address} cannot be copied as a file ({path.name})")

    @abstractmethod
    def apply(self, changes: Sequence[Change], guard: Guard) -> Sequence[Outcome]:
        """Make ``changes`` in one atomic step and say, in their order, what became of each.

        In the same step each session is looked at again: MISSING if it is gone, HELD if a hold is over it
        (read in this step too), CHANGED if it is not as the change has it (``Delete.version``, ``Rewrite``),
        ACTIVE if its latest sign of life is within ``guard.min_idle`` of the store's clock or someone has it
        locked, FAILED if the store refused this one alone. Only the others are changed (DONE): of a session
        deleted nothing is left behind, one rewritten keeps all but what the change says, its stamps too.
        Of several changes to one session only the first is made.

        One attempt: whoever calls decides whether to try again after an error that is ``transient``. An
        error means that nothing was changed, unless the connection broke while committing; then the
        message says so, and the same changes applied again come out as what became of them.
        """

    def put(self, puts: Sequence[Put], *, hold: Hold | None = None) -> Sequence[Outcome]:  # noqa: ARG002
        """Put sessions or parts of them in, in one atomic step, and say in their order what became of each.

        In the same step each session put in gets ``hold``, under its own id. Sessions of one kind (``exact``, ABSENT)
        go in together, by the fastest means of the server; a few thousand items a call are best, which is some
        hundreds of sessions or about 4 MiB of texts: fewer pay for their statements, more only hold locks for longer.

        DONE, or CHANGED where what the store has under this id by now does not allow it (``Put.onto``): then
        nothing of this session was written. An error means that nothing was changed; see ``apply``.
        Raises Unsupported where this kind of store cannot.
        """
        raise Unsupported(f"sessions cannot be put into {self.address} yet")

    def room(self) -> Room:
        """What ids and texts this store can hold."""
        return Room()

    def is_possible(self, session_id: str) -> bool:  # noqa: ARG002
        """Can a session have this id at all, as far as its characters go?"""
        return True

    def id_keys(self, session_ids: Sequence[str]) -> Sequence[Any]:
        """What this store tells ids apart by, one for each: where two are equal, it takes the ids for the same."""
        return session_ids

    def outsized(self, room: Room) -> Iterator[tuple[str, str]]:
        """(session id, why) of sessions with a text that has no room there, in one pass over all items."""
        for ref in self.sessions(Query(), order=Order.PHYSICAL):
            for item in self.items(ref.id):
                if room.longest_text is not None and item.size > room.longest_text:
                    yield ref.id, f"an item of {item.size:,} octets"
                elif not room.takes_nul and "\0" in item.text:
                    yield ref.id, "an item with a NUL in it"

    def holds(self) -> Iterator[Hold]:
        """All holds kept beside this store, those that are over perhaps too; none where there never was one.

        Raises AccessRefused where they may not be read.
        """
        return iter(())

    def hold(self, holds: Sequence[Hold]) -> None:  # noqa: ARG002
        """Place these holds, all or none. Once this has returned, nothing changes the sessions they mean.

        Makes the place they are kept in where there is none. Raises Unsupported where this kind of store cannot.
        """
        raise Unsupported(f"{self.address} cannot keep holds yet")

    def release(self, holds: Sequence[Hold]) -> int:  # noqa: ARG002
        """Take exactly these holds away; how many of them there still were."""
        return 0

    def settle(self) -> int:
        """Give sessions back their row that got items from an append which overlapped their deletion.

        Only for writers that look for the row without locking it (SQLAlchemySession before 0.23.1) in
        stores that enforce no foreign key. Called at the end of a run; each ``apply`` does the same for
        the batches before it. Returns how many sessions got their row back since this store was opened.
        """
        return 0

    def lag(self) -> Lag | None:
        """How far replicas are behind; None where this server does not show it. Cheap enough for every second."""
        return None

    def findings(self, query: Query) -> Iterator[Finding]:  # noqa: ARG002
        """What the store knows to be wrong with itself: schema, files, settings, rows; not what items say.

        Only for a ``query`` of everything is looked for what costs a pass over the rows.
        """
        return iter(())

    def activity_index(self) -> str | None:
        """The statement for an index on the time of last activity, None where one begins with it.

        The SDK makes none; it saves a pass over the sessions, and costs each append a little.
        """
        raise Unsupported(f"{self.address} has no indexes")

    def make_index(self, statement: str) -> None:  # noqa: ARG002
        """Run such a statement, or one by which a finding about an index is mended, beside writers.

        Raises StoreBusy, and nothing was changed, where they would have to wait for longer than they do.
        """
        raise Unsupported(f"{self.address} has no indexes")

    @abstractmethod
    def preflight(self, query: Query, planned: Totals) -> Preflight:
        """How the selection by ``query`` and the deletion of ``planned`` will be carried out."""

    def space(self, wish: Wish) -> Space:  # noqa: ARG002
        """What the store takes on disk, and the steps, in their order, by which a vacuum serves ``wish``.

        Reads only, and cheaply: sizes come from the catalog or a sample. Each step says whom it blocks and for how
        long, and what room it needs; why one must not be taken is in ``Space.refused``. ``core.space.decide`` then
        leaves out what is not worth it. Raises Unsupported where this kind of store has no such thing.
        """
        raise Unsupported(f"{self.address} cannot be vacuumed")

    def vacuum(self, step: Step, wish: Wish, enough: Callable[[], bool]) -> Part:  # noqa: ARG002
        """Take one part of a ``step`` that ``space`` gave for this ``wish``, and say whether there is more of it.

        No session, item, stamp or key changes by it, and a part that was cut off at any instant leaves them all.
        A part of SHRINK and REWRITE is a short transaction, which holds its locks no longer than ``Pace.hold_s``
        says; whoever calls leaves the pauses between two. Any other step is a single part; while it lasts ``enough``
        is asked several times a second, and once that is true what was under way is taken back and
        ``StepEnded`` raised. No step waits behind others for a lock that would make everybody wait behind it,
        longer than the SDK's writers bear: StoreBusy then. GuardRefused where somebody has a store open that the
        step needs for itself.
        """
        raise Unsupported(f"{self.address} cannot be vacuumed")

    @abstractmethod
    def close(self) -> None:
        """Let go of every connection and file. Idempotent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
