"""A run's archive: each segment is sealed, read back and verified before anything that it covers is changed.

While the changes of one segment are made, a thread reads the sessions of the next one through a connection
of its own and writes them. A session goes into the archive at the version that the plan saw, and its change
is made only at that version; so what was deleted is what was archived.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, NamedTuple, Self

from sessionctl import __version__
from sessionctl.core.model import Outcome
from sessionctl.core.plan import PlanHeader, Step
from sessionctl.core.record import WholeSession
from sessionctl.core.units import format_size
from sessionctl.errors import ArchiveUnavailable, ItemTooLarge, SessionctlError
from sessionctl.ledger import Ledger, Run, Segment
from sessionctl.operations.placing import settle
from sessionctl.stores import open_store
from sessionctl.stores.base import Store

if TYPE_CHECKING:
    from sessionctl.archive.format import Header
    from sessionctl.archive.writer import RunArchive, Sealed, SegmentWriter

_TOGETHER = 200
"""Sessions read at once."""
_PACKED = 3
"""Transcripts are packed to a third at least, as a rule to a fifth."""
_FLOOR = 64 * 2**20
"""Octets that stay free on the archive's disk."""
_MOST_SESSIONS = 10_000
"""In one segment: their ids are kept in memory until they have been dealt with."""
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

    ``segment`` is the number of the sealed segment that covers them, None without an archive.
    """

    steps: Iterable[Step]
    segment: int | None = None
    lost: list[Lost] = field(default_factory=list)


def check_space(address: str, needed: int) -> None:
    """SessionctlError where the disk under a local ``address`` has no room for ``needed`` octets and some to spare.

    Raises ArchiveUnavailable where the disk cannot be asked.
    """
    if "://" in address:
        return
    try:
        existing = next(path for path in (Path(address), *Path(address).absolute().parents) if path.exists())
        free = shutil.disk_usage(existing).free
    except OSError as error:
        raise ArchiveUnavailable(f"{address}: {error.strerror or error}") from error
    if free < needed + _FLOOR:
        raise SessionctlError(
            f"the disk of the archive {address} has {format_size(free)} free, and about {format_size(needed)} are "
            f"needed beside {format_size(_FLOOR)} that stay free",
            hint="name a larger place with --archive, or remove old archives with sessionctl archive prune",
        )


def archiving_of(store: Store, address: str, header: PlanHeader, run: Run, ledger: Ledger) -> Archiving:
    """The archive of ``run`` under ``address``, with a connection to ``store`` of its own.

    Raises SessionctlError where the disk is too small; nothing is made before the first segment.
    """
    from sessionctl.archive.writer import RunArchive

    if "://" not in address:
        address = str(Path(address).absolute())  # undo may come from another directory
    check_space(address, header.planned.bytes // _PACKED)
    archive = RunArchive(address, header_of(store, run, parts=bool(header.terms)))
    return Archiving(open_store(store.address), archive, ledger, run, address)


def header_of(store: Store, run: Run, *, parts: bool = False) -> Header:
    """What an archive made by ``run`` says of itself; ``parts``: it may take items out of sessions that stay."""
    from sessionctl.archive.format import Header

    info = store.info()
    return Header(
        run_id=run.run_id, created_at=datetime.now(UTC), tool=__version__, sdk=store.address.options.get("sdk"),
        command=run.command, store=store.address.recorded, kind=info.kind, flavour=info.flavour,
        zone=store.address.options.get("timezone"), selectors=run.criteria, reason=run.reason,
        parts=parts,
    )  # fmt: skip


class Archiving:
    """Turns the steps of a plan into portions, each covered by a sealed segment. Close it when done.

    ``reader`` is a store opened for this alone.
    """

    def __init__(self, reader: Store, archive: RunArchive, ledger: Ledger, run: Run, address: str) -> None:
        self._reader, self._archive, self._ledger = reader, archive, ledger
        self._run = replace(run, archive=archive.name)
        self._address = address
        self._thread = ThreadPoolExecutor(1, "archive")
        self._is_over = Event()
        self._number = 0
        self._again: deque[Step] = deque()
        self._unfit: dict[str, str] = {}
        self._unrecorded: Sealed | None = None

    @property
    def name(self) -> str:
        """Where it lies, for the ledger and the user."""
        return self._archive.name

    def portions(self, steps: Iterator[Step], bear: Callable[[SessionctlError], None]) -> Iterator[Portion | None]:
        """The portions in the order of ``steps``; None now and then while the next one is in the making.

        ``bear`` waits out an error that may pass, or raises it.
        """
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
        """Find out for sessions that were left open whether they were removed; a later run does it where it fails."""
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
            self._archive.withdraw(self._unrecorded)

    def _make(self, steps: Iterator[Step]) -> tuple[Portion, Sealed | None] | None:
        """One segment, None where no step is left."""
        while True:
            with suppress(ItemTooLarge):  # the next attempt passes that session over
                return self._attempt(steps)

    def _attempt(self, steps: Iterator[Step]) -> tuple[Portion, Sealed | None] | None:
        """As ``_make``. After an error its steps come again with the next one."""
        taken: list[Step] = []
        try:
            with ExitStack() as unsealed:
                portion, writer = self._covered(steps, taken, unsealed)
                if not taken:
                    return None
                self._unrecorded = writer.seal() if writer else None
                return portion, self._unrecorded
        except BaseException:
            self._again.extendleft(reversed(taken))
            raise

    def _covered(
        self, steps: Iterator[Step], taken: list[Step], unsealed: ExitStack
    ) -> tuple[Portion, SegmentWriter | None]:
        """Sessions up to a full segment, in a file that is not sealed yet; none where none is as it was planned."""
        covered: list[Step] = []
        portion = Portion(steps=covered)
        writer = None
        while len(taken) < _MOST_SESSIONS and not (writer and writer.is_full):
            if self._is_over.is_set():
                raise CancelledError
            some = self._take(steps)
            if not some:
                break
            taken += some
            check_space(self._address, 0)
            unfit = [step for step in some if step.session_id in self._unfit]
            portion.lost += [Lost(step, Outcome.FAILED, self._unfit[step.session_id]) for step in unfit]
            expected = {step.session_id: step for step in some if step.session_id not in self._unfit}
            for whole in self._read(expected.values()):
                step = expected.pop(whole.session.id)
                if step.rewrite is None and whole.session.version != step.version:
                    portion.lost.append(Lost(step, Outcome.CHANGED))
                    continue
                writer = writer or unsealed.enter_context(self._archive.segment())
                items = self._add(writer, whole)
                covered.append(step if step.rewrite is None or items == step.rewrite.rows else _never(step))
            portion.lost += [Lost(step, Outcome.MISSING) for step in expected.values()]
        return portion, writer

    def _read(self, steps: Iterable[Step]) -> Iterator[WholeSession]:
        """What the steps take, of those sessions that are there."""
        whole = [step.session_id for step in steps if step.rewrite is None]
        return chain(self._reader.whole(whole), self._reader.taken([step.rewrite for step in steps if step.rewrite]))

    def _add(self, writer: SegmentWriter, whole: WholeSession) -> int:
        """How many items it has."""
        try:
            return writer.add(whole.session, whole.items).items
        except ItemTooLarge as error:
            self._unfit[whole.session.id] = error.message
            raise

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
    return replace(step, rewrite=step.rewrite and replace(step.rewrite, version=""))
