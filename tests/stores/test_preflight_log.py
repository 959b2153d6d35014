"""How much log stores foresee of a deletion, held against what real engines then write."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import servers
from benchmarks.engines import Engine
from benchmarks.generator import Scale
from benchmarks.server_engines import Mariadb, Postgresql
from benchmarks.sqlite_engine import Sqlite
from servers import mysql_execute, postgres_execute

from sessionctl.core.model import Delete, Guard, Order, Outcome, Preflight, Want
from sessionctl.core.plan import Totals
from sessionctl.core.selector import Bound, Query
from sessionctl.stores import open_store

WITHIN = 1.5
"""How far from what is written the estimate of an ordinary store may be, as a factor."""
SCALE = Scale(sessions=1500, items=20)


def purge_half(engine: Engine) -> Preflight:
    """Delete the older half, in batches of a usual size; what was foreseen of it."""
    query = Query(bounds=(Bound("updated_at", "<", engine.generated.middle),))
    with open_store(engine.address) as store:
        planned = Totals()
        doomed = list(store.sessions(query, order=Order.PHYSICAL, want=Want.SIZE | Want.VERSION))
        for ref in doomed:
            planned = planned.plus(ref.items or 0, ref.bytes or 0)
        foreseen = store.preflight(query, planned)
        for start in range(0, len(doomed), 100):
            batch = [Delete(session_id=ref.id, version=ref.version or "") for ref in doomed[start : start + 100]]
            assert set(store.apply(batch, Guard(min_idle=timedelta(minutes=15)))) == {Outcome.DONE}
    return foreseen


def assert_near(foreseen: int, written: int) -> None:
    assert written / WITHIN < foreseen < written * WITHIN, f"foreseen {foreseen:,}, written {written:,}"


@contextlib.contextmanager
def own(start: Callable[..., Any], *settings: str) -> Iterator[str]:
    """A server of this test alone: its log counts what everybody writes."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(start(settings))
        except servers.NotInstalled as missing:
            pytest.skip(f"no server of our own: {missing}")
        yield url


def test_sqlite_writes_about_as_much_as_foreseen(tmp_path: Path) -> None:
    engine = Sqlite(SCALE, tmp_path)
    with contextlib.closing(sqlite3.connect(engine.address.path or "", isolation_level=None)) as reader:
        reader.execute("BEGIN")  # while it reads, the log is never begun anew: all that was written is in it
        assert reader.execute("SELECT count(*) FROM agent_sessions").fetchall() == [(1500,)]
        foreseen = purge_half(engine)
        written = Path(f"{engine.address.path}-wal").stat().st_size
    assert_near(foreseen.log_bytes, written)


def test_postgresql_writes_about_as_much_as_foreseen() -> None:
    settings = ("-c", "full_page_writes=on", "-c", "autovacuum=off")
    with own(servers._own_postgres, *settings) as admin, ExitStack() as stack:
        engine = Postgresql(SCALE, admin, stack)  # its loading ends with a checkpoint
        before = postgres_execute(admin, "SELECT pg_current_wal_lsn()")[0][0]
        foreseen = purge_half(engine)
        written = postgres_execute(admin, "SELECT pg_current_wal_lsn() - %s::pg_lsn", (before,))[0][0]
    assert foreseen.log == "WAL"
    assert_near(foreseen.log_bytes, int(written))


def test_mariadb_writes_about_as_much_as_foreseen() -> None:
    settings = ("--log-bin=binlog", "--server-id=1", "--binlog-format=ROW")
    with own(servers._own_mariadb, *settings) as admin, ExitStack() as stack:
        engine = Mariadb(SCALE, admin, stack)
        before, binlog = _redo_written(admin), _binlog(admin)
        foreseen = purge_half(engine)
        binlog = _binlog(admin) - binlog
        written = _redo_written(admin) - before
    assert foreseen.log.startswith("redo log and binary log (")
    assert binlog > 0
    assert_near(foreseen.log_bytes, written + binlog)


def _redo_written(admin: str) -> int:
    """Once the server has cleaned up behind what was deleted."""
    deadline = time.monotonic() + 60
    while int(mysql_execute(admin, "SHOW GLOBAL STATUS LIKE 'Innodb_history_list_length'")[0][1]):
        assert time.monotonic() < deadline, "the server does not clean up"
        time.sleep(0.15)  # InnoDB refreshes this figure no more often
    return int(mysql_execute(admin, "SHOW GLOBAL STATUS LIKE 'Innodb_os_log_written'")[0][1])


def _binlog(admin: str) -> int:
    return sum(int(size) for _, size in mysql_execute(admin, "SHOW BINARY LOGS"))
