from __future__ import annotations

import json
from typing import Any

from histories import any_history, call, instruction, output, said, sound, thought, user
from hypothesis import given, settings

from sessionctl.core.cutting import safe_cuts
from sessionctl.core.history import verdict
from sessionctl.core.payload import read_item


def cuts(*items: dict[str, Any]) -> list[int]:
    return safe_cuts([read_item(json.dumps(item)) for item in items])


def defects(items: list[dict[str, Any]], first: int = 0) -> set[tuple[str, int]]:
    """By class and position, of the items from ``first`` on."""
    found = verdict(read_item(json.dumps(item)) for item in items[first:]).defects
    return {(defect.kind, defect.position + first) for defect in found}


def test_a_cut_stands_before_each_turn_but_the_first() -> None:
    assert cuts() == []
    assert cuts(user(), said()) == []
    assert cuts(user(), said(), user(), said(), user(typed=True)) == [2, 4]
    assert cuts(said(), user(), said()) == [1]


def test_user_messages_in_a_row_are_one_turn() -> None:
    assert cuts(user(), user(), user(), said(), user()) == [4]


def test_instructions_stay_with_the_turn_behind_them() -> None:
    assert cuts(instruction(), user(), said(), instruction("developer"), user(), said()) == [3]
    assert cuts(user(), instruction(), user(), said()) == [1]
    assert cuts(user(), instruction(), said(), user()) == [3]


def test_no_pair_is_split() -> None:
    question, answer = call("function_call", "c"), output("function_call", "c")
    assert cuts(user(), question, user(), answer, said(), user()) == [5]
    assert cuts(user(), question, answer, user(), said()) == [3]
    assert cuts(user(), answer, user(), question, user()) == [4]


def test_a_reused_id_ties_the_nearest() -> None:
    question, answer = call("function_call", "c"), output("function_call", "c")
    assert cuts(user(), question, answer, user(), question, answer, user()) == [3, 6]
    assert cuts(user(), question, answer, user(), answer, user()) == [5]
    # The second call is answered by the output before it, as the SDK sees it: alone it would be an orphan.
    assert cuts(user(), question, answer, user(), question, user()) == [5]


def test_what_a_program_issued_stays_with_it() -> None:
    items = [call("program", "p"), call("function_call", "c", program="p"), output("function_call", "c", "p")]
    assert cuts(user(), *items, user(), output("program", "p"), user()) == [6]
    assert cuts(user(), items[0], user(), *items[1:], said(), user()) == [6]


def test_an_approval_stays_with_what_it_allowed() -> None:
    used = {"type": "mcp_call", "id": "m", "approval_request_id": "a", "name": "f", "arguments": "", "server_label": ""}
    asked, granted = call("mcp_approval_request", "a"), output("mcp_approval_request", "a")
    assert cuts(user(), asked, user(), granted, used, said(), user()) == [6]
    assert cuts(user(), asked, granted, user(), used, said(), user()) == [6]


def test_what_waits_in_the_last_turn_under_a_reused_id() -> None:
    """The SDK takes the older output for its answer: without that it drops the call, and the reasoning of the other."""
    question, answer = call("function_call", "c"), output("function_call", "c")
    both = [thought("r"), call("function_call", "c", "fc_1"), call("function_call", "d", "fc_2")]
    last = [user(), *both, output("function_call", "d")]
    assert cuts(user(), question, answer, user(), question, answer, *last) == [3]
    assert cuts(user(), said(), user(), said(), *last) == [2, 4]


def test_an_orphan_is_no_reason_to_stop() -> None:
    assert cuts(user(), said(), user(), output("function_call", "c"), said(), user()) == [2, 5]


def test_a_defect_that_only_a_repetition_hides() -> None:
    hidden = [user(), thought("r"), said(), user(), thought("r"), user(), said(), user()]
    assert ("reasoning_without_item", 4) not in defects(hidden)
    assert ("reasoning_without_item", 4) in defects(hidden, 3)
    assert cuts(*hidden) == [5, 7]


@settings(max_examples=300)
@given(any_history())
def test_what_stays_has_no_defect_that_was_not_there_before(items: list[dict[str, Any]]) -> None:
    before = defects(items)
    for position in cuts(*items):
        assert defects(items, position) <= before


@given(sound().filter(lambda items: all(item.get("type") != "compaction" for item in items)))
def test_sound_histories_have_no_defects_and_are_cut_before_every_turn(items: list[dict[str, Any]]) -> None:
    assert defects(items) == set()
    starts = [
        at for at, item in enumerate(items) if item.get("role") == "user" and at and items[at - 1].get("role") != "user"
    ]
    assert len(cuts(*items)) in (len(starts), len(starts) - 1)  # the first turn may begin behind instructions
