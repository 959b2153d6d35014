"""A process that keeps one server for the tests and leaves nothing of it behind, however the tests went.

Run as a program it starts the server and follows orders on its standard input, one a line: ``kill`` ends
the server hard, ``start`` starts it again, each answered by the same word once done. At the end of its
input, which comes with the end of the test process, it stops the server cleanly and removes its files.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to keep: a command, its directory, its environment, and the user it runs as (None: whoever runs this).

    ``stop`` is the signal that ends it cleanly, ``kill`` the one that ends it as a crash does, children included.
    """

    command: list[str]
    home: str
    environment: dict[str, str]
    owner: tuple[int, int] | None
    stop: int
    kill: int


class Keeper:
    """The keeper of ``order`` as the tests see it; close it."""

    def __init__(self, order: Order) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(asdict(order))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @property
    def keeps(self) -> bool:
        """False once the server has ended by itself."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the server hard; it has gone when this returns."""
        self._tell("kill")

    def start(self) -> None:
        """Start the server again; it may not answer yet."""
        self._tell("start")

    def close(self) -> None:
        """Stop the server; its files have gone when this returns."""
        self._process.communicate(timeout=30)

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == word + "\n"


def keep(order: Order) -> NoReturn:
    """Run the server and follow orders until standard input ends or the server does."""
    server = _started(order)
    for line in sys.stdin:
        word = line.strip()
        if word == "kill":
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            server.send_signal(order.kill)
            server.wait()
        else:
            server = _started(order)
        print(word, flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if server.poll() is None:
        server.send_signal(order.stop)
    try:
        server.wait(timeout=10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    shutil.rmtree(order.home, ignore_errors=True)
    sys.exit(0)


def as_user(owner: tuple[int, int] | None) -> dict[str, Any]:
    """What makes subprocess run a program as this user and group."""
    return {"user": owner[0], "group": owner[1], "extra_groups": []} if owner else {}


def _started(order: Order) -> subprocess.Popen[bytes]:
    with Path(order.home, "log").open("ab") as log:
        server = subprocess.Popen(
            order.command, cwd=order.home, env=order.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            **as_user(order.owner),
        )  # fmt: skip
    signal.signal(signal.SIGCHLD, lambda *_: os._exit(1) if server.poll() is not None else None)
    return server


if __name__ == "__main__":
    keep(Order(**json.loads(sys.argv[1])))
