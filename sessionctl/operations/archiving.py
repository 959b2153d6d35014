"""A run's archive: each segment is sealed, read back and verified before anything that it covers is changed.

While the changes of one segment are made, a thread reads the sessions of the next one through a connection
of its own and writes them. A session goes into the archive at the version that the plan saw, and its change
is made only at that version; so what was deleted is what was archived.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sessionctl import __version__
from sessionctl.core.model import Outcome
from sessionctl.core.plan import PlanHeader, Step
from sessionctl.core.units import format_size
from sessionctl.errors import SessionctlError
from sessionctl.ledger import Ledger, Run, Segment
from sessionctl.stores import open_store
from sessionctl.stores.base import Store

if TYPE_CHECKING:
    from sessionctl.archive.writer import RunArchive, Sealed, SegmentWriter

_TOGETHER = 200
"""Sessions read at once."""
_PACKED = 3
"""Transcripts are packed to a third at least, as a rule to a fifth."""
_FLOOR = 64 * 2**20
"""Octets that stay free on the archive's disk."""
_MOST_SESSIONS = 10_000
"""In one segment: their ids are kept in memory until they have been dealt with."""


@dataclass(slots=True, kw_only=True)
class Portion:
    """Steps that may be applied now, and what became already of those that may not.

    ``segment`` is the number of the sealed segment that covers them, None without an archive.
    """

    steps: Iterable[Step]
    segment: int | None = None
    lost: list[tuple[Step, Outcome]] = field(default_factory=list)


def check_space(address: str, needed: int) -> None:
    """SessionctlError where the disk under a local ``address`` has no room for ``needed`` octets and some to spare."""
    if "://" in address:
        return
    existing = next(path for path in (Path(address), *Path(address).absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed + _FLOOR:
        raise SessionctlError(
            f"the disk of the archive {address} has {format_size(free)} free, and about {format_size(needed)} are "
            f"needed beside {format_size(_FLOOR)} that stay free",
            hint="name a larger place with --archive, or remove old archives with sessionctl archive prune",
        )


def archiving_of(store: Store, address: str, header: PlanHeader, run: Run, ledger: Ledger) -> Archiving:
    """The archive of ``run`` under ``address``, with a connection to ``store`` of its own.

    What earlier runs on this store left half done is set straight first. Raises SessionctlError where the
    disk is too small; nothing is made before the first segment.
    """
    from sessionctl.archive.format import Header
    from sessionctl.archive.writer import RunArchive
    from sessionctl.operations.undo import reconcile_cut_off

    check_space(address, header.planned.bytes // _PACKED)
    reconcile_cut_off(store, ledger, header.store, datetime.now(UTC))
    info = store.info()
    first = Header(
        run_id=run.run_id, created_at=datetime.now(UTC), tool=__version__, sdk=store.address.options.get("sdk"),
        command=header.command, store=header.store, kind=info.kind, flavour=info.flavour,
        zone=store.address.options.get("timezone"), selectors=header.criteria, reason=run.reason,
    )  # fmt: skip
    return Archiving(open_store(store.address), RunArchive(address, first), ledger, run.run_id, address)


class Archiving:
    """Turns the steps of a plan into portions, each covered by a sealed segment. Close it when done.

    ``reader`` is a store opened for this alone.
    """

    def __init__(self, reader: Store, archive: RunArchive, ledger: Ledger, run_id: str, address: str) -> None:
        self._reader, self._archive, self._ledger, self._run_id = reader, archive, ledger, run_id
        self._address = address
        self._thread = ThreadPoolExecutor(1, "archive")
        self._number = 0
        self._again: deque[Step] = deque()

    @property
    def name(self) -> str:
        """Where it lies, for the ledger and the user."""
        return self._archive.name

    def portions(self, steps: Iterator[Step], bear: Callable[[SessionctlError], None]) -> Iterator[Portion]:
        """The portions in the order of ``steps``. ``bear`` waits out an error that may pass, or raises it."""
        ahead = self._submit(steps)
        while True:
            try:
                portion, sealed = ahead.result()
            except SessionctlError as error:
                bear(error)
                ahead = self._submit(steps)
                continue
            if portion is None:
                return
            if sealed is not None:
                self._number += 1
                portion.segment = self._number
                self._ledger.sealed(self._recorded(sealed))
            ahead = self._submit(steps)
            yield portion

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait for the segment in the making; it is left unsealed or covers nothing that was changed."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._reader.close()

    def _submit(self, steps: Iterator[Step]) -> Future[tuple[Portion | None, Sealed | None]]:
        return self._thread.submit(self._make, steps)

    def _make(self, steps: Iterator[Step]) -> tuple[Portion | None, Sealed | None]:
        """One segment, None where no step is left. After an error its steps come again with the next one."""
        check_space(self._address, 0)
        waiting = chain(iter(list(self._again)), steps)
        self._again.clear()
        taken: list[Step] = []
        try:
            return self._written(waiting, taken)
        except BaseException:
            self._again.extend(taken)
            raise

    def _written(self, waiting: Iterator[Step], taken: list[Step]) -> tuple[Portion | None, Sealed | None]:
        with ExitStack() as unsealed:
            portion, writer = self._covered(waiting, taken, unsealed)
            if not taken:
                return None, None
            return portion, writer.seal() if writer else None

    def _covered(
        self, waiting: Iterator[Step], taken: list[Step], unsealed: ExitStack
    ) -> tuple[Portion, SegmentWriter | None]:
        """Sessions up to a full segment, in a file that is not sealed yet; none where none is as it was planned."""
        covered: list[Step] = []
        portion = Portion(steps=covered)
        writer = None
        while len(taken) < _MOST_SESSIONS and not (writer and writer.is_full):
            some = list(islice(waiting, _TOGETHER))
            if not some:
                break
            taken += some
            expected = {step.session_id: step for step in some}
            for whole in self._reader.whole(list(expected)):
                step = expected.pop(whole.session.id)
                if whole.session.version != step.version:
                    portion.lost.append((step, Outcome.CHANGED))
                    continue
                writer = writer or unsealed.enter_context(self._archive.segment())
                writer.add(whole.session, whole.items)
                covered.append(step)
            portion.lost += [(step, Outcome.MISSING) for step in expected.values()]
        return portion, writer

    def _recorded(self, sealed: Sealed) -> Segment:
        return Segment(
            run_id=self._run_id, number=self._number, name=sealed.name, sessions=sealed.counts.sessions,
            items=sealed.counts.items, bytes=sealed.counts.bytes, sha256=sealed.sha256, sealed_at=datetime.now(UTC),
        )  # fmt: skip
