"""PostgreSQL stores of the SDK's SQLAlchemySession, through psycopg.

The SDK's stamps are local times of the writing role's ``TimeZone`` without saying which. They are read
by ``AT TIME ZONE`` in each statement, not by a setting of the session, so that a pooler that hands
connections around between transactions does no harm. Reads run in READ ONLY transactions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar

from sqlalchemy import (
    ClauseElement,
    Column,
    Connection,
    CursorResult,
    DateTime,
    Select,
    String,
    and_,
    any_,
    bindparam,
    case,
    cast,
    collate,
    extract,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, BIGINT, TEXT, TIMESTAMP, insert
from sqlalchemy.exc import DBAPIError

from sessionctl.core.address import StoreAddress
from sessionctl.core.finding import Finding
from sessionctl.core.model import Capabilities, Lag, Pace, Preflight, Recheck, Rewrite, Usage, Want
from sessionctl.core.plan import Totals
from sessionctl.core.selector import Query
from sessionctl.drivers import LOCK_WAIT_S
from sessionctl.drivers.postgresql import make_engine, translate
from sessionctl.errors import SessionctlError, StoreUnavailable, UsageError
from sessionctl.stores.drift import LiveColumn
from sessionctl.stores.holds_table import TABLE
from sessionctl.stores.postgresql.copy import learn_sessions, room_to_index
from sessionctl.stores.postgresql.deletion import DeletingStore
from sessionctl.stores.postgresql.findings import activity_index, findings, live_columns
from sessionctl.stores.postgresql.lag import read_lag
from sessionctl.stores.postgresql.layout import find_table, quoted, read_layout
from sessionctl.stores.postgresql.plain import PlainStore
from sessionctl.stores.postgresql.preflight import preflight
from sessionctl.stores.postgresql.rewrite import take_items
from sessionctl.stores.postgresql.streaming import StreamingStore
from sessionctl.stores.postgresql.vacuum import VacuumedTables
from sessionctl.stores.sql.dialect import Condition, Expression
from sessionctl.stores.sql.findings import SqlFindings
from sessionctl.stores.sql.layout import Clock, TableFacts
from sessionctl.stores.sql.schema import complete, create
from sessionctl.stores.sql.store import WHOLE_SHARE

_SLACK = timedelta(hours=3)
"""Where clocks are set back, a local time stands for two instants at most so far apart."""
_ZONED = DateTime(timezone=True)
_RANGE = {
    Clock.LOCAL: ("TIMESTAMP '0001-01-02'", "TIMESTAMP '9999-12-30'"),
    Clock.INSTANT: ("TIMESTAMPTZ '0001-01-02 00:00:00+00'", "TIMESTAMPTZ '9999-12-30 00:00:00+00'"),
}
"""What Python can hold; ``infinity`` and the like are read as these ends."""
_PLACE_OF_HOLDS = """
    SELECT n.nspname, EXISTS (SELECT 1 FROM pg_class h WHERE h.relnamespace = n.oid AND h.relname = %(name)s)
    FROM pg_class s JOIN pg_namespace n ON n.oid = s.relnamespace WHERE s.oid = CAST(%(sessions)s AS regclass)
"""
_USAGE = text("""
    WITH tables AS (
        SELECT t.relid, pg_total_relation_size(t.relid) AS bytes, pg_relation_size(t.relid) AS heap
        FROM unnest(CAST(:names AS text[])) AS name, LATERAL (
            SELECT relid FROM pg_partition_tree(to_regclass(name)) UNION SELECT to_regclass(name)
        ) AS t WHERE t.relid IS NOT NULL)
    SELECT sum(t.bytes) AS total,
           sum(t.heap * s.n_dead_tup / nullif(s.n_live_tup + s.n_dead_tup, 0)) AS free
    FROM tables t LEFT JOIN pg_stat_all_tables s ON s.relid = t.relid
""")


_FIT = (
    "SELECT set_config('max_parallel_workers_per_gather', '0', true), "
    "set_config('work_mem', greatest(setting::int, 65536) || 'kB', true) FROM pg_settings WHERE name = 'work_mem'"
)
"""Agents keep their processors: more of them would save a tenth of the time, and writers wait twice as long for it.

