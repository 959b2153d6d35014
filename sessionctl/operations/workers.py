"""Processes beside this one that take portions of work in turn; what they make comes back in the order of the portions.

They are forked before any store is open and any thread runs: what SQLite knows of the locks of its files, and a
connection to a server, must not be carried across a fork (https://sqlite.org/howtocorrupt.html, 2.6). Forked, they
share the memory of what was imported by then. A worker lives no longer than its parent: then its pipes are broken.
"""

from __future__ import annotations

import fcntl
import gc
import os
import pickle
import signal
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import cycle, islice
from queue import Empty, Queue, SimpleQueue
from threading import Thread
from typing import Any, BinaryIO, Generic, NamedTuple, NoReturn, Protocol, Self, TypeVar

from sessionctl.errors import SessionctlError

P = TypeVar("P")
R = TypeVar("R")
_P_contra = TypeVar("_P_contra", contravariant=True)
_R_co = TypeVar("_R_co", covariant=True)

_WAITING = 4
"""Results of one worker that wait for their turn; what it makes beyond them waits with it."""
_PIPE = 1 << 20
_LOOK_UP_S = 0.05
_COLLECT = 20_000
"""Objects after which the collector looks: Python's own 700 are made of a few dozen items, and go by themselves."""


class Work(Protocol[_P_contra, _R_co]):
    """What is done in a worker: called once a portion, it may keep what it opened for the next ones, till ``close``."""

    def __call__(self, portion: _P_contra, /) -> Iterator[_R_co]: ...

    def close(self) -> None: ...


class _End(NamedTuple):
    """What follows the results of a portion."""

    error: BaseException | None = None


class Workers(Generic[P, R]):
    """So many processes that do ``work``. A context manager: when it is left they are gone, whatever they were at.

    Portions and results travel by pickle. Nothing of a worker shows outside but its results and its errors.
    Raises SessionctlError where the system has no room for so many.
    """

    def __init__(self, work: Work[P, R], count: int) -> None:
        self._workers: list[_Worker] = []
        try:
            for _ in range(count):
                self._workers.append(_Worker(work, self._workers))
        except OSError as error:
            self.__exit__(error)
            raise SessionctlError(f"no process can be started: {(error.strerror or str(error)).lower()}") from error

    def each(self, portions: Iterable[P]) -> Iterator[tuple[P, Iterator[R]]]:
        """Each portion with its results as they come; those not read are passed over when the next one is asked for.

        An error of a worker is raised in the place of its next result. SessionctlError where a worker is gone.
        """
        for worker in self._workers:
            worker.pass_over()  # what an error left of the portions before
        ahead: deque[tuple[P, _Worker]] = deque()
        left, turns = iter(portions), cycle(self._workers)
        while True:
            for portion in islice(left, 2 * len(self._workers) - len(ahead)):  # one that is made, one that waits
                worker = next(turns)
                worker.give(portion)
                ahead.append((portion, worker))
            if not ahead:
                return
            portion, worker = ahead.popleft()
            results = worker.results()
            yield portion, results
            deque(results, maxlen=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._end(at_once=kind is not None)

    def abandon(self) -> None:
        """Take the processes away, whatever they are at: nobody waits for it any more."""
        self._end(at_once=True)

    def _end(self, *, at_once: bool) -> None:
        for worker in self._workers:
            worker.end(at_once=at_once)
        self._workers.clear()


class _Worker:
    """One process, and the thread of the parent that talks with it, so that it need not wait for the main one."""

    def __init__(self, work: Work[Any, Any], others: Iterable[_Worker]) -> None:
        tasks, ours_out = os.pipe()
        ours_in, results = os.pipe()
        with suppress(OSError, AttributeError):  # more than this user may have, or not Linux: then it takes more turns
            fcntl.fcntl(results, fcntl.F_SETPIPE_SZ, _PIPE)
        self.ends: tuple[int, int] = (ours_in, ours_out)
        self._pid = os.fork()
        if self._pid == 0:
            # A pipe ends when nobody holds its other end any more: not this process either, nor the workers after it.
            _serve(work, tasks, results, [ours_in, ours_out, *(end for other in others for end in other.ends)])
        os.close(tasks)
        os.close(results)
        self._given: SimpleQueue[Any] = SimpleQueue()
        self._made: Queue[Any] = Queue(_WAITING)
        self._due = 0
        self._thread = Thread(target=self._talk, name="worker", daemon=True)

    def give(self, portion: Any) -> None:
        if not self._thread.ident:
            self._thread.start()
        self._due += 1
        self._given.put(portion)

    def results(self) -> Iterator[Any]:
        """Those of the oldest portion given."""
        while not isinstance(made := self._made.get(), _End):
            yield made
        self._due -= 1
        if made.error is not None:
            raise made.error

    def pass_over(self) -> None:
        """Let go of the results of all portions given."""
        while self._due:
            with suppress(Exception):
                deque(self.results(), maxlen=0)

    def end(self, *, at_once: bool) -> None:
        """Let the process end, or take it away; it is gone when this returns."""
        if at_once:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._given.put(None)
        if not self._thread.ident:
            self._talk()
        while self._thread.is_alive():  # it may wait for somebody to take what it has
            with suppress(Empty):
                self._made.get(timeout=_LOOK_UP_S)

    def _talk(self) -> None:
        try:
            with os.fdopen(self.ends[0], "rb") as results, os.fdopen(self.ends[1], "wb") as tasks:
                while (portion := self._given.get()) is not None:
                    pickle.dump(portion, tasks)
                    tasks.flush()
                    while not isinstance(result := pickle.load(results), _End):  # noqa: S301 - from the worker
                        self._made.put(result)
                    self._made.put(result)
        except (OSError, EOFError, pickle.UnpicklingError):
            gone = _End(SessionctlError(f"a process beside this one has ended: {self._status()}"))
            self._made.put(gone)
            while self._given.get() is not None:
                self._made.put(gone)
        else:
            self._status()

    def _status(self) -> str:
        """How the process ended, in words; waits for it."""
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return f"exit status {status}" if status >= 0 else signal.strsignal(-status) or f"signal {-status}"


def _serve(work: Work[Any, Any], tasks: int, results: int, others: Iterable[int]) -> NoReturn:
    """The life of a worker, from its first breath."""
    try:
        gc.freeze()  # what was there before is shared as long as the collector does not touch it
        gc.set_threshold(_COLLECT)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the whole terminal gets it, and the parent decides
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for end in others:
            os.close(end)
        with os.fdopen(tasks, "rb") as given, os.fdopen(results, "wb") as made, suppress(EOFError):
            while True:
                portion = pickle.load(given)  # noqa: S301 - from the parent
                pickle.dump(_outcome(work, portion, made), made)
                made.flush()
        work.close()
    except BaseException:  # noqa: BLE001 - the parent is gone, most likely; there is nobody to tell
        os._exit(1)
    os._exit(0)


def _outcome(work: Work[Any, Any], portion: Any, made: BinaryIO) -> _End:
    try:
        for result in work(portion):
            pickle.dump(result, made)
            made.flush()  # and where the parent is gone, this is the end
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - raised in the parent
        error.add_note("".join(traceback.format_exception(error)))
        with suppress(Exception):
            pickle.dumps(error)
            return _End(error)
        return _End(SessionctlError(f"{type(error).__name__}: {error}"))
    return _End()
