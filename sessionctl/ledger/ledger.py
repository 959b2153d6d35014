"""What is recorded when: the same rules whatever database keeps the ledger.

It is opened and written before a run's first change, so that no change goes unrecorded. Each call is one
short transaction. One that does not get through to a server is tried again for a while, all but the first of
a run: where that fails nothing was changed yet. Nothing here is a secret: stores come in as masked addresses, errors
as the sentences shown to the user.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from sessionctl.core.address import StoreAddress
from sessionctl.core.patience import Trouble
from sessionctl.core.report import Stopped
from sessionctl.core.units import format_second, format_time
from sessionctl.errors import LedgerUnavailable, RunUnderWay, SessionctlError
from sessionctl.ledger.database import Database, Rows, Transaction, unavailable
from sessionctl.ledger.local import LocalDatabase
from sessionctl.ledger.pulse import Pulse
from sessionctl.ledger.record import Run, Segment

T = TypeVar("T")

_SINCE = {"archive": 2, "pid_space": 3, "undoes": 3}
"""The layout from which on a column of runs is there."""
_SEGMENTS_SINCE = 2


class Ledger:
    """The ledger in a local file, or in the database at an address. Safe from several threads and processes.

    Every method raises LedgerUnavailable, with a sentence, where it cannot be read or written. ``str()`` is
    where it is, masked.
    """

    def __init__(self, at: Path | StoreAddress) -> None:
        self.at = at
        self._database = _database(at)
        self._trouble = Trouble()

    def __str__(self) -> str:
        return self._database.name

    def may_mean_another(self, run: Run, store: StoreAddress) -> bool:
        """Is ``store`` perhaps not the one of ``run``, though its address is? Of a run that another host recorded."""
        is_shared = not isinstance(self._database, LocalDatabase)
        return is_shared and store.is_of_one_host and run.host != socket.gethostname()

    @classmethod
    def open(cls, at: Path | StoreAddress) -> Self:
        """The ledger there, made where it is missing (a file 0600, its directory 0700).

        It has been written to once when this returns: a full disk or a missing permission shows before
        the first change, not after it.
        """
        ledger = cls(at)
        ledger._database.make()
        return ledger

    @classmethod
    def existing(cls, at: Path | StoreAddress) -> Self | None:
        """The ledger there for reading, None where there is no such file. Makes nothing.

        Where this user may not look whether there is one, reading it says so.
        """
        path = at if isinstance(at, Path) else at.path
        return cls(at) if not path or _may_be_there(Path(path)) else None

    # --- runs ---------------------------------------------------------------------------------------

    def begin(self, run: Run) -> None:
        """Record that ``run`` starts; on disk when this returns.

        Of several that undo the same run at once the first one may; RunUnderWay names it to the others.
        """
        with self._database.writing() as db:
            now = self._database.now(db)
            if run.undoes:
                self._lock(db, run.undoes)
                self._end_other_undoings(db, run.undoes, now)
            self._insert(db, self._database.runs, _to_row(replace(run, heartbeat_at=now)))

    def alive(self, run_id: str) -> Pulse:
        """Signs of life of this run while the block lasts; ``note`` says how far it is."""
        return Pulse(lambda: self._sign(run_id), lambda counts: self.progress(run_id, counts))

    def progress(self, run_id: str, counts: Mapping[str, Any]) -> None:
        """The counts so far, and a sign of life.

        Raises SessionctlError where somebody took the run for cut off meanwhile: it must not go on.
        """
        change = "SET counts = :counts, heartbeat_at = :now WHERE run_id = :run_id AND ended_at IS NULL"

        def update(db: Transaction) -> None:
            if not self._update(db, change, run_id=run_id, counts=json.dumps(counts)):
                self._known(db, run_id)
                raise SessionctlError(
                    f"run {run_id} gave no sign of life for so long that it was taken for cut off: it stops here",
                    hint="run it again",
                )

        self._write(update)

    def finish(self, run_id: str, counts: Mapping[str, Any], stopped: Stopped | str, error: str | None = None) -> None:
        """The run's last counts and why it ended; ``error`` is the sentence shown to the user."""
        change = (
            "SET counts = :counts, heartbeat_at = :now, ended_at = :now, stopped = :stopped, error = :error "
            "WHERE run_id = :run_id"
        )
        values = {"counts": json.dumps(counts), "stopped": Stopped(stopped).value, "error": error and _clean(error)}

        def update(db: Transaction) -> None:
            if not self._update(db, change, run_id=run_id, **values):
                self._known(db, run_id)

        self._write(update)

    def require_over(self, run: Run) -> None:
        """Raises RunUnderWay for a run that is at work."""
        with self._database.reading() as db:
            _require_over(run, self._database.now(db))

    def take_up(self, run_id: str) -> None:
        """See to it that this run is over: one that was cut off is recorded as ended, and finds that out if it lives.

        Raises RunUnderWay for one that is at work.
        """

        def take(db: Transaction) -> None:
            self._lock(db, run_id)  # no sign of life comes between the look and the change
            run = self._known(db, run_id)
            _require_over(run, self._database.now(db))
            if run.ended_at is None:
                self._end_cut_off(db, run)

        self._write(take)

    def run(self, run_id: str) -> Run | None:
        """The run of this id, None where there is none."""
        with self._database.reading() as db:
            return next(iter(self._read(db, "WHERE run_id = :run_id", {"run_id": run_id})), None)

    def runs(self, *, limit: int | None = None, store: str | None = None) -> tuple[Run, ...]:
        """Runs, newest first; ``store`` is the masked address they were on."""
        where = "" if store is None else "WHERE store = :store "
        most = "" if limit is None else " LIMIT :limit"
        values = {"store": store and _clean(store), "limit": limit}
        given = {name: value for name, value in values.items() if value is not None}
        with self._database.reading() as db:
            return self._read(db, f"{where}ORDER BY run_id DESC{most}", given)

    def now(self) -> datetime:
        """By the clock that all who use this ledger share: what ``Run.is_over`` is asked with."""
        with self._database.reading() as db:
            return self._database.now(db)

    # --- segments -----------------------------------------------------------------------------------

    def sealed(self, segment: Segment) -> None:
        """Record a segment that was sealed and verified; on disk when this returns."""
        row = {field.name: getattr(segment, field.name) for field in fields(Segment)}
        row |= {"sealed_at": format_time(segment.sealed_at), "committed_at": None}
        row |= {"kept": json.dumps(segment.kept), "returned": json.dumps(segment.returned)}
        mine = f"DELETE FROM {self._database.segments} WHERE run_id = :run_id AND number = :number"

        def record(db: Transaction) -> None:
            # It is there where a commit went through and only the answer was lost.
            db.execute(mine, {"run_id": segment.run_id, "number": segment.number})
            self._insert(db, self._database.segments, row)

        self._write(record)

    def committed(self, run_id: str, number: int, kept: Sequence[str], *, wholly: bool = True) -> None:
        """All that the run does to the sessions of this segment is done; ``kept`` were not removed.

        Not ``wholly``: what became of some others is not known yet.
        """

        def record(db: Transaction) -> None:
            at = format_time(self._database.now(db)) if wholly else None
            self._of_segment(db, "committed_at = :at, kept = :kept", run_id, number, at=at, kept=json.dumps(kept))

        self._write(record)

    def returned(self, run_id: str, number: int, ids: Sequence[str]) -> None:
        """These sessions of this segment were put back, by all undoings together."""
        self._write(lambda db: self._of_segment(db, "returned = :ids", run_id, number, ids=json.dumps(ids)))

    def segments(self, run_id: str) -> tuple[Segment, ...]:
        """The segments of a run, in order."""
        columns = ", ".join(field.name for field in fields(Segment))
        query = f"SELECT {columns} FROM {self._database.segments} WHERE run_id = :run_id ORDER BY number"
        with self._database.reading() as db:
            if self._database.layout(db) < _SEGMENTS_SINCE:
                return ()
            return tuple(map(_segment, db.execute(query, {"run_id": run_id}).fetchall()))

    def unsettled(self, store: str) -> tuple[Run, ...]:
        """Runs on the store of this masked address with a segment that was sealed and not wholly dealt with."""
        open_ones = f"SELECT run_id FROM {self._database.segments} WHERE committed_at IS NULL"
        clause = f"WHERE store = :store AND run_id IN ({open_ones}) ORDER BY run_id"
        with self._database.reading() as db:
            if self._database.layout(db) < _SEGMENTS_SINCE:
                return ()
            return self._read(db, clause, {"store": _clean(store)})

    # --- statements ---------------------------------------------------------------------------------

    def _write(self, work: Callable[[Transaction], T]) -> T:
        """Of a run under way: trouble that may pass is borne, for it must not lose its marks."""
        while True:
            try:
                with self._database.writing() as db:
                    done = work(db)
            except LedgerUnavailable as error:
                time.sleep(self._trouble.bear(error))
            else:
                self._trouble.passed()
                return done

    def _sign(self, run_id: str) -> None:
        with self._database.writing() as db:
            self._update(db, "SET heartbeat_at = :now WHERE run_id = :run_id AND ended_at IS NULL", run_id=run_id)

    def _lock(self, db: Transaction, run_id: str) -> None:
        """Nobody else changes the row of this run until this transaction ends."""
        db.execute(f"UPDATE {self._database.runs} SET run_id = run_id WHERE run_id = :run_id", {"run_id": run_id})

    def _end_cut_off(self, db: Transaction, run: Run) -> None:
        change = "SET ended_at = :now, stopped = :stopped, error = :error WHERE run_id = :run_id"
        error = f"it was cut off; its last sign of life was at {format_second(run.heartbeat_at or run.started_at)}"
        self._update(db, change, run_id=run.run_id, stopped=Stopped.ERROR.value, error=error)

    def _end_other_undoings(self, db: Transaction, undone: str, now: datetime) -> None:
        for other in self._read(db, "WHERE undoes = :undoes AND ended_at IS NULL", {"undoes": undone}):
            if not other.is_over(now):
                raise RunUnderWay(
                    f"run {undone} is being undone already, by run {other.run_id} ({_whose(other)})",
                    hint="sessionctl runs show tells when that is over",
                )
            self._end_cut_off(db, other)

    def _insert(self, db: Transaction, table: str, row: Mapping[str, Any]) -> None:
        marks = ", ".join(f":{name}" for name in row)
        db.execute(f"INSERT INTO {table} ({_listed(row)}) VALUES ({marks})", row)

    def _update(self, db: Transaction, change: str, **values: Any) -> int:
        """How many runs ``change`` meant; ``:now`` in it is the time of the ledger."""
        now = format_time(self._database.now(db))
        return db.execute(f"UPDATE {self._database.runs} {change}", {"now": now, **values}).rowcount

    def _of_segment(self, db: Transaction, change: str, run_id: str, number: int, **values: Any) -> Rows:
        statement = f"UPDATE {self._database.segments} SET {change} WHERE run_id = :run_id AND number = :number"
        return db.execute(statement, {"run_id": run_id, "number": number, **values})

    def _known(self, db: Transaction, run_id: str) -> Run:
        if found := self._read(db, "WHERE run_id = :run_id", {"run_id": run_id}):
            return found[0]
        raise unavailable(f"it has no run {run_id}: {self}")

    def _read(self, db: Transaction, clause: str, values: Mapping[str, Any]) -> tuple[Run, ...]:
        layout = self._database.layout(db)
        if layout == 0:  # its maker has not come further yet
            return ()
        names = (column.name for column in fields(Run))
        columns = ", ".join(_listed([name]) if _SINCE.get(name, 1) <= layout else "NULL" for name in names)
        rows = db.execute(f"SELECT {columns} FROM {self._database.runs} {clause}", values)
        return tuple(map(_from_row, rows.fetchall()))


