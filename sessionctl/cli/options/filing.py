"""What an export writes, as options: the files and their form, and what is taken out of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from sessionctl.archive.codecs import Compression
from sessionctl.cli.options.common import size
from sessionctl.cli.options.grouping import grouped
from sessionctl.core.address import mask
from sessionctl.errors import UsageError
from sessionctl.export.formats import Format, meant_by
from sessionctl.export.redaction import Sensitive, own_pattern
from sessionctl.export.shelf import SPLIT_BYTES, Layout, Split

FILES = "Files"
REDACTION = "Redaction"
STDOUT = "-"

OutOpt = Annotated[
    str,
    typer.Option(
        "--out", metavar="PATH|DIR|-", rich_help_panel=FILES,
        help="The file, with --split the directory, or - for stdout.",
    ),
]  # fmt: skip
FormatOpt = Annotated[
    Format | None, typer.Option("--format", help="What to write.", show_default="by the ending of PATH, else jsonl")
]
CompressOpt = Annotated[
    Compression | None,
    typer.Option("--compress", help="Compress whole files.", rich_help_panel=FILES, show_default="by PATH"),
]
SplitOpt = Annotated[
    Split | None,
    typer.Option("--split", help="A file for each session, day or size, in DIR.", rich_help_panel=FILES),
]
SplitSizeOpt = Annotated[
    int | None,
    typer.Option(
        "--split-size", parser=size, metavar="SIZE", show_default="256MiB", rich_help_panel=FILES,
        help="With --split size: stored text in a file, about.",
    ),
]  # fmt: skip
ForceOpt = Annotated[bool, typer.Option("--force", help="Replace files.", rich_help_panel=FILES)]
RedactOpt = Annotated[
    list[Sensitive] | None,
    typer.Option("--redact", help="Take this out of what was said; may repeat.", rich_help_panel=REDACTION),
]
RedactPatternOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--redact-pattern", metavar="NAME=REGEX", rich_help_panel=REDACTION,
        help="Take out what matches, as \\[redacted:NAME]; may repeat.",
    ),
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Redact:
    """What to take out: built-in classes and patterns by name."""

    classes: Sequence[Sensitive]
    patterns: Mapping[str, re.Pattern[str]]


def _layout(
    destination: OutOpt,
    form: FormatOpt = None,
    compress: CompressOpt = None,
    split: SplitOpt = None,
    split_size: SplitSizeOpt = None,
    force: ForceOpt = False,
) -> Layout:
    """What the options mean together. Raises UsageError where they contradict."""
    if not destination.strip():
        raise UsageError("--out is empty", hint="name a file or directory, or - for stdout")
    if "://" in destination:
        raise UsageError(
            f"--out {mask(destination)} is a URL: exports go to files here or to stdout",
            hint="pipe it: --out - | aws s3 cp - s3://bucket/file",
        )
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


def _redact(classes: RedactOpt = None, patterns: RedactPatternOpt = None) -> Redact | None:
    """What these options mean; None: nothing is taken out. Raises UsageError where a pattern is none."""
    if not classes and not patterns:
        return None
    return Redact(classes=classes or (), patterns=dict(map(own_pattern, patterns or ())))


laid_out = grouped("layout", _layout)
"""Puts the options of the files in the place of a command's parameter ``layout: Layout``."""

redacted = grouped("redact", _redact)
"""Puts those of what is taken out in the place of a command's parameter ``redact: Redact | None``."""
