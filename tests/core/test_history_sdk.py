"""The verdict against the SDK itself: what a run sends to the model of a stored history."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from sessionctl.core.history import HARMLESS, verdict
from sessionctl.core.payload import read_item

USER = {"role": "user", "content": "hi"}
SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}
THOUGHT = {"type": "reasoning", "id": "rs", "summary": []}


def call(call_id: str, arguments: str = "{}") -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": arguments}


def output(call_id: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": "ok"}


HISTORIES = {
    "sound": [USER, THOUGHT, call("a"), output("a"), SAID],
    "parallel": [USER, call("a"), call("b"), output("a"), output("b"), SAID],
    "pending": [USER, THOUGHT, call("a")],
    "orphan_call": [USER, THOUGHT, call("a"), USER, SAID],
    "orphan_output": [USER, output("a"), SAID],
    "output_before_call": [USER, output("a"), call("a"), SAID],
    "reasoning_without_item": [USER, THOUGHT, USER, SAID],
    "trailing reasoning": [USER, SAID, THOUGHT],
    "reused_call_id": [USER, call("a", "1"), output("a"), USER, call("a", "2"), output("a"), SAID],
}


def sent_to_the_model(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from agents import Agent, Model, ModelResponse, RunConfig, Runner, SQLiteSession, Usage
    from openai.types.responses import ResponseOutputMessage, ResponseOutputText

    sent: list[dict[str, Any]] = []

    class Scripted(Model):
        async def get_response(self, *_: Any, **given: Any) -> ModelResponse:
            sent.extend(given["input"])
            text = ResponseOutputText(text="ok", type="output_text", annotations=[])
            answer = ResponseOutputMessage(id="m", type="message", role="assistant", status="completed", content=[text])
            return ModelResponse(output=[answer], usage=Usage(), response_id=None)

        def stream_response(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError

    async def one_run() -> None:
        session = SQLiteSession("s")
        await session.add_items(history)  # type: ignore[arg-type]
        await Runner.run(
            Agent(name="a", model=Scripted()), "next", session=session, run_config=RunConfig(tracing_disabled=True)
        )
        session.close()

    asyncio.run(one_run())
    return sent


@pytest.mark.parametrize("name", HISTORIES)
def test_the_verdict_is_over_what_the_model_gets(name: str) -> None:
    stored = verdict(read_item(json.dumps(item)) for item in [*HISTORIES[name], USER])
    sent = verdict(read_item(json.dumps(item)) for item in sent_to_the_model(HISTORIES[name]))
    assert stored.acceptable == sent.acceptable
    fatal = [defect.kind for defect in stored.defects if defect.is_fatal]
    assert fatal == [defect.kind for defect in sent.defects]  # and nothing that the SDK deals with got there
    if name in HARMLESS:
        assert name in {defect.kind for defect in stored.defects}
