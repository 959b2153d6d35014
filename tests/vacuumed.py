"""Vacuums beside SDK writers in processes of their own: what these felt of it, and is all there that they wrote?"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from operating import running
from sdk_process import Append, SdkProcess

WAIT_S = 120
OF_EACH = 5
"""Sessions that a writer appends to in turn."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A vacuum, and the appends that were under way meanwhile. ``wrong``: sessions that are not as was acknowledged."""

    status: int
    report: dict[str, Any]
    said: str
    seconds: float
    amid: list[Append]
    errors: list[str]
    wrong: list[str]

    def latency_ms(self, share: float) -> float:
        """What this share of the appends amid took at most."""
        found = sorted(append.latency for append in self.amid)
        return 1000 * found[math.ceil(share * len(found)) - 1] if found else 0.0


def vacuum_beside(
    writers: Sequence[SdkProcess], url: str, *arguments: str, runs: int = 1, think_s: float = 0.01, **how: Any
) -> Beside:
    """``sessionctl vacuum`` while each writer makes ``runs`` runs of appends; ``how`` says how they open the store."""
    began = ended = 0.0
    with ExitStack() as stack:
        at_work = [
            (writer, ids, stack.enter_context(writer.running(url, ids, think_s=think_s, **how)))
            for number, writer in enumerate(writers)
            for ids in _ids(number, runs)
        ]
        for _, ids, run in at_work:
            run.wait_appends(2 * len(ids), WAIT_S)
        began = time.time()
        with running("vacuum", "-s", url, "--yes", "-o", "json", *arguments) as process:
            out, err = process.communicate(timeout=600)
        ended = time.time()
        for _, _, run in at_work:
            run.wait_appends(5, WAIT_S)
    appends = [append for _, _, run in at_work for append in run.appends]
    wrong = []
    for writer, ids, run in at_work:
        there = writer.read(url, ids, **how)
        wrong += [each for each in ids if there[each] != run.acknowledged.get(each, [])]
    return Beside(
        status=process.returncode,
        report=json.loads(out) if out.strip() else {},
        said=err.decode(),
        seconds=ended - began,
        amid=[append for append in appends if append.at + append.latency > began and append.at < ended],
        errors=[error for _, _, run in at_work for error in run.errors],
        wrong=wrong,
    )


def _ids(number: int, runs: int) -> Iterator[list[str]]:
    for run in range(runs):
        yield [f"live-{number}-{run}-{each}" for each in range(OF_EACH)]
