"""An agent whose model says what it is told to: it calls a tool, then answers. Nothing leaves the machine."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

from agents import Agent, ModelResponse, RunConfig, Runner, Usage, function_tool
from agents.models.interface import Model
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText
from sdk_cases import SdkCase

QUESTION = "And what will the weather be?"
ANSWER = "It will rain in Oslo."


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


class ScriptedModel(Model):
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[list[Any]] = []

    async def get_response(self, *arguments: Any, **named: Any) -> ModelResponse:
        items = named["input"] if "input" in named else arguments[1]
        self.given.append(copy.deepcopy(items))
        said: Any = _answer() if len(self.given) > 1 else _call()
        return ModelResponse(output=[said], usage=Usage(), response_id=None)

    def stream_response(self, *_arguments: Any, **_named: Any) -> AsyncIterator[Any]:
        raise NotImplementedError


def _call() -> ResponseFunctionToolCall:
    return ResponseFunctionToolCall(
        id=f"fc_{uuid4().hex}", call_id=f"call_{uuid4().hex}", name="weather", arguments='{"city": "Oslo"}',
        type="function_call", status="completed",
    )  # fmt: skip


def _answer() -> ResponseOutputMessage:
    text = ResponseOutputText(type="output_text", text=ANSWER, annotations=[])
    return ResponseOutputMessage(
        id=f"msg_{uuid4().hex}", type="message", role="assistant", status="completed", content=[text]
    )


async def run_agent(case: SdkCase, session_id: str) -> tuple[list[Any], Any]:
    """Run it on a session; what the model was given first, and the run's output."""
    model = ScriptedModel()
    session = await case._session(session_id)
    try:
        agent = Agent(name="guide", model=model, tools=[weather])
        result = await Runner.run(agent, QUESTION, session=session, run_config=RunConfig(tracing_disabled=True))
    finally:
        await case._let_go(session)
    return model.given[0], result.final_output
