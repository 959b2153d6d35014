"""Histories of every kind of item, sound and broken, for Hypothesis: as the SDK stores them, one dict an item."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Item = dict[str, Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]

PAIRS = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
    "computer_call": "computer_call_output",
    "local_shell_call": "local_shell_call_output",
    "shell_call": "shell_call_output",
    "apply_patch_call": "apply_patch_call_output",
    "tool_search_call": "tool_search_output",
    "program": "program_output",
    "mcp_approval_request": "mcp_approval_response",
}
_OF_CALLS: dict[str, Item] = {
    "function_call": {"name": "lookup", "arguments": "{}"},
    "custom_tool_call": {"name": "sql", "input": "SELECT 1"},
    "computer_call": {"action": {"type": "click", "x": 1, "y": 2}, "pending_safety_checks": []},
    "local_shell_call": {"action": {"type": "exec", "command": ["ls"], "env": {}}, "status": "completed"},
    "shell_call": {"action": {"commands": ["ls"]}, "status": "completed"},
    "apply_patch_call": {"operation": {"type": "delete_file", "path": "a.py"}, "status": "completed"},
    "tool_search_call": {"arguments": {}, "execution": "client", "status": "completed"},
    "program": {"code": "await lookup()", "fingerprint": "f"},
    "mcp_approval_request": {"name": "rm", "server_label": "fs", "arguments": "{}"},
}
_OF_OUTPUTS: dict[str, Item] = {
    "function_call": {"output": "found"},
    "custom_tool_call": {"output": "1"},
    "computer_call": {"output": {"type": "computer_screenshot", "image_url": "data:image/png;base64,iVBORw0KGgo="}},
    "local_shell_call": {"output": "a.py"},
    "shell_call": {"output": [{"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]},
    "apply_patch_call": {"output": "done", "status": "completed"},
    "tool_search_call": {"tools": [], "execution": "client", "status": "completed"},
    "program": {"result": "7", "status": "completed"},
    "mcp_approval_request": {"approve": True},
}
ALONE: tuple[Item, ...] = (
    {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}},
    {"type": "file_search_call", "status": "completed", "queries": ["q"]},
    {"type": "code_interpreter_call", "status": "completed", "code": "1", "container_id": "c", "outputs": []},
    {"type": "image_generation_call", "status": "completed", "result": "iVBORw0KGgo="},
    {"type": "mcp_call", "name": "ls", "server_label": "fs", "arguments": "{}", "output": "a"},
    {"type": "mcp_list_tools", "server_label": "fs", "tools": []},
)
"""Items of the model that need no partner; each gets an id."""


def user(text: str = "hi", *, typed: bool = False) -> Item:
    said: Item = {"role": "user", "content": text}
    return {"type": "message", **said} if typed else said


def said(item_id: str | None = None, text: str = "hello") -> Item:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    item: Item = {"type": "message", "role": "assistant", "status": "completed", "content": content}
    return item if item_id is None else {"id": item_id, **item}


def instruction(role: str = "system") -> Item:
    return {"role": role, "content": "Be brief."}


def thought(item_id: str) -> Item:
    return {"type": "reasoning", "id": item_id, "summary": []}


def call(kind: str, call_id: str | None, item_id: str | None = None, program: str | None = None) -> Item:
    item: Item = {"type": kind, **_OF_CALLS[kind]}
    if kind == "mcp_approval_request":
        return {**item, "id": call_id}
    if item_id is not None:
        item["id"] = item_id
    if call_id is not None:
        item["call_id"] = call_id
    return item if program is None else {**item, "caller": {"type": "program", "caller_id": program}}


def output(kind: str, call_id: str | None, program: str | None = None) -> Item:
    item: Item = {"type": PAIRS[kind], **_OF_OUTPUTS[kind]}
    if kind == "mcp_approval_request":
        return {**item, "approval_request_id": call_id}
    if call_id is not None:
        item["call_id"] = call_id
    return item if program is None else {**item, "caller": {"type": "program", "caller_id": program}}


def alone(number: int, item_id: str) -> Item:
    return {**ALONE[number], "id": item_id}


# -- sound ----------------------------------------------------------------------------------------------


class _Writer:
    """Writes one sound history, with ids that nothing else has."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._ids = 0
        self.items: list[Item] = []

    def fresh(self, prefix: str) -> str:
        self._ids += 1
        return f"{prefix}_{self._ids}"

    def chance(self, share: int = 2) -> bool:
        return bool(self._draw(st.integers(1, share)) == 1)

    def turn(self) -> None:
        for _ in range(self._draw(st.integers(1, 2))):
            self.items.append(user(typed=self.chance()))
        for _ in range(self._draw(st.integers(0, 3))):
            self._step()
        if self.chance(4):
            return  # a run that failed leaves its question
        self._think()
        self.items.append(said(self.fresh("msg") if self.chance() else None))
        if self.chance(8):
            self.items.append(instruction("developer"))

    def _think(self) -> None:
        for _ in range(self._draw(st.integers(0, 2)) if self.chance() else 0):
            self.items.append(thought(self.fresh("rs")))

    def _step(self) -> None:
        self._think()
        what = self._draw(st.sampled_from(["calls", "calls", "alone", "program", "approval", "search", "compaction"]))
        if what == "calls":
            kinds = self._draw(st.lists(st.sampled_from(list(PAIRS)[:6]), min_size=1, max_size=3))
            self._calls(kinds, program=None)
        elif what == "alone":
            self.items.append(alone(self._draw(st.integers(0, len(ALONE) - 1)), self.fresh("it")))
        elif what == "program":
            self._program()
        elif what == "approval":
            asked = self.fresh("mcpr")
            self.items += [call("mcp_approval_request", asked), output("mcp_approval_request", asked)]
            self.items.append({**alone(4, self.fresh("mcp")), "approval_request_id": asked})
        elif what == "search":
            self.items += [call("tool_search_call", None), output("tool_search_call", None)]
        elif self.chance():
            self.items.append({"type": "compaction", "id": self.fresh("cmp"), "encrypted_content": "gAAA"})
        else:
            self.items.append({"type": "item_reference", "id": self.fresh("msg")})

    def _calls(self, kinds: list[str], program: str | None) -> None:
        made = [(kind, self.fresh("call")) for kind in kinds]
        own = self.chance()
        self.items += [call(kind, name, self.fresh("fc") if own else None, program) for kind, name in made]
        answered = self._draw(st.permutations(made))
        self.items += [output(kind, name, program) for kind, name in answered]

    def _program(self) -> None:
        name = self.fresh("prog")
        self.items.append(call("program", name, self.fresh("pr")))
        self._calls(["function_call"] * self._draw(st.integers(0, 2)), name)
        self.items.append({**output("program", name), "id": self.fresh("po")})


