"""PostgreSQL databases that tests are through with, emptied for the next ones.

To make and drop one takes the server five times as long, and so do the first connections to a new one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg

_SPARE: dict[str, list[str]] = {}
"""The URLs of databases at hand, by the administrator's URL of the server, while that is lent out."""

_OTHERS = "SELECT {} FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
_SCHEMAS = "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"


@contextlib.contextmanager
def kept(admin_url: str) -> Iterator[None]:
    """For the time of the block databases on this server are used again; then they are dropped."""
    _SPARE[admin_url] = []
    try:
        yield
    finally:
        for url in _SPARE.pop(admin_url):
            _drop(admin_url, url)


@contextlib.contextmanager
def database(admin_url: str, new_url: str, options: str) -> Iterator[str]:
    """The URL of an empty database: one at hand, or a new one at ``new_url``, where ``options`` make it special."""
    spare = None if options else _SPARE.get(admin_url)
    url = spare.pop() if spare else _made(admin_url, new_url, options)
    emptied = False
    try:
        yield url
        if spare is not None:
            _empty(url)
            spare.append(url)
            emptied = True
    finally:
        if not emptied:
            _drop(admin_url, url)


def _made(admin_url: str, url: str, options: str) -> str:
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{_name(url)}" {options}'.encode())
    return url


def _drop(admin_url: str, url: str) -> None:
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{_name(url)}" WITH (FORCE)'.encode())


def _name(url: str) -> str:
    return url.rsplit("/", 1)[1]


def _empty(url: str) -> None:
    """As it was when it was new: nobody is in it, no schema but ``public``, with the rights that this has then."""
    with psycopg.connect(url, autocommit=True) as connection:
        _send_others_away(connection)
        for (schema,) in connection.execute(_SCHEMAS).fetchall():
            connection.execute(f"DROP SCHEMA {schema} CASCADE")
        since_15 = connection.info.server_version >= 150000
        connection.execute("CREATE SCHEMA public" + (" AUTHORIZATION pg_database_owner" if since_15 else ""))
        connection.execute(f"GRANT {'USAGE' if since_15 else 'ALL'} ON SCHEMA public TO PUBLIC".encode())
        connection.execute(f'ALTER DATABASE "{_name(url)}" RESET ALL'.encode())


def _send_others_away(connection: Any) -> None:
    connection.execute(_OTHERS.format("pg_terminate_backend(pid)"))
    while connection.execute(_OTHERS.format("count(*)")).fetchone() != (0,):
        pass  # they are on their way out
