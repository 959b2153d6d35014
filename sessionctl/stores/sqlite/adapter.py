"""SQLite files of SQLiteSession, AsyncSQLiteSession, AdvancedSQLiteSession and SQLAlchemySession.

On the standard library's driver: it starts fast, and locking is in our hands. The SDK never enables
foreign keys, so children are deleted explicitly. Stamps are UTC text of whole seconds; SQL narrows by
comparing text, and ``Query.matches`` decides on the parsed times.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from sessionctl.core.address import StoreAddress
from sessionctl.core.hold import Hold
from sessionctl.core.model import (
    Capabilities,
    Census,
    Change,
    Cursor,
    Delete,
    Ends,
    Guard,
    Item,
    Order,
    Outcome,
    Pace,
    Preflight,
    Put,
    Recheck,
    RecordedUsage,
    Rewrite,
    SessionRef,
    StoreInfo,
    Usage,
    Volume,
    Want,
)
from sessionctl.core.plan import Totals
from sessionctl.core.record import PlainItem, WholeSession
from sessionctl.core.selector import Query
from sessionctl.errors import StoreMissing
from sessionctl.stores.holds_table import holds_on
from sessionctl.stores.recently import RecentlyDeleted, ids_of
from sessionctl.stores.recheck import verdicts
from sessionctl.stores.sqlite.deletion import RefusedError, delete_sessions
from sessionctl.stores.sqlite.file import SqliteFile
from sessionctl.stores.sqlite.holds import held_among
from sessionctl.stores.sqlite.items import items_sql, measures_sql, octets_sql, ordered, plain_sql
from sessionctl.stores.sqlite.layout import quoted, read_layout
from sessionctl.stores.sqlite.parents import give_back
from sessionctl.stores.sqlite.preflight import preflight
from sessionctl.stores.sqlite.rewrite import rewrite_sessions
from sessionctl.stores.sqlite.schema import SchemaInFile
from sessionctl.stores.sqlite.structure import STRUCTURE, only_main, recorded_usage, taken
from sessionctl.stores.sqlite.vacuum import VacuumedFile
from sessionctl.stores.sqlite.values import (
    ORDERED_BY,
    among,
    bound,
    chunks,
    conditions,
    exact_stamp,
    is_possible,
    known,
    newest_first,
    oldest_first,
    parse,
    reader_of_refs,
    stamp,
    text,
)
from sessionctl.stores.sqlite.whole import contents, items_of, put_session, record_of, versions

_SCAN_ABOVE = 20_000
_MEASURED = 5
"""Columns of ``_rows_of`` with measures."""
_RANGE, _MEASURED_RANGE = 2000, 200
"""Rows of a range of a pass at least; fewer where the items of each are gone through."""
_RANGES = 200
"""Ranges of a pass at most."""
_SAMPLE_RUN = 100
_NOW = "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')"


class Adapter(VacuumedFile, SchemaInFile):
    """A SQLite file as a store."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        lists=True,
        item_times=True,
        recheck=Recheck.TRANSACTION,
        # SQLite looks for a lock after 1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50 and then every 100 ms (sqlite:
        # sqliteDefaultBusyCallback): whoever came during a short hold looks again in the gap after it, and
        # whoever missed several gaps in the rest. Alone, short holds are fast too: their pages stay in the cache. But
        # rewrites take rows of pages that sessions share, which go into the log once for each batch that meets them.
        pace=Pace(
            first=500, largest=5000, hold_s=0.008, gap_s=0.006, alone_hold_s=0.012, rest_s=0.105, alone_rewrite_s=0.2
        ),
    )

    def __init__(self, address: StoreAddress) -> None:
        if address.path is None:
            raise StoreMissing(f"{address} names no file")
        self.address = address
        self._file = SqliteFile(address.path)
        try:
            self._layout = read_layout(self._file, address)
        except BaseException:
            self._file.close()
            raise
        self._sessions, self._messages = quoted(self._layout.sessions), quoted(self._layout.messages)
        self._recent = RecentlyDeleted()

    def now(self) -> datetime:
        return known(self._file.row(_NOW)[0])

    def info(self) -> StoreInfo:
        layout = self._layout
        return StoreInfo(
            kind="sqlite",
            flavour=layout.flavour,
            server=f"SQLite {sqlite3.sqlite_version}",
            tables=layout.tables,
            hazards=layout.hazards,
            warnings=layout.warnings,
            frozen=layout.frozen,
        )

    def census(self, ahead_of: datetime) -> Census:
        counts = f"SELECT count(*), coalesce(sum(updated_at > ?), 0) FROM {self._sessions}"
        sessions, ahead = self._file.row(counts, (stamp(ahead_of),))
        return Census(sessions=sessions, ahead=ahead)

    def sessions(
        self,
        query: Query,
        *,
        order: Order = Order.ACTIVITY,
        limit: int | None = None,
        after: Cursor | None = None,
        want: Want = Want.NOTHING,
    ) -> Iterator[SessionRef]:
        want = want | Want.SIZE if query.measures else want
        named = query.named
        if named is None or self._is_whole(query):
            found = self._select(query, (), order, limit, after, want)
        else:
            found = (ref for ids in chunks(sorted(named)) for ref in self._select(query, ids, order, None, after, want))
            if order is not Order.PHYSICAL:
                found = iter(sorted(found, key=newest_first if order is Order.ACTIVITY else oldest_first))
        return islice(found, limit)

    def _is_whole(self, query: Query) -> bool:
        """Are all sessions looked at, rather than looked up by their ids?"""
        return query.named is None or len(query.named) > _SCAN_ABOVE or bool(query.globs)

    def items(self, session_id: str, *, last: int | None = None) -> Iterator[Item]:
        return self._items(ordered(items_sql(self._layout), last=last), session_id)

    def _items(self, sql: str, session_id: str) -> Iterator[Item]:
        for key, stored, created_at, hidden, _place in self._file.rows(sql, {"session": bound(session_id)}, text=1):
            yield Item(key=key, text=text(stored), created_at=parse(created_at), hidden=hidden)

    def ends(self, session_ids: Sequence[str], *, first: int, last: int) -> Iterator[Ends]:
        items = items_sql(self._layout)
        heads, tails = ordered(items, first=first), ordered(items, last=last)
        for session_id in session_ids:
            if tail := list(self._items(tails, session_id)):
                yield Ends(session_id, list(self._items(heads, session_id)), tail)

    def find(self, session_ids: Sequence[str], needle: str) -> Iterator[tuple[str, Item]]:
        pattern = "%" + needle.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        for ids in chunks(session_ids):
            inside, params = among(ids)
            sql = (
                f"SELECT session_id, id, message_data, created_at FROM {self._messages} "
                f"WHERE session_id IN ({inside}) AND message_data LIKE ? ESCAPE '\\' ORDER BY session_id, id"
            )
            for session_id, key, stored, created_at in self._file.rows(sql, (*params, pattern), text=2):
                yield session_id, Item(key=key, text=text(stored), created_at=parse(created_at))

    def sample(self, count: int) -> Iterator[Item]:
        columns = f"SELECT id, message_data, created_at FROM {self._messages} "
        first, last = self._ends(self._messages, "id")
        if first is None or last - first < 2 * count:
            rows = self._file.rows(columns + "ORDER BY id LIMIT ?", (count,), text=1)
        else:
            pick = random.Random(last)  # the same store gives the same sample  # noqa: S311
            starts = sorted(pick.randint(first, last) for _ in range(-(-count // _SAMPLE_RUN)))
            run = columns + f"WHERE id >= ? ORDER BY id LIMIT {_SAMPLE_RUN}"
            rows = (row for start in starts for row in self._file.rows(run, (start,), text=1))
        for key, stored, created_at in rows:
            yield Item(key=key, text=text(stored), created_at=parse(created_at))

    def volume(self) -> Volume:
        sums = f"SELECT count(*), sum(length(CAST(message_data AS BLOB))) FROM {self._messages} NOT INDEXED"
        parts = list(self._in_ranges(self._messages, f"{sums} WHERE rowid BETWEEN ? AND ?", 2, []))
        return Volume(items=sum(items for items, _ in parts), bytes=sum(size or 0 for _, size in parts))

    def usage(self) -> Usage:
        size, log = self._file.sizes()
        free = self._file.row("SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size")[0]
        return Usage(total=size, free=free, log=log)

    def preflight(self, query: Query, planned: Totals) -> Preflight:
        whole = self._is_whole(query)
        ids = () if whole else ("",)
        want = Want.SIZE | Want.VERSION
        sql, params = self._rows_of(query, ids, Order.PHYSICAL, None, None, want, whole=whole)
        looking = (sql, [*params, 0, 0] if whole else params)
        return preflight(self._file, self._layout, looking, planned, named=not whole)

    def recorded_usage(self, session_id: str | None = None) -> RecordedUsage | None:
        return recorded_usage(self._file, session_id) if "turn_usage" in self._layout.advanced else None

    def whole(self, session_ids: Sequence[str]) -> Iterator[WholeSession]:
        sql = octets_sql(self._layout), plain_sql(self._layout)
        for ids in chunks(session_ids):
            with self._file.snapshot() as connection:
                cursor = connection.cursor()
                for row in connection.execute(*versions(self._layout, ids)).fetchall():
                    session = record_of(connection, self._layout, row)
                    yield WholeSession(session, items_of(cursor, *sql, session.id))
                with suppress(sqlite3.ProgrammingError):  # the store was closed before this was
                    cursor.close()

    def contents(self, session_ids: Sequence[str]) -> Iterator[tuple[str, Iterable[PlainItem]]]:
        for ids in chunks(session_ids):
            with self._file.snapshot() as connection:
                yield from contents(connection, self._layout, ids)

    def has_branches(self, session_id: str) -> bool:
        if STRUCTURE not in self._layout.advanced:
            return False
        with self._file.snapshot() as connection:
            return not only_main(connection, session_id)

    def _extras_taken(self, extras: Mapping[str, Any], rewrite: Rewrite) -> Mapping[str, Any]:
        return taken(extras, rewrite) if self._layout.flavour == "AdvancedSQLiteSession" else {}

    def copy_to(self, path: Path) -> None:
        with self._file.snapshot() as connection, closing(sqlite3.connect(path)) as target:
            connection.backup(target)

    def is_possible(self, session_id: str) -> bool:
        return is_possible(session_id)

    def apply(self, changes: Sequence[Change], guard: Guard) -> Sequence[Outcome]:
        self._refuse_if_frozen()
        try:
            return self._applied(changes, guard, one_by_one=False)
        except RefusedError:
            return self._applied(changes, guard, one_by_one=True)

    def _applied(self, changes: Sequence[Change], guard: Guard, *, one_by_one: bool) -> list[Outcome]:
        ids, due = [change.session_id for change in changes], self._recent.due()
        with self._file.transaction(self.spent) as connection:
            locked = time.monotonic()
            now = known(connection.execute(_NOW).fetchone()[0])
            sql, params = self._rows_of(Query(), ids, Order.PHYSICAL, None, None, Want.VERSION)
            as_ref = reader_of_refs(Want.VERSION)
            present = {row[0]: as_ref(row) for row in connection.execute(sql, params)} if ids else {}
            held = held_among(connection, ids, guard.named, now)
            outcomes = verdicts(changes, present, now - guard.min_idle, held)
            allowed = [change for change, outcome in zip(changes, outcomes, strict=True) if outcome is Outcome.DONE]
            doomed = [change.session_id for change in allowed if isinstance(change, Delete)]
            given_back = give_back(connection, self._layout, ids_of(due))
            checked = time.monotonic()
            refused = delete_sessions(connection, self._layout, doomed, one_by_one=one_by_one)
            rewrites = [change for change in allowed if isinstance(change, Rewrite)]
            undone = dict.fromkeys(refused, Outcome.FAILED)
            undone |= rewrite_sessions(connection, self._layout, rewrites, one_by_one=one_by_one)
            self.spent.check += checked - locked
            self.spent.delete += time.monotonic() - checked
        self._recent.looked_at(due, given_back)
        if self._layout.flavour == "SQLAlchemySession":  # the others insert the row themselves, in one transaction
            self._recent.add([session_id for session_id in doomed if session_id not in refused])
        return [
            undone.get(change.session_id, outcome) if outcome is Outcome.DONE else outcome
            for change, outcome in zip(changes, outcomes, strict=True)
        ]

    def settle(self) -> int:
        if due := self._recent.due(everything=True):
            self.spent.tidy += self._recent.wait()
            with self._file.transaction(self.spent) as connection:
                given_back = give_back(connection, self._layout, ids_of(due))
            self._recent.looked_at(due, given_back)
        return self._recent.given_back

    def put(self, puts: Sequence[Put], *, hold: Hold | None = None) -> Sequence[Outcome]:
        self._refuse_if_frozen()
        with self._file.transaction(self.spent) as connection:
            outcomes = [put_session(connection, self._layout, put, only_filler=self.only_filler) for put in puts]
            if hold is not None:
                self._add_holds(connection, holds_on(hold, puts, outcomes), hold.since)
        return outcomes

    def close(self) -> None:
        self._file.close()

    def _select(
        self, query: Query, ids: Sequence[str], order: Order, limit: int | None, after: Cursor | None, want: Want
    ) -> Iterator[SessionRef]:
        """Pages until ``limit`` sessions match: SQL may let through a few that the exact decision does not."""
        left = limit
        whole = order is Order.PHYSICAL and limit is None and not ids and bool(want)
        as_ref, everything = reader_of_refs(want), query == Query()
        while left is None or left > 0:
            page = left if order is Order.ACTIVITY and not query.measures else None
            sql, params = self._rows_of(query, ids, order, page, after, want, whole=whole)
            seen, ref = 0, None
            rows = self._in_ranges(self._sessions, sql, _MEASURED, params) if whole else self._file.rows(sql, params)
            for row in rows:
                seen, ref = seen + 1, as_ref(row)
                if everything or query.matches(ref):
                    left = None if left is None else left - 1
                    yield ref
            if page is None or seen < page or ref is None:
                return
            after = Cursor(activity=ref.updated_at, id=ref.id)

    def _in_ranges(self, table: str, sql: str, columns: int, params: list[Any]) -> Iterator[Sequence[Any]]:
        """A pass over ``table``, cut into ranges of rowids (the last two parameters) that are read side by side."""
        first, last = self._ends(table, "rowid")
        least = _MEASURED_RANGE if columns == _MEASURED else _RANGE
        if first is None or last - first < 2 * least:
            return self._file.rows(sql, [*params, first, last])
        step = max(least, (last - first) // _RANGES)
        ranges = ([*params, start, min(start + step - 1, last)] for start in range(first, last + 1, step))
        return self._file.rows_by_range(sql, columns, ranges)

    def _ends(self, table: str, key: str) -> tuple[Any, Any]:
        """The smallest and the largest key; asked for one by one, each is one step in the tree."""
        first, last = self._file.row(f"SELECT (SELECT min({key}) FROM {table}), (SELECT max({key}) FROM {table})")
        return first, last

    def _rows_of(
        self,
        query: Query,
        ids: Sequence[str],
        order: Order,
        limit: int | None,
        after: Cursor | None,
        want: Want,
        *,
        whole: bool = False,
    ) -> tuple[str, list[Any]]:
        """Rows (id, created_at, updated_at, sums, newest time) as of ``measures_sql``, and their parameters.

        ``whole``: the first and last rowid of a range are to follow as two more parameters.
        """  # fmt: skip
        clauses, params = conditions(query)
        clauses.append("typeof(session_id) = 'text'")  # NULL and BLOBs, which others can put there, name no session
        if after is not None:
            clause, values = self._behind(after)
            clauses.append(clause)
            params += values
        if ids:
            inside, named = among(ids)
            clauses.append(f"session_id IN ({inside})")
            params += named
        if whole:
            clauses.append("rowid BETWEEN ? AND ?")
        where = f" WHERE {' AND '.join(clauses)}"
        by, columns = ORDERED_BY[order], f"SELECT session_id, created_at, updated_at FROM {self._sessions}"
        page = f"{columns}{where} ORDER BY {by}"
        if limit is not None:
            # The rows are picked before anything else of them is read, and the page is cut before their items are.
            picked = f"SELECT rowid FROM {self._sessions}{where} ORDER BY {by} LIMIT {limit}"
            page = f"WITH page AS MATERIALIZED ({columns} WHERE rowid IN ({picked}) ORDER BY {by}) SELECT * FROM page"
        if want is Want.NOTHING:
            return page, params
        return f"SELECT s.*, {measures_sql(self._messages, want)} FROM ({page}) s", params

    def _behind(self, after: Cursor) -> tuple[str, list[Any]]:
        """What follows ``after`` in the order of the stored texts: a fraction sorts behind its whole second."""
        if after.activity is None:
            if after.id is None:
                return "FALSE", []
            return "(updated_at IS NULL AND session_id > CAST(? AS TEXT))", [bound(after.id)]
        if not after.id:  # everything at this time is behind, or nothing of it
            op, at = ("<", stamp(after.activity)) if after.id is None else ("<=", exact_stamp(after.activity))
            return f"(updated_at {op} ? OR updated_at IS NULL)", [at]
        at = self._stored_stamp(after.id, after.activity)
        same = "(updated_at = ? AND session_id > CAST(? AS TEXT))"
        return f"(updated_at < ? OR updated_at IS NULL OR {same})", [at, at, bound(after.id)]

    def _stored_stamp(self, session_id: str, at: datetime) -> str:
        """The text that ``at`` is stored as in this session; where that moved on, as the SDK writes it."""
        asked = f"SELECT updated_at FROM {self._sessions} WHERE session_id = CAST(? AS TEXT)"
        stored = next((row[0] for row in self._file.rows(asked, (bound(session_id),))), None)
        return stored if stored is not None and parse(stored) == at else stamp(at)