@st.composite
def sound(draw: Draw, max_turns: int = 8) -> list[Item]:
    """A history without a defect; its last turn may wait for an approval."""
    writer = _Writer(draw)
    if writer.chance(3):
        writer.items.append(instruction())
    if writer.chance(4):
        writer.items.append(said(writer.fresh("msg")))
    for _ in range(draw(st.integers(1, max_turns))):
        writer.turn()
    if writer.chance(4):
        writer.items += [user(), thought(writer.fresh("rs")), call("function_call", writer.fresh("call"))]
    return writer.items


# -- broken ---------------------------------------------------------------------------------------------

_IDS = st.sampled_from(["a", "b", "c"])
_ANY = st.one_of(
    st.builds(user, typed=st.booleans()),
    st.builds(said, st.none() | st.sampled_from(["m1", "m2", "m3"])),
    st.builds(instruction, st.sampled_from(["system", "developer"])),
    st.builds(thought, st.sampled_from(["r1", "r2", "r3"])),
    st.builds(call, st.sampled_from(list(PAIRS)[:-1]), _IDS, st.none() | st.sampled_from(["i1", "i2"])),
    st.builds(call, st.sampled_from(["function_call", "shell_call"]), _IDS, st.none(), _IDS),
    st.builds(output, st.sampled_from(list(PAIRS)[:-1]), _IDS),
    st.builds(output, st.just("function_call"), _IDS, _IDS),
    st.builds(call, st.sampled_from(["function_call", "program"]), _IDS),
    st.builds(output, st.sampled_from(["function_call", "program"]), _IDS),
    st.builds(call, st.just("mcp_approval_request"), _IDS),
    st.builds(output, st.just("mcp_approval_request"), _IDS),
    st.builds(call, st.just("tool_search_call"), st.none()),
    st.builds(output, st.just("tool_search_call"), st.none()),
    st.builds(lambda item, name: {**item, "status": "in_progress", "caller": {"type": "program", "caller_id": name}},
              st.builds(call, st.just("shell_call"), _IDS), _IDS),
    st.builds(alone, st.integers(0, len(ALONE) - 1), st.sampled_from(["x", "y"])),
)  # fmt: skip


def broken(max_size: int = 16) -> st.SearchStrategy[list[Item]]:
    """Items in any order with few ids between them, so that all goes wrong that can."""
    return st.lists(_ANY, max_size=max_size)


@st.composite
def damaged(draw: Draw) -> list[Item]:
    """A sound history of which some items are lost, doubled or moved."""
    items: list[Item] = list(draw(sound()))
    for _ in range(draw(st.integers(1, 4))):
        if not items:
            break
        index = draw(st.integers(0, len(items) - 1))
        what = draw(st.sampled_from(["lose", "double", "move"]))
        item = items[index] if what == "double" else items.pop(index)
        if what != "lose":
            items.insert(draw(st.integers(0, len(items))), item)
    return items


def any_history() -> st.SearchStrategy[list[Item]]:
    return st.one_of(sound(), damaged(), broken())
