from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from histories import any_history, call, instruction, output, said, thought, user
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionctl.core.history import verdict
from sessionctl.core.model import Item
from sessionctl.core.payload import Payload, read_item
from sessionctl.core.summary import Summary
from sessionctl.core.trimming import Drop, DropObstacle, Obstacle, Trim, TrimLimits, Trimmer, drop_after, opening_of
from sessionctl.core.trimming import trim as trim_items

NOW = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)
COMPACTION = {"type": "compaction", "id": "cmp", "encrypted_content": "x"}
Read = tuple[Item, Payload]


def tokens_of(payload: Payload) -> int:
    return len(json.dumps(payload.data)) // 4


def read(items: list[dict[str, Any]], *, timed: bool = True) -> list[Read]:
    """Each item a day younger than the one before it, the newest a day old."""
    stored = [
        Item(key=100 + at, text=json.dumps(item), created_at=NOW - DAY * (len(items) - at) if timed else None)
        for at, item in enumerate(items)
    ]
    return [(item, read_item(item.text)) for item in stored]


def turns(count: int) -> list[dict[str, Any]]:
    return [one for number in range(count) for one in (user(f"{number}"), said())]


def left(items: list[dict[str, Any]], **limits: Any) -> tuple[list[int], Obstacle | None]:
    """The positions that stay, and why no more went."""
    trim = trim_items(read(items), TrimLimits(**limits), NOW, tokens_of)
    gone = set(trim.removed(range(len(items))))
    return [at for at in range(len(items)) if at not in gone], trim.obstacle


