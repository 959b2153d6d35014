"""MySQL and MariaDB stores of the SDK's SQLAlchemySession, through PyMySQL.

The SDK cannot make its tables there, so types, precision, collation and foreign key are whatever was
made by hand. Times travel as seconds of the Unix epoch, which the server computes by the zone of the
session for DATETIME and from the stored instant for TIMESTAMP. Most collations take ``U1`` and ``u1``,
or ``a`` and ``a `` with a space behind, for the same id: statements find by the column's own rules, which its
index serves, and compare octets on top where it matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

from sqlalchemy import (
    BIGINT,
    CHAR,
    ClauseElement,
    Column,
    Connection,
    CursorResult,
    Integer,
    LargeBinary,
    Select,
    Table,
    and_,
    bindparam,
    case,
    cast,
    collate,
    column,
    exists,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    table,
    text,
)
from sqlalchemy.exc import DBAPIError

from sessionctl.core.address import StoreAddress
from sessionctl.core.finding import Finding
from sessionctl.core.model import Capabilities, Order, Pace, Preflight, Recheck, Room, SessionRef, Want
from sessionctl.core.plan import Totals
from sessionctl.core.selector import Query
from sessionctl.drivers.mysql import Numbers, error_number, make_engine, translate
from sessionctl.errors import SessionctlError
from sessionctl.stores.drift import LiveColumn
from sessionctl.stores.holds_table import TABLE
from sessionctl.stores.mysql.ends import EndsStore
from sessionctl.stores.mysql.findings import activity_index, findings, id_keys, live_columns
from sessionctl.stores.mysql.insert import HEAD
from sessionctl.stores.mysql.layout import find_table, is_mariadb, read_layout
from sessionctl.stores.mysql.looking import LISTS
from sessionctl.stores.mysql.measure import Measure, in_one_text
from sessionctl.stores.mysql.preflight import preflight
from sessionctl.stores.mysql.text import as_utf8, as_utf8mb4, converted
from sessionctl.stores.mysql.vacuum import VacuumedTables
from sessionctl.stores.sql.dialect import Condition, Expression
from sessionctl.stores.sql.findings import SqlFindings
from sessionctl.stores.sql.layout import Clock, TableFacts
from sessionctl.stores.sql.schema import changing, complete, create

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SLACK = Decimal(3 * 3600)  # where clocks are set back, a local time stands for two instants at most so far apart
_FIRST, _LAST = "1970-01-02", "2038-01-18"
"""Outside of these the server's own arithmetic on Unix time gives NULL or 0."""
_LAST_EPOCH = Decimal(2147385600)
_STREAM_WRITE_TIMEOUT_S = 3600  # of a stream's reader; the server's own minute is short for a slow one
_READING = (
    # MariaDB does not see that a session's columns follow from its primary key.
    "SET SESSION sql_mode = REPLACE(@@sql_mode, 'ONLY_FULL_GROUP_BY', '')",
    "SET SESSION TRANSACTION READ ONLY",  # unless a transaction says otherwise
    LISTS,
)
_REFUSALS = frozenset({1217, 1451, 1644, 1761})
_SETTINGS = text("SHOW VARIABLES WHERE variable_name IN ('log_bin', 'binlog_format', 'max_allowed_packet')")


