"""Tell the differences between a store and the one that it was copied into."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sessionctl.cli.options import common as opt
from sessionctl.cli.output import Form, Output

_NAMED = 20
_DIFFERENCES = 6


def command(
    *,
    source: Annotated[str, typer.Argument(metavar="SRC", help="A store, or a fleet of files.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="The store it was copied into.")],
    id_prefix: opt.IdPrefixOpt = "",
    output: opt.OutputOpt = Form.TABLE,
) -> None:
    """Compare two stores session by session: which are missing, extra, or have other items or times.

    Items are compared as their JSON says, whatever the spaces of the class that wrote it; times to the second. \
Nothing is written. Exit status 6 where there is a difference.

    sessionctl compare conversations.db postgresql://app@db/agents

    sessionctl compare conversations.db postgresql://app@db/agents -o name    (the differing ids, one a line)
    """  # fmt: skip
    from sessionctl.cli.flows.stores_in_use import settings
    from sessionctl.core.units import count
    from sessionctl.errors import StoreMissing
    from sessionctl.operations.migration.compare import compare
    from sessionctl.operations.migration.outlook import usable
    from sessionctl.operations.migration.routes import routes

    out = Output(output, allowed=(Form.TABLE, Form.JSON, Form.NAME))
    [here], [there] = (settings().resolve([name]) for name in (source, target))
    ways, skipped = usable(routes(here, there, id_prefix))
    if not ways:
        raise StoreMissing(f"there is no SDK store in {here}")
    if skipped:
        out.note(f"{skipped} other files in the fleet are no SDK stores and were skipped")
    found = compare(ways)
    if output is Form.JSON:
        out.json(_record(str(here), str(there), found))
    elif output is Form.NAME:
        for session_id, _ in found.differing:
            out.name(session_id)
    else:
        for address, totals in ((here, found.source), (there, found.target)):
            out.line(f"{address}: {count(totals.sessions, 'session')}, {count(totals.items, 'item')}")
        for session_id, how in found.differing[:_NAMED]:
            out.line(f"  {how:<8} {session_id}")
        more = len(found.differing) - _NAMED
        out.line("no difference" if found.is_same else f"{count(len(found.differing), 'difference')}")
        if more > 0:
            out.hint("-o name or -o json tells all of them")
    raise typer.Exit(0 if found.is_same else _DIFFERENCES)


def _record(source: str, target: str, found: Any) -> dict[str, Any]:
    return {
        "source": source,
        "target": target,
        "sessions": {"source": found.source.sessions, "target": found.target.sessions},
        "items": {"source": found.source.items, "target": found.target.items},
        "same": found.is_same,
        "differing": [{"session_id": session_id, "difference": str(how)} for session_id, how in found.differing],
    }
