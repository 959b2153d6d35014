"""Giving space of PostgreSQL tables back: VACUUM beside writers, VACUUM FULL where they may wait, and compression.

Nothing here queues up for a lock that keeps everybody out: behind a long transaction that would stop all others,
too. VACUUM is told to skip what it cannot have at once (https://www.postgresql.org/docs/15/sql-vacuum.html), which
needs no setting of the session, so that a pooler in transaction mode does no harm; it is tried again for a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, text

from sessionctl.core.space import Need, Part, Space, Step, Task, Wish
from sessionctl.core.units import format_size
from sessionctl.errors import AccessRefused, SessionctlError, StoreBusy
from sessionctl.stores.holds_table import TABLE as HOLDS
from sessionctl.stores.interruptible import interruptibly
from sessionctl.stores.postgresql.layout import quoted
from sessionctl.stores.sql.apply import SqlStore
from sessionctl.stores.sql.layout import TableFacts

_PATIENCE_S, _PAUSE_S = 10.0, 0.05
_SAMPLE_BLOCKS = 1000
_PAGE = 8192
_ROW = 28 + 26
"""Octets of a row beside its texts: header and line pointer, key, stamp, padding."""
_VACUUMED_A_S, _REBUILT_A_S = 400 * 2**20, 100 * 2**20
_ALTERING_MS = 300
"""How long the one statement that must wait for its lock does so; everybody waits behind it meanwhile."""
_LOCK_NOT_AVAILABLE = "55P03"
_METHODS = {True: ("pglz", "lz4"), False: ("lz4", "pglz")}
"""From and to which method of compression."""

_SIZES = text("""
    WITH parts AS (
        SELECT relid FROM pg_partition_tree(to_regclass(:table)) UNION SELECT to_regclass(:table)::oid)
    SELECT sum(pg_total_relation_size(relid)) AS total, sum(pg_table_size(relid)) AS rows,
           sum(pg_relation_size(relid)) AS heap
    FROM parts WHERE relid IS NOT NULL
""")
_ABILITIES = text("""
    SELECT EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'pg_repack') AS repacks,
           EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'pg_repack') AS repacks_here,
           coalesce((SELECT 'lz4' = ANY(enumvals) FROM pg_settings WHERE name = 'default_toast_compression'), FALSE)
               AS compresses
""")
_HOLDERS = text("""
    SELECT DISTINCT a.pid, a.application_name AS name, a.state,
           extract(epoch FROM clock_timestamp() - a.xact_start) AS seconds
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.relation = to_regclass(:table) AND l.granted AND l.pid <> pg_backend_pid()
    ORDER BY seconds DESC NULLS LAST LIMIT 3
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpace:
    """A table on disk, in octets: with its indexes, without them, and what its rows would take without gaps."""

    name: str
    total: int
    rows: int
    live: int

    @property
    def gain(self) -> int:
        """By writing it anew; indexes shrink about as their table does."""
        return max(0, round(self.total * (1 - self.live / self.rows))) if self.rows else 0


