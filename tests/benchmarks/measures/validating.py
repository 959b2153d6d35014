"""Validating: items parsed and judged, beside the standard library's JSON parser alone."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice

from benchmarks.figures import Figure, Target, seconds, side_by_side
from benchmarks.generator import Generated

from sessionctl.core.history import Judge
from sessionctl.core.payload import read_item

ITEMS = 100_000


def figures(generated: Generated, rounds: int) -> Iterator[Figure]:
    """Items a second on one core, session by session, from texts that are in memory."""
    sessions = defaultdict[str, list[str]](list)
    for row in islice(generated.items(), ITEMS):
        sessions[row.session_id].append(row.text)
    texts = [text for session in sessions.values() for text in session]

    def ours() -> None:
        for session in sessions.values():
            judge = Judge()
            for position, text in enumerate(session):
                judge.see(read_item(text), position, position)
            assert judge.verdict().acceptable

    def parser() -> None:
        for text in texts:
            json.loads(text)

    mine, theirs = side_by_side(rounds, lambda: len(texts) / seconds(ours), lambda: len(texts) / seconds(parser))
    yield Figure(
        measure="validate", engine="", name="parse and judge", unit="items/s", ours=mine, baseline=theirs,
        target=Target(ours=150_000, at_least=True), note="beside json.loads alone",
    )  # fmt: skip
