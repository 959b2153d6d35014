"""Giving the free space of a SQLite file back: in short steps beside writers, or all at once.

A file that keeps its pages movable (``auto_vacuum``, https://sqlite.org/pragma.html) can be cut page by page. Any
other has to be written anew (https://sqlite.org/lang_vacuum.html), under the write lock from end to end, while the
SDK's writers give up after 5 seconds. The file itself is never exchanged for another one: whoever has it
open would go on in the old one.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sessionctl.core.model import Spent, Usage
from sessionctl.core.space import Need, Part, Space, Step, Task, Wish
from sessionctl.core.units import format_size
from sessionctl.errors import GuardRefused, StepEnded, StoreBusy
from sessionctl.stores.base import Store
from sessionctl.stores.interruptible import interruptibly
from sessionctl.stores.sqlite.errors import BUSY_TIMEOUT_S, told_if_full
from sessionctl.stores.sqlite.file import SqliteFile
from sessionctl.stores.sqlite.holders import holders
from sessionctl.stores.sqlite.layout import SqliteLayout, quoted
from sessionctl.stores.sqlite.via import is_in_memory, rebuild_via

_REBUILT_A_S = 60 * 2**20
"""Octets of a result that VACUUM writes a second on a slow disk; usual ones reach twice as much."""
_SHRUNK_A_S = 50 * 2**20
BEARABLE_S = 1.0
"""A VACUUM beside writers is begun where it takes no longer than this, and ended where it does: SQLite only heeds
that while it reads, which is half of the work. So nobody waits for much longer than 2 of the SDK's 5 seconds."""
_FULL, _INCREMENTAL = 1, 2
"""Values of ``auto_vacuum``."""
_ANALYSED = 1000
"""Rows of an index that ANALYZE looks at: milliseconds, however large the table is."""
_HOLD_S, _LEAST_REST_S, _MOST_REST_S = 0.004, 0.012, 0.028
"""Beside others it has the lock for a fifth of the time. The rests differ: who finds a file locked tries again every
25 ms in the end, and would meet the next hold each time where these come as regularly."""
_PATIENCE_S = 5.0
_TURN_MS = 20
_PAGES_A_LOOK = 8
_PAGES_A_PASS = 500
"""Fewer than the 1,000 at which the commits of others would begin to move the log themselves."""
_ALONE_MS = 1000
_LOCK_TURN_MS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What is known of a file. Sizes are octets; ``mode`` is its ``auto_vacuum``; ``others`` have it open.

    ``room`` is what is free on its disk, ``temp_room`` where SQLite puts temporary files (``temp``), None where
    that is the same disk. ``via_room`` is that of the directory to go by.
    """

    size: int
    log: int
    free: int
    mode: int
    directory: Path
    room: int
    temp: Path
    temp_room: int | None
    others: tuple[str, ...] = ()
    via_room: int | None = None


class VacuumedFile(Store):
    """The part of the adapter that is about space."""

    _file: SqliteFile
    _layout: SqliteLayout
    _unmoved = 0
    """Pages freed since the last pass over the log."""

    def space(self, wish: Wish) -> Space:
        return read_space(self._file, self._layout, wish)

    def vacuum(self, step: Step, wish: Wish, enough: Callable[[], bool]) -> Part:
        with self._file.errors():
            if step.task is Task.SHRINK:
                return self._shrink()
            return take_step(self._file, self._layout, step, wish, self.spent, enough)

    def _shrink(self) -> Part:
        """As many pages as fit into a short hold; a call frees one, whatever it asks for: Python steps it once."""
        file, pace, pages = self._file, self.capabilities.pace, 0

        def moved() -> int:
            """Pages, once they are worth a pass over the log: its syncs are what others' commits wait for."""
            self._unmoved += pages
            due = self._unmoved >= _PAGES_A_PASS or not left
            found, self._unmoved = (self._unmoved, 0) if due else (0, self._unmoved)
            return found

        with file.transaction(self.spent, rows=moved) as connection:
            began = time.monotonic()
            hold_s = _HOLD_S if file.others_seen else pace.alone_hold_s or pace.hold_s
            left = first = _free_pages(connection)
            while left and time.monotonic() - began < hold_s:
                for _ in range(min(left, _PAGES_A_LOOK)):
                    connection.execute("PRAGMA incremental_vacuum(1)")
                left = _free_pages(connection)
            pages = first - left
            self.spent.delete += time.monotonic() - began
            page_size: int = connection.execute("PRAGMA page_size").fetchone()[0]
        rest_s = random.uniform(_LEAST_REST_S, _MOST_REST_S) if file.others_seen else 0.0  # noqa: S311 - no secret
        return Part(more=left > 0 and pages > 0, left=left * page_size, rest_s=rest_s)


