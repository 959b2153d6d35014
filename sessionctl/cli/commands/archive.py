"""What archives hold, whether they are sound, one transcript, removal of old ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sessionctl.cli.options import common as opt
from sessionctl.cli.options.safeguarding import Consent, consenting
from sessionctl.cli.output import Column, Form, Output, Record
from sessionctl.errors import ArchiveDamaged, SessionctlError

if TYPE_CHECKING:
    from sessionctl.archive.places import Place

app = typer.Typer(no_args_is_help=True, help="What archives hold, whether they are sound, one transcript, removal.")

FAILED = 1
FilesArg = Annotated[
    list[str],
    typer.Argument(metavar="FILE…", help="Archive files, directories of runs, or directories of these; URLs too."),
]


# -- list and verify ------------------------------------------------------------------------------------


@app.command("list")
def list_(files: FilesArg, output: opt.OutputOpt = Form.TABLE) -> int:
    """What archives say of themselves: where from, when, by which run, how much.

    Only the two ends of each file are read; verify reads and checks everything.

    Examples:

      sessionctl archive list /var/backups/sessions

      sessionctl archive list 's3://bucket/prod/' -o json | jq '.archives[] | .run_id'
    """
    from sessionctl.operations.archives import files as found_at

    out = Output(output, allowed=(Form.TABLE, Form.WIDE, Form.JSON, Form.JSONL, Form.CSV, Form.NAME))
    return _tell(out, found_at(files), _glanced, _LISTED, verdict="complete")


@app.command()
def verify(files: FilesArg, output: opt.OutputOpt = Form.TABLE) -> int:
    """Read archives from end to end and check all of it: digests, counts, every line.

    Exit status 0 if all are sound, 1 if not; then the file and line of what is wrong are named. Nothing is
    unpacked to disk but items of very large sessions, for a moment.

    Examples:

      sessionctl archive verify /var/backups/sessions/20261123-0315-x7

      sessionctl archive verify exported.jsonl.zst
    """
    from sessionctl.operations.archives import files as found_at

    out = Output(output, allowed=(Form.TABLE, Form.WIDE, Form.JSON, Form.JSONL, Form.CSV))
    return _tell(out, found_at(files), _verified, _VERIFIED, verdict="sound")


def _tell(
    out: Output, files: Iterable[Place], look: Callable[[Place], Record], columns: tuple[Column, ...], *, verdict: str
) -> int:
    """One record a file; a damaged one does not stop the others."""
    errors: list[SessionctlError] = []

    def records() -> Iterator[Record]:
        for file in files:
            try:
                yield {"archive": str(file), **look(file), verdict: True, "error": None}
            except ArchiveDamaged as error:
                errors.append(error)
                told = {"code": error.code, "message": error.message, "hint": error.hint}
                yield {"archive": str(file), verdict: False, "error": told}

    out.records(columns, records(), key="archives", name="archive")
    for error in errors:
        out.warn(error.message)
    return FAILED if errors else 0


def _glanced(file: Place) -> Record:
    from sessionctl.archive.reader import glance

    found = glance(file)
    if found.manifest is None:
        raise ArchiveDamaged(f"{file}: it does not end with a manifest: it is truncated or damaged")
    return _facts(found.header, found.manifest.counts, found.size)


def _verified(file: Place) -> Record:
    from sessionctl.archive.reader import verify as check

    found = check(file)
    return {**_facts(found.header, found.counts, found.size), "sha256": found.sha256}


def _facts(header: Any, counts: Any, size: int) -> dict[str, Any]:
    from dataclasses import asdict

    from sessionctl.core.units import format_time

    told = {**asdict(header), "created_at": format_time(header.created_at), "selectors": list(header.selectors)}
    return {**told, **counts._asdict(), "size": size}


def _sized(key: str) -> Any:
    from sessionctl.core.units import format_size

    return lambda record: format_size(record[key]) if key in record else "–"


def _day(record: Record) -> str:
    return str(record.get("created_at", "–"))[:16].replace("T", " ") + ("Z" if "created_at" in record else "")


_ARCHIVE = Column(key="archive", header="ARCHIVE", style="bold", fold=True)
_COUNTS = (
    Column(key="sessions", header="SESSIONS", justify="right"),
    Column(key="items", header="ITEMS", justify="right"),
    Column(key="bytes", header="TEXT", justify="right", show=_sized("bytes")),
    Column(key="size", header="FILE", justify="right", show=_sized("size")),
)
_LISTED = (
    _ARCHIVE,
    Column(key="created_at", header="CREATED", show=_day),
    Column(key="command", header="BY"),
    *_COUNTS,
    Column(key="store", header="FROM", fold=True),
    Column(key="run_id", header="RUN", wide=True),
    Column(key="segment", header="SEGMENT", justify="right", wide=True),
    Column(key="flavour", header="FLAVOUR", wide=True),
    Column(key="reason", header="REASON", wide=True, fold=True),
)
_VERIFIED = (
    _ARCHIVE,
    Column(key="sound", header="VERDICT", show=lambda record: "sound" if record["sound"] else "DAMAGED"),
    *_COUNTS,
    Column(key="sha256", header="SHA-256 OF THE FILE", wide=True),
)


# -- show -----------------------------------------------------------------------------------------------


@app.command()
def show(
    file: Annotated[str, typer.Argument(metavar="FILE", help="An archive file, or a directory of such.")],
    session_id: Annotated[str, typer.Argument(metavar="SESSION_ID", help="The session, by its exact id.")],
    last: opt.LastOpt = None,
    items: opt.ItemsOpt = None,
    search: opt.SearchOpt = None,
    raw: opt.RawOpt = False,
    full: opt.FullOpt = False,
    output: opt.OutputOpt = Form.TABLE,
) -> None:
    """One transcript out of an archive, as inspect shows those of a store. Nothing is restored.

    Examples:

      sessionctl archive show /var/backups/sessions support:mia:42

      sessionctl archive show exported.jsonl.zst support:mia:42 -o json | jq .verdict
    """
    from contextlib import closing
    from datetime import UTC, datetime

    from sessionctl.cli.views.transcript_output import FORMS, Showing, part_of
    from sessionctl.cli.views.transcript_output import show as print_transcript
    from sessionctl.core.units import format_second
    from sessionctl.operations.archives import inspect_archived

    part = part_of(output, last=last, items=items, search=search, raw=raw)
    out = Output(output, allowed=FORMS)
    with inspect_archived(file, session_id, part) as (header, inspection), closing(inspection):
        label = f"{header.store}, archived {format_second(header.created_at)} by {header.command} {header.run_id}"
        showing = Showing(
            out=out, store=header.store, label=label, now=datetime.now(UTC),
            inspection=inspection, part=part, full=full,
        )  # fmt: skip
        print_transcript(showing, raw=raw)


# -- prune ----------------------------------------------------------------------------------------------


@app.command()
@consenting(dry_run="Show what would be removed and stop.")
def prune(
    *,
    directories: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DIR", show_default="the archives of the stores", help="Where runs put their archives; URLs too."
        ),
    ] = None,
    store: opt.StoreOpt = None,
    all_stores: opt.AllStoresOpt = False,
    older_than: Annotated[
        timedelta | None,
        typer.Option(
            "--older-than",
            parser=opt.duration,
            metavar="DUR",
            show_default="archive_keep of the store",
            help="Archives of runs at least DUR ago.",
        ),
    ] = None,
    allow_unknown_holds: Annotated[
        bool,
        typer.Option("--allow-unknown-holds", help="Go on where a store cannot be asked what is held."),
    ] = False,
    consent: Consent,
    output: opt.OutputOpt = Form.TABLE,
) -> int:
    """Remove the archives of runs that are past their time. Those runs can no longer be undone.

    An archive stays while a session in it is held in the store it came from. Only directories that hold an \
archive and nothing else, and are named after its run, are ever removed; whatever else lies there is left \
alone and told.

    Examples:

      sessionctl archive prune --store prod --dry-run

      sessionctl archive prune /var/backups/sessions --older-than 35d

      sessionctl archive prune 's3://bucket/prod/' --older-than 1y --yes
    """  # fmt: skip
    from sessionctl.cli.flows.pruning import Pruner

    out = Output(output, allowed=(Form.TABLE, Form.JSON))
    return Pruner(out, consent, older_than, allow_unknown_holds).run(directories or (), store, all_stores=all_stores)
