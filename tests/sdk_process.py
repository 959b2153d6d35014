"""SDK sessions in other processes, as live agents are: appends that can be held open, and writers that never rest.

``sdk`` is a process with the installed SDK, ``old_sdk`` one with the release in ``$SESSIONCTL_TEST_OLD_SDK``
(a Python that has it); both start once and are emptied between tests. ``sdk_processes`` makes more of
them, for appends that must be held at the same time.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from absent import absent

WAIT_S = 30
"""How long any single answer may take."""

JsonObject = dict[str, Any]


class SdkError(Exception):
    """What the SDK raised in its process: the class's name and the message."""


@dataclass(frozen=True, kw_only=True)
class Append:
    """One append of a live writer: the exact items, seconds it took, and the error if it was not acknowledged."""

    session: str
    items: list[JsonObject]
    at: float
    latency: float
    error: str | None


@dataclass(kw_only=True)
class Pending:
    """A command under way in the process."""

    process: SdkProcess
    number: int

    def result(self, timeout: float = WAIT_S) -> Any:
        """What it returned. Raises SdkError with what the SDK raised, TimeoutError if it is not done in time."""
        answer = self.process._wait(lambda: self.process._answers.get(self.number), timeout, f"command {self.number}")
        if "error" in answer:
            raise SdkError(answer["error"])
        return answer.get("result")

    @property
    def is_done(self) -> bool:
        return self.number in self.process._answers


@dataclass(kw_only=True)
class HeldAppend(Pending):
    """An append that stops at a point of its transaction; see ``sdk_writer`` for the points."""

    _from_event: int = 0

    def wait_begun(self, timeout: float = WAIT_S) -> None:
        """Until it is about to send its first statement (which may then wait for a lock)."""
        self._wait_event("begin", timeout)

    def wait_holding(self, timeout: float = WAIT_S) -> None:
        """Until it has arrived at its point and stays there."""
        self._wait_event("holding", timeout)

    def go(self) -> None:
        """Let it go on."""
        self.process._send({"do": "go"})

    def _wait_event(self, name: str, timeout: float) -> None:
        def seen() -> bool | None:
            if (answer := self.process._answers.get(self.number)) and "error" in answer:
                raise SdkError(answer["error"])
            events = self.process._events[self._from_event :]
            return any(event["event"] == name for event in events) or None

        self.process._wait(seen, timeout, name)


@dataclass(kw_only=True)
class LiveWriter:
    """A run of appends. ``appends`` grows while it runs; after ``stop`` it is complete."""

    process: SdkProcess
    run: int
    appends: list[Append] = field(default_factory=list)

    @property
    def acknowledged(self) -> dict[str, list[JsonObject]]:
        """By session, in order: the items whose append the store confirmed."""
        kept: dict[str, list[JsonObject]] = {}
        for append in self.appends:
            if append.error is None:
                kept.setdefault(append.session, []).extend(append.items)
        return kept

    @property
    def errors(self) -> list[str]:
        return [append.error for append in self.appends if append.error is not None]

    def wait_appends(self, count: int, timeout: float = WAIT_S) -> None:
        """Until it has made ``count`` more appends than now."""
        goal = len(self.appends) + count
        self.process._wait(lambda: len(self.appends) >= goal or None, timeout, f"{count} appends")

    def aim(self, places: range) -> None:
        """Where a run that was started ``aimed`` chooses among its sessions from now on; it rests while empty."""
        self.process.start("aim", run=self.run, first=places.start, last=places.stop, of=places.step)

    def stop(self) -> list[Append]:
        """End after the append under way; all appends."""
        self.process.call("stop", run=self.run)
        return self.appends


