"""The SDK's tables made in a server database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.exc import DBAPIError

from sessionctl.core.address import StoreAddress
from sessionctl.errors import SessionctlError
from sessionctl.stores.layout import MESSAGES, SESSIONS
from sessionctl.stores.schema import schema_of
from sessionctl.stores.sql.layout import Layout

Find = Callable[[Connection, str], Any]
Translate = Callable[[Exception, StoreAddress], SessionctlError]


def create(engine: Engine, address: StoreAddress, dialect: str, find: Find, translate: Translate) -> None:
    """Make those of the two tables that ``find`` does not, without what may come after the rows."""
    schema = schema_of(dialect, address.options)
    names = (address.options.get("sessions_table", SESSIONS), address.options.get("messages_table", MESSAGES))
    with changing(engine, address, translate) as connection:
        for name, statement in zip(names, (schema.sessions, schema.messages), strict=True):
            if find(connection, name) is None:
                connection.exec_driver_sql(statement)


def complete(
    engine: Engine,
    address: StoreAddress,
    dialect: str,
    read: Callable[[Connection], Layout],
    translate: Translate,
    prepare: Callable[[Connection], None] = lambda _: None,
    indexed: Callable[[Connection, Layout], None] = lambda *_: None,
) -> None:
    """Add what the tables lack: the primary key of the items, their index by session, and the foreign key.

    Within the transaction ``prepare`` is called before, and ``indexed`` where the index was made.
    """
    schema = schema_of(dialect, address.options)
    with changing(engine, address, translate) as connection:
        prepare(connection)
        layout = read(connection)
        messages = layout.messages
        has_key = inspect(connection).get_pk_constraint(messages.name, messages.schema)["constrained_columns"]
        if schema.primary_key and not has_key:
            connection.exec_driver_sql(schema.primary_key)
        if not layout.indexed:
            connection.exec_driver_sql(schema.index)
            indexed(connection, layout)
        if schema.foreign_key and not layout.refers:
            connection.exec_driver_sql(schema.foreign_key)


@contextmanager
def changing(engine: Engine, address: StoreAddress, translate: Translate) -> Iterator[Connection]:
    """The only transaction of ``engine``."""
    try:
        with engine.begin() as connection:
            yield connection
    except (DBAPIError, OSError) as error:
        raise translate(error, address) from error
    finally:
        engine.dispose()
