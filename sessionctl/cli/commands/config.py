"""The effective settings and where each came from."""

from __future__ import annotations

import sys

import typer

from sessionctl.cli.context import current
from sessionctl.cli.options.common import OutputOpt
from sessionctl.cli.output import Column, Form, Output
from sessionctl.config import load

app = typer.Typer(no_args_is_help=True, help="The effective settings and where each came from.")

_COLUMNS = (
    Column(key="key", header="KEY", style="bold"),
    Column(key="value", header="VALUE", fold=True),
    Column(key="origin", header="FROM", fold=True, style="dim"),
)
_FORMS = (Form.TABLE, Form.JSON)


@app.command()
def show(output: OutputOpt = Form.TABLE) -> None:
    """Every value in force and its origin: a flag, a variable, or the settings file. Secrets are masked."""
    out = Output(output, allowed=_FORMS)
    settings = load(current().config, current().env)
    records = [{"key": s.key, "value": s.value, "origin": s.origin} for s in settings.effective()]
    out.records(_COLUMNS, records, key="settings", tail=lambda: {"warnings": settings.warnings})
    for warning in settings.warnings:
        out.warn(warning)


@app.command()
def path(output: OutputOpt = Form.TABLE) -> None:
    """The settings file in use; where there is none, the places that were looked at (on stderr)."""
    out = Output(output, allowed=_FORMS)
    settings = load(current().config, current().env)
    if output is Form.JSON:
        found = None if settings.path is None else str(settings.path)
        out.json({"path": found, "origin": settings.origin, "searched": [str(place) for place in settings.searched]})
    elif settings.path is not None:
        sys.stdout.write(f"{settings.path}\n")
    else:
        places = ", ".join(str(place) for place in settings.searched)
        out.warn(f"there is no settings file; looked for: {places}")
    if output is not Form.JSON:
        for warning in settings.warnings:
            out.warn(warning)
