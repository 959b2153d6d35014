"""Reaching PostgreSQL through psycopg: an application's URL made fit for it, and its errors for the user."""

from __future__ import annotations

import re
from typing import Any

from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Conninfo, Format
from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import QueuePool

from sessionctl.core.address import StoreAddress
from sessionctl.drivers import CONNECT_TIMEOUT_S, without_log
from sessionctl.errors import (
    AccessRefused,
    SessionctlError,
    StoreBusy,
    StoreMissing,
    StoreNotUnderstood,
    StoreUnavailable,
    UsageError,
)

_OF_OTHER_DRIVERS = frozenset(
    {
        "async_fallback",
        "command_timeout",
        "direct_tls",
        "max_cacheable_statement_size",
        "max_cached_statement_lifetime",
        "prepared_statement_cache_size",
        "prepared_statement_name_func",
        "server_settings",
        "statement_cache_size",
    }
)
"""What asyncpg and SQLAlchemy's dialect for it take in a URL and what means nothing to a psycopg connection."""
_SSL_WORDS = {"true": "require", "1": "require", "on": "require", "false": "disable", "0": "disable", "off": "disable"}
_NO_DATABASE = re.compile(r'database "[^"]*" does not exist|no such database:')  # the latter by PgBouncer
_NO_ACCESS = re.compile(
    r"authentication failed|pg_hba\.conf|role \"[^\"]*\" does not exist|not permitted to log in"
    r"|no password supplied|permission denied|authentication error"
)
_BUSY = frozenset({"55P03", "40P01", "40001"})
_REFUSED = frozenset({"42501", "25006"})


def _connection_url(address: StoreAddress) -> URL:
    try:
        url = make_url(address.url)
    except (ArgumentError, ValueError):
        raise UsageError(f"{address} is not a PostgreSQL URL") from None
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    query: dict[str, Any] = {"connect_timeout": str(CONNECT_TIMEOUT_S), "application_name": "sessionctl"}
    for key, value in url.query.items():
        if key == "ssl":
            mode = str(value).lower()
            query.setdefault("sslmode", _SSL_WORDS.get(mode, mode))
        elif key == "timeout":
            query["connect_timeout"] = str(max(1, round(float(str(value))))) if _is_number(value) else value
        elif key in known:
            query[key] = value
        elif key not in _OF_OTHER_DRIVERS:
            raise UsageError(f"{address} has an option that PostgreSQL's driver does not know: {key}")
    return url.set(drivername="postgresql+psycopg", query=query)


def _is_number(value: Any) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", str(value)) is not None


def make_engine(address: StoreAddress) -> Engine:
    """An engine; nothing is connected yet.

    One connection is kept for the next call and tried before use; a stream while it is busy opens another.
    No prepared statements: a transaction pooler may change the backend under them.
    Raises UsageError naming an option that no driver here knows.
    """
    without_log()
    engine = create_engine(
        _connection_url(address),
        poolclass=QueuePool,
        pool_size=2,
        max_overflow=-1,
        pool_pre_ping=True,
        hide_parameters=True,
        use_native_hstore=False,
        connect_args={"prepare_threshold": None, "client_encoding": "utf8"},
    )
    event.listen(engine, "connect", _read_any_bytes)
    return engine


class _EscapingLoader(Loader):
    def load(self, data: Buffer) -> str:
        return bytes(data).decode("utf-8", "surrogateescape")


class _EscapingBinaryLoader(_EscapingLoader):
    format = Format.BINARY


def _read_any_bytes(connection: Any, _record: Any) -> None:
    """A database of encoding SQL_ASCII may hold bytes that are no UTF-8; reading them must not fail."""
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        for name in ("text", "varchar"):
            connection.adapters.register_loader(name, _EscapingLoader)
            connection.adapters.register_loader(name, _EscapingBinaryLoader)


def translate(error: Exception, address: StoreAddress) -> SessionctlError:
    """psycopg's error (or SQLAlchemy's around it) for the user."""
    driver_error = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    state = getattr(driver_error, "sqlstate", None)
    reason = _reason(driver_error, address)
    if state is None:
        return _unconnected(reason, address)
    if state in _REFUSED or state.startswith("28"):
        hint = "changing a store takes SELECT, UPDATE (to lock rows) and DELETE on its two tables, reading only SELECT"
        return AccessRefused(f"{address} refused: {reason}", hint=hint)
    if state in _BUSY:
        return StoreBusy(f"{address} is busy: {reason}", hint="try again later")
    if state == "57014":
        return StoreBusy(
            f"{address} cancelled the statement: {reason}", hint="raise its statement_timeout for this role"
        )
    if state == "3D000":
        return StoreMissing(f"{address} does not exist: {reason}")
    if state in ("42P01", "42703", "3F000"):
        return StoreNotUnderstood(f"the tables of {address} changed while they were read: {reason}")
    if state.startswith(("08", "53", "57P", "25P")):  # 25P: it ended the connection over an idle transaction
        return StoreUnavailable(f"{address} is not available: {reason}")
    return SessionctlError(f"{address} reported an error: {reason}")


def _unconnected(reason: str, address: StoreAddress) -> SessionctlError:
    """There is no SQLSTATE before a connection stands: libpq has only words."""
    if _NO_DATABASE.search(reason):
        return StoreMissing(f"there is no such database: {address}", hint="sessionctl never creates one")
    if _NO_ACCESS.search(reason):
        return AccessRefused(f"{address} refused access: {reason}")
    return StoreUnavailable(f"{address} cannot be reached: {reason}")


def _reason(error: BaseException, address: StoreAddress) -> str:
    """The server's own sentence, without the password should it be in there."""
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    reason = str(primary or error).strip().split("\n", 1)[0].removeprefix("connection failed: ")
    secret = make_url(address.url).password
    return reason.replace(secret, "***") if secret else reason
