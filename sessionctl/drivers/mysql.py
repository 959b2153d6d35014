"""Reaching MySQL and MariaDB through PyMySQL: an application's URL made fit for it, and its errors for the user."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import cache
from typing import Any

from pymysql.connections import Connection
from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import QueuePool

from sessionctl.core.address import StoreAddress
from sessionctl.drivers import CONNECT_TIMEOUT_S, LOCK_WAIT_S, without_log
from sessionctl.errors import (
    AccessRefused,
    SessionctlError,
    StoreBusy,
    StoreMissing,
    StoreNotUnderstood,
    StoreUnavailable,
    UsageError,
)

_KNOWN = frozenset(
    {
        "charset",
        "client_flag",
        "compress",
        "connect_timeout",
        "init_command",
        "read_default_file",
        "read_default_group",
        "read_timeout",
        "server_public_key",
        "sql_mode",
        "ssl_ca",
        "ssl_capath",
        "ssl_cert",
        "ssl_check_hostname",
        "ssl_cipher",
        "ssl_key",
        "unix_socket",
        "write_timeout",
    }
)
_OF_OTHER_DRIVERS = frozenset(
    {
        "async_fallback",
        "auth_plugin",
        "autocommit",
        "binary_prefix",
        "collation",
        "echo",
        "local_infile",
        "max_allowed_packet",
        "maxsize",
        "minsize",
        "pool_recycle",
        "program_name",
        "use_unicode",
    }
)
"""What aiomysql, asyncmy and mysqlclient take in a URL and what makes no difference to reading and deleting."""
_NO_SSL = frozenset({"false", "0", "off", "disabled", "preferred"})
_ANY_SSL = frozenset({"true", "1", "on", "required"})
_NARROW = frozenset({"utf8", "utf8mb3"})

_REFUSED = frozenset({1044, 1045, 1130, 1142, 1143, 1227, 1290, 1370, 1410, 1698, 1792, 1836, 1251, 3118, 3159})
_BUSY = frozenset({1020, 1205, 1213, 3101, 3572})
"""Locks, deadlocks, and what a cluster finds out when it certifies a transaction: rolled back, all of them."""
_CANCELLED = frozenset({1317, 1969, 3024})
_UNAVAILABLE = frozenset(
    {1040, 1047, 1053, 1152, 1158, 1159, 1160, 1161, 1203, 1226, 1927, *range(2002, 2007), 2013, 2026, 2055, 4031}
)
"""Gone, going, not there yet, or taking no more connections."""


def _connection_arguments(address: StoreAddress) -> tuple[URL, dict[str, Any]]:
    try:
        url = make_url(address.url)
    except (ArgumentError, ValueError):
        raise UsageError(f"{address} is not a MySQL URL") from None
    if not url.database:
        raise UsageError(f"{address} names no database", hint="write mysql://user@host/database")
    query: dict[str, Any] = {"connect_timeout": str(CONNECT_TIMEOUT_S), "charset": "utf8mb4"}
    further: dict[str, Any] = {}
    for key, value in url.query.items():
        if key in ("ssl", "ssl_mode", "ssl_verify_cert", "ssl_verify_identity", "ssl_disabled"):
            further |= _encryption(address, key, str(value).lower())
        elif key in _KNOWN:
            query[key] = value
        elif key not in _OF_OTHER_DRIVERS:
            raise UsageError(f"{address} has an option that MySQL's driver does not know: {key}")
    if query["charset"] in _NARROW:  # would lose every character beyond the first 65,536
        query["charset"] = "utf8mb4"
    return url.set(drivername="mysql+pymysql", query=query), further


def _encryption(address: StoreAddress, key: str, value: str) -> dict[str, Any]:
    """Other spellings of TLS for PyMySQL. Whoever asks for it gets it or no connection."""
    if key == "ssl_disabled":
        return {"ssl_disabled": value in _ANY_SSL}
    if value in _NO_SSL:
        return {} if key != "ssl" or value == "preferred" else {"ssl_disabled": True}
    if key in ("ssl_verify_cert", "ssl_verify_identity"):
        return {key: True}
    if value in ("verify_ca", "verify_identity"):
        return {"ssl_verify_cert": True, "ssl_verify_identity": value == "verify_identity"}
    if value in _ANY_SSL:
        return {"ssl": _unchecked()}
    raise UsageError(f"{address} has an option that cannot be used: {key}={value}")


@cache
def _unchecked() -> ssl.SSLContext:
    """TLS with whoever answers. To read the authorities, whom it does not ask, takes longer than to connect."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class _Connection(Connection):
    def _create_ssl_ctx(self, sslp: Any) -> Any:
        """Where nothing is said of TLS, PyMySQL takes it if offered, checks nothing, and yet reads all authorities."""
        return super()._create_ssl_ctx(sslp) if sslp else _unchecked()  # type: ignore[misc]

    def _force_close(self) -> None:
        """Rows that were still to come by a lost connection PyMySQL would go on reading when they are collected."""
        super()._force_close()  # type: ignore[misc]
        if (result := getattr(self, "_result", None)) is not None:
            result.unbuffered_active = False


