"""What is known of a pair of SDK tables in a server database, once its catalog has been read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from sqlalchemy import Column, MetaData, String, Table
from sqlalchemy.sql.elements import quoted_name

from sessionctl.core.address import StoreAddress
from sessionctl.core.model import Hazard, StoreInfo
from sessionctl.errors import StoreNotUnderstood
from sessionctl.stores.layout import MESSAGES, MESSAGES_COLUMNS, SESSIONS, SESSIONS_COLUMNS, describe_missing

FLAVOUR = "SQLAlchemySession"
TEXT = String()
_TEXTS = frozenset({"session_id", "message_data"})


class Clock(Enum):
    """How a column holds a time."""

    LOCAL = auto()
    """As a local time without a zone: what it means depends on the writer's zone."""
    INSTANT = auto()
    """As an instant, whatever zone it is shown in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFacts:
    """One column as the catalog has it; ``type`` in the engine's own word, ``clock`` None for what is no time."""

    type: str
    nullable: bool
    clock: Clock | None = None
    charset: str | None = None
    collation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """One table as the catalog has it. ``obstacle`` says why it must not be changed (None: it may be).

    ``divided``: its rows lie in several tables (partitions, children), so that two may have the same place.
    """

    schema: str | None
    name: str
    columns: Mapping[str, ColumnFacts]
    obstacle: str | None = None
    divided: bool = False

    @property
    def shown(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name

    def as_table(self) -> Table:
        """For statements; the name is quoted whatever it is."""
        schema = quoted_name(self.schema, quote=True) if self.schema else None
        columns = [
            Column(
                quoted_name(name, quote=True),
                TEXT if name in _TEXTS else None,
                key=name,
                info={"facts": facts},
            )
            for name, facts in self.columns.items()
        ]
        return Table(quoted_name(self.name, quote=True), MetaData(), *columns, schema=schema)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The SDK's two tables and what deleting from them does.

    ``cascades``: deleting a session takes its items along, so that deleting sessions is enough.
    ``refers``: the items have the SDK's foreign key, whatever it does.
    ``indexed``: the items of one session are found without reading the table. ``key`` names the index that
    keeps ids unique where statements must name it. ``server`` is the product and its version.
    """

    server: str
    sessions: TableFacts
    messages: TableFacts
    cascades: bool
    refers: bool
    indexed: bool
    key: str = "PRIMARY"
    hazards: tuple[Hazard, ...] = ()
    warnings: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()

    def info(self, kind: str) -> StoreInfo:
        """The same for the user: unknown columns and whatever is no plain table keep it from being changed."""
        frozen = [*self.obstacles, *_obstacles(self.sessions, SESSIONS_COLUMNS)]
        frozen += _obstacles(self.messages, MESSAGES_COLUMNS)
        warnings = list(self.warnings)
        if not self.indexed:
            warnings.append(
                f"{self.messages.shown} has no index that begins with session_id: every look at a session reads it all"
            )
        reason = "; ".join(frozen) or None
        return StoreInfo(
            kind=kind,
            flavour=FLAVOUR,
            server=self.server,
            tables=(self.sessions.shown, self.messages.shown),
            hazards=self.hazards,
            warnings=(*warnings, f"{reason}; it is read, never changed") if reason else tuple(warnings),
            frozen=reason,
        )


def _obstacles(table: TableFacts, known: frozenset[str]) -> list[str]:
    unknown = ", ".join(sorted(set(table.columns) - known))
    found = [table.obstacle] if table.obstacle else []
    return [*found, f"{table.shown} has columns that no SDK release makes: {unknown}"] if unknown else found


def names(address: StoreAddress) -> tuple[str, str]:
    """What the tables of sessions and items are called."""
    return address.options.get("sessions_table", SESSIONS), address.options.get("messages_table", MESSAGES)


def understood(
    address: StoreAddress,
    pair: Sequence[TableFacts | None],
    others: Callable[[], Mapping[str, Collection[str]]],
    wanted: Mapping[str, frozenset[str]],
) -> list[TableFacts]:
    """The tables of sessions and items; None in the place of one that was not found.

    ``others`` tells the columns of all tables, so that the sentence can name what is there instead; ``wanted`` are the
    types of columns that can be read. Raises StoreNotUnderstood where these are not the SDK's tables.
    """
    found = [facts for facts in pair if facts is not None]
    known: dict[str, Collection[str]] = {facts.shown: list(facts.columns) for facts in found}
    if len(found) < len(pair):
        known = {**others(), **known}
    sessions, messages = (None if facts is None else facts.shown for facts in pair)
    wrong = describe_missing(known, sessions, messages, address)
    if wrong is not None:
        raise wrong
    for facts in found:
        _refuse_types(address, facts, {name: types for name, types in wanted.items() if name in facts.columns})
    return found


def _refuse_types(address: StoreAddress, table: TableFacts, wanted: Mapping[str, frozenset[str]]) -> None:
    """Raise StoreNotUnderstood where a column's type is none of those that can be read as what it must be."""
    for column, types in wanted.items():
        facts = table.columns[column]
        if facts.type not in types:
            raise StoreNotUnderstood(
                f"{address} has a table {table.shown}, but its column {column} is of type {facts.type}",
                hint=f"sessionctl can read it as {' or '.join(sorted(types)[:4])}",
            )


def candidates(name: str) -> list[tuple[str | None, str]]:
    """What ``name`` may mean, best first: a table called so (dots and all), or ``schema.table``."""
    schema, dot, table = name.partition(".")
    return [(None, name), (schema, table)] if dot and schema and table else [(None, name)]