def _database(at: Path | StoreAddress) -> Database:
    if isinstance(at, Path):
        return LocalDatabase(at)
    if at.path is not None:
        return LocalDatabase(at.path)
    from sessionctl.ledger.shared import SharedDatabase

    return SharedDatabase(at)


def _require_over(run: Run, now: datetime) -> None:
    if not run.is_over(now):
        raise RunUnderWay(
            f"run {run.run_id} is still under way, as far as the ledger tells ({_whose(run)})",
            hint="stop it first; a run that was cut off elsewhere counts as over after five minutes of silence",
        )


def _whose(run: Run) -> str:
    return f"process {run.pid} on {run.host}, by {run.actor}"


def _may_be_there(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def _listed(names: Iterable[str]) -> str:
    """``user`` means something else in PostgreSQL without quotes."""
    return ", ".join(f'"{name}"' for name in names)


def _clean(text: str) -> str:
    """What is no UTF-8 is spelled out, and so is NUL, which PostgreSQL cannot keep."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _to_row(run: Run) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for column in fields(Run):
        value = getattr(run, column.name)
        if isinstance(value, datetime):
            value = format_time(value)
        elif isinstance(value, tuple | Mapping):
            value = json.dumps(value)
        elif isinstance(value, str):
            value = _clean(value)
        row[column.name] = value
    return row


def _from_row(row: Sequence[Any]) -> Run:
    values = dict(zip((column.name for column in fields(Run)), row, strict=True))
    for name in ("started_at", "heartbeat_at", "ended_at"):
        values[name] = None if values[name] is None else datetime.fromisoformat(values[name])
    values["criteria"] = tuple(json.loads(values["criteria"]))
    values["counts"] = json.loads(values["counts"])
    values["stopped"] = None if values["stopped"] is None else Stopped(values["stopped"])
    return Run(**values)


def _segment(row: Sequence[Any]) -> Segment:
    values = dict(zip((column.name for column in fields(Segment)), row, strict=True))
    for name in ("sealed_at", "committed_at"):
        values[name] = None if values[name] is None else datetime.fromisoformat(values[name])
    return Segment(**values | {name: tuple(json.loads(values[name])) for name in ("kept", "returned")})
