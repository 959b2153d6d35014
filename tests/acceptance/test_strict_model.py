"""The strict model itself: it takes what is sound and refuses each planted defect, in the API's words."""

from __future__ import annotations

from typing import Any

import pytest
from acceptance.strict_model import RefusedError, refusal, refuse
from histories import PAIRS, alone, call, instruction, output, said, thought, user

SOUND: dict[str, list[Any]] = {
    "nothing": [],
    "talk": [instruction(), user(), said("m1"), user(), thought("r"), said("m2")],
    "parallel": [user(), thought("r"), call("function_call", "a"), call("shell_call", "b"), output("shell_call", "b"),
                 output("function_call", "a"), said()],
    "hosted": [user(), thought("r"), *(alone(number, f"i{number}") for number in range(6)), said()],
    "program": [user(), call("program", "p"), call("function_call", "c", program="p"),
                output("function_call", "c", "p"), output("program", "p")],
    **{kind: [user(), call(kind, "c"), output(kind, "c"), said()] for kind in PAIRS},
    "searches": [user(), *[call("tool_search_call", None)] * 2, *[output("tool_search_call", None)] * 2],
}  # fmt: skip
FOLLOWS = "Item 'r' of type 'reasoning' was provided without its required following item."
PLANTED: list[tuple[list[Any], str]] = [
    ([user(), call("function_call", "c"), user()], "No tool output found for function call c."),
    ([output("function_call", "c"), user()], "No tool call found for function call output with call_id c."),
    ([output("apply_patch_call", "c")], "No tool call found for apply patch call output with call_id c."),
    ([user(), output("shell_call", "c"), call("shell_call", "c")],
     "No tool call found for shell call output with call_id c."),
    ([call("custom_tool_call", "c"), output("function_call", "c")], "No tool output found for custom tool call c."),
    ([user(), thought("r")], FOLLOWS),
    ([user(), thought("r"), thought("r2")], FOLLOWS),
    ([user(), thought("r"), user(), said()], FOLLOWS),
    ([call("function_call", "c"), thought("r"), output("function_call", "c")], FOLLOWS),
    ([thought("r"), instruction("developer"), said()], FOLLOWS),
    ([user(), call("mcp_approval_request", "a"), user()], "No approval response found for approval request a."),
    ([user(), output("mcp_approval_request", "a")], "No approval request found with id a."),
    ([output("mcp_approval_request", "a"), call("mcp_approval_request", "a")], "No approval request found with id a."),
    ([output("tool_search_call", None), call("tool_search_call", None)],
     "No tool call found for tool search call output."),
    ([call("tool_search_call", None)], "No tool output found for tool search call."),
    ([call("program", "p"), user()], "No tool output found for program p."),
    ([call("function_call", "c", program="p"), output("function_call", "c", "p")], "No program found with call_id p."),
    ([said("m"), user(), said("m")],
     "Duplicate item found with id m. Remove duplicate items from your input and try again."),
    ([user(), [1]], "Invalid type for 'input[1]': expected an object."),
]  # fmt: skip


@pytest.mark.parametrize("name", SOUND)
def test_what_is_sound_is_taken(name: str) -> None:
    refuse(SOUND[name], {})
    assert refusal(SOUND[name], SOUND[name]) is None


@pytest.mark.parametrize(("items", "message"), PLANTED)
def test_what_is_broken_is_refused(items: list[Any], message: str) -> None:
    with pytest.raises(RefusedError) as refused:
        refuse(items, {})
    assert str(refused.value) == message


def test_an_item_comes_with_the_reasoning_it_was_said_with() -> None:
    said_once = [user(), thought("r"), call("function_call", "a", "fc_a"), call("function_call", "b", "fc_b"),
                 output("function_call", "b")]  # fmt: skip
    # The SDK drops the call without output and the reasoning before it, and sends what was said with them.
    assert refusal(said_once) is None
    assert refusal(said_once, said_once) == (
        "Item 'fc_b' of type 'function_call' was provided without its required 'reasoning' item: 'r'."
    )


def test_the_runner_stands_before_it() -> None:
    """What the SDK mends gets there mended, what it leaves gets there as it is."""
    assert refusal([user(), thought("r"), call("function_call", "c"), user(), said()]) is None
    assert refusal([output("function_call", "c"), said()]) == PLANTED[1][1]
    assert refusal([user(), call("function_call", "c"), output("function_call", "c"), user(),
                    call("function_call", "c"), output("function_call", "c"), said()]) is None  # fmt: skip