def test_limits() -> None:
    ten = turns(10)
    assert left(ten, keep_turns=3) == (list(range(14, 20)), None)
    assert left(ten, keep_turns=10) == (list(range(20)), None)
    assert left(ten, max_items=7) == (list(range(14, 20)), None)
    assert left(ten, items_older_than=5 * DAY) == (list(range(16, 20)), None)
    sizes = [len(json.dumps(item)) for item in ten]
    assert left(ten, max_bytes=sum(sizes[12:])) == (list(range(12, 20)), None)
    assert left(ten, max_bytes=sum(sizes[12:]) - 1) == (list(range(14, 20)), None)
    assert left(ten, max_tokens=sum(size // 4 for size in sizes[10:])) == (list(range(10, 20)), None)


def test_the_tightest_limit_counts() -> None:
    assert left(turns(10), keep_turns=5, max_items=6, items_older_than=30 * DAY) == (list(range(14, 20)), None)
    assert left(turns(10), keep_turns=3, max_items=19) == (list(range(14, 20)), None)


def test_a_turn_with_a_younger_item_stays() -> None:
    assert left(turns(10), items_older_than=timedelta(days=6, hours=1)) == (list(range(14, 20)), None)


def test_items_without_times_are_not_taken_for_old() -> None:
    trim = trim_items(read(turns(5), timed=False), TrimLimits(items_older_than=DAY), NOW, tokens_of)
    assert trim.removed(range(10)) == []
    assert trim.obstacle is Obstacle.UNTIMED


def test_the_newest_turns_stay() -> None:
    assert left(turns(10), max_items=1) == (list(range(16, 20)), Obstacle.NEWEST_TURNS)
    assert left(turns(10), keep_turns=1, min_turns=4) == (list(range(12, 20)), Obstacle.NEWEST_TURNS)
    assert left(turns(10), items_older_than=timedelta(hours=1)) == (list(range(16, 20)), Obstacle.NEWEST_TURNS)
    assert left(turns(2), max_items=1) == (list(range(4)), Obstacle.NEWEST_TURNS)
    assert left(turns(1), max_items=1) == (list(range(2)), Obstacle.NEWEST_TURNS)
    assert left(turns(3), max_items=1, min_turns=1) == ([4, 5], Obstacle.NEWEST_TURNS)


def test_instructions_at_the_beginning_stay_and_count() -> None:
    items = [instruction(), instruction("developer"), *turns(5)]
    assert left(items, keep_turns=2) == ([0, 1, 8, 9, 10, 11], None)
    assert left(items, max_items=6) == ([0, 1, 8, 9, 10, 11], None)
    assert left(items, max_items=12) == (list(range(12)), None)
    assert left(items, max_items=11) == ([0, 1, *range(4, 12)], None)


def test_a_compaction_stays_in_its_place_and_counts() -> None:
    items = [user(), COMPACTION, *turns(5)]
    assert left(items, keep_turns=2) == ([1, 8, 9, 10, 11], None)
    assert left(items, max_items=5) == ([1, 8, 9, 10, 11], None)
    assert left([*items, COMPACTION, *turns(2)], keep_turns=2) == ([12, 13, 14, 15, 16], None)


def test_a_compaction_stays_with_what_the_model_said_before_it() -> None:
    items = [*turns(2), user(), thought("r"), COMPACTION, said(), *turns(2)]
    assert left(items, keep_turns=2) == (list(range(4, 12)), Obstacle.BELONGS_TOGETHER)
    assert left(items, max_items=8) == (list(range(4, 12)), None)
    assert dropped(items, 109) == Drop(items=2, turns=1)


def test_where_the_place_would_split_a_pair() -> None:
    pair = [user(), call("function_call", "c"), user(), output("function_call", "c"), said()]
    items = [*turns(2), *pair, *turns(2)]
    assert left(items, keep_turns=3) == (list(range(4, 13)), Obstacle.BELONGS_TOGETHER)  # never fewer turns than asked
    assert left(items, max_items=8) == (list(range(9, 13)), None)  # never more items than asked
    assert left([*pair, *turns(1)], max_items=3) == (list(range(7)), Obstacle.BELONGS_TOGETHER)


def test_encrypted_sessions_stay() -> None:
    items = [{"__enc__": 1, "v": 1, "kid": "k", "payload": "x"}] * 9
    assert left(items, max_items=3) == (list(range(9)), Obstacle.ENCRYPTED)


@pytest.mark.parametrize("limits", [{}, {"min_turns": 3}, {"keep_turns": 3, "min_turns": 0}])
def test_limits_that_make_no_sense(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"."):
        TrimLimits(**limits)


LIMITS = st.builds(
    TrimLimits,
    keep_turns=st.none() | st.integers(0, 8),
    max_items=st.none() | st.integers(0, 30),
    max_tokens=st.none() | st.integers(0, 400),
    max_bytes=st.integers(0, 2000),
    items_older_than=st.none() | st.integers(0, 30).map(lambda days: timedelta(days=days)),
    min_turns=st.integers(1, 3),
)


@settings(max_examples=300)
@given(any_history(), LIMITS)
def test_what_stays_is_as_sound_as_before(items: list[dict[str, Any]], limits: TrimLimits) -> None:
    stored = read(items)
    trim = trim_items(stored, limits, NOW, tokens_of)
    gone = set(trim.removed(range(len(items))))
    stay = [at for at in range(len(items)) if at not in gone]
    before = {(defect.kind, defect.position) for defect in verdict(payload for _, payload in stored).defects}
    after = verdict(stored[at][1] for at in stay).defects
    assert {(defect.kind, stay[defect.position]) for defect in after} <= before
    assert list(range(len(items) - trim.tail, len(items))) == stay[len(stay) - trim.tail :]
    if trim.obstacle is None and gone:
        assert limits.max_items is None or len(stay) <= limits.max_items
        assert limits.max_bytes is None or sum(stored[at][0].size for at in stay) <= limits.max_bytes
        assert limits.keep_turns is None or trim.turns <= max(1, limits.keep_turns)


@settings(max_examples=300)
@given(any_history(), LIMITS)
def test_reading_no_further_than_it_takes_decides_the_same(items: list[dict[str, Any]], limits: TrimLimits) -> None:
    items = [item for item in items if item["type" if "type" in item else "role"] != "compaction"]
    stored = read(items)
    trimmer = Trimmer(limits, NOW, tokens_of, opening_of(stored))
    for item, payload in reversed(stored):
        trimmer.see(item, payload)
        if trimmer.is_settled:
            break
    else:
        trimmer.end()
    assert removed(trimmer.decide(), stored) == removed(trim_items(stored, limits, NOW, tokens_of), stored)


def removed(trim: Trim, stored: list[Read]) -> tuple[list[Read], Obstacle | None]:
    return trim.removed(stored), trim.obstacle


def test_no_more_is_read_than_it_takes() -> None:
    stored = read(turns(500))
    trimmer, unread = Trimmer(TrimLimits(max_items=20), NOW, tokens_of, []), list(stored)
    while not trimmer.is_settled:
        trimmer.see(*unread.pop())
    assert len(unread) == 1000 - 21
    assert len(trimmer.decide().removed(stored)) == 980


# -- the newest turns -----------------------------------------------------------------------------------


def dropped(items: list[dict[str, Any]], after: Any, **options: bool) -> Drop:
    return drop_after(read(items), after, **options)


def test_turns_that_begin_later_go() -> None:
    assert dropped(turns(5), NOW - 4 * DAY) == Drop(items=4, turns=2)
    assert dropped(turns(5), NOW - 5 * DAY) == Drop(items=4, turns=2)
    assert dropped(turns(5), NOW) == Drop()
    assert dropped(turns(5), NOW - 99 * DAY) == Drop(obstacle=DropObstacle.NOTHING_LEFT)
    assert drop_after(read(turns(5), timed=False), NOW) == Drop(obstacle=DropObstacle.UNTIMED)


def test_turns_behind_an_item_go() -> None:
    assert dropped(turns(5), 104) == Drop(items=4, turns=2)
    assert dropped(turns(5), "105") == Drop(items=4, turns=2)
    assert dropped([*turns(3), said("msg_1"), *turns(1)], "msg_1") == Drop(items=2, turns=1)
    assert dropped(turns(5), 109) == Drop()
    assert dropped(turns(5), 7) == Drop(obstacle=DropObstacle.NOT_THERE)


def test_what_waits_for_an_answer_goes_only_when_asked() -> None:
    items = [*turns(3), user(), call("function_call", "c")]
    assert dropped(items, 105) == Drop(obstacle=DropObstacle.PENDING)
    assert dropped(items, 105, include_pending=True) == Drop(items=2, turns=1)
    assert dropped([*items, output("function_call", "c")], 105) == Drop(items=3, turns=1)


def test_no_pair_is_split_by_a_drop() -> None:
    items = [*turns(2), user(), call("function_call", "c"), user(), output("function_call", "c"), said()]
    assert dropped(items, 105) == Drop(obstacle=DropObstacle.BELONGS_TOGETHER)
    assert dropped(items, 103) == Drop(items=5, turns=2)


def test_a_call_that_only_a_reused_id_answers() -> None:
    both = [thought("r"), call("function_call", "c", "fc_1"), call("function_call", "d", "fc_2")]
    again = [user(), call("function_call", "c"), output("function_call", "c")]
    assert dropped([user(), *both, output("function_call", "d"), *again], 104) == Drop(
        obstacle=DropObstacle.BELONGS_TOGETHER
    )


@settings(max_examples=200)
@given(any_history(), st.integers(0, 20))
def test_what_stays_behind_a_drop_is_as_sound_as_before(items: list[dict[str, Any]], at: int) -> None:
    stored = read(items)
    drop = drop_after(stored, 100 + at, include_pending=True)
    gone = drop.removed(stored)
    before = {(defect.kind, defect.position) for defect in verdict(payload for _, payload in stored).defects}
    after = verdict(payload for _, payload in stored[: len(stored) - len(gone)]).defects
    assert {(defect.kind, defect.position) for defect in after} <= before
    assert all(item.key > 100 + at for item, _ in gone if isinstance(item.key, int))


def test_a_summary_at_the_head_stays_like_an_instruction() -> None:
    at = NOW - 90 * DAY
    summary = Summary(text="Long ago.", turns=3, items=6, since=None, until=None, by="m", at=at).item
    rules = instruction("developer")
    assert left([summary, *turns(5)], keep_turns=2) == ([0, *range(7, 11)], None)
    assert left([rules, summary, *turns(5)], items_older_than=5 * DAY) == ([0, 1, *range(8, 12)], None)
    assert left([rules, COMPACTION, summary, *turns(5)], keep_turns=2) == ([0, 1, 2, *range(9, 13)], None)
    # What comes behind it belongs to the turns, and one that is not at the head is like any message.
    assert left([summary, rules, *turns(5)], keep_turns=2) == ([0, *range(8, 12)], None)
    assert left([*turns(2), summary, *turns(3)], keep_turns=2) == (list(range(7, 11)), None)
    # It counts, as all that stays.
    sizes = [len(json.dumps(item)) for item in [summary, *turns(5)]]
    assert left([summary, *turns(5)], max_bytes=sizes[0] + sum(sizes[5:])) == ([0, *range(5, 11)], None)
    assert left([summary, *turns(5)], max_bytes=sizes[0] + sum(sizes[5:]) - 1) == ([0, *range(7, 11)], None)


def test_room_is_left_for_what_will_stand_for_the_rest() -> None:
    ten = read(turns(10))
    for reserve, stays in ((0, 8), (1, 6), (2, 6), (3, 4), (20, 4)):
        trim = trim_items(ten, TrimLimits(max_items=8), NOW, tokens_of, reserve=(reserve, 0, 0))
        assert 20 - len(trim.removed(ten)) == stays
    within = trim_items(ten, TrimLimits(max_items=20), NOW, tokens_of, reserve=(3, 0, 0))
    assert within.removed(ten) == []  # where nothing has to go, nothing needs room
