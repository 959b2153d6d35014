"""The SDK's tables as SQL; drift of live ones from what the SDK expects; indexes that maintenance needs."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sessionctl.cli.app import StrictCommand
from sessionctl.cli.options import common as opt
from sessionctl.cli.options.safeguarding import YesOpt
from sessionctl.cli.output import Form, Output
from sessionctl.errors import UsageError

if TYPE_CHECKING:
    from sessionctl.core.finding import Finding
    from sessionctl.operations.visiting import Visit

app = typer.Typer(
    no_args_is_help=True,
    help="The SDK's tables as SQL; drift of live ones from what the SDK expects; indexes that maintenance needs.",
)

_FORMS = (Form.TABLE, Form.JSON)
_FINDINGS = 6


class Dialect(StrEnum):
    """Whose SQL it is."""

    POSTGRESQL = "postgresql"
    MYSQL = "mysql"
    SQLITE = "sqlite"


@app.command("print", cls=StrictCommand)
def print_(
    dialect: Annotated[Dialect, typer.Option("--dialect", help="The database's; mysql is for MariaDB too.")],
    flyway: Annotated[bool, typer.Option("--flyway", help="As a versioned migration, with its name above it.")] = False,
    notes: Annotated[bool, typer.Option("--notes", help="With sessionctl's own table, for holds.")] = False,
    sessions_table: Annotated[
        str | None, typer.Option("--sessions-table", metavar="NAME", help="Another name than agent_sessions.")
    ] = None,
    messages_table: Annotated[
        str | None, typer.Option("--messages-table", metavar="NAME", help="Another name than agent_messages.")
    ] = None,
) -> None:
    """Print the statements that make a store, for managed migrations (the SDK's create_tables=False).

    For SQLite they are SQLiteSession's own, elsewhere SQLAlchemySession's, made to last: keys of eight octets, \
and on MySQL, where the SDK cannot make its tables, ids told apart by case, texts of any size and times to the \
microsecond. Nothing is connected to.

    sessionctl schema print --dialect postgresql | psql app

    sessionctl schema print --dialect mysql --flyway --notes > V7__agent_sessions.sql
    """  # fmt: skip
    import sys

    from sessionctl.operations.schema import printed

    given = {"sessions_table": sessions_table, "messages_table": messages_table}
    options = {name: value for name, value in given.items() if value}
    lines = [f"{statement};" for statement in printed(dialect.value, options, notes=notes)]
    if flyway:
        lines.insert(0, _FLYWAY)
    sys.stdout.write("\n\n".join(lines) + "\n")


_FLYWAY = """\
-- Flyway: save this as V<next version>__agent_sessions.sql.
-- Where the SDK has made the tables already, mark it as done instead: flyway baseline."""


@app.command(cls=StrictCommand)
def check(store: opt.StoreOpt = None, all_stores: opt.AllStoresOpt = False, output: opt.OutputOpt = Form.TABLE) -> None:
    """Tell how live tables differ from what the SDK expects, and what each difference does.

    Looks at the catalog alone, and writes nothing. Exit status 6 where there are errors or warnings; notes are \
told and nothing more.
    """  # fmt: skip
    from sessionctl.cli.flows.stores_in_use import finish, visit
    from sessionctl.cli.views.doctor import findings_json, show_findings
    from sessionctl.operations.doctor import grave
    from sessionctl.operations.schema import check as compare

    out = Output(output, allowed=_FORMS)
    found: list[Finding] = []
    told: list[dict[str, Any]] = []
    trip = visit(store, out, all_stores=all_stores)
    for address, findings in trip.each(lambda opened: iter([(opened.address, compare(opened))])):
        found += findings
        if output is Form.TABLE:
            out.line(str(address))
            show_findings(out, findings)
        told.append({"store": str(address), "findings": findings_json(findings)})
    _write_json(out, trip, told)
    status = finish(trip, out)
    raise typer.Exit(status or (_FINDINGS if grave(found) else 0))


@app.command(cls=StrictCommand)
def index(
    store: opt.StoreOpt = None,
    all_stores: opt.AllStoresOpt = False,
    apply: Annotated[bool, typer.Option("--apply", help="Make those that are needed.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="With --apply: those not needed too.")] = False,
    yes: YesOpt = False,
    reason: opt.ReasonOpt = None,
    output: opt.OutputOpt = Form.TABLE,
) -> None:
    """Print the indexes that maintenance needs and a store lacks, and make them.

    They are made beside writers: CONCURRENTLY on PostgreSQL, in place and without a lock on MySQL. On a SQLite \
file writers wait meanwhile, so that an index which takes longer than they can wait is taken back again. An index on \
the last activity is needed from 100,000 sessions on.

    sessionctl schema index

    sessionctl schema index --apply
    """  # fmt: skip
    from sessionctl.cli.flows.indexing import Indexing
    from sessionctl.cli.flows.stores_in_use import finish, visit

    if everything and not apply:
        raise UsageError("--all goes with --apply")
    out = Output(output, allowed=_FORMS)
    indexing = Indexing(out, apply=apply, everything=everything, yes=yes, reason=reason)
    trip = visit(store, out, all_stores=all_stores)
    told = list(trip.each(indexing.work))
    _write_json(out, trip, told)
    raise typer.Exit(finish(trip, out))


def _write_json(out: Output, trip: Visit, told: list[dict[str, Any]]) -> None:
    from sessionctl.cli.flows.stores_in_use import failed_json

    if out.form is not Form.JSON:
        return
    if trip.several or not told:
        out.json({"store": None, "stores": [*told, *failed_json(trip)]})
    else:
        out.json(told[0])
