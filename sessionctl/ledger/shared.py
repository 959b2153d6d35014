"""A ledger in a PostgreSQL, MySQL or MariaDB database, so that pods and hosts see one history.

Its tables carry sessionctl's name and may lie beside the SDK's. Nothing is kept on the server between
transactions, so a pooler may stand between. Times are by the server's clock.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from sessionctl.core.address import StoreAddress
from sessionctl.drivers import CONNECT_TIMEOUT_S, extra_of
from sessionctl.errors import AccessRefused, LedgerUnavailable, SessionctlError, UsageError
from sessionctl.ledger.database import LAYOUT, TABLES, Database, Rows, Transaction, unavailable

_TABLE = "sessionctl_ledger"
"""One row, with the layout. It is made last."""
_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', true) "
    "WHERE current_setting('synchronous_commit') IN ('off', 'local')"
)
"""PostgreSQL: a crash must not take what was recorded, whatever other transactions may lose there."""
_CHECK = "check ledger in the settings file, or $SESSIONCTL_LEDGER"
_RIGHTS = (
    f"{_CHECK}; who uses it first makes its tables, others need SELECT, INSERT, UPDATE and DELETE on "
    "sessionctl_ledger, sessionctl_runs and sessionctl_segments"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What servers differ in: their driver, their clock, the types of the columns, how a transaction begins."""

    engine: Engine
    translate: Callable[[Exception, StoreAddress], SessionctlError]
    clock: str
    types: Mapping[str, str]
    begins_with: tuple[str, ...] = ()


def _postgresql(address: StoreAddress) -> _Kind:
    from sessionctl.drivers.postgresql import make_engine, translate

    return _Kind(
        engine=make_engine(address),
        translate=translate,
        clock="SELECT clock_timestamp()",
        types={"key": "TEXT", "text": "TEXT", "options": ""},
        begins_with=(f"SET LOCAL lock_timeout = '{CONNECT_TIMEOUT_S}s'", _DURABLE),
    )


def _mysql(address: StoreAddress) -> _Kind:
    from sessionctl.drivers.mysql import make_engine, translate

    return _Kind(
        engine=make_engine(address, {}, "SET SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')"),
        translate=translate,
        clock="SELECT UTC_TIMESTAMP(6)",
        types={
            "key": "VARCHAR(64)",
            "text": "LONGTEXT",
            "options": " ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        },
    )


_KINDS = {"postgresql": _postgresql, "mysql": _mysql, "mariadb": _mysql}


class SharedDatabase(Database):
    """The database at ``address``, which is not connected to before it is used.

    Raises UsageError for an address that cannot be used.
    """

    runs, segments = "sessionctl_runs", "sessionctl_segments"

    def __init__(self, address: StoreAddress) -> None:
        self.name = str(address)
        self._address = address
        kind = _KINDS.get(address.scheme)
        if kind is None:
            raise UsageError(
                f"a ledger cannot be at {address}", hint="it is a postgresql:// or mysql:// URL, or the path of a file"
            )
        try:
            self._kind = kind(address)
        except ModuleNotFoundError as error:
            extra = extra_of(error)
            if extra is None:
                raise
            raise unavailable(f"{self.name} needs a driver that is not installed", hint=extra) from error
        weakref.finalize(self, self._kind.engine.dispose)

    def make(self) -> None:
        if self._is_made():
            return
        try:
            with self.writing() as db:
                for statement in TABLES:
                    db.execute(statement.format(runs=self.runs, segments=self.segments, **self._kind.types), {})
                options = self._kind.types["options"]
                db.execute(f"CREATE TABLE IF NOT EXISTS {_TABLE} (layout INTEGER NOT NULL PRIMARY KEY){options}", {})
                db.execute(f"INSERT INTO {_TABLE} (layout) VALUES ({LAYOUT})", {})
        except LedgerUnavailable:
            if not self._is_made():  # by another who was at it in the same moment
                raise

    def _is_made(self) -> bool:
        with self.writing() as db:
            # Written even when nothing is new: that is what proves that writing works.
            is_made = bool(self.layout(db))
            return is_made and bool(db.execute(f"UPDATE {_TABLE} SET layout = layout", {}).rowcount)

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        with self._translated(), self._kind.engine.connect() as connection:
            yield _Statements(connection)

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        with self._translated(), self._kind.engine.begin() as connection:
            for statement in self._kind.begins_with:
                connection.exec_driver_sql(statement)
            yield _Statements(connection)

    def layout(self, db: Transaction) -> int:
        if not inspect(cast("_Statements", db).connection).has_table(_TABLE):
            return 0
        layout = max((row[0] for row in db.execute(f"SELECT layout FROM {_TABLE}", {})), default=0)
        self.refuse_newer(layout)
        return int(layout)

    def now(self, db: Transaction) -> datetime:
        now: datetime = db.execute(self._kind.clock, {}).fetchall()[0][0]
        return now.astimezone(UTC) if now.tzinfo else now.replace(tzinfo=UTC)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, OSError) as error:  # OSError: a certificate or socket that is not there
            wrong = self._kind.translate(error, self._address)
            hint = _RIGHTS if isinstance(wrong, AccessRefused) else _CHECK
            raise unavailable(wrong.message, hint=hint, transient=wrong.transient) from error


class _Statements:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def execute(self, statement: str, values: Mapping[str, Any], /) -> Rows:
        return cast("Rows", self.connection.execute(text(statement), values))
