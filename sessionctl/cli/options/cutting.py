"""What goes of sessions that stay, as options."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated

import typer

from sessionctl.cli.options.common import duration, size
from sessionctl.cli.options.grouping import grouped
from sessionctl.core.trimming import MIN_TURNS, TrimLimits
from sessionctl.core.units import parse_time
from sessionctl.errors import UsageError
from sessionctl.operations.trim import Wish

OLDEST = "Old turns (the tightest limit counts)"
NEWEST = "Newest turns"
_LIKE_A_DATE = re.compile(r"\d{4}-\d")


KeepTurnsOpt = Annotated[
    int | None,
    typer.Option("--keep-turns", min=1, metavar="N", help="At most the N newest turns stay.", rich_help_panel=OLDEST),
]
MaxTokensOpt = Annotated[
    int | None,
    typer.Option("--max-tokens", min=1, metavar="N", help="At most N tokens, by estimate.", rich_help_panel=OLDEST),
]
MaxItemsOpt = Annotated[
    int | None, typer.Option("--max-items", min=1, metavar="N", help="At most N items.", rich_help_panel=OLDEST)
]
MaxBytesOpt = Annotated[
    int | None,
    typer.Option(
        "--max-bytes", parser=size, metavar="SIZE", help="At most SIZE of stored text.", rich_help_panel=OLDEST
    ),
]
ItemsOlderThanOpt = Annotated[
    timedelta | None,
    typer.Option(
        "--items-older-than", parser=duration, metavar="DUR", rich_help_panel=OLDEST,
        help="Turns go of which every item is at least so old.",
    ),
]  # fmt: skip
MinTurnsOpt = Annotated[
    int | None,
    typer.Option(
        "--min-turns", min=1, metavar="N", show_default=str(MIN_TURNS), rich_help_panel=OLDEST,
        help="The N newest turns are never touched.",
    ),
]  # fmt: skip
ElideOpt = Annotated[
    int | None,
    typer.Option(
        "--elide-tool-output", parser=size, metavar="SIZE", rich_help_panel=OLDEST,
        help="Tool outputs, images and files above SIZE give way to short stubs; calls keep their ids.",
    ),
]  # fmt: skip
DropAfterOpt = Annotated[
    str | None,
    typer.Option(
        "--drop-after", metavar="TIME|ITEM", rich_help_panel=NEWEST,
        help="Turns go that begin at TIME or later, or behind the item of this id.",
    ),
]  # fmt: skip
IncludePendingOpt = Annotated[
    bool,
    typer.Option(
        "--include-pending", rich_help_panel=NEWEST, help="Also where a call waits for its approval or output."
    ),
]


def _wish(
    keep_turns: KeepTurnsOpt = None,
    max_tokens: MaxTokensOpt = None,
    max_items: MaxItemsOpt = None,
    max_bytes: MaxBytesOpt = None,
    items_older_than: ItemsOlderThanOpt = None,
    elide: ElideOpt = None,
    min_turns: MinTurnsOpt = None,
    drop_after: DropAfterOpt = None,
    include_pending: IncludePendingOpt = False,
) -> Wish:
    """What these options mean. Raises UsageError where they contradict, or say nothing."""
    bounds = {
        "keep_turns": keep_turns,
        "max_tokens": max_tokens,
        "max_items": max_items,
        "max_bytes": max_bytes,
        "items_older_than": items_older_than,
    }
    limited = any(bound is not None for bound in bounds.values())
    if drop_after is not None:
        if limited or elide is not None or min_turns is not None:
            raise UsageError("--drop-after takes the newest turns: it does not go with what is for the oldest")
        return Wish(after=_time_or_item(drop_after), include_pending=include_pending)
    if include_pending:
        raise UsageError("--include-pending goes with --drop-after")
    least = MIN_TURNS if min_turns is None else min_turns
    if elide is not None and not limited:
        return Wish(elide=elide, min_turns=least)
    try:
        limits = TrimLimits(**bounds, min_turns=least)  # type: ignore[arg-type]
    except ValueError as error:
        raise UsageError(str(error)) from None
    return Wish(limits=limits, elide=elide, min_turns=least)


def _time_or_item(text: str) -> datetime | str:
    """A time, else the id of an item; what begins like a date must be a time."""
    try:
        return parse_time(text)
    except ValueError as error:
        if _LIKE_A_DATE.match(text):
            raise UsageError(f"--drop-after: {error}") from None
        return text


cutting = grouped("wish", _wish)
"""Puts these options in the place of a command's parameter ``wish: Wish``."""
