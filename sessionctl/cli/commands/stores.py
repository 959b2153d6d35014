"""What is configured; round-trip latency and capabilities of each store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from sessionctl.cli.context import current
from sessionctl.cli.options.common import AllStoresOpt, OutputOpt, StoreOpt
from sessionctl.cli.output import Column, Form, Output, Record
from sessionctl.config import Settings, load
from sessionctl.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="What is configured; round-trip latency and capabilities of each store.")

PARTIAL = 3


@app.command("list")
def list_(output: OutputOpt = Form.TABLE) -> None:
    """The stores of the settings file. Nothing is connected to and no password looked up."""
    out = Output(output, allowed=(Form.TABLE, Form.JSON, Form.JSONL, Form.NAME))
    settings = load(current().config, current().env)
    columns = (
        Column(key="name", header="STORE", style="bold", show=_name),
        Column(key="kind", header="KIND", show=lambda r: "fleet" if r["fleet"] else str(r["kind"] or "?")),
        Column(key="address", header="ADDRESS", fold=True, show=lambda r: r["address"] or f"({r['problem']})"),
        Column(key="options", header="OPTIONS", fold=True, show=_options),
    )
    out.records(columns, [_configured(settings, name) for name in settings.stores], key="stores", name="name")
    for warning in settings.warnings:
        out.warn(warning)
    if not settings.stores and output is Form.TABLE:
        out.note("no store is configured")
        out.hint("sessionctl config path shows where the settings file is looked for")


@app.command()
def ping(store: StoreOpt = None, all_stores: AllStoresOpt = False, output: OutputOpt = Form.TABLE) -> int:
    """Open each store and say what it is, how far away, and what to look out for. Nothing is written."""
    from sessionctl.operations.ping import ping as look
    from sessionctl.operations.visiting import Visit

    out = Output(output, allowed=(Form.TABLE, Form.WIDE, Form.JSON, Form.JSONL))
    settings = load(current().config, current().env)
    for warning in settings.warnings:
        out.warn(warning)
    visit = Visit(settings.resolve(store or (), all_stores))
    seen: list[Record] = []

    def records() -> Iterator[Record]:
        for found in visit.each(look):
            seen.append(_pinged(found))
            yield seen[-1]
        for failure in visit.failures:
            error = {"code": failure.error.code, "message": failure.error.message, "hint": failure.error.hint}
            yield {"store": failure.address.label, "address": str(failure.address), "error": error}

    out.records(_PING_COLUMNS, records(), key="stores", tail=lambda: {"skipped": visit.skipped})
    if output.for_people:
        _remarks(out, seen)
        if visit.skipped:
            out.note(f"{visit.skipped} files are no SDK store and were skipped")
    for failure in visit.failures if output.for_people else ():
        out.warn(f"{failure.address.label}: {failure.error.message}")
        if failure.error.hint:
            out.hint(failure.error.hint)
    return PARTIAL if visit.failures else 0


def _name(record: Record) -> str:
    return f"{record['name']} (default)" if record["default"] else str(record["name"])


def _options(record: Record) -> str:
    return ", ".join(f"{key}={value}" for key, value in record["options"].items())


def _configured(settings: Settings, name: str) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": name,
        "kind": None,
        "fleet": False,
        "address": None,
        "options": settings.stores[name].options,
        "default": name == settings.default,
        "problem": None,
    }
    try:
        address = settings.configured(name, with_password=False)
    except UsageError as error:
        return record | {"problem": error.message}
    kind = {"kind": address.scheme, "fleet": address.is_fleet}
    return record | kind | {"address": str(address), "options": dict(address.options)}


def _pinged(found: Any) -> dict[str, Any]:
    info, can = found.info, found.capabilities
    return {
        "store": found.address.label,
        "address": str(found.address),
        "kind": info.kind,
        "flavour": info.flavour,
        "server": info.server,
        "tables": list(info.tables),
        "latency_s": round(found.latency_s, 6),
        "clock_ahead_s": round(found.clock_ahead_s, 3) + 0.0,  # no -0.0
        "capabilities": {"lists": can.lists, "item_times": can.item_times, "recheck": can.recheck.value},
        "frozen": info.frozen,
        "hazards": [{"what": hazard.what, "effect": hazard.effect.value} for hazard in info.hazards],
        "warnings": list(info.warnings),
        "error": None,
    }


def _latency(record: Record) -> str:
    if record["error"]:
        return "failed"
    milliseconds = record["latency_s"] * 1000
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.2g} ms"


def _clock(record: Record) -> str:
    """Below a second nobody needs to know; ages are counted by the store's clock."""
    ahead = record.get("clock_ahead_s")
    return "–" if ahead is None else "same" if abs(ahead) < 1 else f"{ahead:+.0f} s"


def _capabilities(record: Record) -> str:
    can = record.get("capabilities")
    if not can:
        return "–"
    times = "item times" if can["item_times"] else "no item times"
    return f"{'lists' if can['lists'] else 'cannot list'}, {times}, recheck {can['recheck']}"


_PING_COLUMNS = (
    Column(key="store", header="STORE", style="bold"),
    Column(key="latency_s", header="LATENCY", justify="right", show=_latency),
    Column(key="server", header="SERVER"),
    Column(key="flavour", header="FLAVOUR"),
    Column(key="tables", header="TABLES", show=lambda r: ", ".join(r.get("tables", ("–",)))),
    Column(key="clock_ahead_s", header="CLOCK", show=_clock),
    Column(key="capabilities", header="CAPABILITIES", show=_capabilities, wide=True),
    Column(key="address", header="ADDRESS", wide=True),
)


def _remarks(out: Output, records: list[Record]) -> None:
    for record in records:
        if record["frozen"]:
            out.warn(f"{record['store']}: it can be read but not changed: {record['frozen']}")
        for warning in record["warnings"]:
            out.warn(f"{record['store']}: {warning}")
        for hazard in record["hazards"]:
            out.warn(f"{record['store']}: {hazard['what']} {hazard['effect']}")