def read_space(file: SqliteFile, layout: SqliteLayout, wish: Wish) -> Space:
    """What the file takes, and the steps that serve ``wish``."""
    proposal = propose(_facts(file, wish), wish)
    if layout.frozen:
        return replace(proposal, steps=(), refused=(f"{file.path} is not changed: {layout.frozen}",))
    tables = f"{layout.sessions}, {layout.messages}"
    statistics = Step(task=Task.STATISTICS, what="ANALYZE", table=tables)
    log = (Step(task=Task.LOG, what="PRAGMA wal_checkpoint(TRUNCATE)"),) if file.has_log else ()
    return replace(proposal, steps=(*proposal.steps, statistics, *log))


def _facts(file: SqliteFile, wish: Wish) -> FileFacts:
    size, log = file.sizes()
    free, mode = file.row(
        "SELECT freelist_count * page_size, auto_vacuum "
        "FROM pragma_freelist_count, pragma_page_size, pragma_auto_vacuum"
    )
    real = Path(os.path.realpath(file.path))
    temp = _temporary_directory()
    shared = real.parent.stat().st_dev == temp.stat().st_dev
    return FileFacts(
        size=size,
        log=log,
        free=free,
        mode=mode,
        directory=real.parent,
        room=_room(real.parent),
        temp=temp,
        temp_room=None if shared else _room(temp),
        others=holders(real),
        via_room=_room(wish.via) if wish.via else None,
    )


def _temporary_directory() -> Path:
    """Where SQLite puts the temporary file of a VACUUM: the first of these that it may write (sqlite: os_unix.c)."""
    named = (os.environ.get("SQLITE_TMPDIR"), os.environ.get("TMPDIR"), "/var/tmp", "/usr/tmp", "/tmp", ".")  # noqa: S108
    return next((Path(name) for name in named if name and Path(name).is_dir() and os.access(name, os.W_OK)), Path())


def _room(directory: Path) -> int:
    stat = os.statvfs(directory)
    return stat.f_bavail * stat.f_frsize


def propose(facts: FileFacts, wish: Wish) -> Space:
    """The steps that serve ``wish`` on such a file, or why there are none. A pure function of its arguments."""
    notes: list[str] = []
    refused: list[str] = []
    steps: list[Step] = []
    if wish.compress is not None:
        refused.append(
            "SQLite cannot compress a file in place: sessionctl rotate moves closed sessions into compressed files, "
            "and purge --archive keeps what it removes compressed"
        )
    movable = facts.mode == _INCREMENTAL
    if movable and not wish.full and facts.free:
        steps.append(_shrinking(facts))
    elif wish.writes_anew and not (wish.incremental and movable and not wish.full):
        step = _rebuilding(facts, wish)
        refused += _hindrances(facts, wish, step)
        steps.append(step)
    elif facts.free and facts.mode == 0:
        step = _rebuilding(facts, wish)
        if step.seconds <= BEARABLE_S:
            steps.append(step)
        else:
            notes += _cannot_shrink(facts, step)
    return Space(
        usage=Usage(total=facts.size, free=facts.free, log=facts.log),
        steps=tuple(steps),
        others=facts.others,
        refused=tuple(refused),
        notes=tuple(notes),
    )


def _shrinking(facts: FileFacts) -> Step:
    return Step(
        task=Task.SHRINK,
        what="PRAGMA incremental_vacuum in short steps",
        gain=facts.free,
        seconds=facts.free / _SHRUNK_A_S,
    )


def _rebuilding(facts: FileFacts, wish: Wish) -> Step:
    left = max(0, facts.size - facts.free)
    seconds = left / _REBUILT_A_S
    gain = facts.free if not (wish.incremental and facts.mode == 0) else None
    if wish.via:
        return Step(
            task=Task.REBUILD, what=f"VACUUM INTO {wish.via}, and back", gain=gain, seconds=2 * seconds, alone=True,
            blocks="everyone: nobody may have the file open", needs=(Need(str(wish.via), left, facts.via_room),),
        )  # fmt: skip
    # Bearable beside others, so that nobody needs to be kept out.
    alone = wish.writes_anew and seconds > BEARABLE_S
    blocks = "everyone: nobody may have the file open" if alone else "writers"
    return Step(
        task=Task.REBUILD, what="VACUUM", gain=gain, seconds=seconds, alone=alone, blocks=blocks,
        needs=_needed(facts, left),
    )  # fmt: skip


def _needed(facts: FileFacts, left: int) -> tuple[Need, ...]:
    """VACUUM writes the result to a temporary file, and from there into the log or what it replaces to a journal."""
    if facts.temp_room is None:
        return (Need(str(facts.directory), 2 * left, facts.room),)
    return (Need(str(facts.directory), left, facts.room), Need(str(facts.temp), left, facts.temp_room))


def _hindrances(facts: FileFacts, wish: Wish, step: Step) -> Iterator[str]:
    if facts.others and step.alone:
        why = "" if wish.via else f", and writers would wait for about {step.seconds:.0f}s: the SDK's give up after 5s"
        yield f"the file is open in {', '.join(facts.others)}{why}: stop what has it open, and run this again"
    if wish.via and is_in_memory(wish.via) and not wish.force:
        yield f"{wish.via} is in memory, and for a while the only whole copy would be there; --force allows it"


