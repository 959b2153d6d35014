"""Real database servers for the tests, and a fresh empty database on one of them for each test.

A server is, in this order: the one at ``$SESSIONCTL_TEST_POSTGRES_URL`` / ``$SESSIONCTL_TEST_MYSQL_URL``
(an administrator's URL); one of our own, started from the installed binaries in a temporary directory
on a free port of the loopback interface; under ``CI=true`` the service on the usual local port. Where
there is none the tests skip, under ``CI=true`` they fail.

Every xdist worker starts its own servers, and only when a test asks for one. A server of our own is the
child of a keeper process (keeper.py), which stops it as soon as the test process has gone, however it went.
Tests that crash a server take one of their own for that, whatever the environment says.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import pytest
import spare_databases
from absent import IN_CI
from keeper import Keeper, Order, as_user

START_S = 60
"""How long a server may take to answer; slow disks and a busy machine included."""


# --- fixtures -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """An administrator's URL of a PostgreSQL server."""
    with postgres_admin() as url, spare_databases.kept(url):
        yield url


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[str]:
    """An administrator's URL of a MariaDB or MySQL server."""
    with mysql_admin() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database that this test has to itself."""
    with fresh_postgres(postgres_server) as url:
        yield url


@pytest.fixture
def mysql_url(mysql_server: str) -> Iterator[str]:
    """The URL of an empty MariaDB database (server's default collation) made for this test and dropped after it."""
    with fresh_mysql(mysql_server) as url:
        yield url


# --- databases ----------------------------------------------------------------------------------


def fresh_postgres(admin_url: str, options: str = "") -> AbstractContextManager[str]:
    """An empty database on the server at ``admin_url``; for tests that need more than one, or one with ``options``."""
    return spare_databases.database(admin_url, _with_database(admin_url, _new_name()), options)


@contextlib.contextmanager
def fresh_mysql(admin_url: str) -> Iterator[str]:
    """A new database on the server at ``admin_url``; for tests that need more than one."""
    name = _new_name()
    mysql_execute(admin_url, f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
    try:
        yield _with_database(admin_url, name)
    finally:
        for (connection,) in mysql_execute(
            admin_url, "SELECT id FROM information_schema.processlist WHERE db = %s", (name,)
        ):
            with contextlib.suppress(Exception):  # it may be gone by itself
                mysql_execute(admin_url, f"KILL {connection}")
        mysql_execute(admin_url, f"DROP DATABASE `{name}`")


@contextlib.contextmanager
def postgres_role(url: str) -> Iterator[str]:
    """The name of a new role that may log in and has no rights; gone with all it was given after the block."""
    name = "role_" + url.rsplit("/", 1)[1]
    postgres_execute(url, f"CREATE ROLE {name} LOGIN")
    try:
        yield name
    finally:
        postgres_execute(url, f"DROP OWNED BY {name}")
        postgres_execute(url, f"DROP ROLE {name}")


@contextlib.contextmanager
def mysql_user(url: str) -> Iterator[Callable[..., str]]:
    """Give a new user these rights (``granted("SELECT ON t")``) and return the URL for it; gone after the block."""
    name, hosts = "u" + url[-16:], ("%", "localhost")
    for host in hosts:
        mysql_execute(url, f"CREATE USER '{name}'@'{host}' IDENTIFIED BY 'sw0rdfish'")

    def granted(*grants: str) -> str:
        for grant in grants:
            rights, _, options = grant.partition(" WITH ")
            for host in hosts:
                mysql_execute(url, f"GRANT {rights} TO '{name}'@'{host}'" + (f" WITH {options}" if options else ""))
        return f"mysql://{name}:sw0rdfish@{url.rsplit('@', 1)[1]}"

    try:
        yield granted
    finally:
        for host in hosts:
            mysql_execute(url, f"DROP USER '{name}'@'{host}'")


def postgres_connect(url: str) -> Any:
    """An autocommit psycopg connection to a plain ``postgresql://`` URL; close it."""
    import psycopg

    return psycopg.connect(url, autocommit=True, connect_timeout=10)


def mysql_connect(url: str) -> Any:
    """An autocommit PyMySQL connection to a plain ``mysql://`` URL; close it."""
    import pymysql

    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=unquote(parts.username or "root"),
        password=unquote(parts.password or ""),
        database=parts.path.lstrip("/") or None,
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=10,
        ssl_disabled=parts.hostname == "127.0.0.1",  # reading all authorities costs 30 ms a connection
    )


def postgres_execute(url: str, statement: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
    """Run one statement on a connection of its own; its rows, if it has any."""
    with contextlib.closing(postgres_connect(url)) as connection:
        cursor = connection.execute(statement, parameters)
        return list(cursor.fetchall()) if cursor.description else []


def mysql_execute(url: str, statement: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
    """Run one statement on a connection of its own; its rows, if it has any."""
    with contextlib.closing(mysql_connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def _new_name() -> str:
    return f"sessionctl_test_{uuid.uuid4().hex[:16]}"


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


# --- servers ------------------------------------------------------------------------------------


class NotInstalled(Exception):
    """The programs of a server are not on this machine."""


def postgres_admin() -> AbstractContextManager[str]:
    """An administrator's URL of a PostgreSQL server, for the time of the block."""
    service = "postgresql://postgres@127.0.0.1:5432/postgres"
    return _server("PostgreSQL", "SESSIONCTL_TEST_POSTGRES_URL", _own_postgres, service)


def mysql_admin() -> AbstractContextManager[str]:
    """An administrator's URL of a MariaDB or MySQL server, for the time of the block."""
    return _server("MariaDB", "SESSIONCTL_TEST_MYSQL_URL", _own_mariadb, "mysql://root@127.0.0.1:3306/mysql")


@contextlib.contextmanager
def _server(kind: str, variable: str, own: Callable[[], Any], service: str) -> Iterator[str]:
    if given := os.environ.get(variable):
        yield given
        return
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(own())
        except NotInstalled as error:
            missing = str(error)
        else:
            yield url
            return
    if not IN_CI:
        pytest.skip(f"no {kind}: {missing}; install it or set ${variable}")
    if not _answers(service):
        pytest.fail(f"CI=true, and there is no {kind}: {missing}, ${variable} is unset, nothing answers at {service}")
    yield service


def _answers(url: str) -> bool:
    connect = postgres_connect if url.startswith("postgres") else mysql_connect
    try:
        connect(url).close()
    except Exception:  # noqa: BLE001 -- whatever a driver raises, there is no server to use
        return False
    return True


def _program(name: str, *places: str) -> Path:
    found = shutil.which(name)
    candidates = ([Path(found).resolve()] if found else []) + [Path(place) / name for place in places]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise NotInstalled(f"{name} is not installed")


@contextlib.contextmanager
def _own_postgres(more: Sequence[str] = ()) -> Iterator[str]:
    with own_postgres(more) as server:
        yield server.url


@contextlib.contextmanager
def own_postgres(more: Sequence[str] = ()) -> Iterator[OwnServer]:
    """A PostgreSQL of the caller's own, with ``more`` flags; NotInstalled where its programs are not there."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    postgres = _program("postgres", *map(str, versions))
    initdb = _program("initdb", str(postgres.parent), *map(str, versions))
    with _own_directory("postgres") as home:
        data = home / "data"
        # a linguistic collation, as most installations have one: byte order must not be taken for granted
        order = ["--locale-provider=icu", "--icu-locale=en-US"] if _major(postgres) >= 15 else []
        _run_as_owner([str(initdb), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8",
                       "--locale=C.UTF-8", *order], home)  # fmt: skip
        settings = {
            "listen_addresses": "127.0.0.1", "unix_socket_directories": str(home), "max_connections": "150",
            "shared_buffers": "64MB", "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
            "deadlock_timeout": "200ms",
        }  # fmt: skip
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

        def command(port: int) -> list[str]:
            return [str(postgres), "-D", str(data), "-p", str(port), *flags, *more]

        def url(port: int) -> str:
            return f"postgresql://postgres@127.0.0.1:{port}/postgres"

        # SIGINT: fast shutdown; SIGQUIT: an immediate one, after which it recovers as from a crash
        with _kept(home, command, url, signal.SIGINT, signal.SIGQUIT) as server:
            # whoever answers must be the server in our own directory
            assert postgres_execute(server.url, "SHOW data_directory") == [(str(data),)]
            yield server


def _major(postgres: Path) -> int:
    said = subprocess.run([str(postgres), "--version"], check=True, capture_output=True, text=True).stdout
    return int(said.split()[2].split(".")[0])


@contextlib.contextmanager
def _own_mariadb(more: Sequence[str] = ()) -> Iterator[str]:
    with own_mariadb(more) as server:
        yield server.url


@contextlib.contextmanager
def own_mariadb(more: Sequence[str] = ()) -> Iterator[OwnServer]:
    """A MariaDB of the caller's own, with ``more`` flags; NotInstalled where its programs are not there."""
    mariadbd = _program("mariadbd", "/usr/sbin", "/usr/libexec")
    install = _program("mariadb-install-db", "/usr/bin")
    with _own_directory("mariadb") as home:
        data = home / "data"
        _run_as_owner([str(install), "--no-defaults", f"--datadir={data}", "--skip-test-db",
                       "--auth-root-authentication-method=normal"], home)  # fmt: skip

        def command(port: int) -> list[str]:
            return [
                str(mariadbd), "--no-defaults", f"--datadir={data}", f"--port={port}", "--bind-address=127.0.0.1",
                f"--socket={home / 'socket'}", "--max-connections=150", "--skip-log-bin", "--performance-schema=OFF",
                "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0", "--skip-name-resolve",
                *more,
            ]  # fmt: skip

        def url(port: int) -> str:
            return f"mysql://root@127.0.0.1:{port}/mysql"

        with _kept(home, command, url, signal.SIGTERM, signal.SIGKILL) as server:
            assert Path(mysql_execute(server.url, "SELECT @@datadir")[0][0]) == data
            mysql_execute(server.url, "DROP DATABASE IF EXISTS sys")  # whoever asks for foreign keys opens its views
            yield server


@contextlib.contextmanager
def _own_directory(kind: str) -> Iterator[Path]:
    """A directory that the server's user may use; short, because it holds a socket."""
    home = Path(tempfile.mkdtemp(prefix=f"sessionctl-{kind}-"))
    try:
        if owner := _owner():
            os.chown(home, *owner)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _owner() -> tuple[int, int] | None:
    """The user and group servers run as: they refuse root. None: as whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _server_environment(home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "MYSQL", "LC_", "LD_"))}
    return kept | {"HOME": str(home), "TMPDIR": str(home), "LANG": "C.UTF-8", "TZ": "UTC"}


def _run_as_owner(command: list[str], home: Path) -> None:
    done = subprocess.run(
        command, cwd=home, env=_server_environment(home), capture_output=True, text=True, check=False,
        **as_user(_owner()),
    )  # fmt: skip
    if done.returncode:
        pytest.fail(f"{command[0]} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")


@dataclass(frozen=True)
class OwnServer:
    """A server of our own at an administrator's ``url``; it can be crashed, and started again on its data and port."""

    url: str
    _keeper: Keeper

    def crash(self) -> None:
        """As ``kill -9`` does: what was not on its way to the disk is lost. It is down when this returns."""
        self._keeper.kill()

    def start(self) -> None:
        """It answers again when this returns."""
        self._keeper.start()
        assert self.comes_up(), "the server did not come back"

    def comes_up(self) -> bool:
        deadline = time.monotonic() + START_S
        while self._keeper.keeps and time.monotonic() < deadline:
            if _answers(self.url):
                return True
            time.sleep(0.05)
        return False


@contextlib.contextmanager
def _kept(
    home: Path,
    command: Callable[[int], list[str]],
    url: Callable[[int], str],
    stop: signal.Signals,
    kill: signal.Signals,
) -> Iterator[OwnServer]:
    """Run a server under a keeper; yields it once it answers. A port lost in a race is tried anew."""
    for _ in range(3):
        port = _free_port()
        order = Order(
            command=command(port), home=str(home), environment=_server_environment(home), owner=_owner(),
            stop=stop, kill=kill,
        )  # fmt: skip
        keeper = Keeper(order)
        try:
            server = OwnServer(url(port), keeper)
            if server.comes_up():
                yield server
                return
            said = (home / "log").read_text(errors="replace")[-3000:]
            if keeper.keeps:
                break
        finally:
            keeper.close()
    pytest.fail(f"the server did not start: {said}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
