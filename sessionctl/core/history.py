"""Would the model accept this history? The defects in what the SDK sends of a stored session.

The rules were found by running histories through the SDK 0.24 with a scripted model: what it leaves out is
told by ``core.sending``, everything else it sends as it is stored, and the API refuses what does not go together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType

from sessionctl.core.payload import Payload, Unreadable
from sessionctl.core.sending import APPROVAL, CALLS_OF, PAIRS, Sending, Trace, joined_in_order, sending, trace

FATAL: Mapping[str, str] = MappingProxyType(
    {
        "orphan_output": "an output whose call is not there",
        "output_before_call": "an output that stands before its call",
        "reasoning_without_item": "reasoning without the item it belongs to",
        "item_without_reasoning": "an item whose reasoning the SDK drops, with an unanswered call before it",
        "item_without_program": "an item issued by a program that is not there",
        "approval_without_response": "an approval request that was never answered",
        "response_without_approval": "an answer to an approval request that is not there",
        "repeated_id": "an item with the id of another, where the SDK sends both",
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
        "repeated_item": "an item stored again under the same id, of which the SDK sends one",
    }
)
"""Defects that the SDK deals with, at the cost of something the agent does not see."""

_UNREADABLE_CLASSES = {
    Unreadable.NOT_JSON: "unreadable",
    Unreadable.NOT_AN_OBJECT: "not_an_object",
    Unreadable.NOT_LOADABLE: "not_loadable",
    Unreadable.NOT_UTF8: "not_loadable",
}
_UNJOINED = ("message", "encrypted")
"""Items that are joined to no other by an id: of several in a row the first tells all."""


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


@dataclass(slots=True)
class Judge:
    """Takes the items of a session in order, one at a time, and says the verdict in the end.

    It keeps the ids of calls, not the items. Feed it what the SDK reads: not the rows it hides.
    """

    _unreadable: list[Defect] = field(default_factory=list)
    _traces: list[Trace] = field(default_factory=list)
    _last_turn: int = -1
    _encrypted: bool = False
    _after: bool | None = None
    """Did the model say the item before, if that is joined with no other?"""

    def see(self, payload: Payload, position: int, key: int | str | None) -> None:
        """The next item; ``position`` counts from 0 in the session."""
        if payload.unreadable:
            self._unreadable.append(unreadable(payload.unreadable, position, key))
            return
        kind = payload.type
        by_model = None
        if kind in _UNJOINED:
            if payload.role == "user":
                self._last_turn = position
            self._encrypted |= kind == "encrypted"
            by_model = payload.role in (None, "assistant")
        # Of several in a row that the same side said, the first tells what they all do to their neighbours.
        if by_model is None or by_model is not self._after or payload.id is not None:
            self._traces.append(trace(payload, position, key))
        self._after = by_model

    def verdict(self) -> Verdict:
        """The verdict over all seen so far."""
        found = [*self._unreadable, *defects(self._traces, self._last_turn)]
        found.sort(key=lambda defect: defect.position)
        fatal = any(defect.is_fatal for defect in found)
        # Among encrypted items the SDK skips plain ones, so that what is seen here decides nothing.
        return Verdict(acceptable=None if self._encrypted else not fatal, defects=tuple(found))


def verdict(payloads: Iterable[Payload]) -> Verdict:
    """The verdict over a whole history given at once; keys are positions."""
    judge = Judge()
    for position, payload in enumerate(payloads):
        judge.see(payload, position, position)
    return judge.verdict()


def unreadable(why: Unreadable, position: int, key: int | str | None) -> Defect:
    """The defect of a row that is no item."""
    return Defect(kind=_UNREADABLE_CLASSES[why], position=position, key=key)


def defects(traces: Sequence[Trace], last_turn: int) -> Iterator[Defect]:
    """The defects of a history, in no order; ``last_turn`` is the position of the newest user message.

    A call of the last turn may lack its output: somebody may still be working on it, or be asked to approve it.
    """
    sends = sending(traces)
    sent = [traces[index] for index in sends.sent]
    for kind, one in chain(
        _left_out(traces, sends, last_turn),
        _unpaired(traces, sends),
        _unanswered_approvals(sent, last_turn),
        _without_program(sent),
        _parted_reasoning(sent),
        _bereft_items(traces, sends, last_turn),
        _repeated_ids(sent),
    ):
        yield Defect(kind=kind, position=one.position, key=one.key)


_Found = tuple[str, Trace]


def _left_out(traces: Sequence[Trace], sends: Sending, last_turn: int) -> Iterator[_Found]:
    """What the SDK does not send although it was stored."""
    gone = [traces[index] for index in sends.dropped]
    programs = {one.call for one in gone if one.type == "program"}
    for one in gone:
        # Of what goes with the program that issued it, the program alone is the defect.
        if one.type in PAIRS and one.position < last_turn and (one.program is None or one.program not in programs):
            yield "orphan_call", one
    if sends.repeated:
        yield from _repeated(traces, sends)


def _repeated(traces: Sequence[Trace], sends: Sending) -> Iterator[_Found]:
    """Calls after the first of their id, and other items of which another copy is sent."""
    calls = Counter((one.type, one.call) for one in traces if one.type in PAIRS)
    seen = set[tuple[str | None, str | None]]()
    for index, one in enumerate(traces):
        if one.type in PAIRS and one.call is not None:
            if index not in sends.dropped and (one.type, one.call) in seen:
                yield "reused_call_id", one
            seen.add((one.type, one.call))
        elif index in sends.repeated:
            # An output is told with its calls where these are several, and as an orphan where there is none.
            output_of = CALLS_OF.get(one.type or "")
            if output_of is None or calls[output_of, one.call] == 1:
                yield "repeated_item", one


def _unpaired(traces: Sequence[Trace], sends: Sending) -> Iterator[_Found]:
    """Outputs that are sent without their call, or before it."""
    calls, outputs = dict[tuple[str, str | None], int](), list[int]()
    for index in sends.sent:
        kind = traces[index].type or ""
        if kind in PAIRS:
            calls[kind, traces[index].call] = index
        elif kind in CALLS_OF:
            outputs.append(index)
    for index in chain(outputs, (index for index in sends.repeated if traces[index].type in CALLS_OF)):
        one = traces[index]
        call = CALLS_OF[one.type or ""]
        if one.call is None:
            if index not in joined_in_order(traces):
                yield "orphan_output", one
        elif (call, one.call) not in calls:
            yield "response_without_approval" if call == APPROVAL else "orphan_output", one
        elif calls[call, one.call] > index and index not in sends.repeated:
            yield "output_before_call", one


def _unanswered_approvals(sent: Sequence[Trace], last_turn: int) -> Iterator[_Found]:
    asked = [one for one in sent if one.type == APPROVAL and one.position < last_turn]
    answered = {one.call for one in sent if one.type == PAIRS[APPROVAL]} if asked else set()
    yield from (("approval_without_response", one) for one in asked if one.call not in answered)


def _without_program(sent: Sequence[Trace]) -> Iterator[_Found]:
    issued = [one for one in sent if one.program is not None]
    programs = {one.call for one in sent if one.type == "program"} if issued else set()
    yield from (("item_without_program", one) for one in issued if one.program not in programs)


def _parted_reasoning(sent: Sequence[Trace]) -> Iterator[_Found]:
    """Reasoning belongs to the next item of the model, with no one else's in between."""
    is_followed = False
    for one in reversed(sent):
        if one.type != "reasoning":
            is_followed = is_by_model(one)
        elif not is_followed:
            yield "reasoning_without_item", one


def _bereft_items(traces: Sequence[Trace], sends: Sending, last_turn: int) -> Iterator[_Found]:
    """What the model said in one go with a call that was dropped, and its reasoning with it."""
    thought = {traces[index].id for index in sends.sent if traces[index].type == "reasoning"} if sends.bereft else {}
    for index in sends.bereft:
        name = traces[index].id
        if name is None or name in thought or traces[index].position > last_turn:
            continue
        for place in range(index + 1, len(traces)):
            one = traces[place]
            if not is_by_model(one) or one.type == "reasoning":
                break
            if one.id is not None and place not in sends.dropped and place not in sends.repeated:
                yield "item_without_reasoning", one


def is_by_model(one: Trace) -> bool:
    """Did the model say it: a message, a call, its reasoning or what a hosted tool did?"""
    return one.type not in CALLS_OF and one.role in (None, "assistant")


def _repeated_ids(sent: Sequence[Trace]) -> Iterator[_Found]:
    seen = set[str]()
    for one in sent:
        if one.id is not None and one.type != "item_reference":
            if one.id in seen:
                yield "repeated_id", one
            seen.add(one.id)
