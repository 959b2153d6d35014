"""Repairs: the wanted defects go, no other comes, what is sound is not touched, and nothing is invented."""

from __future__ import annotations

import json
from typing import Any

import pytest
from acceptance.strict_model import refusal
from hypothesis import example, given
from hypothesis import strategies as st

from sessionctl.core.history import FATAL, verdict
from sessionctl.core.model import Item
from sessionctl.core.payload import read_item
from sessionctl.core.repairing import MENDABLE, repair

USER = {"role": "user", "content": "hi"}
SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}
THOUGHT = {"type": "reasoning", "id": "rs", "summary": []}
ASKED = {"type": "mcp_approval_request", "id": "ap", "name": "f", "server_label": "s", "arguments": "{}"}
ANSWERED = {"type": "mcp_approval_response", "approval_request_id": "ap", "approve": True}
CALLER = {"caller": {"type": "program", "caller_id": "p"}}


def call(call_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}", **more}


def output(call_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": "ok", **more}


def mended(history: list[Any], *kinds: str) -> list[Any]:
    """What is left."""
    texts = [json.dumps(item) if not isinstance(item, str) else item for item in history]
    gone = repair([(Item(key=n, text=text), read_item(text)) for n, text in enumerate(texts)], kinds or MENDABLE)
    assert gone is not None
    return [item for position, item in enumerate(history) if position not in gone]


CASES: list[tuple[str, list[Any], list[Any]]] = [
    ("orphan_output", [output("a"), USER, SAID], [USER, SAID]),
    ("orphan_call", [USER, THOUGHT, call("a"), USER, SAID], [USER, USER, SAID]),
    ("orphan_call", [USER, call("a"), call("b"), output("a"), USER, SAID], [USER, call("a"), output("a"), USER, SAID]),
    ("output_before_call", [USER, output("a"), THOUGHT, call("a"), USER, SAID], [USER, USER, SAID]),
    ("reasoning_without_item", [USER, THOUGHT, USER, SAID], [USER, USER, SAID]),
    ("approval_without_response", [USER, THOUGHT, ASKED, USER, SAID], [USER, USER, SAID]),
    ("response_without_approval", [USER, ANSWERED, USER, SAID], [USER, USER, SAID]),
    ("item_without_program", [USER, call("a", **CALLER), output("a", **CALLER), SAID], [USER, SAID]),
    ("unreadable", [USER, "{broken", SAID], [USER, SAID]),
    ("not_an_object", [USER, "[1]", SAID], [USER, SAID]),
]


@pytest.mark.parametrize(("kind", "history", "left"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_the_orphan_half_goes_with_what_it_leaves_behind(kind: str, history: list[Any], left: list[Any]) -> None:
    assert mended(history, kind) == left
    assert mended(left) == left


def test_only_what_was_asked_for_is_mended() -> None:
    history = [output("x"), USER, THOUGHT, USER, SAID]
    assert mended(history, "orphan_output") == history[1:]
    assert mended(history, "orphan_call") == history


def test_a_call_that_waits_is_not_touched() -> None:
    for history in ([USER, SAID, USER, THOUGHT, call("a")], [USER, THOUGHT, ASKED]):
        assert mended(history) == history


def test_encrypted_items_tell_nothing_and_lose_nothing() -> None:
    history = [{"__enc__": 1, "v": 1, "kid": "k", "payload": "x"}, output("a"), USER]
    assert mended(history) == history


_ITEMS = st.sampled_from(
    [USER, SAID, THOUGHT, ASKED, ANSWERED, "[1]", "{x", SAID | {"id": "msg_1"}, THOUGHT | {"id": "rs_2"},
     *(make(name, **more) for name in "ab" for make in (call, output) for more in ({}, CALLER)),
     *(call(name, id=f"fc_{name}") for name in "ab"), {"type": "program", "id": "p", "call_id": "p"},
     {"type": "program_output", "call_id": "p"}, {"type": "tool_search_call"}, {"type": "tool_search_output"}]
)  # fmt: skip


@given(history=st.lists(_ITEMS, max_size=12), kinds=st.sets(st.sampled_from(MENDABLE)))
def test_what_is_mended_has_no_new_defect(history: list[Any], kinds: set[str]) -> None:
    def found(items: list[Any]) -> set[str]:
        texts = (json.dumps(item) if not isinstance(item, str) else item for item in items)
        return {defect.kind for defect in verdict(map(read_item, texts)).defects}

    left = mended(history, *kinds)
    assert len(left) <= len(history)
    assert found(left) <= found(history)
    if kinds and left != history:
        assert not found(left) & kinds
    if set(kinds) == set(MENDABLE):
        assert not found(left)


@given(history=st.lists(_ITEMS.filter(lambda item: not isinstance(item, str)), max_size=10))
@example(history=[call("a", **CALLER), THOUGHT | {"id": "rs_2"}, call("b"), ASKED, output("a")])
def test_everything_can_be_mended(history: list[Any]) -> None:
    left = mended(history)
    texts = (json.dumps(item) for item in left)
    assert not [defect for defect in verdict(map(read_item, texts)).defects if defect.kind in FATAL]


@pytest.mark.parametrize(("kind", "history", "left"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_the_api_takes_what_was_mended(kind: str, history: list[Any], left: list[Any]) -> None:
    assert refusal(left) is None
    if kind in FATAL and kind != "not_an_object":
        assert refusal(history) is not None