class Numbers(tuple[int, ...]):
    """Whole numbers for an ``IN``. The driver would look at each of them by itself."""

    __slots__ = ()


def _written(numbers: Numbers, _encoders: object) -> str:
    return f"({','.join(map(str, numbers))})"


def make_engine(address: StoreAddress, settings: Mapping[str, Any], *statements: str) -> Engine:
    """An engine; nothing is connected yet.

    One connection is kept for the next call and tried before use; a stream while it is busy opens another.
    ``settings`` are variables of each connection beside those that keep any wait short, ``statements`` follow them.
    Raises UsageError for an address that cannot be used.
    """
    settings = {"innodb_lock_wait_timeout": LOCK_WAIT_S, "lock_wait_timeout": CONNECT_TIMEOUT_S, **settings}
    url, arguments = _connection_arguments(address)
    without_log()
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=2,
        max_overflow=-1,
        pool_pre_ping=True,
        hide_parameters=True,
        paramstyle="pyformat",
        connect_args=arguments,
    )

    def prepare(connection: Any, _record: Any) -> None:
        connection.encoders[Numbers] = _written
        with connection.cursor() as cursor:
            for name, value in settings.items():
                cursor.execute(f"SET SESSION {name} = %s", (value,))
            for statement in statements:
                cursor.execute(statement)

    event.listen(engine, "do_connect", lambda _dialect, _record, _arguments, named: _Connection(**named))
    event.listen(engine, "connect", prepare)
    return engine


def error_number(error: BaseException | None) -> int:
    """MySQL's number of an error, 0 where it has none."""
    number = error.args[0] if error is not None and error.args else 0
    return number if isinstance(number, int) else 0


def translate(error: Exception, address: StoreAddress) -> SessionctlError:
    """PyMySQL's error (or SQLAlchemy's around it) for the user."""
    driver_error = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    number, reason = error_number(driver_error), _reason(driver_error, address)
    if number == 1049:
        return StoreMissing(f"there is no such database: {address}", hint="sessionctl never creates one")
    if number == 1298:
        return UsageError(
            f"{address} does not know the time zone {address.options.get('timezone')!r}",
            hint="load its time zone tables (mysql_tzinfo_to_sql), or give an offset such as +02:00",
        )
    if number in _REFUSED:
        hint = "changing a store takes SELECT, UPDATE (to lock rows) and DELETE on its two tables, reading only SELECT"
        return AccessRefused(f"{address} refused: {reason}", hint=hint)
    if number in _BUSY:
        return StoreBusy(f"{address} is busy: {reason}", hint="try again later")
    if number in _CANCELLED:
        return StoreBusy(f"{address} cancelled the statement: {reason}", hint="raise its limit on statement time")
    if number in (1146, 1054):
        return StoreNotUnderstood(f"the tables of {address} changed while they were read: {reason}")
    if number in _UNAVAILABLE or number < 1000:  # the small ones are the operating system's
        return StoreUnavailable(f"{address} cannot be reached: {reason}")
    return SessionctlError(f"{address} reported an error: {reason}")


def _reason(error: BaseException, address: StoreAddress) -> str:
    """The server's own sentence, without the password should it be in there."""
    said = error.args[1] if len(error.args) > 1 else error
    reason = str(said).strip().split("\n", 1)[0]
    secret = make_url(address.url).password
    return reason.replace(secret, "***") if secret else reason