class SdkProcess:
    """One process that writes through the SDK. Not for use by several threads at once."""

    def __init__(self, python: str = sys.executable) -> None:
        script = Path(__file__).with_name("sdk_writer.py")
        self._process = subprocess.Popen(
            [python, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"OPENAI_AGENTS_DISABLE_TRACING": "1"},
            text=True,
            encoding="utf-8",
        )
        self._numbers = itertools.count(1)
        self._answers: dict[int, JsonObject] = {}
        self._events: list[JsonObject] = []
        self._runs: dict[int, LiveWriter] = {}
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.version: str = self.call("version")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def call(self, do: str, **arguments: Any) -> Any:
        """Send one command and wait for its result."""
        return self.start(do, **arguments).result()

    def start(self, do: str, **arguments: Any) -> Pending:
        return Pending(process=self, number=self._command(do, arguments))

    def add(self, url: str, session: str, items: Sequence[JsonObject], **how: Any) -> None:
        """``add_items``; ``how``: ``kind`` (a session class's name), ``tables`` (sessions, messages), ``tables_exist``
        (SQLAlchemySession need not look for them)."""
        self.call("add", url=url, session=session, items=list(items), **how)

    def get(self, url: str, session: str, **how: Any) -> list[Any]:
        result: list[Any] = self.call("get", url=url, session=session, **how)
        return result

    def read(self, url: str, sessions: Sequence[str], **how: Any) -> dict[str, list[Any]]:
        """``get`` of many sessions, with an object for each that is closed again."""
        found: dict[str, list[Any]] = {}
        for start in range(0, len(sessions), 500):
            found |= self.call("read", url=url, sessions=list(sessions[start : start + 500]), **how)
        return found

    def pop(self, url: str, session: str, **how: Any) -> Any:
        return self.call("pop", url=url, session=session, **how)

    def clear(self, url: str, session: str, **how: Any) -> None:
        self.call("clear", url=url, session=session, **how)

    def begin_add(
        self, url: str, session: str, items: Sequence[JsonObject], *, hold: str | None = "commit", **how: Any
    ) -> HeldAppend:
        """Start an append that stops at ``hold`` (None: it only says when it begins); does not wait for anything."""
        seen = len(self._events)
        arguments = {"url": url, "session": session, "items": list(items), "hold": hold, **how}
        return HeldAppend(process=self, number=self._command("add", arguments), _from_event=seen)

    @contextlib.contextmanager
    def running(
        self,
        url: str,
        sessions: Sequence[str] | None = None,
        *,
        fresh: int = 1000,
        think_s: float = 0.01,
        items_per_append: int = 1,
        **how: Any,
    ) -> Iterator[LiveWriter]:
        """A writer at work for the time of the block: on ``sessions`` in turn, or on ``fresh`` new ones at random.

        ``how`` may also hold ``at_random`` (choose among ``sessions``, by ``seed``), ``aimed`` (the same, but only
        among those that ``LiveWriter.aim`` names), ``keep`` (how many sessions it leaves open) and ``answered``
        (each append is a turn, with an answer behind the user's items).
        """
        arguments = {"url": url, "sessions": list(sessions) if sessions else None, "fresh": fresh, "think_s": think_s}
        number = self._command("run", arguments | {"items_per_append": items_per_append} | how, run=True)
        writer = self._runs[number]
        Pending(process=self, number=number).result()
        try:
            yield writer
        finally:
            writer.stop()
            del self._runs[number]

    def release(self) -> None:
        """Let go of every session, connection and held append, but keep the process."""
        self._send({"do": "go"})
        self.call("close")
        self._events.clear()

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(timeout=WAIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def kill(self) -> None:
        """``kill -9``, whatever it is doing."""
        self._process.kill()
        self._process.wait()

    def _command(self, do: str, arguments: JsonObject, *, run: bool = False) -> int:
        number = next(self._numbers)
        if run:
            self._runs[number] = LiveWriter(process=self, run=number)
        if "kind" in arguments:
            arguments = arguments | {"class": arguments["kind"]}
        self._send({"id": number, "do": do, **arguments})
        return number

    def _send(self, message: JsonObject) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if "answer" in message:
                self._answers[message["answer"]] = message
            elif message["event"] == "append":
                fields = {name: message[name] for name in ("session", "items", "at", "latency", "error")}
                self._runs[message["run"]].appends.append(Append(**fields))
            else:
                self._events.append(message)
            self._news.put(None)

    def _wait(self, ready: Callable[[], Any], timeout: float, what: str) -> Any:
        deadline = time.monotonic() + timeout
        while (found := ready()) is None:
            if not self.is_alive:
                raise SdkError(f"the SDK's process ended with {self._process.returncode} while {what} was awaited")
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{what} did not come within {timeout} s")
            with contextlib.suppress(queue.Empty):
                self._news.get(timeout=min(left, 0.5))
        return found


@contextlib.contextmanager
def sdk_process(python: str = sys.executable) -> Iterator[SdkProcess]:
    """A process of its own for the time of the block."""
    process = SdkProcess(python)
    try:
        yield process
    finally:
        process.close()


def old_sdk_python() -> str:
    """The Python that has an old SDK release; skips where there is none, fails under CI=true."""
    python = os.environ.get("SESSIONCTL_TEST_OLD_SDK", "")
    if not python or not Path(python).is_file():
        absent("an old SDK release is needed: set $SESSIONCTL_TEST_OLD_SDK to a Python that has openai-agents 0.19.4")
    return python


@pytest.fixture(scope="session")
def _sdk() -> Iterator[SdkProcess]:
    with sdk_process() as process:
        yield process


@pytest.fixture(scope="session")
def _old_sdk() -> Iterator[SdkProcess]:
    with sdk_process(old_sdk_python()) as process:
        yield process


@pytest.fixture
def sdk(_sdk: SdkProcess) -> Iterator[SdkProcess]:
    """The installed SDK in another process; it holds nothing when the test ends."""
    yield _sdk
    _sdk.release()


@pytest.fixture
def old_sdk(_old_sdk: SdkProcess) -> Iterator[SdkProcess]:
    """SDK 0.19.4 in another process; it holds nothing when the test ends."""
    yield _old_sdk
    _old_sdk.release()


@pytest.fixture
def sdk_processes() -> Iterator[Callable[..., SdkProcess]]:
    """Makes further processes: ``sdk_processes()`` or ``sdk_processes(python)``; they end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda python=sys.executable: stack.enter_context(sdk_process(python))
