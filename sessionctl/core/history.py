"""Would the model accept this history? What the SDK leaves standing of stored defects when it reads a session.

The rules were found by running histories through the SDK 0.24 with a scripted model: it drops calls that
have no output, skips rows that are not JSON, and sends everything else as it is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sessionctl.core.payload import Payload, Unreadable

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

FATAL: Mapping[str, str] = MappingProxyType(
    {
        "orphan_output": "an output whose call is not there",
        "output_before_call": "an output that stands before its call",
        "reasoning_without_item": "reasoning without the item it belongs to",
        "approval_without_response": "an approval request that was never answered",
        "response_without_approval": "an answer to an approval request that is not there",
        "not_an_object": "a row that is JSON but no item",
        "not_loadable": "a row on which reading the session fails",
    }
)
"""Defects with which a run fails, by class, and what they are."""

HARMLESS: Mapping[str, str] = MappingProxyType(
    {
        "unreadable": "a row that is not JSON, which the SDK skips",
        "orphan_call": "a call without output, which the SDK drops",
        "reused_call_id": "a call id used again, so that the agent sees only the latest call and output",
    }
)
"""Defects that the SDK deals with, at the cost of something the agent does not see."""

_UNREADABLE_CLASSES = {
    Unreadable.NOT_JSON: "unreadable",
    Unreadable.NOT_AN_OBJECT: "not_an_object",
    Unreadable.NOT_LOADABLE: "not_loadable",
    Unreadable.NOT_UTF8: "not_loadable",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """One defect: its class (a key of FATAL or HARMLESS) and where; ``key`` is the item's key in the store."""

    kind: str
    position: int
    key: int | str | None

    @property
    def is_fatal(self) -> bool:
        return self.kind in FATAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Would the model accept the history? None: it cannot be told, because items are encrypted."""

    acceptable: bool | None
    defects: tuple[Defect, ...]


Place = tuple[int, int | str | None]


@dataclass(slots=True)
class Judge:
    """Takes the items of a session in order, one at a time, and says the verdict in the end.

    It keeps the ids of calls, not the items. Feed it what the SDK reads: not the rows it hides.
    """

    _defects: list[Defect] = field(default_factory=list)
    _calls: dict[tuple[str, str], Place] = field(default_factory=dict)
    _answered: set[tuple[str, str]] = field(default_factory=set)
    _early: dict[tuple[str, str], list[Place]] = field(default_factory=dict)
    _anonymous: list[Place] = field(default_factory=list)
    _reasoning: list[Place] = field(default_factory=list)
    _last_turn: int = 0
    _encrypted: bool = False

    def see(self, payload: Payload, position: int, key: int | str | None) -> None:
        """The next item; ``position`` counts from 0 in the session."""
        place = (position, key)
        if payload.unreadable:
            self._note(_UNREADABLE_CLASSES[payload.unreadable], place)
            return
        self._encrypted |= payload.type == "encrypted"
        if payload.is_user:
            self._last_turn = position
        self._follow_reasoning(payload, place)
        if payload.type in PAIRS:
            self._see_call(payload, place)
        elif payload.type in CALLS_OF:
            self._see_output(payload, place)

    def verdict(self) -> Verdict:
        """The verdict over all seen so far."""
        defects = [*self._defects, *self._at_the_end()]
        defects.sort(key=lambda defect: defect.position)
        fatal = any(defect.is_fatal for defect in defects)
        # Among encrypted items the SDK skips plain ones, so that what is seen here decides nothing.
        return Verdict(acceptable=None if self._encrypted else not fatal, defects=tuple(defects))

    def _note(self, kind: str, place: Place) -> None:
        self._defects.append(Defect(kind=kind, position=place[0], key=place[1]))

    def _follow_reasoning(self, payload: Payload, place: Place) -> None:
        """Reasoning belongs to the next item of the model, with no one else's in between."""
        if payload.type == "reasoning":
            self._reasoning.append(place)
        elif self._reasoning:
            if payload.type in CALLS_OF or (payload.type == "message" and payload.role != "assistant"):
                for lost in self._reasoning:
                    self._note("reasoning_without_item", lost)
            self._reasoning.clear()

    def _see_call(self, payload: Payload, place: Place) -> None:
        kind = str(payload.type)
        if payload.call_id is None:
            self._anonymous.append(place)
            return
        call = (kind, payload.call_id)
        for early in self._early.pop(call, ()):
            self._note("output_before_call", early)
            self._answered.add(call)
        if call in self._calls:
            self._note("reused_call_id", place)
        self._calls[call] = place

    def _see_output(self, payload: Payload, place: Place) -> None:
        kind = CALLS_OF[str(payload.type)]
        if payload.call_id is None:
            if kind == "tool_search_call" and self._anonymous:
                self._anonymous.pop()
            else:
                self._note("orphan_output", place)
            return
        call = (kind, payload.call_id)
        if call in self._calls:
            self._answered.add(call)
        else:
            self._early.setdefault(call, []).append(place)

    def _at_the_end(self) -> Iterable[Defect]:
        for (kind, _), places in self._early.items():
            name = "response_without_approval" if kind == "mcp_approval_request" else "orphan_output"
            yield from (Defect(kind=name, position=position, key=key) for position, key in places)
        for call, (position, key) in self._calls.items():
            # In the last turn somebody may still be working on it, or be asked to approve it.
            if call not in self._answered and position < self._last_turn:
                name = "approval_without_response" if call[0] == "mcp_approval_request" else "orphan_call"
                yield Defect(kind=name, position=position, key=key)
        for position, key in self._anonymous:
            if position < self._last_turn:
                yield Defect(kind="orphan_call", position=position, key=key)
        for position, key in self._reasoning:
            yield Defect(kind="reasoning_without_item", position=position, key=key)


def verdict(payloads: Iterable[Payload]) -> Verdict:
    """The verdict over a whole history given at once; keys are positions."""
    judge = Judge()
    for position, payload in enumerate(payloads):
        judge.see(payload, position, position)
    return judge.verdict()