Sums of all sessions stay in memory. Else the server sorts all items for them, with their texts, on its disk.
"""
_GIVEN = text(
    "SELECT CASE WHEN sequence IS NULL OR NOT has_sequence_privilege(sequence, 'USAGE, SELECT') "
    "THEN 9223372036854775807 ELSE coalesce(pg_sequence_last_value(sequence::regclass), 0) END "
    "FROM (SELECT pg_get_serial_sequence(:table, :column) AS sequence) AS own"
)
"""The newest key that the table's sequence gave; without one that can be asked, any key counts as given."""


class Adapter(VacuumedTables, SqlFindings, StreamingStore, PlainStore, DeletingStore):
    """A store of SQLAlchemySession on PostgreSQL."""

    capabilities = Capabilities(
        lists=True,
        item_times=True,
        recheck=Recheck.TRANSACTION,
        pace=Pace(first=5000, largest=6000, hold_s=0.013, gap_s=0.0, alone_hold_s=0.1, least=2000),
    )

    _reads_with: ClassVar[Mapping[str, Any]] = {"postgresql_readonly": True}
    _snapshots_with: ClassVar[Mapping[str, Any]] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    _changes_with: ClassVar[Mapping[str, Any]] = {"isolation_level": "AUTOCOMMIT"}
    """The driver would send BEGIN by itself, in a round trip of its own: ``_begin_change`` does."""

    _counts_savepoints = True
    _longest_id: ClassVar[int | None] = 2600
    _takes_nul: ClassVar[bool] = False

    _newest_key = 0
    """The newest key of an item that the sequence is known to have given."""

    def __init__(self, address: StoreAddress) -> None:
        zone = address.options.get("timezone")
        self._zone = literal(zone, String) if zone else func.current_setting("TimeZone")
        self._open(address, make_engine(address))
        try:
            with self._reading() as connection:
                encoding = connection.connection.dbapi_connection.info.parameter_status("server_encoding")  # type: ignore[union-attr]
                self._is_utf8 = encoding in ("UTF8", "SQL_ASCII")
                self._look_closely("postgresql", read_layout(connection, address))
                self._ctid: Column[Any] = Column("ctid", system=True)
                self._sessions.append_column(self._ctid)
                self._sessions.append_column(Column("xmin", system=True))
                # Refused rights and unknown zones show here rather than in the middle of something.
                connection.execute(select(func.timezone(self._zone, func.now())))
                connection.execute(select(*self._session_columns()).limit(0))
                connection.execute(select(*self._item_columns()).limit(0))
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, address: StoreAddress) -> None:
        create(make_engine(address), address, "postgresql", find_table, translate)

    @classmethod
    def complete(cls, address: StoreAddress) -> None:
        read = partial(read_layout, address=address)
        complete(make_engine(address), address, "postgresql", read, translate, room_to_index, learn_sessions)

    def _translate(self, error: Exception) -> SessionctlError:
        zone = self.address.options.get("timezone")
        if zone and getattr(getattr(error, "orig", None), "sqlstate", None) == "22023":
            return UsageError(
                f"{self.address} does not know the time zone {zone!r}", hint="write it like Europe/Berlin"
            )
        return translate(error, self.address)

    # --- times --------------------------------------------------------------------------------

    def _instant(self, value: Expression, clock: Clock) -> Expression:
        first: Expression = literal_column(_RANGE[clock][0])
        last: Expression = literal_column(_RANGE[clock][1])
        held = case((value > last, last), (value < first, first), else_=value)
        return held if clock is Clock.INSTANT else func.timezone(self._zone, held)

    def _time(self, value: Any) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def _newest(self, column: Column[Any]) -> Expression:
        return self._instant(func.max(column), column.info["facts"].clock)

    def _edition(self) -> Expression:
        return super()._edition() if self._layout.sessions.obstacle else cast(cast(self._sessions.c.xmin, TEXT), BIGINT)

    def _largest_key(self) -> Expression:
        # Without it, the index that finds the items is all there is to read of them.
        return super()._largest_key() if self._layout.sessions.obstacle else null()

    def _microseconds(self, instant: Expression) -> Expression:
        return cast(func.round(extract("epoch", instant) * literal_column("1000000")), BIGINT)

    def _holds(self, column: Column[Any], op: str, at: datetime) -> Condition:
        clock = column.info["facts"].clock
        exact: Condition = self._instant(column, clock).bool_op(op)(literal(at, _ZONED))
        if clock is Clock.INSTANT:
            return column.bool_op(op)(literal(at, _ZONED))
        widened = _shifted(at, _SLACK if op.startswith("<") else -_SLACK)
        return and_(column.bool_op(op)(self._sort_value(column, widened)), exact)

    def _sort_key(self, column: Column[Any]) -> Expression:
        return column.expression

    def _sort_value(self, column: Column[Any], at: datetime) -> Expression:
        value = literal(at, _ZONED)
        return value if column.info["facts"].clock is Clock.INSTANT else func.timezone(self._zone, value)

    def _stamp_text(self, value: Expression, clock: Clock) -> Expression:
        shown = value if clock is Clock.LOCAL else func.timezone("UTC", value)
        return case((func.isfinite(value), func.to_char(shown, "YYYY-MM-DD HH24:MI:SS.US")), else_=cast(value, TEXT))

    def _instant_beyond(self, column: Column[Any]) -> Expression:
        instant = self._instant(column, Clock.LOCAL)
        if self._in_utc:  # zones are looked up for each item, which takes the server longer than to read it
            first, last = _RANGE[Clock.LOCAL]
            return case((or_(column < literal_column(first), column > literal_column(last)), instant))
        return case((func.timezone("UTC", instant) != column, instant))

    def _stamp_of(self, stored: Expression, clock: Clock) -> Expression:
        value = cast(cast(stored, TEXT), TIMESTAMP)
        return value if clock is Clock.LOCAL else func.timezone("UTC", value)

    def _stamp_at(self, column: Column[Any], at: Expression) -> Expression:
        value = func.timezone("UTC", cast(cast(at, TEXT), TIMESTAMP))
        return value if column.info["facts"].clock is Clock.INSTANT else func.timezone(self._zone, value)

    def _server_time(self) -> Expression:
        return func.clock_timestamp()

    def _has_given(self, connection: Connection, keys: Sequence[Any]) -> bool:
        """A key beyond the sequence would be given again: the table was made anew since."""
        newest = max((key for key in keys if isinstance(key, int)), default=0)
        if newest > self._newest_key:
            table = self._engine.dialect.identifier_preparer.format_table(self._messages)
            asked = {"table": table, "column": self._messages.c.id.name}
            self._newest_key = connection.execute(_GIVEN, asked).scalar_one()
        return newest <= self._newest_key

    def _live_columns(self, connection: Connection, table: TableFacts) -> Iterable[LiveColumn]:
        return live_columns(connection, table)

    def _activity_index(self, connection: Connection) -> str | None:
        return activity_index(connection, self._layout)

    def _own_findings(self, connection: Connection) -> Iterator[Finding]:
        return findings(connection, self._layout, self._messages, self.address.options.get("timezone"))

    # --- ids and texts ------------------------------------------------------------------------

    def _id_key(self, column: Expression) -> Expression:
        return collate(column, "C")

    def _id_value(self, session_id: str) -> Any:
        return session_id

    def _same_id(self, item_side: Expression) -> Condition:
        return item_side == self._sessions.c.session_id

    def _is_any(self, column: Expression, ids: Sequence[str]) -> Condition:
        return column == any_(literal(list(ids), ARRAY(String)))

    def _is_exactly_any(self, column: Expression, ids: Sequence[str]) -> Condition:
        return self._is_any(column, ids)

    def _is_given(self, column: Expression) -> Condition:
        return column == any_(bindparam("ids", type_=ARRAY(String)))

    def _turn(self) -> Expression:
        return func.txid_current()

    def _given(self, values: Sequence[Any]) -> str:
        return _array(values)

    def _is_given_key(self) -> Condition:
        return self._messages.c.id == any_(bindparam("keys", type_=ARRAY(BIGINT)))

    def _is_like(self, column: Expression, pattern: str) -> Condition:
        return self._id_key(column).like(pattern, escape="!")

    def _is_storable(self, text: str) -> bool:
        return "\0" not in text and _is_encodable(text)

    def _octets(self, column: Expression) -> Expression:
        return func.octet_length(column if self._is_utf8 else func.convert_to(column, "UTF8"))

    def _place_of(self, column: Expression, word: str) -> Expression:
        return func.strpos(column, word)

    def _contains(self, column: Expression, needle: str) -> Condition:
        # lower() of the C collation knows ASCII only: no locale's idea of I and i gets in the way.
        return func.lower(collate(column, "C")).contains(needle.lower(), autoescape=True)

    # --- rows ---------------------------------------------------------------------------------

    def _physical(self, *, joined: bool) -> list[Expression]:
        return [self._ctid] if joined and self._layout.sessions.obstacle is None else []

    def _each(self, query: Query, conditions: list[Condition], want: Want) -> Select[Any]:
        # In the one statement, because a pooler may have no second connection to give while this one is read.
        owned = select(*self._sums(want)).select_from(self._messages).where(self._owns()).correlate(self._sessions)
        sums = owned.lateral()
        return (
            select(*self._session_columns(), *sums.c)
            .select_from(self._sessions.join(sums, true()))
            .where(*conditions, *self._size_bounds(query, sums.c))
        )

    def _before_stream(self, connection: Connection) -> None:
        connection.exec_driver_sql(_FIT)

    def _before_lookups(self, connection: Connection) -> None:
        if self._layout.indexed:  # else the server would not take the index of tables that it knows nothing of yet
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")

    def _abandon(self, connection: Connection, result: CursorResult[Any]) -> None:  # noqa: ARG002
        result.close()  # the server drops its cursor, and what was not fetched never travels

    def usage(self) -> Usage:
        names = [quoted(table) for table in (self._layout.sessions, self._layout.messages)]
        with self._reading() as connection:
            row = connection.execute(_USAGE, {"names": names}).one()
        free = None if row.free is None else int(row.free)
        return Usage(total=int(row.total or 0), free=free)

    def preflight(self, query: Query, planned: Totals) -> Preflight:
        with self._reading() as connection:
            return preflight(connection, self._layout, query, self._looking(query), planned, whole=WHOLE_SHARE)

    def lag(self) -> Lag | None:
        try:
            with self._reading() as connection:
                return read_lag(connection)
        except StoreUnavailable:
            raise
        except SessionctlError:
            return None  # services that only speak PostgreSQL's language have no log to tell of

    # --- changes ------------------------------------------------------------------------------

    def _begin_change(self, connection: Connection) -> None:
        # SET LOCAL, so that nothing stays behind on a pooled connection. Deferred foreign keys of others
        # would refuse at COMMIT, too late to tell which session they meant. Each session is found by an index,
        # or a batch that looks large beside the table would read all of it, again and again; and what looks
        # expensive is not compiled each time, which takes longer than most batches.
        compiles = (connection.dialect.server_version_info or ()) >= (11,)
        off = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan", *["jit"] * compiles)
        connection.exec_driver_sql(
            f"BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '{LOCK_WAIT_S}s'; "
            + "".join(f"SET LOCAL {setting} = off; " for setting in off)
            + "SET CONSTRAINTS ALL IMMEDIATE"
        )

    def _place_of_holds(self, connection: Connection) -> tuple[str | None, bool]:
        given = {"name": TABLE, "sessions": quoted(self._layout.sessions)}
        schema, is_there = connection.exec_driver_sql(_PLACE_OF_HOLDS, given).one()  # for every batch: not compiled
        return schema, is_there

    def _clock(self) -> Expression:
        return self._microseconds(func.clock_timestamp())

    def _inserting(self, rows: Select[Any], columns: list[str]) -> ClauseElement:
        return insert(self._sessions).from_select(columns, rows).on_conflict_do_nothing()

    def _in_one(self, keys: Expression) -> Expression:
        return func.string_agg(cast(keys, TEXT), literal_column("','"))

    def _take_items(self, connection: Connection, rewrites: Sequence[Rewrite]) -> set[str]:
        messages = self._engine.dialect.identifier_preparer.format_table(self._messages)
        return take_items(connection, messages, rewrites)

    def _is_refusal(self, error: DBAPIError) -> bool:
        state = getattr(error.orig, "sqlstate", None) or ""
        return state.startswith("23") or state == "P0001"  # a constraint, or a trigger that raised


def _array(values: Sequence[Any]) -> str:
    """In PostgreSQL's own notation: the driver would look at each element, statement by statement."""
    if set(map(type, values)) == {str}:
        joined = '","'.join(values)
        if "\\" not in joined and joined.count('"') == 2 * len(values) - 2:
            return f'{{"{joined}"}}'  # nothing in it needs to be escaped
    return "{" + ",".join("NULL" if value is None else _element(str(value)) for value in values) + "}"


def _element(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _shifted(at: datetime, by: timedelta) -> datetime:
    try:
        return at + by
    except OverflowError:
        return at


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
