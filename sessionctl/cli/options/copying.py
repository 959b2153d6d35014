"""How a store is copied into another one, as options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from sessionctl.cli.options.common import IdPrefixOpt
from sessionctl.cli.options.grouping import grouped

COPYING = "Copying"

CreateTablesOpt = Annotated[
    bool, typer.Option("--create-tables", help="Make the SDK's tables there if they are missing.")
]
FollowUpOpt = Annotated[
    int,
    typer.Option(
        "--follow-up", min=0, metavar="N", rich_help_panel=COPYING,
        help="Passes after the first, until one finds nothing changed.",
    ),
]  # fmt: skip
JobsOpt = Annotated[
    int | None,
    typer.Option(
        "--jobs", min=1, metavar="N", rich_help_panel=COPYING, show_default="2; 1 into SQLite",
        help="Processes that copy, each with its own connections; one under --rate or --max-sessions.",
    ),
]  # fmt: skip
SkipMisfitsOpt = Annotated[
    bool, typer.Option("--skip-misfits", rich_help_panel=COPYING, help="Leave out what has no place there.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a store is copied. ``jobs`` None: as many as suit the target."""

    create_tables: bool
    prefix: str
    follow_up: int
    jobs: int | None
    skip_misfits: bool


def _manner(
    create_tables: CreateTablesOpt = False,
    id_prefix: IdPrefixOpt = "",
    follow_up: FollowUpOpt = 3,
    jobs: JobsOpt = None,
    skip_misfits: SkipMisfitsOpt = False,
) -> Manner:
    return Manner(
        create_tables=create_tables, prefix=id_prefix, follow_up=follow_up, jobs=jobs, skip_misfits=skip_misfits
    )


copying = grouped("manner", _manner)
"""Puts these options in the place of a command's parameter ``manner: Manner``."""
