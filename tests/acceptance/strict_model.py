"""A model that refuses what the Responses API refuses, in its words, and the SDK's own runner before it.

It knows nothing of sessionctl: its rules are written from the API's reference and from refusals that users
reported (calls and outputs, reasoning and what follows it, ids given twice); where no refusal is known by its
words, for approvals and programs, they are put in the same form. Like the API it remembers what it once said: an
item comes with the reasoning it was said with, or is refused.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any

from agents import Agent, Model, ModelResponse, RunConfig, Runner, SQLiteSession, Usage
from openai.types.responses import ResponseOutputMessage, ResponseOutputText

_NAMES = {
    "function_call": "function call",
    "custom_tool_call": "custom tool call",
    "computer_call": "computer call",
    "local_shell_call": "local shell call",
    "shell_call": "shell call",
    "apply_patch_call": "apply patch call",
    "tool_search_call": "tool search call",
    "program": "program",
}
_ANSWERS = {
    **{kind: f"{kind}_output" for kind in _NAMES},
    "tool_search_call": "tool_search_output",
}
_ANSWERED = {answer: kind for kind, answer in _ANSWERS.items()}
_NO_ID = "__fake_id__"


class RefusedError(Exception):
    """The API's answer 400, with its message."""


class StrictModel(Model):
    """Answers any input that the API would take; ``remembered`` are items as it once said them."""

    def __init__(self, remembered: Iterable[Any] = ()) -> None:
        self.given: list[list[Any]] = []
        self._reasoning_of = dict(_said_together(remembered))

    async def get_response(self, *arguments: Any, **named: Any) -> ModelResponse:
        items = named["input"] if "input" in named else arguments[1]
        self.given.append(copy.deepcopy(items))
        refuse(items, self._reasoning_of)
        text = ResponseOutputText(type="output_text", text="Well.", annotations=[])
        answer = ResponseOutputMessage(
            id=f"msg_answer_{len(self.given)}", type="message", role="assistant", status="completed", content=[text]
        )
        return ModelResponse(output=[answer], usage=Usage(), response_id=None)

    def stream_response(self, *_arguments: Any, **_named: Any) -> AsyncIterator[Any]:
        raise NotImplementedError


def refusal(history: Sequence[Any], remembered: Iterable[Any] = ()) -> str | None:
    """Why the next turn of a session with these items fails: the message of the refusal; None if it does not."""
    return asyncio.run(_continue(history, StrictModel(remembered)))


async def _continue(history: Sequence[Any], model: StrictModel) -> str | None:
    session = SQLiteSession("s")
    try:
        await session.add_items([*history])
        await Runner.run(
            Agent(name="strict", model=model), "next", session=session, run_config=RunConfig(tracing_disabled=True)
        )
    except RefusedError as refused:
        return str(refused)
    finally:
        session.close()
    return None


def refuse(items: Sequence[Any], reasoning_of: dict[str, str]) -> None:
    """Raise RefusedError for the first rule that ``items`` break."""
    for rule in (_objects, _ids, _calls, _answers, _searches, _reasoning, _approvals, _programs):
        for message in rule(items):
            raise RefusedError(message)
    present = {item.get("id") for item in items if item.get("type") == "reasoning"}
    for item in items:
        needed = reasoning_of.get(item.get("id"))
        if needed is not None and needed not in present:
            raise RefusedError(
                f"Item '{item['id']}' of type '{item['type']}' was provided without its required 'reasoning' item: "
                f"'{needed}'."
            )


def _objects(items: Sequence[Any]) -> Iterator[str]:
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            yield f"Invalid type for 'input[{index}]': expected an object."


def _ids(items: Sequence[Any]) -> Iterator[str]:
    seen = set()
    for item in items:
        name = item.get("id")
        if (
            name in (None, _NO_ID)
            or item.get("type", "item_reference" if "role" not in item else "") == "item_reference"
        ):
            continue
        if name in seen:
            yield f"Duplicate item found with id {name}. Remove duplicate items from your input and try again."
        seen.add(name)


def _calls(items: Sequence[Any]) -> Iterator[str]:
    for item in items:
        kind, name = item.get("type"), item.get("call_id")
        if kind not in _NAMES or (kind == "tool_search_call" and name is None) or _is_running(item):
            continue
        if not any(other.get("type") == _ANSWERS[kind] and other.get("call_id") == name for other in items):
            yield f"No tool output found for {_NAMES[kind]} {name}."


def _is_running(item: Any) -> bool:
    """A shell hosted for a program: it may go on while the model does."""
    return item["type"] == "shell_call" and item.get("status") in (None, "in_progress") and _issuer(item) is not None


def _answers(items: Sequence[Any]) -> Iterator[str]:
    for index, item in enumerate(items):
        kind, name = _ANSWERED.get(item.get("type")), item.get("call_id")
        if kind is None or (kind == "tool_search_call" and name is None):
            continue
        if not any(other.get("type") == kind and other.get("call_id") == name for other in items[:index]):
            yield f"No tool call found for {_NAMES[kind]} output with call_id {name}."


def _searches(items: Sequence[Any]) -> Iterator[str]:
    """Searches without an id, in order."""
    waiting = 0
    for item in items:
        if item.get("call_id") is None and item.get("type") == "tool_search_call":
            waiting += 1
        elif item.get("call_id") is None and item.get("type") == "tool_search_output":
            waiting -= 1
            if waiting < 0:
                yield "No tool call found for tool search call output."
    if waiting > 0:
        yield "No tool output found for tool search call."


def _reasoning(items: Sequence[Any]) -> Iterator[str]:
    for index, item in enumerate(items):
        if item.get("type") != "reasoning":
            continue
        behind = [other for other in items[index + 1 :] if other.get("type") != "reasoning"]
        if not behind or not _is_of_model(behind[0]):
            yield f"Item '{item.get('id')}' of type 'reasoning' was provided without its required following item."


def _is_of_model(item: Any) -> bool:
    if item.get("role") is not None:
        return bool(item["role"] == "assistant")
    return item.get("type") not in {*_ANSWERED, "mcp_approval_response"}


def _approvals(items: Sequence[Any]) -> Iterator[str]:
    asked = [item["id"] for item in items if item.get("type") == "mcp_approval_request"]
    granted = [item["approval_request_id"] for item in items if item.get("type") == "mcp_approval_response"]
    for name in asked:
        if name not in granted:
            yield f"No approval response found for approval request {name}."
    seen = set()
    for item in items:
        if item.get("type") == "mcp_approval_request":
            seen.add(item["id"])
        elif item.get("type") == "mcp_approval_response" and item["approval_request_id"] not in seen:
            yield f"No approval request found with id {item['approval_request_id']}."


def _issuer(item: Any) -> str | None:
    caller = item.get("caller") or {}
    return caller.get("caller_id") if caller.get("type") == "program" else None


def _programs(items: Sequence[Any]) -> Iterator[str]:
    programs = {item["call_id"] for item in items if item.get("type") == "program"}
    for item in items:
        issuer = _issuer(item)
        if issuer is not None and issuer not in programs:
            yield f"No program found with call_id {issuer}."


def _said_together(items: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """The id of each item and of the reasoning with which the model said it; not of ids that are there twice."""
    seen = [item for item in items if isinstance(item, dict)]
    ids = [item.get("id") for item in seen]
    reasoning: str | None = None
    for item in seen:
        if item.get("type") == "reasoning":
            reasoning = item.get("id")
        elif not _is_of_model(item):
            reasoning = None
        elif reasoning is not None and item.get("id") not in (None, _NO_ID) and ids.count(item["id"]) == 1:
            yield item["id"], reasoning
