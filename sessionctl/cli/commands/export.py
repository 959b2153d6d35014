"""Sessions as files: for programs, for people, for analysis."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sessionctl.archive.codecs import Compression
from sessionctl.cli import options as opt
from sessionctl.cli.output import Form, Output
from sessionctl.cli.selecting import selecting
from sessionctl.core.selector import Selector
from sessionctl.errors import UsageError
from sessionctl.export.formats import Format, meant_by
from sessionctl.export.redaction import Sensitive
from sessionctl.export.shelf import SPLIT_BYTES, Layout, Split

FILES = "Files"
REDACTION = "Redaction"
STDOUT = "-"


@selecting()
def command(
    chosen: Selector,
    destination: Annotated[
        str,
        typer.Option(
            "--out",
            metavar="PATH|DIR|-",
            rich_help_panel=FILES,
            help="The file, with --split the directory, or - for stdout.",
        ),
    ],
    store: opt.StoreOpt = None,
    all_stores: opt.AllStoresOpt = False,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="What to write.", show_default="by the ending of PATH, else jsonl"),
    ] = None,
    compress: Annotated[
        Compression | None,
        typer.Option("--compress", help="Compress whole files.", rich_help_panel=FILES, show_default="by PATH"),
    ] = None,
    split: Annotated[
        Split | None,
        typer.Option("--split", help="A file for each session, day or size, in DIR.", rich_help_panel=FILES),
    ] = None,
    split_size: Annotated[
        int | None,
        typer.Option(
            "--split-size",
            parser=opt.size,
            metavar="SIZE",
            show_default="256MiB",
            rich_help_panel=FILES,
            help="With --split size: stored text in a file, about.",
        ),
    ] = None,
    redact: Annotated[
        list[Sensitive] | None,
        typer.Option("--redact", help="Take this out of what was said; may repeat.", rich_help_panel=REDACTION),
    ] = None,
    redact_pattern: Annotated[
        list[str] | None,
        typer.Option(
            "--redact-pattern",
            metavar="NAME=REGEX",
            help="Take out what matches, as [redacted:NAME]; may repeat.",
            rich_help_panel=REDACTION,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files.", rich_help_panel=FILES)] = False,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why, for the ledger.")] = None,
    output: opt.OutputOpt = Form.TABLE,
) -> None:
    """Write sessions to files; the store is only read.

    Every session is written as it was at one instant, a file gets its name when it is whole, and what is there \
already is not overwritten. --redact replaces what it finds in string values by a mark like [redacted:email]; \
keys and session ids stay.

    sessionctl export --newer-than 7d --out week.jsonl.zst

    sessionctl export --match 'support:*' --format html --out transcripts/

    sessionctl export --id support:mia:42 --redact email --redact card --out - | jq .data
    """  # fmt: skip
    from sessionctl.cli.exporting import Order, Redact, run_export
    from sessionctl.export.redaction import own_pattern

    out = Output(output, allowed=(Form.TABLE, Form.JSON))
    layout = _layout(destination, form, compress, split, split_size, force=force)
    if layout.place is None and output is Form.JSON:
        raise UsageError("--out - gives stdout to the export: it does not go with --output json")
    patterns = dict(map(own_pattern, redact_pattern or ()))
    wanted = Redact(classes=redact or (), patterns=patterns) if redact or patterns else None
    order = Order(selector=chosen, layout=layout, reason=reason, redact=wanted)
    raise typer.Exit(run_export(order, out, store, all_stores=all_stores))


def _layout(
    destination: str,
    form: Format | None,
    compress: Compression | None,
    split: Split | None,
    split_size: int | None,
    *,
    force: bool,
) -> Layout:
    """What the options mean together. Raises UsageError where they contradict."""
    to_stdout = destination == STDOUT
    if to_stdout and split:
        raise UsageError("--split writes several files: name a directory with --out")
    if split_size is not None and split is not Split.SIZE:
        raise UsageError("--split-size goes with --split size")
    if split is None and not to_stdout and _is_directory(destination) and form in (Format.HTML, Format.MARKDOWN):
        split = Split.SESSION
    by_name = (None, None) if to_stdout or split else meant_by(destination)
    format_ = form or by_name[0] or Format.JSONL
    natural = Compression.ZSTD if format_ is Format.ARCHIVE else Compression.NONE
    if format_.is_packed and compress not in (None, Compression.NONE):
        raise UsageError(f"--compress does not go with --format {format_}", hint="leave it out")
    return Layout(
        place=None if to_stdout else Path(destination),
        format=format_,
        compression=compress or by_name[1] or natural,
        split=split,
        split_bytes=split_size or SPLIT_BYTES,
        force=force,
    )


def _is_directory(destination: str) -> bool:
    """Does it exist as one, or is it written like one?"""
    return destination.endswith("/") or Path(destination).is_dir() or not Path(destination).suffix
