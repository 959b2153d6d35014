"""Exempt sessions from every change, with a reason, for a time or for ever."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sessionctl.cli.app import StrictCommand
from sessionctl.cli.context import current
from sessionctl.cli.options import common as opt
from sessionctl.cli.options.selecting import selecting
from sessionctl.cli.output import Column, Form, Output, Record
from sessionctl.core.selector import Selector
from sessionctl.core.units import count, format_minute, format_time
from sessionctl.errors import GuardRefused, UsageError

if TYPE_CHECKING:
    from sessionctl.core.address import StoreAddress
    from sessionctl.core.hold import Hold
    from sessionctl.ledger import Ledger, Run
    from sessionctl.stores.base import Store

app = typer.Typer(
    no_args_is_help=True, help="Exempt sessions from every change, with a reason, for a time or for ever."
)

_FORMS = (Form.TABLE, Form.JSON)
_PARTIAL = 3
_FEW = 5
"""Sessions held together that a table shows each."""


@app.command(cls=StrictCommand)
@selecting()
def add(
    chosen: Selector,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the hold.")],
    until: Annotated[
        datetime | None, typer.Option("--until", parser=opt.time, metavar="TIME", help="Held until TIME.")
    ] = None,
    lasts: Annotated[
        timedelta | None, typer.Option("--for", parser=opt.duration, metavar="DUR", help="Held for DUR from now on.")
    ] = None,
    store: opt.StoreOpt = None,
    all_stores: opt.AllStoresOpt = False,
    output: opt.OutputOpt = Form.TABLE,
    null: opt.NullOpt = False,  # noqa: ARG001 - of --ids-from
) -> None:
    """Hold sessions: nothing changes or deletes them until the hold is over or released.

    Ids and globs alone are held as they are, also for sessions that come later. With any other selector it is \
the sessions that are selected now. The hold is kept beside the store, for every host and user to see.

    sessionctl hold add --id support:mia:42 --reason 'complaint 1714' --for 90d

    sessionctl hold add --match 'legal:*' --reason 'litigation'
    """  # fmt: skip
    from sessionctl.cli.flows.stores_in_use import finish, visit
    from sessionctl.operations.holding import Term, foresee_holds, place

    if chosen.is_everything:
        raise UsageError("hold add needs a selector or an id", hint="--match '*' holds every session")
    if until is not None and lasts is not None:
        raise UsageError("--until and --for exclude each other")
    if not reason.strip():
        raise UsageError("--reason must say something: others will wonder why")
    out, ledger, term = Output(output, allowed=_FORMS), _ledger(), Term(until=until, lasts=lasts)

    def hold(found: Store) -> Iterator[Record]:
        run = _run("hold add", found, reason, chosen.explain(found.now()))
        holds, missing = foresee_holds(found, chosen, run, term)
        if holds:
            place(found, ledger, run, holds)
        yield _placed(found.address, run, holds, missing)

    trip = visit(store, out, all_stores=all_stores)
    done = list(trip.each(hold))
    if output is Form.JSON:
        _write_json(out, done, several=trip.several, trip=trip)
    for record in done if output.for_people else ():
        out.line(_said(record))
        if record["missing"]:
            out.note(f"{count(record['missing'], 'session')} of these ids do not exist by now; held all the same")
    raise typer.Exit(finish(trip, out))


@app.command("list", cls=StrictCommand)
def list_(store: opt.StoreOpt = None, all_stores: opt.AllStoresOpt = False, output: opt.OutputOpt = Form.TABLE) -> None:
    """The holds in force: what they mean, why, by whom and until when.

    Of many sessions that were held together a table shows the first; -o wide and the other forms show all.

    sessionctl hold list -o json
    """
    from sessionctl.cli.flows.stores_in_use import finish, visit

    out = Output(output, allowed=(Form.TABLE, Form.WIDE, Form.JSON, Form.JSONL, Form.NAME))
    trip = visit(store, out, all_stores=all_stores)

    def records(found: Store) -> Iterator[Record]:
        now = found.now()
        yield from (_record(found.address, hold) for hold in found.holds() if hold.lasts(now))

    seen = list(trip.each(records))
    if output is Form.TABLE:
        seen = list(_folded(seen))
    columns = [column for column in _COLUMNS if column.key != "store" or trip.several or output is Form.WIDE]
    out.records(columns, seen, key="holds", name="hold_id")
    if not seen and output.for_people:
        out.note("nothing is held")
    raise typer.Exit(finish(trip, out))


@app.command(cls=StrictCommand)
def release(
    hold: Annotated[
        list[str], typer.Argument(metavar="HOLD...", help="Hold ids; or session ids and globs as they were held.")
    ],
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why, for the ledger.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    store: opt.StoreOpt = None,
    all_stores: opt.AllStoresOpt = False,
    output: opt.OutputOpt = Form.TABLE,
) -> None:
    """Release holds: what they meant may be changed and deleted again.

    sessionctl hold release hold-3f9a1c07 --reason 'complaint settled'
    """
    from sessionctl.cli.flows.stores_in_use import finish, visit
    from sessionctl.operations.holding import find
    from sessionctl.operations.holding import release as let_go

    out = Output(output, allowed=_FORMS)
    trip = visit(store, out, all_stores=all_stores)
    found = list(trip.each(lambda place: iter([(place.address, *find(place, hold))])))
    missing = [name for name in hold if found and all(name in unknown for _, _, unknown in found)]
    for name in missing:
        over = [held for _, _, unknown in found for held in unknown[name]]
        by = f": it is held by {over[0].value} ({over[0].hold_id})" if over else ""
        out.warn(f"there is no hold {name}{by}")
    due = [(address, holds) for address, holds, _ in found if holds]
    total = sum(len(holds) for _, holds in due)
    if total:
        if not yes:
            doomed = [_record(address, h) for address, holds in due for h in holds]
            out.table(_COLUMNS, list(_folded(doomed)), console=out.err)
        if not out.confirm(f"Release {count(total, 'hold')}? What they mean is protected no more.", yes=yes):
            raise GuardRefused("not confirmed: nothing was released")
    done = [_released(address, holds, reason, let_go) for address, holds in due]
    if output is Form.JSON:
        _write_json(out, done, several=trip.several, trip=trip, missing=missing)
    for record in done if output.for_people else ():
        out.line(f"released {count(record['released'], 'hold')} in {record['store']}")
    raise typer.Exit(finish(trip, out) or (_PARTIAL if missing else 0))


def _released(address: StoreAddress, holds: Sequence[Hold], reason: str | None, let_go: Any) -> Record:
    from sessionctl.stores import open_store

    with open_store(address) as store:
        run = _run("hold release", store, reason, tuple(f"hold {hold.hold_id} of {hold.value}" for hold in holds))
        released = let_go(store, _ledger(), run, holds)
    return {"command": run.command, "store": str(address), "run_id": run.run_id, "released": released,
            "holds": [_record(address, hold) for hold in holds]}  # fmt: skip


def _run(command: str, store: Store, reason: str | None, criteria: Sequence[str]) -> Run:
    from sessionctl.ledger import new_run

    return new_run(
        command, store.address.recorded, datetime.now(UTC), current().env, reason=reason, criteria=tuple(criteria)
    )


def _ledger() -> Ledger:
    from sessionctl.cli.flows.stores_in_use import ledger_address
    from sessionctl.ledger import Ledger

    return Ledger.open(ledger_address())


def _write_json(out: Output, done: Sequence[Record], *, several: bool, trip: Any, **more: Any) -> None:
    """One store's own object; of several, their objects in ``stores``."""
    from sessionctl.cli.flows.stores_in_use import failed_json

    if not several and len(done) == 1:
        out.json({**done[0], **more})
    else:
        out.json({"stores": [*done, *failed_json(trip)], **more})


