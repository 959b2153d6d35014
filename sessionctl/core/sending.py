"""What the SDK sends to the model of the items it reads from a store, and what it leaves out.

Two steps of its own, found in SDK 0.24 and tested against it: calls that have no output are dropped, with
what hangs on them; and of items stored again under the same id one is sent. All else is sent as it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from sessionctl.core.payload import Payload, string

PAIRS: Mapping[str, str] = MappingProxyType(
    {
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
)
"""Item types that need a partner, and the partner's type; joined by ``Payload.call_id``.

All but the last pair are the SDK's own map; a ``tool_search`` pair may have no id and is then joined in order.
"""

CALLS_OF: Mapping[str, str] = MappingProxyType({output: call for call, output in PAIRS.items()})

APPROVAL = "mcp_approval_request"
_MADE_UP_ID = "__fake_id__"
"""The id that the SDK gives to items of models which give none."""
_APPROVALS = (APPROVAL, PAIRS[APPROVAL])
_LOCAL_SHELL = ("local_shell_call", "local_shell_call_output")


class Trace(NamedTuple):
    """What decides how an item is sent, without its text.

    ``call`` is the id by which the SDK joins calls and outputs (of an ``mcp_call``: the approval it had),
    ``id`` the item's own, ``program`` the call id of the program that issued it. ``is_open_shell``: a hosted
    shell call that may go on without an output.
    """

    position: int
    key: int | str | None
    type: str | None
    role: str | None = None
    call: str | None = None
    id: str | None = None
    program: str | None = None
    is_open_shell: bool = False

    @property
    def identity(self) -> tuple[str | None, str] | None:
        """What it shares with items that the SDK takes for the same; None: it is never taken for another."""
        if self.role is not None or self.type == "message":
            return None
        by_call = (self.type in PAIRS or self.type in CALLS_OF) and self.type not in _APPROVALS
        name = (self.call or self.id) if by_call else (self.id or self.call)
        return None if name is None else (self.type, name)


def trace(payload: Payload, position: int, key: int | str | None) -> Trace:
    """The trace of one item, which stands at ``position``."""
    kind = payload.type
    own = payload.id if payload.id != _MADE_UP_ID else None
    if kind == "message" or kind is None:
        return Trace(position, key, kind, payload.role, None, own)
    call = payload.call_id
    if kind in _LOCAL_SHELL:
        call = string(payload.fields.get("call_id"))  # the SDK does not look at the id
    elif kind == "mcp_call":
        call = string(payload.fields.get("approval_request_id"))
    is_open = kind == "shell_call" and payload.status in (None, "in_progress")
    return Trace(position, key, kind, payload.role, call, own, payload.program, is_open)


class Sending(NamedTuple):
    """Which of a sequence of traces are sent: indexes into it.

    ``sent`` in the order of sending. ``dropped`` are calls without output and what programs among them
    issued, ``bereft`` the reasoning right before those, ``repeated`` items of which another copy is sent.
    """

    sent: list[int]
    dropped: set[int]
    bereft: set[int]
    repeated: set[int]


def sending(traces: Sequence[Trace]) -> Sending:
    """What is sent when a new user message is appended to a history of these items."""
    dropped = _dropped(traces)
    bereft = _bereft(traces, dropped) if dropped else set()
    stay = [index for index in range(len(traces)) if index not in dropped and index not in bereft]
    places = _places(traces, stay)
    if places is None:
        return Sending(stay, dropped, bereft, set())
    sent = [index for index in stay if places.get(traces[index].identity, index) == index]
    return Sending(sent, dropped, bereft, set(stay).difference(sent))


def _dropped(traces: Sequence[Trace]) -> set[int]:
    """Calls that have no output, before or after them, and items that a program without output issued."""
    answered, calls, issued = set[tuple[str, str | None]](), list[int](), list[int]()
    for index, one in enumerate(traces):
        kind = one.type
        if kind in CALLS_OF:
            answered.add((CALLS_OF[str(kind)], one.call))
        elif kind in PAIRS and kind != APPROVAL:
            calls.append(index)
        if one.program is not None:
            issued.append(index)
    joined = joined_in_order(traces)
    dropped = set[int]()
    for index in calls:
        one = traces[index]
        if one.program is not None and one.is_open_shell:
            continue
        if index not in joined and (one.call is None or (one.type, one.call) not in answered):
            dropped.add(index)
    programs = {traces[index].call for index in dropped if traces[index].type == "program"} - {None}
    dropped.update(index for index in issued if traces[index].program in programs)
    return dropped


def joined_in_order(traces: Sequence[Trace]) -> set[int]:
    """Tool searches without an id and their outputs: each output with the nearest call before it."""
    waiting, joined = list[int](), set[int]()
    for index, one in enumerate(traces):
        if one.call is None and one.type == "tool_search_call":
            waiting.append(index)
        elif one.call is None and one.type == "tool_search_output" and waiting:
            joined.update((index, waiting.pop()))
    return joined


def _bereft(traces: Sequence[Trace], dropped: set[int]) -> set[int]:
    bereft, next_is_dropped = set[int](), False
    for index in range(len(traces) - 1, -1, -1):
        if traces[index].type != "reasoning":
            next_is_dropped = index in dropped
        elif next_is_dropped and index not in dropped:
            bereft.add(index)
    return bereft


def _places(traces: Sequence[Trace], stay: Sequence[int]) -> dict[tuple[str | None, str] | None, int] | None:
    """Where each item that is stored more than once is sent; None where there is no such item.

    What others must follow is sent at its first place, all else at its last.
    """
    places = dict[tuple[str | None, str] | None, int]()
    repeats = False
    for index in stay:
        identity = traces[index].identity
        if identity is None:
            continue
        if identity in places:
            repeats = True
            if identity[0] in PAIRS or identity[0] == "reasoning":
                continue
        places[identity] = index
    return places if repeats else None
