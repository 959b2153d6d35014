"""What stands beside a PostgreSQL server in tests: a replica of it, and a pooler in front of it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from servers import (
    NotInstalled,
    OwnServer,
    _kept,
    _own_directory,
    _program,
    _run_as_owner,
    postgres_execute,
)

_VERSIONS = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]


def _bin(name: str) -> str:
    """A program of the newest version; what is on the path may be a wrapper that knows only the system's clusters."""
    program = _program("postgres", *_VERSIONS).with_name(name)
    if not program.is_file():
        raise NotInstalled(f"{name} is not installed")
    return str(program)


def _at(server: str, port: int) -> str:
    parts = urlsplit(server)
    return urlunsplit(parts._replace(netloc=f"{parts.username}@{parts.hostname}:{port}"))


@contextlib.contextmanager
def postgres_replica(primary: str, slot: str) -> Iterator[OwnServer]:
    """A physical replica that streams from the server at ``primary`` through a new replication slot."""
    with _own_directory("replica") as home:
        data = home / "data"
        _run_as_owner([_bin("pg_basebackup"), "-d", primary, "-D", str(data), "-R", "-C", "-S", slot,
                       "--checkpoint=fast", "--no-sync"], home)  # fmt: skip
        flags = ["-c", f"unix_socket_directories={home}", "-c", "wal_receiver_status_interval=1", "-c", "fsync=off"]
        # a standby must allow as many as its primary, which was told by a flag
        flags += ["-c", f"max_connections={postgres_execute(primary, 'SHOW max_connections')[0][0]}"]

        def command(port: int) -> list[str]:
            return [_bin("postgres"), "-D", str(data), "-p", str(port), *flags]

        with _kept(home, command, lambda port: _at(primary, port), signal.SIGINT, signal.SIGQUIT) as replica:
            assert postgres_execute(replica.url, "SHOW data_directory") == [(str(data),)]
            yield replica


@contextlib.contextmanager
def pgbouncer(server: str, *, pool_size: int) -> Iterator[str]:
    """The URL of a PgBouncer in transaction mode before all databases of ``server``, with so many connections each."""
    program = str(_program("pgbouncer", "/usr/sbin"))
    to = urlsplit(server)
    with _own_directory("pgbouncer") as home:
        users, config = home / "users", home / "config"
        users.write_text(f'"{to.username}" ""\n')

        def command(port: int) -> list[str]:
            config.write_text(
                f"[databases]\n* = host={to.hostname} port={to.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
                f"listen_port = {port}\nunix_socket_dir = {home}\nauth_type = trust\nauth_file = {users}\n"
                f"pool_mode = transaction\ndefault_pool_size = {pool_size}\nmax_client_conn = 200\n"
                "ignore_startup_parameters = extra_float_digits\n"
            )
            return [program, str(config)]

        # SIGINT would wait for clients to go
        with _kept(home, command, lambda port: _at(server, port), signal.SIGTERM, signal.SIGKILL) as pooler:
            yield pooler.url
