"""Runs the program again and again in children of one process that has imported everything, and kills them in time.

A child is at work within milliseconds, so that the instants at which it is killed fall into its work and not
into Python's start. Segments of archives are small, so that a run has many of them; so are the portions put back.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

_SESSIONS_IN_SEGMENT = 30
_READ_AT_ONCE = 10
_PUT_AT_ONCE = 10


class Forker:
    """The process as the tests see it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(
        self, *arguments: str, home: Path, kill_after: float | None = None, in_portion: tuple[int, float] | None = None
    ) -> tuple[int, float]:
        """The exit status (negative: the signal) and the seconds it took; ``kill_after`` seconds it is killed.

        Or ``in_portion``: so many seconds after it begins to put back the portion of this number, from 0.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"arguments": arguments, "home": str(home), "kill_after": kill_after, "in_portion": in_portion}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the forker has gone"
        status, took = json.loads(answer)
        return status, took


@contextmanager
def forker() -> Iterator[Forker]:
    """One, ended with the block."""
    command = [sys.executable, __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Forker(process)
        assert process.stdin is not None
        process.stdin.close()


def _serve() -> None:
    import sessionctl.archive.codecs
    import sessionctl.cli.flows.restoring
    import sessionctl.cli.flows.rotating
    import sessionctl.cli.flows.running
    import sessionctl.cli.flows.undoing
    import sessionctl.stores.mysql.adapter
    import sessionctl.stores.postgresql.adapter
    import sessionctl.stores.sqlite.adapter  # noqa: F401
    from sessionctl.operations import covering, put_back
    from sessionctl.operations.rotation import covering as rotating

    rotating._TOGETHER = _PUT_AT_ONCE
    covering._MOST_SESSIONS, covering._TOGETHER = _SESSIONS_IN_SEGMENT, _READ_AT_ONCE
    put_back._TOGETHER = _PUT_AT_ONCE
    for line in sys.stdin:
        order = json.loads(line)
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            _work(order)
        status = _watched(child, order["kill_after"])
        print(json.dumps([os.waitstatus_to_exitcode(status), time.monotonic() - began]), flush=True)


def _watched(child: int, kill_after: float | None) -> int:
    """The wait status of the child, which is killed when its time is over."""
    if kill_after is not None:
        watch = os.pidfd_open(child)
        try:
            import select

            ready, _, _ = select.select([watch], [], [], kill_after)
            if not ready:
                signal.pidfd_send_signal(watch, signal.SIGKILL)
        finally:
            os.close(watch)
    return os.waitpid(child, 0)[1]


def _work(order: dict[str, Any]) -> None:
    """The program in this child; it never returns."""
    from sessionctl.cli.app import run

    status = 70
    try:
        os.environ["HOME"] = order["home"]
        for name in [name for name in os.environ if name.startswith("XDG_")]:
            del os.environ[name]
        said = os.open(Path(order["home"], "said"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(said, 1)
        os.dup2(said, 2)
        if order["in_portion"] is not None:
            _die_in_portion(*order["in_portion"])
        status = run(order["arguments"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _die_in_portion(number: int, seconds: float) -> None:
    from sessionctl.operations import put_back

    put, portions = put_back._put_portion, count()

    def put_or_die(*given: Any) -> Any:
        if next(portions) == number:
            threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return put(*given)

    put_back._put_portion = put_or_die


if __name__ == "__main__":
    _serve()
