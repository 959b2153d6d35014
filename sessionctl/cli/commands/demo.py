"""Write a small realistic SQLite store to try everything on."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from sessionctl.cli.options.common import OutputOpt
from sessionctl.cli.output import Form, Output
from sessionctl.errors import UsageError

FILE = "conversations.db"


def command(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to write it.", show_default="sessionctl-demo")
    ] = Path("sessionctl-demo"),
    output: OutputOpt = Form.TABLE,
) -> None:
    """Write DIR/conversations.db: the sessions of a yarn shop's agents over the last 120 days.

    Written by the SDK's own SQLiteSession, with tool calls, handoffs, images, approvals and accidents.

    A store that is there is never overwritten.

    sessionctl demo

    sessionctl demo /tmp/shop
    """
    from sessionctl.demo import conversations
    from sessionctl.demo.writing import write_store

    out = Output(output, allowed=(Form.TABLE, Form.JSON))
    path = directory / FILE
    if path.exists():
        raise UsageError(
            f"{path} is there already, and demo overwrites nothing",
            hint=f"look at it with: sessionctl list -s {_quoted(path)}, or name another directory",
        )
    if output is Form.TABLE:
        out.note("writing with the SDK, which takes a few seconds to load …")
    try:
        written = write_store(path, conversations(), datetime.now(UTC))
    except OSError as error:
        raise UsageError(
            f"the demo store cannot be written: {(error.strerror or str(error)).lower()}: {directory}",
            hint="name a directory that you may write to: sessionctl demo DIR",
        ) from None
    if output is Form.JSON:
        out.json({"store": f"sqlite:///{path}", "sessions": written.sessions, "items": written.items})
        return
    out.line(f"{path}: {written.sessions} sessions, {written.items} items, written by the SDK's SQLiteSession")
    out.line()
    out.line("Try next:")
    store = _quoted(path)
    for words in ("list", "inspect user-17:order-help", "purge --older-than 30d --dry-run"):
        out.line(f"  sessionctl {words} -s {store}")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