class Adapter(VacuumedTables, SqlFindings, EndsStore):
    """A store of SQLAlchemySession on MySQL or MariaDB."""

    capabilities = Capabilities(
        lists=True,
        item_times=True,
        recheck=Recheck.TRANSACTION,
        # The server cleans up behind each batch as long as that took: pauses as long, or agents wait for a processor.
        pace=Pace(first=5000, largest=2000, hold_s=0.05, gap_s=0.05, alone_hold_s=0.4, least=1000),
    )

    _octets_of_type: ClassVar[Mapping[str, int]] = {"tinytext": 255, "text": 65_535, "mediumtext": 16_777_215}

    def __init__(self, address: StoreAddress) -> None:
        zone = address.options.get("timezone")
        settings = {"net_write_timeout": _STREAM_WRITE_TIMEOUT_S} | ({"time_zone": zone} if zone else {})
        self._open(address, make_engine(address, settings, *_READING))
        try:
            with self._reading() as connection:
                self._look_closely("mysql", read_layout(connection, address))
                self._look_at_server(connection)
                connection.execute(select(*self._session_columns()).limit(0))
                connection.execute(select(*self._item_columns()).limit(0))
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, address: StoreAddress) -> None:
        create(make_engine(address, {}), address, "mysql", find_table, translate)

    @classmethod
    def longest_new_text(cls, address: StoreAddress) -> int | None:
        with changing(make_engine(address, {}), address, translate) as connection:
            return int(connection.execute(text("SELECT @@max_allowed_packet")).scalar_one()) - HEAD

    @classmethod
    def complete(cls, address: StoreAddress) -> None:
        unchecked = make_engine(address, {"foreign_key_checks": 0})  # or the server writes the table anew
        complete(unchecked, address, "mysql", lambda db: read_layout(db, address), translate)

    def _look_at_server(self, connection: Connection) -> None:
        version = connection.dialect.server_version_info or ()
        self._is_mariadb = is_mariadb(connection)
        self._skips_locked = version >= ((10, 6) if self._is_mariadb else (8, 0, 1))
        settings = {row[0].lower(): row[1].upper() for row in connection.execute(_SETTINGS)}
        self._packet = int(settings["max_allowed_packet"])
        # Replication by statements refuses writes below REPEATABLE READ.
        self._repeats = settings.get("log_bin") in ("ON", "1") and settings.get("binlog_format") == "STATEMENT"

    def _translate(self, error: Exception) -> SessionctlError:
        return translate(error, self.address)

    # --- times --------------------------------------------------------------------------------

    def _instant(self, value: Expression, clock: Clock) -> Expression:
        epoch = func.unix_timestamp(value)
        if clock is Clock.INSTANT:
            return func.nullif(epoch, 0)
        return case((value >= _LAST, _LAST_EPOCH), (value >= _FIRST, epoch))

    def _time(self, value: Any) -> datetime | None:
        if value is None or isinstance(value, datetime):
            return value and value.replace(tzinfo=UTC)
        return _EPOCH + timedelta(microseconds=int(value * 1_000_000))

    def _newest(self, column: Column[Any]) -> Expression:
        clock = column.info["facts"].clock
        if clock is Clock.INSTANT:
            return self._instant(func.max(column), clock)
        return func.max(self._instant(column, clock))  # the last of local times need not be the last instant

    def _microseconds(self, instant: Expression) -> Expression:
        return cast(instant * literal_column("1000000"), Integer)

    def _holds(self, column: Column[Any], op: str, at: datetime) -> Condition:
        epoch = _epoch(at)
        exact: Condition = self._sort_key(column).bool_op(op)(literal(epoch))
        near = epoch + _SLACK if op.startswith("<") else epoch - _SLACK
        if not 0 < near < _LAST_EPOCH:
            return exact
        return and_(column.bool_op(op)(func.from_unixtime(literal(near))), exact)

    def _sort_key(self, column: Column[Any]) -> Expression:
        return self._instant(column, column.info["facts"].clock)

    def _sort_value(self, column: Column[Any], at: datetime) -> Expression:  # noqa: ARG002
        return literal(_epoch(at))

    def _may_be_unknown(self, column: Column[Any]) -> bool:  # noqa: ARG002
        return True  # NOT NULL does not keep '0000-00-00' out

    def _stamp_text(self, value: Expression, clock: Clock) -> Expression:
        if clock is Clock.INSTANT:
            micros = cast(func.unix_timestamp(value) * 1_000_000, BIGINT)
            value = func.timestampadd(literal_column("MICROSECOND"), micros, literal_column("'1970-01-01'"))
        return cast(value, CHAR)

    def _instant_beyond(self, column: Column[Any]) -> Expression:
        instant = self._instant(column, Clock.LOCAL)
        return case((instant * literal_column("1000000") != _micros_since_epoch(column), instant))

    def _stamp_of(self, stored: Expression, clock: Clock) -> Expression:
        return stored if clock is Clock.LOCAL else func.from_unixtime(_seconds_since_epoch(stored))

    def _stamp_at(self, column: Column[Any], at: Expression) -> Expression:  # noqa: ARG002
        return func.from_unixtime(_seconds_since_epoch(at))

    def _server_time(self) -> Expression:
        return func.utc_timestamp(literal_column("6"))

    # --- ids and texts ------------------------------------------------------------------------

    def _id_key(self, column: Expression) -> Expression:
        return cast(as_utf8(column), LargeBinary)

    def _id_value(self, session_id: str) -> Any:
        return session_id.encode()

    def _same_id(self, item_side: Expression) -> Condition:
        ours = self._layout.messages.columns["session_id"]
        theirs = self._layout.sessions.columns["session_id"]
        sessions_side: Expression = self._sessions.c.session_id.expression
        if ours.collation != theirs.collation:  # not comparable as they are
            charset, collation = ours.charset or "utf8mb4", ours.collation or "utf8mb4_bin"
            sessions_side = collate(converted(sessions_side, charset), collation)
        return item_side == sessions_side

    def _exactly(self, session_id: Expression) -> list[Condition]:
        s, m, value = self._sessions.c, self._messages.c, self._id_key(session_id)
        session = select(1).select_from(self._sessions).where(self._owns(), self._id_key(s.session_id) == value)
        return [or_(self._id_key(m.session_id) == value, exists(session))]

    def _owner(self) -> Expression:
        s, m = self._sessions.c, self._messages.c
        if self._compares_exactly:
            return m.session_id.expression
        session = select(s.session_id).where(self._owns()).correlate(self._messages).scalar_subquery()
        return func.coalesce(session, m.session_id)

    def _is_any(self, column: Expression, ids: Sequence[str]) -> Condition:
        return column.in_(ids)

    def _is_exactly_any(self, column: Expression, ids: Sequence[str]) -> Condition:
        return and_(column.in_(ids), self._id_key(column).in_([self._id_value(session_id) for session_id in ids]))

    def _is_given(self, column: Expression) -> Condition:
        return column.bool_op("IN")(bindparam("ids"))  # the driver writes the list

    def _given(self, values: Sequence[Any]) -> Sequence[Any]:
        return Numbers(values) if values and type(values[0]) is int else values

    def _is_given_key(self) -> Condition:
        return self._messages.c.id.bool_op("IN")(bindparam("keys"))

    def _is_like(self, column: Expression, pattern: str) -> Condition:
        return collate(as_utf8mb4(column), "utf8mb4_bin").like(pattern, escape="!")

    def _is_storable(self, text: str) -> bool:
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
        return True

    def _octets(self, column: Expression) -> Expression:
        return func.octet_length(as_utf8(column))

    def _place_of(self, column: Expression, word: str) -> Expression:
        return func.locate(word.encode(), converted(as_utf8(column), "binary"))  # by octets: letter by letter is slow

    def _contains(self, column: Expression, needle: str) -> Condition:
        return collate(as_utf8mb4(column), "utf8mb4_general_ci").contains(needle, autoescape=True)

    # --- rows ---------------------------------------------------------------------------------

    def _physical(self, *, joined: bool) -> list[Expression]:  # noqa: ARG002
        # Rows of sessions lie by id, which is no order. Items, which fill the disk, lie as they came.
        return [self._sessions.c.updated_at.expression]

    def _each(self, query: Query, conditions: list[Condition], want: Want) -> Select[Any]:  # noqa: ARG002
        # Not a join: that goes by the sessions' key, and reads each page of items as often as sessions share it.
        told = select(in_one_text(self._sums(want, joined=False))).select_from(self._messages).where(self._owns())
        looked_up = told.correlate(self._sessions).scalar_subquery()
        return select(*self._session_columns(), looked_up.label("told")).where(*conditions)

    def _whole(self, query: Query, conditions: list[Condition], want: Want) -> Select[Any]:
        if self._layout.indexed and want & (Want.SIZE | Want.COMPACTED):  # else nothing but the index is read
            return self._each(query, conditions, want)
        # Grouped items would be a table without an index here, read once for every handful of sessions.
        told = in_one_text(self._sums(want)).label("told")
        joined = self._sessions.join(self._messages, self._owns(), isouter=True)
        statement = select(*self._session_columns(), told).select_from(joined)
        return statement.where(*conditions).group_by(self._sessions.c.session_id)

    def _measured_together(self, statement: Select[Any], order: Order, want: Want) -> Iterator[SessionRef]:
        for row in self._stream(self._ordered(statement, order, joined=True)):
            yield self._with_measure(self._ref(row), Measure.told(row.told), want)

    def _abandon(self, connection: Connection, result: CursorResult[Any]) -> None:
        # The driver reads all that is still to come when its cursor is closed, and again when its result is
        # let go: tell both that there is nothing, and drop the connection with the rest of the rows in it.
        cursor: Any = result.cursor
        if cursor is not None:
            cursor.connection = None
            cursor._result.unbuffered_active = False  # noqa: SLF001
        connection.invalidate()

    def id_keys(self, session_ids: Sequence[str]) -> Sequence[Any]:
        with self._reading() as db:
            return id_keys(db, self._layout.messages.columns["session_id"], session_ids)

    def room(self) -> Room:
        room, sent = super().room(), self._packet - HEAD
        return replace(room, longest_text=min(sent, room.longest_text or sent))

    def _live_columns(self, connection: Connection, table: TableFacts) -> Iterable[LiveColumn]:
        return live_columns(connection, table)

    def _activity_index(self, connection: Connection) -> str | None:
        return activity_index(connection, self._layout)

    def _own_findings(self, connection: Connection) -> Iterator[Finding]:
        return findings(connection, self._layout, self._messages)

    def preflight(self, query: Query, planned: Totals) -> Preflight:
        with self._reading() as connection:
            return preflight(connection, self._layout, query, self._looking(query), planned)

    # --- changes ------------------------------------------------------------------------------

    def _begin_change(self, connection: Connection) -> None:
        level = "REPEATABLE READ" if self._repeats else "READ COMMITTED"
        connection.exec_driver_sql(f"SET TRANSACTION ISOLATION LEVEL {level}, READ WRITE")

    def _place_of_holds(self, connection: Connection) -> tuple[str | None, bool]:
        # The catalog hides tables from who may not read them; asking for one tells "no such" from "not yours".
        schema = self._layout.sessions.schema
        name = f"{_quoted(schema)}.{TABLE}" if schema else TABLE
        try:
            connection.exec_driver_sql(f"SELECT 1 FROM {name} LIMIT 0")
        except DBAPIError as error:
            if error_number(error.orig) != 1146:
                raise
            return schema, False
        return schema, True

    def _make(self, connection: Connection, statement: str) -> None:
        # It begins a transaction of its own, which only reads unless the session says otherwise.
        connection.exec_driver_sql("SET SESSION TRANSACTION READ WRITE")
        try:
            super()._make(connection, statement)
        finally:
            connection.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")

    def _clock(self) -> Expression:
        unit: Expression = literal_column("MICROSECOND")
        epoch: Expression = literal_column("'1970-01-01'")
        return func.timestampdiff(unit, epoch, func.utc_timestamp(literal_column("6")))

    def _turn(self) -> Expression:
        # Statements that commit by themselves are not counted: whoever writes so is not met.
        schema = "information_schema" if self._is_mariadb else "performance_schema"
        status = table("global_status", column("variable_name"), column("variable_value"), schema=schema)
        commits = select(cast(status.c.variable_value, BIGINT)).where(status.c.variable_name == "Com_commit")
        return commits.scalar_subquery()

    @property
    def _compares_exactly(self) -> bool:  # type: ignore[override]  # the tables tell here
        ours = self._layout.messages.columns["session_id"].collation or ""
        return ours == self._layout.sessions.columns["session_id"].collation and ours.endswith("bin")

    def _current(self, statement: Select[Any]) -> Select[Any]:
        return statement.with_for_update(read=True) if self._repeats else statement

    # Over a list of ids or keys that are a quarter of the table the optimizer reads all of it, even where an index
    # is forced, and then the deletion waits for every open append. In the order of a key and with a limit it
    # goes along that key.

    def _deleting(self) -> ClauseElement:
        return self._deleting_by(self._sessions, "session_id", "ids")

    def _deleting_items(self) -> ClauseElement:
        return self._deleting_by(self._messages, "id", "keys")

    def _deleting_by(self, table: Table, column: str, values: str) -> ClauseElement:
        name = self._engine.dialect.identifier_preparer.format_table(table)
        statement = f"DELETE FROM {name} WHERE {column} IN ".replace(":", "\\:")
        return text(f"{statement}:{values} ORDER BY {column} LIMIT :count")

    def _inserting(self, rows: Select[Any], columns: list[str]) -> ClauseElement:
        return insert(self._sessions).prefix_with("IGNORE").from_select(columns, rows)

    @property
    def _spans_together(self) -> int:  # type: ignore[override]  # the server tells here
        return 1 if self._repeats else super()._spans_together  # a lock would have to be asked for in each part

    def _in_one(self, keys: Expression) -> Expression:
        return func.group_concat(keys)

    def _is_refusal(self, error: DBAPIError) -> bool:
        return error_number(error.orig) in _REFUSALS


def _seconds_since_epoch(at: Expression) -> Expression:
    return _micros_since_epoch(at) * literal_column("0.000001")  # a quotient would have four decimals


def _micros_since_epoch(at: Expression) -> Expression:
    """Of a time in UTC."""
    return func.timestampdiff(literal_column("MICROSECOND"), literal_column("'1970-01-01'"), at)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _epoch(at: datetime) -> Decimal:
    return Decimal((at - _EPOCH) // timedelta(microseconds=1)).scaleb(-6)