class VacuumedTables(SqlStore):
    """The part of the adapter that is about space."""

    _rewritten: tuple[int, int] = (0, 100)
    """The key up to which rows were stored anew, and how many the next part takes."""

    def space(self, wish: Wish) -> Space:
        usage = self.usage()
        if self._info.frozen:
            return Space(usage=usage, refused=(f"{self.address} is not changed: {self._info.frozen}",))
        if wish.via or wish.incremental:
            return Space(usage=usage, refused=("--via and --incremental are for SQLite files",))
        with self._reading() as connection:
            able = connection.execute(_ABILITIES).one()
            tables = [self._space_of(connection, name) for name in self._vacuumed(connection)]
        space = Space(usage=usage, steps=tuple(_steps(tables, wish)), notes=tuple(self._notes(tables, able, wish)))
        return space if wish.compress is None else self._compressing(space, tables, wish.compress, able=able.compresses)

    def vacuum(self, step: Step, wish: Wish, enough: Callable[[], bool]) -> Part:
        match step.task:
            case Task.SWITCH:
                self._switch(_METHODS[bool(wish.compress)][1], enough)
            case Task.REWRITE:
                return self._store_anew(_METHODS[bool(wish.compress)][0])
            case _:
                self._patiently(step, enough)
        return Part()

    # --- looking ------------------------------------------------------------------------------

    def _vacuumed(self, connection: Connection) -> list[str]:
        """The SDK's two tables, and that of the holds where there is one."""
        schema, has_holds = self._place_of_holds(connection)
        found = [quoted(self._layout.messages), quoted(self._layout.sessions)]
        holds = TableFacts(schema=schema, name=HOLDS, columns={})
        return [*found, quoted(holds)] if has_holds else found

    def _space_of(self, connection: Connection, table: str) -> TableSpace:
        """By an even sample of its blocks: texts are measured as they are stored, compressed or not."""
        sizes = connection.execute(_SIZES, {"table": table}).one()
        share = min(100.0, 100.0 * _SAMPLE_BLOCKS * _PAGE / max(1, int(sizes.heap or 0)))
        measures = " + ".join(f"coalesce(pg_column_size(t.{column}), 0)" for column in self._texts_of(table))
        sampled = text(f"SELECT coalesce(sum({measures} + {_ROW}), 0) FROM {table} t TABLESAMPLE SYSTEM (:share)")
        live = int(connection.execute(sampled, {"share": share}).scalar_one()) * 100 / share
        rows = int(sizes.rows or 0)
        return TableSpace(name=table, total=int(sizes.total or 0), rows=rows, live=min(rows, round(live)))

    def _texts_of(self, table: str) -> tuple[str, ...]:
        if table == quoted(self._layout.messages):
            return ("session_id", "message_data")
        return ("session_id",) if table == quoted(self._layout.sessions) else ("value", "reason", "who")

    def _notes(self, tables: list[TableSpace], able: Any, wish: Wish) -> Iterator[str]:
        gain = sum(table.gain for table in tables)
        if not wish.full and wish.compress is None:
            yield (
                f"about {format_size(gain)} in the tables are free or will be, and new items fill them: they stop "
                "growing, but hardly shrink; --full gives that back, and everyone waits meanwhile"
            )
        if able.repacks and gain and not wish.compress:
            first = "" if able.repacks_here else "CREATE EXTENSION pg_repack, then "
            yield f"pg_repack is installed, and gives it back beside writers: {first}{self._repacking()}"

    def _repacking(self) -> str:
        url = self._engine.url
        options = {"-h": url.host, "-p": url.port, "-U": url.username, "-d": url.database}
        given = [f"{key} {value}" for key, value in options.items() if value]
        named = [f"-t {quoted(table)}" for table in (self._layout.messages, self._layout.sessions)]
        return " ".join(["pg_repack", "--no-order", *given, *named])

    def _compressing(self, space: Space, tables: list[TableSpace], compress: bool, *, able: bool) -> Space:
        origin, to = _METHODS[compress]
        if not able:
            return replace(
                space, steps=(), refused=("this server cannot compress by lz4 (PostgreSQL 14 and later can)",)
            )
        table = quoted(self._layout.messages)
        saved, note = self._sampled(table, tables[0], to)
        gain = saved if compress else None  # the way back is not taken for what it gains
        column = f"{table}.message_data"
        steps = (
            Step(task=Task.SWITCH, what=f"SET COMPRESSION {to} for", table=column, blocks="writers for a moment"),
            Step(
                task=Task.REWRITE, what=f"from {origin} to {to}, in short steps:", table=column, gain=gain,
                seconds=tables[0].live / _REBUILT_A_S,
            ),
        )  # fmt: skip
        # What a rebuild gains is no reason to compress.
        rest = tuple(replace(step, gain=None) for step in space.steps)
        return replace(space, steps=(*steps, *rest), notes=(*space.notes, note))

    def _sampled(self, table: str, space: TableSpace, to: str) -> tuple[int | None, str]:
        """What ``to`` would save: a sample is stored so in a temporary table, which its transaction takes back."""
        blocks = max(1, space.rows // _PAGE)
        given = {"share": min(100.0, 100.0 * _SAMPLE_BLOCKS / 4 / blocks)}
        try:
            with self._translated(), self._engine.connect() as connection:
                connection.exec_driver_sql(
                    f"CREATE TEMPORARY TABLE sessionctl_sample (raw int, now int, text text COMPRESSION {to}) "
                    "ON COMMIT DROP"
                )
                connection.execute(
                    text(
                        "INSERT INTO sessionctl_sample SELECT octet_length(message_data), "
                        f"pg_column_size(message_data), message_data || '' FROM {table} TABLESAMPLE SYSTEM (:share)"
                    ),
                    given,
                )
                raw, now, then = connection.exec_driver_sql(
                    "SELECT coalesce(sum(raw), 0), coalesce(sum(now), 0), coalesce(sum(pg_column_size(text)), 0) "
                    "FROM sessionctl_sample"
                ).one()
                connection.rollback()
        except SessionctlError as error:  # a standby, or no right to temporary tables
            return None, f"what {to} would save could not be measured: {error.message}"
        if not raw:
            return 0, "there are no items to compress"
        saved = round((now - then) / now * space.live)
        said = f"of a sample of items {to} makes {then / raw:.0%} of their length, now they take {now / raw:.0%}"
        return max(0, saved), f"{said}; PostgreSQL compresses no row of less than 2 kB"

    # --- taking steps -------------------------------------------------------------------------

    def _patiently(self, step: Step, enough: Callable[[], bool]) -> None:
        """Until the table is had, without ever waiting for it in the queue."""
        began = time.monotonic()
        while True:
            skipped = self._maintain(f"{step.what} {step.table}", enough)
            if skipped is None:
                return
            state, said = skipped
            if state != _LOCK_NOT_AVAILABLE:
                raise AccessRefused(f"{self.address} refused: {said}", hint="only their owner may vacuum the tables")
            waited = time.monotonic() - began
            if waited > _PATIENCE_S or enough():
                raise StoreBusy(
                    f"{step.table} of {self.address} stayed in use for {waited:.0f} seconds{self._users(step)}",
                    hint="end what has it, and run this again",
                )
            time.sleep(_PAUSE_S)

    def _maintain(self, statement: str, enough: Callable[[], bool]) -> tuple[str, str] | None:
        """Carry it out outside of any transaction; what the server skipped, with its code and words."""
        skipped: list[tuple[str, str]] = []

        def hear(diagnostic: Any) -> None:
            if "skipping" in (diagnostic.message_primary or ""):
                skipped.append((diagnostic.sqlstate, diagnostic.message_primary))

        with self._translated(), self._engine.connect() as opened:
            connection = opened.execution_options(isolation_level="AUTOCOMMIT")
            driver: Any = connection.connection.dbapi_connection
            driver.add_notice_handler(hear)
            try:
                interruptibly(lambda: connection.exec_driver_sql(statement), driver.cancel, enough)
            finally:
                driver.remove_notice_handler(hear)
        return skipped[0] if skipped else None

    def _users(self, step: Step) -> str:
        with self._reading() as connection:
            found = connection.execute(_HOLDERS, {"table": step.table}).all()
        told = [f"process {row.pid} ({row.name or 'unnamed'}, {row.state}, {row.seconds or 0:.0f}s)" for row in found]
        return f" by {', '.join(told)}" if told else ""

    def _switch(self, to: str, enough: Callable[[], bool]) -> None:
        statement = f"ALTER TABLE {quoted(self._layout.messages)} ALTER COLUMN message_data SET COMPRESSION {to}"
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                with self._translated(), self._engine.begin() as connection:
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_ALTERING_MS}ms'")
                    connection.exec_driver_sql(statement)
            except StoreBusy:
                if time.monotonic() > until or enough():
                    raise
                time.sleep(_ALTERING_MS / 1000)
            else:
                return

    def _store_anew(self, origin: str) -> Part:
        """The next rows that are stored by ``origin``; those in use are passed over, so that it waits for nobody."""
        after, rows = self._rewritten
        table = quoted(self._layout.messages)
        found = text(f"""
            WITH next AS MATERIALIZED (
                SELECT id FROM {table} WHERE id > :after AND pg_column_compression(message_data) = :origin
                ORDER BY id LIMIT :rows FOR UPDATE SKIP LOCKED)
            UPDATE {table} m SET message_data = message_data || '' FROM next WHERE m.id = next.id RETURNING m.id
        """)
        began = time.monotonic()
        with self._translated(), self._engine.begin() as connection:
            keys = connection.execute(found, {"after": after, "origin": origin, "rows": rows}).scalars().all()
        took = time.monotonic() - began
        self.spent.delete += took
        if not keys:
            self._rewritten = (0, rows)
            return Part()
        fitting = int(len(keys) * self.capabilities.pace.hold_s / max(took, 1e-4))
        self._rewritten = (max(keys), max(1, min(fitting, 2 * rows)))
        return Part(more=True)


def _steps(tables: list[TableSpace], wish: Wish) -> Iterator[Step]:
    for table in tables:
        if wish.full:
            yield Step(
                task=Task.REBUILD, what="VACUUM (FULL, SKIP_LOCKED)", table=table.name, gain=table.gain,
                seconds=table.live / _REBUILT_A_S, blocks="everyone who reads or writes the table (ACCESS EXCLUSIVE)",
                needs=(Need("the server's disk", table.total - table.gain),),
            )  # fmt: skip
            yield Step(task=Task.STATISTICS, what="ANALYZE (SKIP_LOCKED)", table=table.name)
        else:
            seconds = table.total / _VACUUMED_A_S
            yield Step(task=Task.REUSE, what="VACUUM (ANALYZE, SKIP_LOCKED)", table=table.name, seconds=seconds)
