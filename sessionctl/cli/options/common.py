"""The options that several commands share, declared once, and what they become."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, TypeVar

import typer

from sessionctl.cli.output import Form
from sessionctl.core.limits import parse_lag_limit
from sessionctl.core.units import parse_duration, parse_size, parse_time

T = TypeVar("T")


def _checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """A parser whose ValueError is the user's mistake."""

    def parser(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parser


duration = _checked(parse_duration)
size = _checked(parse_size)
time = _checked(parse_time)
lag_limit = _checked(parse_lag_limit)

StoreOpt = Annotated[
    list[str] | None,
    typer.Option("--store", "-s", metavar="NAME|URL|PATH", help="A store; may repeat. Default: $SESSIONCTL_STORE."),
]
AllStoresOpt = Annotated[bool, typer.Option("--all-stores", help="Every store of the settings file.")]
ReasonOpt = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why, for the ledger.")]
OutputOpt = Annotated[Form, typer.Option("--output", "-o", help="The form of the results.")]
LastOpt = Annotated[int | None, typer.Option("--last", min=1, metavar="N", help="Only the N newest turns.")]
ItemsOpt = Annotated[
    str | None, typer.Option("--items", metavar="A:B", help="Only the items at these positions, from 0, B excluded.")
]
SearchOpt = Annotated[
    str | None, typer.Option("--search", metavar="TEXT", help="Only the items in which TEXT was said.")
]
RawOpt = Annotated[bool, typer.Option("--raw", help="The stored texts as they are, one a line.")]
FullOpt = Annotated[bool, typer.Option("--full", help="Fold nothing away.")]
HoldForOpt = Annotated[
    timedelta | None,
    typer.Option(
        "--hold-for", parser=duration, metavar="DUR", show_default="7d",
        help="Hold what is put back for DUR, so that the next policy run leaves it; 0 for none.",
    ),
]  # fmt: skip
IdPrefixOpt = Annotated[
    str,
    typer.Option(
        "--id-prefix", metavar="TEXT", show_default=False,
        help="Comes before every id in the target; {stem} is the name of the source's file without its ending.",
    ),
]  # fmt: skip
NullOpt = Annotated[bool, typer.Option("--null", help="Names are separated by NUL, in -o name and --ids-from.")]
