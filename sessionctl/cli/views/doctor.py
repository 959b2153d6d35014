"""Findings as JSON and for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sessionctl.cli.output import Output
from sessionctl.core.finding import CLASSES, EXAMPLES, Finding, Severity
from sessionctl.core.text import visible
from sessionctl.core.units import count

if TYPE_CHECKING:
    from rich.text import Text

    from sessionctl.operations.doctor import Diagnosed, Places

_STYLES = {Severity.ERROR: ("✗", "bold red"), Severity.WARNING: ("!", "yellow"), Severity.NOTE: ("·", "dim")}

_INDENT = " " * 6


def classes_help() -> str:
    """The classes of findings by severity, for the command's help."""
    listed = (
        f"{severity.capitalize()}s: " + ", ".join(kind for kind, each in CLASSES.items() if each.severity is severity)
        for severity in Severity
    )
    return "\n\n".join(f"    {line}." for line in listed)


def diagnosed_json(part: Diagnosed) -> dict[str, Any]:
    """The record of one store."""
    return {"store": part.store, "sessions": part.sessions, "findings": findings_json(part.findings)}


def two_stores_json(places: Places) -> list[dict[str, Any]]:
    """What several stores together show."""
    return findings_json(places.findings())


def findings_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    return [_finding_json(each) for each in findings]


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
        show_findings(out, part.findings)
    for finding in places.findings():
        out.line()
        _show(out, finding)


def show_findings(out: Output, findings: Sequence[Finding]) -> None:
    if not findings:
        out.line("  ✓ nothing found")
    for finding in findings:
        _show(out, finding)


def _show(out: Output, finding: Finding) -> None:
    """A line with the class, what it does and where, folded on a terminal; what mends it stays in one piece."""
    from rich.text import Text

    glyph, style = _STYLES[finding.severity]
    out.console.print(Text.assemble("  ", (f"{glyph} {finding.kind}", style), f" × {finding.count:,}"))
    _folded(out, Text(visible(finding.says)))
    if finding.examples:
        more = ", …" if len(finding.examples) == EXAMPLES < finding.count else ""
        _folded(out, Text(f"in {', '.join(map(visible, finding.examples))}{more}", style="dim"))
    if finding.fix:
        out.console.print(Text(f"{_INDENT}→ {visible(finding.fix)}"), soft_wrap=True)


def _folded(out: Output, text: Text) -> None:
    if not out.console.is_terminal:
        out.line(f"{_INDENT}{text.plain}")
        return
    from rich.padding import Padding

    out.console.print(Padding(text, (0, 0, 0, len(_INDENT)), expand=False))
