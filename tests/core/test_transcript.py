from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sessionctl.core.model import Item
from sessionctl.core.transcript import Joiner, Turn, entries, turns

START = datetime(2026, 1, 1, tzinfo=UTC)
USER = {"role": "user", "content": "hi"}
SYSTEM = {"role": "system", "content": "be kind"}
SAID = {"type": "message", "role": "assistant", "content": "hi"}


def call(call_id: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": f"tool_{call_id}", "arguments": "{}"}


def output(call_id: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": "ok"}


def items(*data: Any) -> Iterator[Item]:
    for index, item in enumerate(data):
        yield Item(key=100 + index, text=json.dumps(item), created_at=START + timedelta(seconds=index))


def shape(*data: Any) -> list[tuple[int, list[int]]]:
    return [(turn.index, [entry.position for entry in turn.entries]) for turn in turns(entries(items(*data)))]


def test_turns() -> None:
    assert shape() == []
    assert shape(USER, SAID, USER, SAID) == [(1, [0, 1]), (2, [2, 3])]


def test_turn_zero_stands_before_the_first_user_item() -> None:
    assert shape(SYSTEM, SAID, USER) == [(0, [0, 1]), (1, [2])]
    assert shape(SAID) == [(0, [0])]


def test_user_items_in_a_row_are_one_turn() -> None:
    assert shape(USER, USER, SAID, USER) == [(1, [0, 1, 2]), (2, [3])]


def test_times() -> None:
    first, second = turns(entries(items(USER, SAID, USER)))
    assert (first.started_at, first.duration) == (START, timedelta(seconds=1))
    assert second.started_at == START + timedelta(seconds=2)
    (timeless,) = turns(entries([Item(key=None, text=json.dumps(USER))]))
    assert timeless.started_at is timeless.duration is None


def test_turns_are_streamed() -> None:
    seen = []

    def source() -> Iterator[Item]:
        for item in items(USER, SAID, USER, SAID, USER):
            seen.append(item.key)
            yield item

    next(turns(entries(source())))
    assert seen == [100, 101, 102]


def joined(*data: Any) -> list[tuple[int, list[int], str | None]]:
    joiner = Joiner()
    return [
        (exchange.entry.position, [entry.position for entry in exchange.outputs], exchange.name)
        for turn in turns(entries(items(*data)))
        for exchange in joiner.exchanges(turn)
    ]


def test_parallel_calls_are_joined_to_their_outputs() -> None:
    assert joined(USER, call("a"), call("b"), output("a"), output("b"), SAID) == [
        (0, [], None), (1, [3], "tool_a"), (2, [4], "tool_b"), (5, [], None),
    ]  # fmt: skip


def test_an_output_in_a_later_turn_knows_its_tool() -> None:
    assert joined(USER, call("a"), USER, output("a"))[-1] == (3, [], "tool_a")


def test_an_output_before_its_call_stays_apart() -> None:
    assert [(position, outputs) for position, outputs, _ in joined(output("a"), call("a"))] == [(0, []), (1, [])]


def test_an_unseen_output_is_not_joined() -> None:
    first, second = items(call("a"), output("a"))
    hidden = Item(key=second.key, text=second.text, hidden="in another branch")
    (turn,) = turns(entries([first, hidden]))
    assert [len(exchange.outputs) for exchange in Joiner().exchanges(turn)] == [0, 0]


@given(st.lists(st.sampled_from([USER, SYSTEM, SAID, call("a"), call("b"), output("a"), output("b")])))
def test_every_item_is_in_one_turn_and_one_exchange(data: list[Any]) -> None:
    found: list[Turn] = list(turns(entries(items(*data))))
    assert [entry.position for turn in found for entry in turn.entries] == list(range(len(data)))
    assert all(turn.entries[0].payload.is_user == (turn.index > 0) for turn in found)
    joiner = Joiner()
    shown = [
        entry.position
        for turn in found
        for exchange in joiner.exchanges(turn)
        for entry in (exchange.entry, *exchange.outputs)
    ]
    assert sorted(shown) == list(range(len(data)))
