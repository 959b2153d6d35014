"""A store on a real server with a purge at work in it, held at a known place: what fault tests strike at.

Sixty stale sessions go five at a time; another connection locks one item of the session in the middle, so
that some batches are done and one is open, waiting, when the fault comes. Nothing here sleeps: a state is
waited for, and what is asserted is what tables, ledger and report say.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from operating import WAIT_S, running, wait_for
from sdk_cases import MariadbCase, PostgresCase, ServerCase, fill
from servers import mysql_connect, mysql_execute, mysql_user, postgres_connect, postgres_execute, postgres_role

from sessionctl.testing.case import turn

STALE = [f"stale-{number:02}" for number in range(60)]
LIVE = [f"live-{number}" for number in range(5)]
MIDDLE = STALE[32]
ITEMS = turn(1)
BATCH = 5
PURGE = ("--older-than", "30d", "--max-share", "1", "--yes", "-o", "json")

Execute = Callable[..., list[tuple[Any, ...]]]


@dataclass
class Purged(ABC):
    """A store of stale and live sessions at an administrator's ``url``, and what its server tells of a purge."""

    url: str
    variant: str = ""

    _execute: ClassVar[Execute]
    _connect: ClassVar[Callable[[str], Any]]

    def __post_init__(self) -> None:
        with contextlib.closing(self.case()) as case:
            fill(case, STALE, ITEMS, idle=timedelta(days=60))
            fill(case, LIVE, ITEMS, idle=timedelta(days=1))

    @abstractmethod
    def case(self) -> ServerCase:
        """The store by the SDK; close it. It is made anew here, for a server may have gone meanwhile."""

    @abstractmethod
    def waiting(self) -> dict[int, Any]:
        """Connections of this store that wait for a lock, each with what tells its transaction from others."""

    @abstractmethod
    def kill(self, connection: int) -> None:
        """End a connection as an administrator does."""

    @abstractmethod
    def slow_down(self, seconds: float, only: str = "%") -> None:
        """From now on the deletion of a session whose id is like ``only`` takes at least so long."""

    @abstractmethod
    def limited(self, seconds: float) -> contextlib.AbstractContextManager[str]:
        """The URL of a user whose statements are cut short after so long."""

    @abstractmethod
    def deadlocking(self, other: Any, victim: str) -> contextlib.AbstractContextManager[str]:
        """The URL of a user; should it and the transaction of ``other`` deadlock, the victim is "ours" or "theirs"."""

    @abstractmethod
    def read_only(self) -> contextlib.AbstractContextManager[tuple[str, Callable[[int, Any], None]]]:
        """The URL of a user, and what makes the server read-only for it until the block ends.

        The latter is told the connection that waits, and the cursor that has locked what it waits for.
        """

    def execute(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return type(self)._execute(self.url, statement, parameters or None)

    def counts(self) -> dict[str, int]:
        """Items by session, past sessionctl and SDK: of every session and of every item without one."""
        return dict(
            self.execute(
                "SELECT s.session_id, count(m.id) FROM agent_sessions s LEFT JOIN agent_messages m "
                "ON m.session_id = s.session_id GROUP BY s.session_id UNION ALL SELECT m.session_id, count(*) FROM "
                "agent_messages m LEFT JOIN agent_sessions s ON m.session_id = s.session_id "
                "WHERE s.session_id IS NULL GROUP BY m.session_id"
            )
        )

    def is_in_mid_run(self) -> None:
        """Some sessions are gone, and others are still to go."""
        assert 0 < len(self.left()) < len(STALE)

    def left(self) -> set[str]:
        """The stale sessions still there. Each is whole, and so is every live one."""
        counts = self.counts()
        assert counts == dict.fromkeys(counts, len(ITEMS)), "a session lost a part"
        assert counts.keys() >= set(LIVE), "a live session was touched"
        return counts.keys() - set(LIVE)

    def is_purged(self) -> None:
        """Nothing but the live sessions is there, as the SDK wrote them."""
        assert self.left() == set()
        with contextlib.closing(self.case()) as case:
            assert all(case.read(name) == ITEMS for name in LIVE)

    @contextlib.contextmanager
    def locked(self, session_id: str = MIDDLE) -> Iterator[Any]:
        """A cursor of another connection that has one item of the session locked until the block ends or it does."""
        connection = type(self)._connect(self.url)
        try:
            cursor = connection.cursor()
            cursor.execute("BEGIN")
            cursor.execute(
                "SELECT id FROM agent_messages WHERE id = (SELECT max(id) FROM "
                "(SELECT id FROM agent_messages WHERE session_id = %s) m) FOR UPDATE",
                (session_id,),
            )
            yield cursor
        finally:
            with contextlib.suppress(Exception):  # the server may be gone
                connection.close()

    def wait_held(self, *, but: Any = None) -> tuple[int, Any]:
        """Until a batch other than ``but`` waits for a lock: its connection and its transaction."""

        def held() -> tuple[int, Any] | None:
            time.sleep(0.11)  # MariaDB renews its table of transactions only when nobody looked for 0.1 s
            return next(((c, t) for c, t in self.waiting().items() if t != but), None)

        found: tuple[int, Any] = wait_for(held, "a batch that waits for a lock")
        return found

    def purge(self, *flags: str, url: str | None = None) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        return running("purge", "-s", url or self.url, *PURGE, *flags)

    def in_batches(
        self, *flags: str, url: str | None = None
    ) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        return self.purge("--batch-size", str(BATCH), *flags, url=url)


@dataclass
class PurgedPostgres(Purged):
    _execute = staticmethod(postgres_execute)
    _connect = staticmethod(postgres_connect)

    def case(self) -> ServerCase:
        return PostgresCase(self.url)

    def waiting(self) -> dict[int, Any]:
        found = self.execute(
            "SELECT pid, xact_start FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND application_name = 'sessionctl' AND datname = current_database()"
        )
        return {pid: (pid, start) for pid, start in found}

    def kill(self, connection: int) -> None:
        self.execute("SELECT pg_terminate_backend(%s)", connection)

    def slow_down(self, seconds: float, only: str = "%") -> None:
        body = f"BEGIN PERFORM pg_sleep({seconds}) WHERE old.session_id LIKE '{only}'; RETURN old; END"
        self.execute(f"CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$")
        self.execute("CREATE TRIGGER slow BEFORE DELETE ON agent_sessions FOR EACH ROW EXECUTE FUNCTION slowly()")

    @contextlib.contextmanager
    def role(self, **settings: str) -> Iterator[str]:
        """The URL of a role that may purge, with these settings."""
        with postgres_role(self.url) as name:
            self.execute(f"GRANT SELECT, UPDATE, DELETE ON agent_sessions, agent_messages TO {name}")
            for setting, value in settings.items():
                self.execute(f"ALTER ROLE {name} SET {setting} = '{value}'")
            yield f"postgresql://{name}@{self.url.rsplit('@', 1)[1]}"

    def limited(self, seconds: float) -> contextlib.AbstractContextManager[str]:
        return self.role(statement_timeout=f"{seconds * 1000:.0f}ms")

    def deadlocking(self, other: Any, victim: str) -> contextlib.AbstractContextManager[str]:
        # Whoever waited for its deadlock_timeout looks for a deadlock once, and ends itself where there is one.
        # Ours waits first: its timeout leaves time for the other to begin its wait, and comes before lock_timeout.
        other.execute(f"SET LOCAL deadlock_timeout = '{'60s' if victim == 'ours' else '10ms'}'")
        return self.role(deadlock_timeout="2s" if victim == "ours" else "60s")

    @contextlib.contextmanager
    def read_only(self) -> Iterator[tuple[str, Callable[[int, Any], None]]]:
        with self.role() as url:
            role = url.removeprefix("postgresql://").split("@")[0]

            def flip(connection: int, other: Any) -> None:
                self.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
                self.kill(connection)
                other.execute("ROLLBACK")

            yield url, flip


@dataclass
class PurgedMariadb(Purged):
    """``variant`` no-fk: a store whose items no foreign key ties to their session."""

    _execute = staticmethod(mysql_execute)
    _connect = staticmethod(mysql_connect)

    def case(self) -> ServerCase:
        there = self.execute("SHOW TABLES LIKE 'agent_sessions'")
        case = MariadbCase(self.url, (), foreign_key=None if self.variant == "no-fk" else "ON DELETE CASCADE")
        if there:
            case._create_tables = lambda: False  # type: ignore[method-assign]
        return case

    def waiting(self) -> dict[int, Any]:
        found = self.execute(
            "SELECT t.trx_mysql_thread_id, t.trx_id FROM information_schema.innodb_trx t "
            "JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id "
            "WHERE t.trx_state = 'LOCK WAIT' AND p.db = database()"
        )
        return {thread: (thread, transaction) for thread, transaction in found}

    def kill(self, connection: int) -> None:
        self.execute(f"KILL {connection}")

    def slow_down(self, seconds: float, only: str = "%") -> None:
        slowly = f"IF old.session_id LIKE '{only}' THEN DO SLEEP({seconds}); END IF"
        self.execute(f"CREATE TRIGGER slow BEFORE DELETE ON agent_sessions FOR EACH ROW {slowly}")

    @contextlib.contextmanager
    def user(self, options: str = "") -> Iterator[str]:
        """The URL of a user who may purge, with these options of GRANT."""
        with mysql_user(self.url) as granted:
            yield granted("SELECT, UPDATE, DELETE ON *.*" + options)

    def limited(self, seconds: float) -> contextlib.AbstractContextManager[str]:
        return self.user(f" WITH MAX_STATEMENT_TIME {seconds}")

    @contextlib.contextmanager
    def deadlocking(self, other: Any, victim: str) -> Iterator[str]:
        # InnoDB takes back the transaction that did less.
        self.execute("CREATE TABLE ballast (n INT)")
        if victim == "ours":
            other.execute("INSERT INTO ballast VALUES " + ", ".join(f"({n})" for n in range(1000)))
        yield self.url

    @contextlib.contextmanager
    def read_only(self) -> Iterator[tuple[str, Callable[[int, Any], None]]]:
        """Of the whole server: it must be the test's own."""
        setting = threading.Thread(target=self.execute, args=("SET GLOBAL read_only = 1",))
        waits = "SELECT 1 FROM information_schema.processlist WHERE info = 'SET GLOBAL read_only = 1' AND state LIKE %s"

        def flip(_connection: int, other: Any) -> None:
            setting.start()  # it waits for the batch, and the batch for the other's lock
            wait_for(lambda: self.execute(waits, "Waiting for%"), "the setting to wait")
            other.execute("ROLLBACK")
            setting.join(WAIT_S)

        with self.user() as url:
            try:
                yield url, flip
            finally:
                self.execute("SET GLOBAL read_only = 0")


def report_of(process: subprocess.Popen[bytes], status: int = 0) -> dict[str, Any]:
    """The report of a purge that ends now, with this exit status and no traceback."""
    out, err = process.communicate(timeout=60)
    assert b"Traceback" not in err
    assert process.returncode == status, (out + err).decode()
    report: dict[str, Any] = json.loads(out)
    return report
