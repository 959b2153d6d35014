from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionctl.core.history import Judge, verdict
from sessionctl.core.payload import read_item
from sessionctl.core.sending import PAIRS

USER = {"role": "user", "content": "hi"}
SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}
THOUGHT = {"type": "reasoning", "id": "rs", "summary": []}


def call(call_id: str, kind: str = "function_call") -> dict[str, Any]:
    return {
        "type": kind,
        "id" if kind == "mcp_approval_request" else "call_id": call_id,
        "name": "f",
        "arguments": "{}",
    }


def output(call_id: str, kind: str = "function_call") -> dict[str, Any]:
    field = "approval_request_id" if kind == "mcp_approval_request" else "call_id"
    return {"type": PAIRS[kind], field: call_id, "output": "ok", "approve": True}


def judged(*items: Any) -> tuple[bool | None, list[tuple[str, int]]]:
    found = verdict(read_item(item if isinstance(item, str) else json.dumps(item)) for item in items)
    return found.acceptable, [(defect.kind, defect.position) for defect in found.defects]


def test_nothing_and_small_talk_are_accepted() -> None:
    assert judged() == (True, [])
    assert judged(USER, THOUGHT, SAID, USER, SAID) == (True, [])


@pytest.mark.parametrize("kind", PAIRS)
def test_pairs(kind: str) -> None:
    assert judged(USER, call("c", kind), output("c", kind), SAID, USER) == (True, [])
    early = judged(USER, output("c", kind), call("c", kind), SAID)
    assert early == (False, [("output_before_call", 1)])


def test_parallel_calls_are_accepted() -> None:
    assert judged(USER, THOUGHT, call("a"), call("b"), output("b"), output("a"), SAID) == (True, [])


def test_an_orphan_output_is_fatal() -> None:
    assert judged(output("c"), SAID) == (False, [("orphan_output", 0)])
    assert judged(USER, call("c", "shell_call"), output("c"), SAID)[0] is False


def test_an_orphan_call_is_dropped_by_the_sdk() -> None:
    assert judged(USER, call("c"), SAID, USER, SAID) == (True, [("orphan_call", 1)])


def test_a_pending_call_is_no_defect() -> None:
    assert judged(USER, THOUGHT, call("c")) == (True, [])
    assert judged(USER, call("c", "mcp_approval_request")) == (True, [])


def test_an_approval_left_behind_is_fatal() -> None:
    assert judged(USER, call("m", "mcp_approval_request"), USER) == (False, [("approval_without_response", 1)])
    assert judged(USER, output("m", "mcp_approval_request")) == (False, [("response_without_approval", 1)])


def test_reasoning_needs_what_it_belongs_to() -> None:
    assert judged(USER, THOUGHT) == (False, [("reasoning_without_item", 1)])
    assert judged(USER, THOUGHT, USER, SAID) == (False, [("reasoning_without_item", 1)])
    assert judged(USER, THOUGHT, {**THOUGHT, "id": "rs2"}, SAID) == (True, [])
    assert judged(USER, call("c"), THOUGHT, output("c"), SAID) == (False, [("reasoning_without_item", 2)])


def test_what_another_turn_says_is_not_bereft_of_a_dropped_calls_reasoning() -> None:
    named = SAID | {"id": "msg_1"}
    assert judged(USER, THOUGHT, call("a"), SAID, USER, named, USER) == (True, [("orphan_call", 2)])
    assert judged(USER, THOUGHT, call("a"), named, USER)[0] is False


def test_rows_that_are_no_items() -> None:
    assert judged(USER, "{broken", SAID) == (True, [("unreadable", 1)])
    assert judged(USER, "[1]", SAID) == (False, [("not_an_object", 1)])
    assert judged(USER, "[" * 100_000 + "]" * 100_000) == (False, [("not_loadable", 1)])


def test_what_the_sdk_skips_does_not_part_reasoning_from_its_item() -> None:
    assert judged(USER, THOUGHT, "{broken", SAID) == (True, [("unreadable", 2)])


def test_a_call_id_used_again_is_collapsed() -> None:
    assert judged(USER, call("c"), output("c"), USER, call("c"), output("c")) == (True, [("reused_call_id", 4)])


def test_anonymous_tool_searches_are_joined_in_order() -> None:
    ask, answer = {"type": "tool_search_call", "arguments": {}}, {"type": "tool_search_output", "tools": []}
    assert judged(USER, ask, ask, answer, answer, USER) == (True, [])
    assert judged(USER, ask, USER, SAID) == (True, [("orphan_call", 1)])
    assert judged(USER, answer, ask, USER) == (False, [("orphan_output", 1), ("orphan_call", 2)])


def test_encrypted_items_cannot_be_judged() -> None:
    assert judged({"__enc__": 1, "payload": "x"}, USER)[0] is None


ITEMS = st.sampled_from(
    [
        USER,
        SAID,
        THOUGHT,
        "{broken",
        *(call(c) for c in "abc"),
        *(output(c) for c in "abc"),
        call("m", "mcp_approval_request"),
    ]
)


@given(st.lists(ITEMS))
def test_appending_a_settled_turn_never_mends_nor_breaks_anything(items: list[Any]) -> None:
    """Except for what was pending or waiting for its follower, which the new turn settles one way or the other."""
    before, after = judged(*items, USER), judged(*items, USER, SAID, USER)
    assert before == after


def test_the_judge_forgets_items() -> None:
    """Its memory grows with calls, not with what was said."""
    judge = Judge()
    payload = read_item(json.dumps(SAID))
    for position in range(1000):
        judge.see(payload, position, position)
    assert len(judge._traces) == 1
    assert judge.verdict().acceptable
