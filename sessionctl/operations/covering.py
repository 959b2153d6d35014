"""What covers the changes of a run: nothing is taken from a store before it is kept somewhere else, and verified.

The executor asks a ``Cover`` for portions of its plan, and makes the changes of a portion only. Here is the one
that goes by segments: while the changes of one segment are made, a thread reads the sessions of the next one
through a connection of its own and gives them to a ``Keeper``. A session is kept at the version that the plan saw,
and its change is made only at that version; so what is deleted is what was kept. Kinds of keepers: archives
(``operations.archiving``) and the targets of a rotation (``operations.rotation.covering``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain, islice
from threading import Event
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from sessionctl.core.model import Outcome
from sessionctl.core.plan import Step
from sessionctl.core.record import WholeSession
from sessionctl.errors import SessionctlError
from sessionctl.ledger import Ledger, Run, Segment
from sessionctl.operations.ahead import take_short_turns
from sessionctl.operations.placing import settle
from sessionctl.stores.base import Store

if TYPE_CHECKING:
    from sessionctl.archive.writer import Sealed

_TOGETHER = 200
"""Sessions read at once."""
_MOST_SESSIONS = 2_500
"""In one segment. Their ids are kept in memory; and while the first one is made, nothing is changed yet."""
_LOOK_UP_S = 0.1
"""While a segment is in the making, the run looks up so often: for a signal, or for its time being over."""


class Lost(NamedTuple):
    """A step that is not applied, and what became of its session; ``why`` where that alone does not tell it."""

    step: Step
    outcome: Outcome
    why: str | None = None


@dataclass(slots=True, kw_only=True)
class Portion:
    """Steps that may be applied now, and what became already of those that may not.

    ``segment`` is the number of the sealed segment that covers them, None where nothing needs to.
    """

    steps: Iterable[Step]
    segment: int | None = None
    lost: list[Lost] = field(default_factory=list)


Stage = Callable[[Iterator[Step]], Iterator[Portion | None]]
"""What has to be done about steps before they are applied; None now and then, while the next portion is made."""


class Cover(Protocol):
    """What the executor asks: which changes may be made."""

    def portions(self, steps: Iterator[Step], bear: Callable[[SessionctlError], None]) -> Iterator[Portion | None]:
        """The portions in the order of ``steps``; None now and then while the next one is in the making.

        ``bear`` waits out an error that may pass, or raises it.
        """

    def settle(self, store: Store) -> None:
        """Find out for sessions that were left open whether they were removed; a later run does it where it fails."""

    @property
    def targets(self) -> Mapping[str, int]:
        """How many sessions were put into which other store, for the report."""


class Kept(NamedTuple):
    """A session that is kept, with how many items; or is not, for it was ``refused`` alone and would be again."""

    session_id: str
    items: int
    refused: str | None = None


class UnfitSession(Exception):
    """A session that cannot be kept; the segment in the making is lost with it."""

    def __init__(self, session_id: str, why: str) -> None:
        super().__init__(why)
        self.session_id, self.why = session_id, why


class Keeping(Protocol):
    """A segment in the making."""

    @property
    def is_full(self) -> bool: ...

    def keep(self, sessions: Iterable[WholeSession]) -> Iterator[Kept]:
        """Take ``sessions``, each of which is read before the next, and say of each what became of it.

        Raises UnfitSession, and SessionctlError where the segment cannot be finished.
        """

    def seal(self) -> Sealed | None:
        """Make all that was kept durable, read back and verified; None where nothing was."""


class Keeper(Protocol):
    """Where one kind of cover keeps sessions. ``name`` is for the ledger and the user, ``targets`` as in ``Cover``."""

    @property
    def name(self) -> str: ...

    @property
    def targets(self) -> Mapping[str, int]: ...

    def check_space(self) -> None:
        """SessionctlError where there is no room for more."""

    def segment(self) -> AbstractContextManager[Keeping]:
        """The next one. Left without being sealed it covers nothing."""

    def withdraw(self, sealed: Sealed) -> None:
        """Take back a sealed segment that covers nothing that was changed, as far as that goes."""


class Covering:
    """Turns the steps of a plan into portions, each covered by a segment of ``keeper``. Close it when done.

    ``reader`` is a store opened for this alone.
    """

    def __init__(self, reader: Store, keeper: Keeper, ledger: Ledger, run: Run) -> None:
        self._reader, self._keeper, self._ledger = reader, keeper, ledger
        self._run = replace(run, archive=keeper.name)
        take_short_turns()
        self._thread = ThreadPoolExecutor(1, "cover")
        self._is_over = Event()
        self._number = 0
        self._again: deque[Step] = deque()
        self._unfit: dict[str, str] = {}
        self._unrecorded: Sealed | None = None

    @property
    def name(self) -> str:
        """Where it lies, for the ledger and the user."""
        return self._keeper.name

    @property
    def targets(self) -> Mapping[str, int]:
        """As ``Cover`` has it."""
        return self._keeper.targets

    def portions(self, steps: Iterator[Step], bear: Callable[[SessionctlError], None]) -> Iterator[Portion | None]:
        """As ``Cover`` has it."""
        ahead = self._thread.submit(self._make, steps)
        while True:
            if not wait([ahead], timeout=_LOOK_UP_S).done:
                yield None
                continue
            try:
                made = ahead.result()
            except SessionctlError as error:
                bear(error)
                yield None
                ahead = self._thread.submit(self._make, steps)
                continue
            if made is None:
                return
            portion, sealed = made
            if sealed is not None:
                self._number += 1
                portion.segment = self._number
                self._ledger.sealed(self._recorded(sealed))
                self._unrecorded = None
            ahead = self._thread.submit(self._make, steps)
            yield portion

    def settle(self, store: Store) -> None:
        """As ``Cover`` has it."""
        with suppress(SessionctlError):
            settle(store, self._ledger, self._run, self._ledger.segments(self._run.run_id))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up the segment in the making. One that was sealed and covers nothing that was changed goes too."""
        self._is_over.set()
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._reader.close()
        if self._unrecorded is not None:
            self._keeper.withdraw(self._unrecorded)

    def _make(self, steps: Iterator[Step]) -> tuple[Portion, Sealed | None] | None:
        """One segment, None where no step is left."""
        while True:
            try:
                return self._attempt(steps)
            except UnfitSession as unfit:  # the next attempt passes it over
                self._unfit[unfit.session_id] = unfit.why

    def _attempt(self, steps: Iterator[Step]) -> tuple[Portion, Sealed | None] | None:
        """As ``_make``. After an error its steps come again with the next one."""
        taken: list[Step] = []
        try:
            with self._keeper.segment() as keeping:
                portion = self._covered(steps, taken, keeping)
                if not taken:
                    return None
                self._unrecorded = keeping.seal()
                return portion, self._unrecorded
        except BaseException:
            self._again.extendleft(reversed(taken))
            raise

    def _covered(self, steps: Iterator[Step], taken: list[Step], keeping: Keeping) -> Portion:
        """Sessions up to a full segment that is not sealed yet; none where none is as it was planned."""
        covered: list[Step] = []
        portion = Portion(steps=covered)
        while len(taken) < _MOST_SESSIONS and not keeping.is_full:
            if self._is_over.is_set():
                raise CancelledError
            some = self._take(steps)
            if not some:
                break
            taken += some
            self._keeper.check_space()
            unfit = [step for step in some if step.session_id in self._unfit]
            portion.lost += [Lost(step, Outcome.FAILED, self._unfit[step.session_id]) for step in unfit]
            expected = {step.session_id: step for step in some if step.session_id not in self._unfit}
            found = self._as_planned(dict(expected), portion)
            for session_id, items, refused in keeping.keep(found):
                step = expected[session_id]
                whole = step.items if step.rewrite is None else items
                if refused is not None:
                    portion.lost.append(Lost(step, Outcome.FAILED, refused))
                elif items != whole:
                    portion.lost.append(Lost(step, Outcome.FAILED, f"of its {whole} items {items} could be read"))
                else:
                    covered.append(step if step.rewrite is None or items == step.rewrite.rows else _never(step))
        return portion

    def _as_planned(self, expected: dict[str, Step], portion: Portion) -> Iterator[WholeSession]:
        """What the steps take, of those sessions that are as the steps have them; the others are lost."""
        whole = [step.session_id for step in expected.values() if step.rewrite is None]
        rewrites = [step.rewrite for step in expected.values() if step.rewrite]
        for found in chain(self._reader.whole(whole), self._reader.taken(rewrites)):
            step = expected.pop(found.session.id)
            if step.rewrite is None and found.session.version != step.version:
                portion.lost.append(Lost(step, Outcome.CHANGED))
            else:
                yield found
        portion.lost += [Lost(step, Outcome.MISSING) for step in expected.values()]

    def _take(self, steps: Iterator[Step]) -> list[Step]:
        """The next few: first those that come again."""
        again = [self._again.popleft() for _ in range(min(len(self._again), _TOGETHER))]
        return again + list(islice(steps, _TOGETHER - len(again)))

    def _recorded(self, sealed: Sealed) -> Segment:
        return Segment(
            run_id=self._run.run_id, number=self._number, name=sealed.name, sessions=sealed.counts.sessions,
            items=sealed.counts.items, bytes=sealed.counts.bytes, sha256=sealed.sha256, sealed_at=datetime.now(UTC),
        )  # fmt: skip


def _never(step: Step) -> Step:
    """The step for a session that lacks some of its items already: the store must not make it, even if they come back.

    No session is at this version, so that the store finds it changed and it is recorded as kept.
    """
    return step._replace(rewrite=step.rewrite and replace(step.rewrite, version=""))
