"""The selectors as options: declared once, and given to every command that selects sessions."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from sessionctl.cli.options.common import NullOpt, duration, size, time
from sessionctl.cli.options.grouping import grouped
from sessionctl.core.selector import Selector
from sessionctl.errors import UsageError

SELECTORS = "Selectors (all must hold)"

OlderThanOpt = Annotated[
    timedelta | None,
    typer.Option(
        "--older-than", "--idle-for", parser=duration, metavar="DUR",
        help="Last activity at least DUR ago: 90s, 15m, 12h, 30d, 2w, 6mo, 1y.", rich_help_panel=SELECTORS,
    ),
]  # fmt: skip
NewerThanOpt = Annotated[
    timedelta | None,
    typer.Option(
        "--newer-than", parser=duration, metavar="DUR", help="Last activity less than DUR ago.",
        rich_help_panel=SELECTORS,
    ),
]  # fmt: skip
BeforeOpt = Annotated[
    datetime | None,
    typer.Option("--before", parser=time, metavar="TIME", help="Last activity before TIME.", rich_help_panel=SELECTORS),
]
AfterOpt = Annotated[
    datetime | None,
    typer.Option(
        "--after", parser=time, metavar="TIME", help="Last activity at or after TIME.", rich_help_panel=SELECTORS
    ),
]
CreatedBeforeOpt = Annotated[
    datetime | None,
    typer.Option(
        "--created-before", parser=time, metavar="TIME", help="Created before TIME.", rich_help_panel=SELECTORS
    ),
]
CreatedAfterOpt = Annotated[
    datetime | None,
    typer.Option(
        "--created-after", parser=time, metavar="TIME", help="Created at or after TIME.", rich_help_panel=SELECTORS
    ),
]
IdOpt = Annotated[
    list[str] | None,
    typer.Option("--id", metavar="ID", help="This session; may repeat.", rich_help_panel=SELECTORS),
]
MatchOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--match", metavar="GLOB", help="Ids that match, with * and ?; may repeat.", rich_help_panel=SELECTORS
    ),
]
ExcludeOpt = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="GLOB", help="Not the ids that match; may repeat.", rich_help_panel=SELECTORS),
]
IdsFromOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--ids-from", metavar="FILE", help="Ids, one a line (- for stdin; NUL-separated with --null).",
        rich_help_panel=SELECTORS,
    ),
]  # fmt: skip
MinItemsOpt = Annotated[
    int | None, typer.Option("--min-items", min=0, metavar="N", help="At least N items.", rich_help_panel=SELECTORS)
]
MinBytesOpt = Annotated[
    int | None,
    typer.Option(
        "--min-bytes", parser=size, metavar="SIZE", help="At least SIZE of stored text.", rich_help_panel=SELECTORS
    ),
]
MinTokensOpt = Annotated[
    int | None,
    typer.Option("--min-tokens", min=0, metavar="N", help="At least N tokens, by estimate.", rich_help_panel=SELECTORS),
]
EmptyOpt = Annotated[bool, typer.Option("--empty", help="Without items.", rich_help_panel=SELECTORS)]
KeepLastOpt = Annotated[
    int | None,
    typer.Option(
        "--keep-last", min=0, metavar="N", help="Not the N most recently active (of each group).",
        rich_help_panel=SELECTORS,
    ),
]  # fmt: skip
GroupByOpt = Annotated[
    str | None,
    typer.Option(
        "--group-by", metavar="REGEX", help="With --keep-last: the group is the first capture in the id.",
        rich_help_panel=SELECTORS,
    ),
]  # fmt: skip


def selector(
    older_than: OlderThanOpt = None,
    newer_than: NewerThanOpt = None,
    before: BeforeOpt = None,
    after: AfterOpt = None,
    created_before: CreatedBeforeOpt = None,
    created_after: CreatedAfterOpt = None,
    ids: IdOpt = None,
    match: MatchOpt = None,
    exclude: ExcludeOpt = None,
    ids_from: IdsFromOpt = None,
    min_items: MinItemsOpt = None,
    min_bytes: MinBytesOpt = None,
    min_tokens: MinTokensOpt = None,
    empty: EmptyOpt = False,
    keep_last: KeepLastOpt = None,
    group_by: GroupByOpt = None,
    null: NullOpt = False,
) -> Selector:
    """The selector these options mean; reads the id files. Raises UsageError where they contradict."""
    if group_by is not None:
        if keep_last is None:
            raise UsageError("--group-by goes with --keep-last")
        try:
            if re.compile(group_by).groups < 1:
                raise UsageError(f"--group-by {group_by!r} captures nothing: put the group in parentheses")
        except re.error as error:
            raise UsageError(f"--group-by {group_by!r} is not a regular expression: {error}") from None
    named = [*(ids or []), *(found for source in ids_from or [] for found in read_ids(source, null=null))]
    return Selector(
        older_than=older_than,
        newer_than=newer_than,
        before=before,
        after=after,
        created_before=created_before,
        created_after=created_after,
        named=tuple(dict.fromkeys(named)),
        named_given=bool(ids or ids_from),
        globs=tuple(match or ()),
        excluded=tuple(exclude or ()),
        min_items=min_items,
        min_bytes=min_bytes,
        min_tokens=min_tokens,
        empty=empty,
        keep_last=keep_last,
        group_by=group_by,
    )


def selecting(*, by_tokens: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put the selector options in the place of a command's parameter ``chosen: Selector``.

    ``by_tokens``: with ``--min-tokens``, an estimate, which decides no deletion of sessions. A command that has
    a parameter ``null`` of its own gets that one's value too.
    """

    return grouped("chosen", selector, without=() if by_tokens else ("min_tokens",))


def read_ids(source: str, *, null: bool) -> list[str]:
    """Session ids from a file or stdin (``-``), one a line or NUL-separated; empty ones are skipped."""
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"--ids-from {source}: {error.strerror or error}") from None
    parts = data.split(b"\0") if null else data.replace(b"\r\n", b"\n").split(b"\n")
    return [part.decode("utf-8", "surrogateescape") for part in parts if part]
