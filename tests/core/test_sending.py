"""What is sent of a stored history, against the SDK's own functions for it."""

from __future__ import annotations

import json
from typing import Any

from histories import any_history, user
from hypothesis import given, settings

from sessionctl.core.payload import read_item
from sessionctl.core.sending import CALLS_OF, PAIRS, sending, trace


def sent_by_the_sdk(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The steps of a run that continues a session without a limit, as the SDK's own runner takes them."""
    from agents.run_internal.items import (
        deduplicate_input_items_preferring_latest,
        drop_orphan_function_calls,
        normalize_input_items_for_api,
    )

    items: list[Any] = [*history, user("next")]
    kept = drop_orphan_function_calls(items, pruning_indexes=set(range(len(history))))
    return deduplicate_input_items_preferring_latest(normalize_input_items_for_api(kept))[:-1]  # type: ignore[return-value]


def sent(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What ``sending`` says, and of items stored again the latest, as the SDK takes it."""
    traces = [trace(read_item(json.dumps(item)), position, None) for position, item in enumerate(history)]
    sends = sending(traces)
    latest = {traces[index].identity: index for index in sorted({*sends.sent, *sends.repeated})}
    return [history[latest[traces[index].identity] if traces[index].identity else index] for index in sends.sent]


def test_the_sdk_has_the_same_pairs() -> None:
    from agents.run_internal.items import _TOOL_CALL_TO_OUTPUT_TYPE

    assert {k: v for k, v in PAIRS.items() if k != "mcp_approval_request"} == _TOOL_CALL_TO_OUTPUT_TYPE
    assert {call: output for output, call in CALLS_OF.items()} == PAIRS


@settings(max_examples=400)
@given(any_history())
def test_the_sdk_sends_the_same(history: list[dict[str, Any]]) -> None:
    assert sent(history) == sent_by_the_sdk(history)