def _cannot_shrink(facts: FileFacts, step: Step) -> Iterator[str]:
    free, others = format_size(facts.free), ", ".join(facts.others)
    yield f"{free} are free inside the file and new items fill them first: it has stopped growing, but does not shrink"
    blocked = f"writing it anew would hold its writers up for about {step.seconds:.0f}s, and the SDK's give up after 5s"
    now = f"it is open in {others} now" if others else "nobody is seen to have it open now"
    yield (
        f"{blocked}: --full does it while nobody has the file open ({now}), and so does --incremental, "
        "from which on vacuum gives space back beside writers"
    )


# --- taking steps -------------------------------------------------------------------------------


def take_step(
    file: SqliteFile, layout: SqliteLayout, step: Step, wish: Wish, spent: Spent, enough: Callable[[], bool]
) -> Part:  # fmt: skip
    """A step that is one part; see ``Store.vacuum``."""
    match step.task:
        case Task.REBUILD if wish.via:
            return rebuild_via(file, wish.via, alone, enough, incremental=wish.incremental)
        case Task.REBUILD:
            return _rebuild(file, step, enough, incremental=wish.incremental)
        case Task.LOG:
            return _cut_log(file, enough)
        case _:
            return _analyse(file, layout, spent)


def _free_pages(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])


@contextmanager
def alone(file: SqliteFile) -> Iterator[sqlite3.Connection]:
    """The only connection to the file, which keeps every other one out. Raises GuardRefused where there is one."""
    file.let_go()
    with closing(file.connect("mode=rw")) as connection:
        connection.execute(f"PRAGMA busy_timeout = {_ALONE_MS}")
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        try:
            connection.execute("BEGIN EXCLUSIVE")  # in a log's mode, too, it now takes the file's own exclusive lock
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            who = ", ".join(holders(Path(os.path.realpath(file.path)))) or "another program"
            raise GuardRefused(
                f"{file.path} is open in {who}: it is written anew only while nobody else has it open",
                hint="stop what has it open, and run this again",
            ) from error
        yield connection


def _rebuild(file: SqliteFile, step: Step, enough: Callable[[], bool], *, incremental: bool) -> Part:
    if step.alone:
        with alone(file) as connection:
            _vacuum(file.path, connection, enough, incremental=incremental)
            if file.has_log:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Part()
    with closing(file.connect("mode=rw")) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # moving the log holds nobody up, when it is done after
        connection.execute(f"PRAGMA busy_timeout = {_LOCK_TURN_MS}")
        until = time.monotonic() + BUSY_TIMEOUT_S
        while not _vacuum_beside(file.path, connection, enough, incremental=incremental):
            if enough() or time.monotonic() > until:
                raise StoreBusy(f"{file.path} stayed locked by another program for {BUSY_TIMEOUT_S:.0f} seconds")
    return Part()


def _vacuum_beside(
    path: Path, connection: sqlite3.Connection, enough: Callable[[], bool], *, incremental: bool
) -> bool:  # fmt: skip
    """Did it get the lock? If so, it held it no longer than its writers can bear."""
    until = time.monotonic() + BEARABLE_S + _LOCK_TURN_MS / 1000
    try:
        _vacuum(path, connection, lambda: enough() or time.monotonic() > until, incremental=incremental)
    except StepEnded:
        if enough():
            raise
        raise StoreBusy(
            f"VACUUM of {path} took longer than its writers can bear, and was taken back",
            hint="stop what has the file open and run sessionctl vacuum --full",
        ) from None
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True


def _vacuum(
    path: Path, connection: sqlite3.Connection, enough: Callable[[], bool], *, incremental: bool
) -> None:  # fmt: skip
    if incremental:
        connection.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
    with told_if_full(path):
        interruptibly(lambda: connection.execute("VACUUM"), connection.interrupt, enough)


def _cut_log(file: SqliteFile, enough: Callable[[], bool]) -> Part:
    """Passes that hold nobody up until little is left, then one that cuts the log; again while others read."""
    file.let_go()  # an own reader would be in the way
    until = time.monotonic() + _PATIENCE_S
    with closing(file.connect("mode=rw")) as connection:
        connection.execute(f"PRAGMA busy_timeout = {_TURN_MS}")
        while True:
            with suppress(sqlite3.OperationalError):  # somebody else's pass is under way
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if not busy:
                    return Part()
            if enough() or time.monotonic() > until:
                return Part(note="the log could not be cut, because others read or write it all the time: run it again")
            time.sleep(_TURN_MS / 1000)


def _analyse(file: SqliteFile, layout: SqliteLayout, spent: Spent) -> Part:
    with file.transaction(spent, rows=lambda: 1) as connection:
        connection.execute(f"PRAGMA analysis_limit = {_ANALYSED}")
        for table in (layout.sessions, layout.messages):
            connection.execute(f"ANALYZE {quoted(table)}")
    return Part()
