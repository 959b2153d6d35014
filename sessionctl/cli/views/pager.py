"""The user's pager, as other command-line tools use it: on a terminal only, and gone without a trace."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from sessionctl.cli.context import current

if TYPE_CHECKING:
    from rich.console import Console


def pager_command() -> list[str] | None:
    """The pager to use: ``$PAGER``, else less or more; None for none (empty, ``cat``, not installed)."""
    chosen = current().env.get("PAGER")
    if chosen is None:
        found = shutil.which("less") or shutil.which("more")
        return [found] if found else None
    try:
        command = shlex.split(chosen)
    except ValueError:
        return None
    return command if command and command != ["cat"] and shutil.which(command[0]) else None


@contextmanager
def paged(console: Console, *, wanted: bool) -> Iterator[Console]:
    """A console that writes into the pager, or ``console`` itself where there is none.

    The reader may leave at any time: what is written then is dropped, and that is no error.
    """
    command = pager_command() if wanted and console.is_terminal and sys.stdin.isatty() else None
    if command is None:
        yield console
        return
    environment = {"LESS": "-FIRX", **os.environ}
    with subprocess.Popen(  # noqa: S603 - the user's own choice of program
        command, stdin=subprocess.PIPE, env=environment, encoding="utf-8", errors="backslashreplace"
    ) as process:
        try:
            with suppress(BrokenPipeError):
                yield _into(process, console)
        except KeyboardInterrupt:
            pass  # Ctrl-C belongs to the pager; here it only ends the writing
        finally:
            _leave_to_the_reader(process)


def _into(process: subprocess.Popen[str], console: Console) -> Console:
    from rich.console import Console

    class Pages(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # Rich would end the program with status 1

    return Pages(
        file=process.stdin,
        force_terminal=True,
        color_system=console.color_system or None,  # type: ignore[arg-type]
        no_color=console.no_color,
        width=console.width,
        markup=False,
        highlight=False,
        emoji=False,
    )


def _leave_to_the_reader(process: subprocess.Popen[str]) -> None:
    """Wait until the pager ends; Ctrl-C is for the pager meanwhile."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with suppress(BrokenPipeError):
            if process.stdin is not None:
                process.stdin.close()
        process.wait()
    finally:
        signal.signal(signal.SIGINT, previous)