def _placed(address: StoreAddress, run: Run, holds: Sequence[Hold], missing: int) -> Record:
    return {"command": run.command, "store": str(address), "run_id": run.run_id if holds else None,
            "hold_id": holds[0].hold_id if holds else None, "until": format_time(holds[0].until) if holds else None,
            "holds": [_record(address, hold) for hold in holds], "missing": missing}  # fmt: skip


def _said(record: Record) -> str:
    if not record["holds"]:
        return f"no session of {record['store']} is selected: nothing is held"
    until = f"until {_minute(record['until'])}" if record["until"] else "until it is released"
    kinds = [hold["kind"] for hold in record["holds"]]
    what = [count(kinds.count(kind), noun) for kind, noun in (("id", "session"), ("glob", "glob")) if kind in kinds]
    return f"held {' and '.join(what)} in {record['store']} {until}: {record['hold_id']}"


def _record(address: StoreAddress, hold: Hold) -> Record:
    return {
        "store": str(address), "hold_id": hold.hold_id, "kind": str(hold.kind), "value": hold.value,
        "reason": hold.reason, "who": hold.who, "since": format_time(hold.since), "until": format_time(hold.until),
        "origin": str(hold.origin), "yields": hold.yields,
    }  # fmt: skip


def _folded(records: Sequence[Record]) -> Iterator[Record]:
    """Of many that were placed together only the first, which tells how many more there are."""
    for _, together in groupby(records, key=itemgetter("store", "hold_id", "kind")):
        first, *more = together
        if len(more) >= _FEW:
            first, more = {**first, "value": f"{first['value']} and {len(more):,} more"}, []
        yield from (first, *more)


def _minute(stamp: str | None) -> str:
    return "for ever" if stamp is None else format_minute(datetime.fromisoformat(stamp)) or ""


_COLUMNS = (
    Column(key="hold_id", header="HOLD"),
    Column(key="store", header="STORE", fold=True),
    Column(key="kind", header="KIND"),
    Column(key="value", header="HOLDS", fold=True),
    Column(key="until", header="UNTIL", show=lambda r: _minute(r["until"])),
    Column(key="since", header="SINCE", show=lambda r: _minute(r["since"]), wide=True),
    Column(key="who", header="BY"),
    Column(key="origin", header="FROM", wide=True),
    Column(key="reason", header="REASON", fold=True),
)
