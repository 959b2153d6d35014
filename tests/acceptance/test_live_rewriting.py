"""Hundreds of appends of the SDK race as many trims of the same session: every item is somewhere, once, in order."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from acceptance.test_archived_purge import MAKERS
from sdk_cases import CaseMaker, SdkCase, made

from sessionctl.core.model import Guard, Outcome, Rewrite
from sessionctl.core.spans import spans
from sessionctl.errors import StoreBusy
from sessionctl.stores.base import Store
from sessionctl.testing.case import user
from sessionctl.testing.looking import existing

TIMES = 200
ROUNDS = 10
"""How often as many appends follow each other at most, until enough of them met a trim: in memory both are short."""
KEPT = 4


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.name)
def case(request: pytest.FixtureRequest) -> Iterator[SdkCase]:
    maker: CaseMaker = request.param
    with made(maker, request) as made_case:
        yield made_case


Spans = list[tuple[float, float]]
"""When each of several things began and ended."""


def append_all(case: SdkCase, numbers: range) -> Spans:
    spans: Spans = []
    with case.live("mine") as append:
        for number in numbers:
            began = time.monotonic()
            append([user(f"question {number}"), user(f"more of {number}")])
            spans.append((began, time.monotonic()))
    return spans


def trim(store: Store) -> tuple[Outcome, list[str]]:
    """The head goes, up to the newest few; what of it went."""
    items = list(store.items("mine"))
    head = items[:-KEPT]
    keys = {item.key for item in head if isinstance(item.key, int)}
    remove = spans([item.key for item in items if isinstance(item.key, int)], keys)
    try:
        [outcome] = store.apply([Rewrite(session_id="mine", remove=remove)], Guard())
    except StoreBusy:
        return Outcome.ACTIVE, []
    return outcome, [item.text for item in head] if outcome is Outcome.DONE else []


def test_appends_racing_trims(case: SdkCase) -> None:
    case.write("mine", [user("question 0"), user("more of 0")])
    case.write("other", [user("neighbour")])
    outcomes, gone, trims, appends, met = [], [], Spans(), Spans(), 0
    with case.open() as store, ThreadPoolExecutor(1) as application:
        begun = existing(store, "mine").created_at
        while met <= TIMES / 10 and len(appends) < TIMES * ROUNDS:
            last = len(appends)
            appending = application.submit(append_all, case, range(last + 1, last + TIMES + 1))
            while len(outcomes) < last + TIMES or not appending.done():
                began = time.monotonic()
                outcome, texts = trim(store)
                outcomes.append(outcome)
                gone += texts
                trims += [(began, time.monotonic())] if texts else []
            appends += appending.result()
            met = sum(any(a < end and begin < b for begin, end in trims) for a, b in appends)
        assert existing(store, "mine").created_at == begun
    assert set(outcomes) <= {Outcome.DONE, Outcome.ACTIVE}, "an append made a trim of the head fail"
    assert len(gone) > KEPT
    count = len(appends)
    assert met > TIMES / 10, f"of {count} appends {met} were under way together with a trim that took something"
    said = [json.loads(text)["content"] for text in [*gone, *case.texts("mine")]]
    assert said == [f"{word} {number}" for number in range(count + 1) for word in ("question", "more of")]
    assert case.read("mine")[-1] == user(f"more of {count}")
    assert case.read("other") == [user("neighbour")]
