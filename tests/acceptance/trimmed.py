"""What must hold of every trim, drop and diet of a history: judged by the validator, and by a run of the SDK that goes
on with what is left before a model that refuses what the API refuses."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import accumulate, takewhile
from typing import Any

from acceptance.strict_model import refusal
from histories import PAIRS

from sessionctl.core.eliding import Elider
from sessionctl.core.history import verdict
from sessionctl.core.model import Item
from sessionctl.core.payload import Payload, read_item
from sessionctl.core.trimming import DropObstacle, TrimLimits, Trimmer, drop_after, opening_of, trim

NOW = datetime(2026, 11, 1, tzinfo=UTC)
Read = tuple[Item, Payload]


def tokens_of(payload: Payload) -> int:
    return len(json.dumps(payload.data)) // 4


class Subject:
    """A history to be trimmed in many ways; its newest item is ``idle`` old, each as much older as ``offsets`` say."""

    def __init__(self, history: Sequence[Any], offsets: Sequence[float] | None = None) -> None:
        self.history = list(history)
        at = list(offsets or range(len(history)))
        self.times = [NOW - timedelta(seconds=at[-1] - one + 60) for one in at]
        stored = [
            Item(key=number, text=json.dumps(item), created_at=time)
            for number, (item, time) in enumerate(zip(self.history, self.times, strict=True))
        ]
        self.read: list[Read] = [(item, read_item(item.text)) for item in stored]
        self.before = _defects(self.read)
        self._refusal = cache(self._run)
        self.runs = 0

    def _run(self, stay: tuple[int, ...]) -> str | None:
        self.runs += 1
        return refusal([self.history[at] for at in stay], self.history)

    def trimmed(self, limits: TrimLimits) -> list[str]:
        """Every rule that the trim breaks."""
        found = trim(self.read, limits, NOW, tokens_of)
        gone = found.removed(range(len(self.read)))
        stay = [at for at in range(len(self.read)) if at not in set(gone)]
        newest = _newest_turns(self.history, limits.min_turns)
        leading = [
            *takewhile(lambda at: self.history[at].get("role") in ("system", "developer"), range(len(self.read)))
        ]
        return [
            *self._left_sound(stay, gone),
            *([] if set(newest) <= set(stay) else ["the newest turns were touched"]),
            *([] if set(leading) <= set(stay) else ["an instruction at the beginning went"]),
            *([] if self._by_the_end(limits, stay) else ["read from the end it is decided otherwise"]),
            *([] if found.obstacle or not gone or _is_within(limits, [self.read[at] for at in stay]) else ["too much"]),
        ]

    def dropped(self, after: datetime | int) -> list[str]:
        """Every rule that the drop of the turns behind ``after`` breaks."""
        found = drop_after(self.read, after)
        gone = found.removed(range(len(self.read)))
        stay = list(range(len(self.read) - len(gone)))
        early = [at for at in gone if (self.times[at] < after if isinstance(after, datetime) else at <= after)]
        return [
            *self._left_sound(stay, gone),
            *([f"{early} went, which are not behind {after}"] if early else []),
            *([] if found.obstacle in (None, *DropObstacle) and not (found.obstacle and gone) else ["refused in part"]),
        ]

    def elided(self, over: int) -> list[str]:
        """Every rule that the diet breaks."""
        elider = Elider(over, 2)
        texts = [found.text if (found := elider.see(*one)) else one[0].text for one in reversed(self.read)][::-1]
        slim = [json.loads(text) for text in texts]
        before, after = self._refusal(tuple(range(len(slim)))), refusal(slim, self.history)
        joined = ("type", "role", "id", "call_id", "approval_request_id", "caller")
        return [
            *(["larger than before"] if sum(map(len, texts)) > sum(item.size for item, _ in self.read) else []),
            *(
                f"item {at} has another {name}"
                for at, (one, whole) in enumerate(zip(slim, self.history, strict=True))
                for name in joined
                if one.get(name) != whole.get(name)
            ),
            *([] if after == before else [f"the next turn is refused: {after}"]),
        ]

    def _left_sound(self, stay: Sequence[int], gone: Sequence[int]) -> Iterator[str]:
        new = {(kind, stay[position]) for kind, position in _defects([self.read[at] for at in stay])} - self.before
        yield from (f"a new defect: {defect}" for defect in sorted(new))
        yield from _split(self.history, set(stay), set(gone))
        if sorted((*stay, *gone)) != list(range(len(self.read))):
            yield "what was removed and what is left are not what was there"
        if self._refusal(tuple(range(len(self.read)))) is None and (message := self._refusal(tuple(stay))) is not None:
            yield f"the next turn is refused: {message}"

    def _by_the_end(self, limits: TrimLimits, stay: list[int]) -> bool:
        if any(payload.type == "compaction" for _, payload in self.read):
            return True  # these are read in whole
        trimmer = Trimmer(limits, NOW, tokens_of, opening_of(self.read))
        for one in reversed(self.read):
            trimmer.see(*one)
            if trimmer.is_settled:
                break
        else:
            trimmer.end()
        gone = set(trimmer.decide().removed(range(len(self.read))))
        return [at for at in range(len(self.read)) if at not in gone] == stay

    # -- every limit --------------------------------------------------------------------------------------

    def limits(self) -> Iterator[TrimLimits]:
        """Each limit at every value at which it may decide otherwise."""
        sizes = _from_the_end(self.read, lambda one: one[0].size)
        tokens = _from_the_end(self.read, lambda one: tokens_of(one[1]))
        for count in range(len(self.read) + 1):
            yield TrimLimits(max_items=count, min_turns=1 + count % 3)
        for count in range(1, sum(item.get("role") == "user" for item in self.history) + 1):
            yield TrimLimits(keep_turns=count, min_turns=1 + count % 3)
        yield from (TrimLimits(max_bytes=size + more) for size in sizes for more in (-1, 0))
        yield from (TrimLimits(max_tokens=size + more) for size in tokens for more in (-1, 0))
        yield from (TrimLimits(items_older_than=NOW - time, min_turns=1) for time in self.times)


def _defects(read: Sequence[Read]) -> set[tuple[str, int]]:
    return {(defect.kind, defect.position) for defect in verdict(payload for _, payload in read).defects}


def _newest_turns(history: Sequence[Any], count: int) -> list[int]:
    starts = [
        at
        for at, item in enumerate(history)
        if item.get("role") == "user" and (at == 0 or history[at - 1].get("role") != "user")
    ]
    return list(range(starts[-count], len(history))) if len(starts) >= count else list(range(len(history)))


def _split(history: Sequence[Any], stay: set[int], gone: set[int]) -> Iterator[str]:
    """Calls and outputs behind them on either side of the cut, of ids that each have one of both."""
    calls, outputs = dict[Any, int](), dict[Any, int]()
    counts = Counter[Any]()
    for at, item in enumerate(history):
        kind = item.get("type")
        name = item.get("call_id") or item.get("approval_request_id") or item.get("id")
        if name is None:
            continue
        if kind in PAIRS:
            calls[kind, name] = at
            counts["call", kind, name] += 1
        for call in (call for call, output in PAIRS.items() if output == kind):
            outputs[call, name] = at
            counts["output", call, name] += 1
    for pair in calls.keys() & outputs.keys():
        once = counts["call", *pair] == counts["output", *pair] == 1 and calls[pair] < outputs[pair]
        if once and (calls[pair] in stay) != (outputs[pair] in stay):
            yield f"{pair} was split, with {sorted(gone & {calls[pair], outputs[pair]})} gone"


def _is_within(limits: TrimLimits, stay: Sequence[Read]) -> bool:
    bounds = (
        (limits.max_items, len(stay)),
        (limits.max_bytes, sum(item.size for item, _ in stay)),
        (limits.max_tokens, sum(tokens_of(payload) for _, payload in stay)),
    )
    return all(limit is None or value <= limit for limit, value in bounds)


def _from_the_end(read: Sequence[Read], size_of: Callable[[Read], int]) -> list[int]:
    return list(accumulate(size_of(one) for one in reversed(read)))
