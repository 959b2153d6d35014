"""Plans on disk: written once, in the order of the store, and read back as often as needed.

The file has no name, so that a crash leaves nothing behind and nobody else reads the ids in it. A small
plan never reaches the disk.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self, cast

from sessionctl.core.model import Outcome, Rewrite, Span
from sessionctl.core.plan import PlanHeader, Step
from sessionctl.errors import SessionctlError
from sessionctl.stores.base import Store

_IN_MEMORY = 256 * 1024
_READ_AT_ONCE = 64 * 1024
"""Octets parsed together, which is much faster than step by step."""


Revise = Callable[[Store, Step], Step | Outcome]
"""What is to be done to a session that is not as its step has it; or what to count it as, if nothing is."""


class Spool:
    """The steps of a plan in the making; ``directory`` None: the system's place for temporary files."""

    def __init__(self, directory: Path | None = None) -> None:
        place = str(directory) if directory else None
        self._place = place or tempfile.gettempdir()
        spooled = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, dir=place)  # noqa: SIM115 - lives as long as the plan
        self._file = cast("IO[bytes]", spooled)
        self._digest = hashlib.sha256()

    def add(self, step: Step) -> None:
        """Append a step. Raises SessionctlError where the plan outgrows memory and the disk does not take it."""
        at = step.last_activity.timestamp() if step.last_activity else None
        told = [step.session_id, step.version, step.items, step.bytes, at]
        if step.rewrite is not None:
            told.append([step.rewrite.version, step.rewrite.remove, step.rewrite.replace])
        line = json.dumps(told).encode() + b"\n"
        self._digest.update(line)
        with self._disk():
            self._file.write(line)

    @property
    def digest(self) -> str:
        """SHA-256 of the steps so far, in hex."""
        return self._digest.hexdigest()

    def steps(self) -> Iterator[Step]:
        """All steps in the order in which they came. One reading at a time.

        The next ones are read while those before them are at work, which mostly waits for the store.
        """
        with self._disk():
            self._file.seek(0)
        with ThreadPoolExecutor(1, "plan") as reader:
            ahead = reader.submit(self._next)
            while steps := ahead.result():
                ahead = reader.submit(self._next)
                yield from steps

    def _next(self) -> list[Step]:
        """Some more of them; none at the end."""
        lines = self._file.readlines(_READ_AT_ONCE)
        return [_step(*told) for told in json.loads(b"[" + b",".join(lines) + b"]")]

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SessionctlError(f"the plan cannot be kept in {self._place}: {error.strerror or error}") from error

    def close(self) -> None:
        """The steps are gone after this."""
        self._file.close()


def _step(session_id: str, version: str, items: int, size: int, at: float | None, *rewrite: Any) -> Step:
    last_activity = None if at is None else datetime.fromtimestamp(at, UTC)
    change = _rewrite(session_id, *rewrite[0]) if rewrite else None
    return Step(session_id, version, items, size, last_activity, change)


def _rewrite(
    session_id: str, version: str | None, remove: Iterable[Iterable[int]], replace: Iterable[tuple[int, str]]
) -> Rewrite:
    return Rewrite(
        session_id=session_id,
        version=version,
        remove=tuple(Span(*span) for span in remove),
        replace=tuple((key, text) for key, text in replace),
    )


@dataclass(frozen=True, slots=True)
class SpooledPlan:
    """A plan whose steps lie in a spool; close it when done. ``revise`` plans a session again that changed since."""

    header: PlanHeader
    spool: Spool
    revise: Revise | None = None

    def steps(self) -> Iterator[Step]:
        return self.spool.steps()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.spool.close()
