"""From ``-s`` options to a visit of stores, and the words for what went wrong on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sessionctl.cli.context import current
from sessionctl.cli.output import Output
from sessionctl.config import Settings, load
from sessionctl.operations.visiting import Visit


def settings() -> Settings:
    """The settings of this invocation."""
    here = current()
    return load(here.config, here.env)


def visit(names: Sequence[str] | None, out: Output, *, all_stores: bool = False) -> Visit:
    """The stores this command is about; warnings of the settings are shown."""
    found = settings()
    for warning in found.warnings:
        out.warn(warning)
    return Visit(found.resolve(names or (), all_stores))


def failed_json(trip: Visit) -> list[dict[str, Any]]:
    """The stores that failed, for JSON."""
    return [
        {"store": str(f.address), "error": {"code": f.error.code, "message": f.error.message, "hint": f.error.hint}}
        for f in trip.failures
    ]


def finish(trip: Visit, out: Output) -> int:
    """Say what was skipped and what failed; the exit status of a command that only reads."""
    if trip.skipped:
        out.note(f"{trip.skipped} other files in the fleet are no SDK stores and were skipped")
    for failure in trip.failures:
        out.warn(f"{failure.address.label}: {failure.error.message}")
    return 3 if trip.failures else 0
