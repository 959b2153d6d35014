"""What goes where in a rotation, as options."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

import typer

from sessionctl.cli.options.common import size
from sessionctl.cli.options.grouping import grouped
from sessionctl.core.rotation import Period, Template, grouping
from sessionctl.errors import UsageError

if TYPE_CHECKING:
    from sessionctl.operations.rotation.rotate import Rotation

ROTATION = "Rotation"


class Packing(StrEnum):
    """How closed files are compressed."""

    ZSTD = "zstd"
    GZIP = "gzip"


ByOpt = Annotated[
    Period | None,
    typer.Option("--by", rich_help_panel=ROTATION, help="Sessions of windows that are over, by last activity in UTC."),
]
ByMatchOpt = Annotated[
    str | None,
    typer.Option(
        "--by-match", metavar="REGEX", rich_help_panel=ROTATION,
        help="{group} is the first capture in the id; ids that do not match stay.",
    ),
]  # fmt: skip
MaxSizeOpt = Annotated[
    int | None,
    typer.Option(
        "--max-size", parser=size, metavar="SIZE", rich_help_panel=ROTATION,
        help="The oldest go until the stored text of those that stay fits SIZE.",
    ),
]  # fmt: skip
IntoOpt = Annotated[
    str,
    typer.Option(
        "--into", metavar="TEMPLATE", rich_help_panel=ROTATION,
        help="Path or URL of the targets, or a store of the settings; files that are missing are made.",
    ),
]  # fmt: skip
IncludeOpenOpt = Annotated[
    bool, typer.Option("--include-open", rich_help_panel=ROTATION, help="Also sessions of the window that is not over.")
]
CompressOpt = Annotated[
    Packing | None,
    typer.Option("--compress", rich_help_panel=ROTATION, help="Compress the files of windows that are over."),
]
KeepOpt = Annotated[
    int | None,
    typer.Option(
        "--keep", min=1, metavar="N", rich_help_panel=ROTATION,
        help="Remove the files of all but the N newest windows that are over; none with a held session.",
    ),
]  # fmt: skip
VacuumOpt = Annotated[
    bool,
    typer.Option("--vacuum", rich_help_panel=ROTATION, help="Then give freed space back, as vacuum does."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What goes where, and what becomes of files that are closed. ``is_choice``: it says by itself what goes."""

    rotation: Rotation
    compression: Packing | None
    keep: int | None
    vacuum: bool
    is_choice: bool


def _wish(
    into: IntoOpt,
    by: ByOpt = None,
    by_match: ByMatchOpt = None,
    max_size: MaxSizeOpt = None,
    include_open: IncludeOpenOpt = False,
    compress: CompressOpt = None,
    keep: KeepOpt = None,
    vacuum: VacuumOpt = False,
) -> Wish:
    """What these options mean. Raises UsageError where they contradict."""
    from sessionctl.operations.rotation.rotate import Rotation

    if by_match is not None:
        grouping(by_match)
    template = Template(_meant(into), by, grouped=by_match is not None)
    if include_open and by is None:
        raise UsageError("--include-open goes with --by: without windows none is open")
    if (compress or keep is not None) and (by is None or not template.is_path):
        raise UsageError("--compress and --keep are for files of windows: they go with --by, and with a path in --into")
    rotation = Rotation(template=template, by_match=by_match, max_size=max_size, include_open=include_open)
    return Wish(
        rotation=rotation, compression=compress, keep=keep, vacuum=vacuum,
        is_choice=by is not None or max_size is not None,
    )  # fmt: skip


def _meant(into: str) -> str:
    """The URL or path of a store of the settings, where that is what is named; else the template as it is."""
    from sessionctl.cli.flows.stores_in_use import settings

    known = settings()
    if into not in known.stores:
        return into
    address = known.configured(into)
    if address.path is not None:
        return str(address.path)
    options = urlencode(dict(address.options))
    return f"{address.url}{'&' if '?' in address.url else '?'}{options}" if options else address.url


rotating = grouped("wish", _wish)
"""Puts these options in the place of a command's parameter ``wish: Wish``."""
