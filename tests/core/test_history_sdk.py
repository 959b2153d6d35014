"""The verdict against the SDK itself: does a run fail that continues a stored history?"""

from __future__ import annotations

import json
from typing import Any

import pytest
from acceptance.strict_model import refusal
from histories import any_history, call, output, said, thought, user
from hypothesis import given, settings

from sessionctl.core.history import FATAL, HARMLESS, verdict
from sessionctl.core.payload import read_item

ONE, ANOTHER = call("function_call", "a", "fc_1"), call("function_call", "b", "fc_2")
HISTORIES: dict[str, list[Any]] = {
    "sound": [user(), thought("r"), ONE, output("function_call", "a"), said()],
    "parallel": [user(), ONE, ANOTHER, output("function_call", "b"), output("function_call", "a"), said()],
    "orphan_output": [user(), output("function_call", "a"), said()],
    "output_before_call": [user(), output("function_call", "a"), ONE, said()],
    "reasoning_without_item": [user(), thought("r"), user(), said()],
    "item_without_reasoning": [user(), thought("r"), ONE, ANOTHER, output("function_call", "b"), user(), said()],
    "item_without_program": [user(), call("function_call", "a", None, "p"), output("function_call", "a", "p"), said()],
    "approval_without_response": [user(), call("mcp_approval_request", "m"), user(), said()],
    "response_without_approval": [user(), output("mcp_approval_request", "m"), said()],
    "repeated_id": [user(), said("m"), user(), said("m")],
    "not_an_object": [user(), [1], said()],
    "orphan_call": [user(), thought("r"), ONE, user(), said()],
    "reused_call_id": [user(), ONE, output("function_call", "a"), user(), ONE, output("function_call", "a"), said()],
    "repeated_item": [user(), thought("r"), said(), user(), thought("r"), said()],
}


def verdict_on_the_next_turn(history: list[Any]) -> tuple[bool | None, set[str]]:
    found = verdict(read_item(json.dumps(item)) for item in [*history, user("next")])
    return found.acceptable, {defect.kind for defect in found.defects}


@pytest.mark.parametrize("name", HISTORIES)
def test_each_class_of_defects(name: str) -> None:
    history = HISTORIES[name]
    expected = {name} & {*FATAL, *HARMLESS} | ({"orphan_call"} if name == "item_without_reasoning" else set())
    assert verdict_on_the_next_turn(history) == (name not in FATAL, expected)
    assert (refusal(history, history) is None) == (name not in FATAL)


def test_all_classes_were_tried() -> None:
    by_text = {"unreadable", "not_loadable"}  # rows that are no item: see test_history
    assert {*FATAL, *HARMLESS} - by_text <= HISTORIES.keys()


@settings(max_examples=150)
@given(any_history())
def test_a_run_fails_where_the_verdict_says_so(history: list[Any]) -> None:
    acceptable, _ = verdict_on_the_next_turn(history)
    assert acceptable == (refusal(history, history) is None)
