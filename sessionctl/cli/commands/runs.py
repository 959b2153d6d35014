"""The ledger of what was done: every run that changed a store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sessionctl.cli.options import common as opt
from sessionctl.cli.output import Column, Form, Output, Record
from sessionctl.core.units import format_minute, format_second, format_time
from sessionctl.errors import SessionctlError

if TYPE_CHECKING:
    from sessionctl.ledger import Ledger, Run

app = typer.Typer(no_args_is_help=True, help="The ledger of what was done: every run that changed a store.")

_SHOWN = 50


@app.command("list")
def list_(
    session_id: Annotated[
        list[str] | None,
        typer.Option("--id", metavar="ID", help="Runs that archived this session and removed it; may repeat."),
    ] = None,
    since: Annotated[
        datetime | None, typer.Option("--since", parser=opt.time, metavar="TIME", help="Begun at TIME or later.")
    ] = None,
    store: Annotated[str | None, typer.Option("--store", "-s", metavar="NAME|URL|PATH", help="On this store.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", metavar="NAME", help="By this actor or user.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, metavar="N", help="The newest N; 0 for all.")] = _SHOWN,
    output: opt.OutputOpt = Form.TABLE,
) -> None:
    """Runs, the newest first: who did what to which store, how much, and why it ended.

    sessionctl runs list --since 2026-03-01 --store prod
    """
    from sessionctl.operations.recorded import Wanted, recorded

    out = Output(output, allowed=(Form.TABLE, Form.WIDE, Form.JSON, Form.JSONL, Form.NAME))
    wanted = Wanted(session_ids=frozenset(session_id or ()), since=since, store=_masked(store), actor=actor)
    ledger = _ledger()
    found, unread = recorded(ledger, wanted)
    shown = found if not limit else found[:limit]
    now = ledger.now() if ledger else datetime.now(UTC)
    columns = _WIDE if output is Form.WIDE else _COLUMNS
    out.records(columns, [_record(run, now) for run in shown], key="runs", name="run_id")
    if len(found) > len(shown):
        out.hint(f"{len(found) - len(shown)} more: --limit 0 shows all")
    if unread:
        out.warn(f"the archives of {len(unread)} runs cannot be read, the newest is {unread[0].run_id}: left out")
    if not found and output.for_people:
        out.note("no run is recorded")


@app.command()
def show(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID")],
    output: opt.OutputOpt = Form.TABLE,
) -> None:
    """All that the ledger has of one run: selection, reason, counts, archive and its segments."""
    out = Output(output, allowed=(Form.TABLE, Form.JSON))
    ledger = _ledger()
    run = ledger.run(run_id) if ledger else None
    if ledger is None or run is None:
        raise SessionctlError(f"there is no run {run_id} in the ledger", hint="sessionctl runs list shows them")
    segments: list[dict[str, Any]] = [
        {"name": s.name, "sessions": s.sessions, "items": s.items, "bytes": s.bytes, "sha256": s.sha256,
         "sealed_at": format_time(s.sealed_at), "committed_at": format_time(s.committed_at), "kept": list(s.kept),
         "returned": list(s.returned)}
        for s in ledger.segments(run_id)
    ]  # fmt: skip
    record = _record(run, ledger.now())
    if output is Form.JSON:
        out.json({"run": {**record, "segments": segments}})
        return
    for key in ("run_id", "command", "undoes", "store", "actor", "user", "host", "started_at", "heartbeat_at",
                "ended_at", "stopped", "error", "reason", "criteria", "archive"):  # fmt: skip
        value = _second(record[key]) if key.endswith("_at") else record[key]
        for part in value if isinstance(value, list) else [value]:
            if part is not None:
                out.line(f"{key.removesuffix('_at').removesuffix('_id'):<10} {part}")
    for key, value in record["counts"].items():
        if key != "targets":
            out.line(f"{key:<10} {_counted(value)}")
    for target, sessions in record["counts"].get("targets", {}).items():
        out.line(f"target     {target}: {sessions:,} sessions")
    for segment in segments:
        dealt = "dealt with" if segment["committed_at"] else "sealed only"
        out.line(
            f"segment    {segment['name']}: {segment['sessions']:,} sessions, {dealt}, {len(segment['kept']):,} kept, "
            f"{len(segment['returned']):,} put back"
        )


def _ledger() -> Ledger | None:
    from sessionctl.cli.flows.stores_in_use import ledger_address
    from sessionctl.ledger import Ledger

    return Ledger.existing(ledger_address())


def _masked(store: str | None) -> str | None:
    from sessionctl.cli.flows.stores_in_use import settings

    return None if store is None else settings().resolve([store])[0].recorded


def _record(run: Run, now: datetime) -> Record:
    return {
        "run_id": run.run_id, "command": run.command, "store": run.store, "actor": run.actor, "user": run.user,
        "host": run.host, "pid": run.pid, "started_at": format_time(run.started_at),
        "heartbeat_at": format_time(run.heartbeat_at), "under_way": not run.is_over(now),
        "ended_at": format_time(run.ended_at), "stopped": run.stopped and str(run.stopped), "error": run.error,
        "reason": run.reason, "criteria": list(run.criteria), "digest": run.digest, "archive": run.archive,
        "undoes": run.undoes, "counts": dict(run.counts),
    }  # fmt: skip


def _counted(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count:,} {name}" for name, count in value.items())
    return str(value)


def _second(stamp: str | None) -> str | None:
    return stamp and format_second(datetime.fromisoformat(stamp))


def _ended(record: Record) -> str:
    return str(record["stopped"] or ("under way" if record["under_way"] else "cut off"))


def _changed(record: Record) -> str:
    counts = record["counts"]
    if "restored" in counts:
        return f"+{counts['restored']['sessions']:,}"
    if "changed" in counts:
        return f"~{counts['changed']['sessions']:,}"
    return f"-{counts['removed']['sessions']:,}" if "removed" in counts else ""


def _started(record: Record) -> str:
    return format_minute(datetime.fromisoformat(record["started_at"]).astimezone(UTC)) or ""


_COLUMNS = (
    Column(key="run_id", header="RUN"),
    Column(key="started_at", header="STARTED", show=_started),
    Column(key="command", header="COMMAND"),
    Column(key="store", header="STORE", fold=True),
    Column(key="actor", header="ACTOR"),
    Column(key="sessions", header="SESSIONS", justify="right", show=_changed),
    Column(key="stopped", header="ENDED", show=_ended),
)
_WIDE = (
    *_COLUMNS,
    Column(key="archive", header="ARCHIVE", fold=True),
    Column(key="reason", header="REASON", fold=True),
)
