"""List sessions, newest activity first; find them by what was said."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sessionctl.cli.options import common as opt
from sessionctl.cli.options.selecting import selecting
from sessionctl.cli.output import Column, Form, Output, Record
from sessionctl.core.selector import Selector

if TYPE_CHECKING:
    from sessionctl.operations.listing import Listed

_TABLE_LIMIT = 50


@selecting()
def command(
    chosen: Selector,
    store: opt.StoreOpt = None,
    all_stores: opt.AllStoresOpt = False,
    search: Annotated[
        str | None, typer.Option("--search", metavar="TEXT", help="Sessions in which TEXT was said (any case).")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=0, metavar="N", help="At most N; 0 for all. Default: 50 in tables, else all."),
    ] = None,
    cursor: Annotated[str | None, typer.Option("--cursor", metavar="CURSOR", help="Go on behind a page.")] = None,
    output: opt.OutputOpt = Form.TABLE,
    null: opt.NullOpt = False,
) -> None:
    """List sessions, newest activity first.

    sessionctl list --newer-than 1h

    sessionctl list --match 'user-42:*' --search 'refund' -o json
    """
    from sessionctl.cli.flows.stores_in_use import finish, visit
    from sessionctl.core.model import Want
    from sessionctl.operations.listing import Listing, list_sessions

    out = Output(output, null=null and output is Form.NAME)
    trip = visit(store, out, all_stores=all_stores)
    count = (_TABLE_LIMIT if output.for_people else None) if limit is None else limit or None
    want = Want.NOTHING if output is Form.NAME else Want.SIZE
    listing = Listing(
        selector=chosen, limit=count + 1 if count is not None else None, want=want, search=search, after=cursor
    )
    page = _Page(list_sessions(trip, listing), count)
    columns = _columns(several=trip.several, searched=search is not None)
    out.records(columns, page.records(), key="sessions", tail=lambda: page.tail() | _failed(trip))
    sys.stdout.flush()
    if page.more:
        out.hint(f"there are more: --limit N, or --cursor {page.cursor}")
    raise typer.Exit(finish(trip, out))


class _Page:
    """The first ``count`` sessions, and whether there are more."""

    def __init__(self, found: Iterator[Listed], count: int | None) -> None:
        self._found, self._count = found, count
        self.more = False
        self.cursor: str | None = None

    def records(self) -> Iterator[Record]:
        from sessionctl.operations.listing import cursor_of

        last: Listed | None = None
        for number, listed in enumerate(self._found):
            if number == self._count:
                self.more = True
                self.cursor = cursor_of(last) if last else None
                return
            last = listed
            yield _record(listed)

    def tail(self) -> dict[str, Any]:
        return {"more": self.more, **({"cursor": self.cursor} if self.cursor else {})}


def _failed(trip: Any) -> dict[str, Any]:
    from sessionctl.cli.flows.stores_in_use import failed_json

    return {"failed": failed_json(trip)} if trip.failures else {}


def _record(listed: Listed) -> Record:
    from sessionctl.cli.views.records import session_record
    from sessionctl.core.units import format_age

    record = session_record(listed.store, listed.ref, held=listed.held)
    at = listed.ref.last_activity
    if listed.hit is not None:
        record["match"] = listed.hit
    return _Shown(record, idle=format_age(listed.store_time - at) if at else "unknown")


class _Shown(dict[str, Any]):
    """A record with the idle time that only tables show."""

    def __init__(self, record: dict[str, Any], *, idle: str) -> None:
        super().__init__(record)
        self.idle = idle


def _columns(*, several: bool, searched: bool) -> list[Column]:
    from sessionctl.core.units import format_size

    return [
        *(
            [Column(key="store", header="STORE", fold=True)]
            if several
            else [Column(key="store", header="STORE", wide=True)]
        ),
        Column(key="session_id", header="SESSION", fold=True),
        Column(key="created_at", header="CREATED", wide=True),
        Column(key="updated_at", header="UPDATED", wide=True),
        Column(key="last_activity", header="LAST ACTIVITY", show=lambda r: _minute(r["last_activity"])),
        Column(key="", header="IDLE", justify="right", show=lambda r: getattr(r, "idle", "")),
        Column(key="items", header="ITEMS", justify="right"),
        Column(key="bytes", header="SIZE", justify="right", show=lambda r: format_size(r["bytes"])),
        Column(key="tokens", header="~TOKENS", justify="right", wide=True),
        Column(key="held", header="HELD", wide=True, show=lambda r: {True: "held", None: "?"}.get(r["held"], "")),
        *([Column(key="match", header="MATCH", fold=True)] if searched else []),
    ]


def _minute(stamp: str | None) -> str:
    return "unknown" if stamp is None else stamp[:16].replace("T", " ") + "Z"
