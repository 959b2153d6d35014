"""Findings as JSON and for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sessionctl.cli.output import Output
from sessionctl.core.finding import CLASSES, Finding, Severity
from sessionctl.core.text import visible
from sessionctl.core.units import count

if TYPE_CHECKING:
    from rich.text import Text

    from sessionctl.operations.doctor import Diagnosed, Places

_STYLES = {Severity.ERROR: ("✗", "bold red"), Severity.WARNING: ("!", "yellow"), Severity.NOTE: ("·", "dim")}


def classes_help() -> str:
    """The classes of findings by severity, for the command's help."""
    listed = (
        f"{severity.capitalize()}s: " + ", ".join(kind for kind, each in CLASSES.items() if each.severity is severity)
        for severity in Severity
    )
    return "\n\n".join(f"    {line}." for line in listed)


def diagnosed_json(part: Diagnosed) -> dict[str, Any]:
    """The record of one store."""
    return {"store": part.store, "sessions": part.sessions, "findings": [_finding_json(each) for each in part.findings]}


def two_stores_json(places: Places) -> list[dict[str, Any]]:
    """What several stores together show."""
    return [_finding_json(each) for each in places.findings()]


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "class": finding.kind,
        "severity": str(finding.severity),
        "count": finding.count,
        "examples": list(finding.examples),
        "says": finding.says,
        "fix": finding.fix,
    }


def show_diagnosed(out: Output, parts: Sequence[Diagnosed], places: Places) -> None:
    """Each store and what was found in it, gravest first; then what several show together."""
    for number, part in enumerate(parts):
        if number:
            out.line()
        out.line(f"{part.store}: {count(part.sessions, 'session')} read")
        if not part.findings:
            out.line("  ✓ nothing found")
        for finding in part.findings:
            _show(out, finding)
    for finding in places.findings():
        out.line()
        _show(out, finding)


def _show(out: Output, finding: Finding) -> None:
    for line in _lines(finding):
        out.console.print(line, soft_wrap=True)


def _lines(finding: Finding) -> Iterator[Text]:
    from rich.text import Text

    glyph, style = _STYLES[finding.severity]
    yield Text.assemble("  ", (f"{glyph} {finding.kind}", style), f" × {finding.count:,}: {visible(finding.says)}")
    if finding.examples:
        more = "" if finding.count <= len(finding.examples) else ", …"
        yield Text(f"      in {', '.join(map(visible, finding.examples))}{more}", style="dim")
    if finding.fix:
        yield Text(f"      → {visible(finding.fix)}")
