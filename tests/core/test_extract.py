"""What a model is told of the part of a session that goes, and where its answer is put."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import histories
from hypothesis import given
from hypothesis import strategies as st

from sessionctl.core.extract import Extract, chapters, in_place
from sessionctl.core.model import Item, Rewrite
from sessionctl.core.plan import Step
from sessionctl.core.spans import spans
from sessionctl.core.summary import Summary
from sessionctl.core.tokens import estimate_words
from sessionctl.testing.case import turn, user

AT = datetime(2026, 11, 30, tzinfo=UTC)
ANSWER = {"role": "assistant", "content": "So it was."}


def extract_of(items: Sequence[Any], *, first: int = 1, compact: bool = False) -> Extract:
    how = (",", ":") if compact else None
    return Extract(
        session_id="s",
        items=[
            Item(key=first + at, text=json.dumps(item, separators=how), created_at=AT + timedelta(minutes=at))
            for at, item in enumerate(items)
        ],
    )


def step_of(extract: Extract, keys: Sequence[int], size: int = 0) -> Step:
    mine = [item.key for item in extract.items if isinstance(item.key, int)]
    rewrite = Rewrite(session_id="s", remove=spans([*keys, *mine], set(mine)))
    return Step(session_id="s", version="1", items=len(mine), bytes=size or extract.size, rewrite=rewrite)


class TestTold:
    def test_a_conversation(self) -> None:
        (told,) = chapters(
            extract_of([*turn(1), {"type": "reasoning", "id": "rs_1", "summary": []}, user("well?")]), 1000
        )
        lines = told.strip().splitlines()
        assert lines[0] == "[turn 1, 2026-11-30 00:00Z]"
        assert lines[1].startswith("user: ")
        assert any(line.startswith("-> ") for line in lines)
        assert lines[-2:] == ["[turn 2, 2026-11-30 00:05Z]", "user: well?"]
        assert "reasoning" not in told

    def test_long_pieces_lose_their_middle(self) -> None:
        (told,) = chapters(extract_of([user("a" * 5000 + "b" * 95_000 + "c" * 3000)]), 100_000)
        assert len(told) < 7000
        assert "97,000 characters are left out here" in told
        assert told.endswith("c" * 2000)

    def test_images_are_told_about(self) -> None:
        picture = {"type": "input_image", "image_url": "data:image/png;base64," + "iVBORw0KGgo" * 200}
        (told,) = chapters(extract_of([{"role": "user", "content": [picture]}]), 1000)
        assert "iVBOR" not in told
        assert "image/png" in told

    def test_summaries_are_told_apart(self) -> None:
        since = AT - timedelta(days=9)
        before = Summary(text="Long ago.", turns=7, items=30, since=since, until=AT, by="m", at=AT)
        extract = extract_of([before.item, *turn(1), *turn(2)])
        (told,) = chapters(extract, 10_000)
        assert "Long ago" not in told
        assert [summary.text for summary in extract.summaries] == ["Long ago."]
        whole = extract.summary("Then and now.", "n", AT)
        assert (whole.turns, whole.items, whole.since) == (9, 38, since)
        assert whole.until == AT + timedelta(minutes=8)

    def test_rows_that_the_agent_does_not_see_are_not_told(self) -> None:
        unseen = Item(key=9, text=json.dumps(user("secret")), hidden="it is of no branch")
        extract = Extract(session_id="s", items=[*extract_of(turn(1)).items, unseen, Item(key=10, text="{broken")])
        assert "secret" not in "".join(chapters(extract, 1000))
        assert extract.summary("x", "m", AT).items == 4

    @given(numbers=st.integers(1, 30), most=st.integers(20, 400))
    def test_chapters_hold_all_of_it(self, numbers: int, most: int) -> None:
        extract = extract_of([item for number in range(numbers) for item in turn(number)])
        told = list(chapters(extract, most))
        assert "\n".join(told) == "\n".join(chapters(extract, 10**9))
        for before, after in pairwise(told):
            assert estimate_words(before + after) > most * 0.9


class TestPlace:
    def test_the_newest_row_takes_it(self) -> None:
        extract = extract_of([*turn(1), *turn(2)], first=10)
        made = in_place(step_of(extract, [1, 2, 30]), extract, [ANSWER])
        assert isinstance(made, Step)
        assert made.rewrite is not None
        assert made.rewrite.remove == ((10, 16, 7),)
        assert made.rewrite.replace == ((17, json.dumps(ANSWER)),)
        assert made.rewrite.unbranched
        assert (made.items, made.bytes, made.condensed, made.elided) == (
            8, extract.size - len(json.dumps(ANSWER)), 1, 0,
        )  # fmt: skip

    def test_in_the_manner_of_the_store(self) -> None:
        extract = extract_of(turn(1), compact=True)
        made = in_place(step_of(extract, []), extract, [ANSWER])
        assert isinstance(made, Step)
        assert made.rewrite is not None
        assert made.rewrite.replace[0][1] == json.dumps(ANSWER, separators=(",", ":"))

    def test_what_stays_in_between_stays(self) -> None:
        extract = extract_of([*turn(1), *turn(2)])
        apart = Extract(session_id="s", items=[item for item in extract.items if item.key != 6])
        made = in_place(step_of(apart, [6, 9]), apart, [ANSWER, ANSWER, ANSWER])
        assert isinstance(made, Step)
        assert made.rewrite is not None
        assert made.rewrite.remove == ((1, 4, 4),)
        assert [key for key, _ in made.rewrite.replace] == [5, 7, 8]

    def test_more_than_went_is_not_taken(self) -> None:
        extract = extract_of(turn(1))
        assert "5 items came back in the place of 4" in str(in_place(step_of(extract, []), extract, [ANSWER] * 5))
        assert "0 items came back" in str(in_place(step_of(extract, []), extract, []))

    def test_what_is_no_shorter_is_not_taken(self) -> None:
        extract = extract_of([user("hi"), user("ho")])
        long: Mapping[str, Any] = {"role": "assistant", "content": "x" * extract.size}
        assert "no shorter" in str(in_place(step_of(extract, []), extract, [long]))

    @given(data=st.data())
    def test_all_that_went_is_removed_or_replaced(self, data: st.DataObject) -> None:
        history = data.draw(histories.sound(max_turns=12).filter(lambda found: len(found) > 2))
        going = sorted(data.draw(st.sets(st.integers(1, len(history)), min_size=2)))
        whole = extract_of(history)
        extract = Extract(session_id="s", items=[item for item in whole.items if item.key in going])
        step = step_of(extract, range(1, len(history) + 1))
        made = in_place(step, extract, [{"role": "assistant", "content": ""}])
        if isinstance(made, str):
            return
        assert made.rewrite is not None
        assert made.rewrite.rows == len(going)
        covered = [
            key for key in range(1, len(history) + 1) for span in made.rewrite.remove if span.first <= key <= span.last
        ]
        assert sorted([*covered, *(key for key, _ in made.rewrite.replace)]) == going
        assert [span.items for span in made.rewrite.remove] == [
            sum(span.first <= key <= span.last for key in covered) for span in made.rewrite.remove
        ]
