"""A conversation as the SDK's Runner appends it: the input, a batch for each turn of the model, the answer."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self

from sessionctl.core.units import parse_duration

Json = dict[str, Any]
"""One item, as ``add_items`` takes it."""

Batch = tuple[Json, ...]
"""The items of one ``add_items``."""

_NO_ROUNDER = timedelta(minutes=55)
"""By how much an age is lengthened at most, so that not everything happened at the same minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One session to be written.

    ``age`` is how long ago its last batch was appended, ``spacing`` the time before each batch since the one
    before it (zero before the first). ``torn`` holds texts that are no items, to be put raw behind the batch of
    that index. ``withdrawn``: the application took its last item back with ``pop_item``.
    """

    session_id: str
    batches: tuple[Batch, ...]
    age: timedelta
    spacing: tuple[timedelta, ...]
    torn: Mapping[int, str] = field(default_factory=dict)
    withdrawn: bool = False

    def ages(self) -> tuple[timedelta, ...]:
        """How long ago each batch was appended."""
        ages, age = [], self.age
        for pause in reversed(self.spacing):
            ages.append(age)
            age += pause
        return tuple(reversed(ages))


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a function tool; ``output`` None: it has not answered (yet)."""

    name: str
    arguments: Json
    output: object = None


def handoff(agent: str) -> Use:
    """Passing the conversation to another agent, as the SDK names and answers it."""
    return Use("transfer_to_" + agent.lower().replace(" ", "_"), {}, {"assistant": agent})


def data_url(kind: str, content: bytes) -> str:
    """``content`` inside a URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def picture(encoded: str) -> Json:
    """A part of a user's input: a PNG given in base64."""
    return {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{encoded}"}


class Script:
    """Collects the batches of one session. Ids and pauses follow from the session's id, so they never change."""

    def __init__(self, session_id: str, age: str) -> None:
        self._id = session_id
        self._batches: list[Batch] = []
        self._spacing: list[timedelta] = []
        self._torn: dict[int, str] = {}
        self._withdrawn = False
        self._count = 0
        self._age = parse_duration(age)
        self._age += parse_duration(self._between(0, min(self._age // 20, _NO_ROUNDER).seconds))

    def conversation(self) -> Conversation:
        return Conversation(
            session_id=self._id,
            batches=tuple(self._batches),
            age=self._age,
            spacing=(timedelta(0), *self._spacing[1:]),
            torn=self._torn,
            withdrawn=self._withdrawn,
        )

    # -- what people do ---------------------------------------------------------------------------------

    def user(self, text: str, *parts: Json, wait: str | None = None) -> Self:
        """The user writes ``text``, with ``parts`` beside it, ``wait`` after the answer (by default within minutes)."""
        content = [{"type": "input_text", "text": text}, *parts] if parts else text
        return self._append({"role": "user", "content": content}, pause=wait or self._between(25, 240))

    def decides(self, approve: bool, reason: str | None = None, *, wait: str = "4m") -> Self:
        """Somebody answers the approval request that stands last."""
        said = {"type": "mcp_approval_response", "approval_request_id": self._batches[-1][-1]["id"], "approve": approve}
        return self._append(said | ({"reason": reason} if reason else {}), pause=wait)

    # -- what agents do ---------------------------------------------------------------------------------

    def uses(self, *uses: Use, thought: str | None = None) -> Self:
        """One turn of the model: all its calls, then their outputs."""
        ids = [self._new("call") for _ in uses]
        calls = [self._call(use, call_id) for use, call_id in zip(uses, ids, strict=True)]
        outputs = [
            {"call_id": call_id, "output": _text(use.output), "type": "function_call_output"}
            for use, call_id in zip(uses, ids, strict=True)
            if use.output is not None
        ]
        return self._append(*self._thought(thought), *calls, *outputs, pause=self._between(2, 19))

    def hosted(self, kind: str, prefix: str, thought: str | None = None, **fields: Any) -> Self:
        """One turn of the model with a tool that runs at the model's side."""
        item = {"id": self._new(prefix), "type": kind, **fields}
        return self._append(*self._thought(thought), item, pause=self._between(3, 40))

    def says(self, text: str, *, thought: str | None = None, cites: Mapping[str, str] | None = None) -> Self:
        """The final message; ``cites`` maps titles to URLs."""
        notes = [
            {"type": "url_citation", "url": url, "title": title, "start_index": 0, "end_index": len(text)}
            for title, url in (cites or {}).items()
        ]
        part = {"type": "output_text", "text": text, "annotations": notes, "logprobs": []}
        return self._append(*self._thought(thought), self._message(part), pause=self._between(2, 14))

    def refuses(self, text: str) -> Self:
        """The model declines."""
        return self._append(self._message({"type": "refusal", "refusal": text}), pause=self._between(2, 9))

    # -- what goes wrong --------------------------------------------------------------------------------

    def raw(self, item: Json) -> Self:
        """An item as it is given, in a batch of its own."""
        return self._append(item, pause=self._between(2, 14))

    def tears(self, text: str) -> Self:
        """A row that is no item, behind the last batch."""
        self._torn[len(self._batches) - 1] = text
        return self

    def withdraws(self) -> Self:
        """The application takes the last item back."""
        self._withdrawn = True
        return self

    # -- how it is written ------------------------------------------------------------------------------

    def _append(self, *items: Json, pause: str) -> Self:
        self._batches.append(items)
        self._spacing.append(parse_duration(pause))
        return self

    def _digest(self) -> bytes:
        self._count += 1
        return hashlib.blake2b(f"{self._id}/{self._count}".encode()).digest()

    def _new(self, prefix: str) -> str:
        """An id such as the API gives."""
        return f"{prefix}_{self._digest().hex()[:24]}"

    def _between(self, low: int, high: int) -> str:
        return f"{low + int.from_bytes(self._digest()[:4]) % (high - low + 1)}s"

    def _thought(self, summary: str | None) -> Batch:
        if summary is None:
            return ()
        sealed = base64.urlsafe_b64encode(b"".join(self._digest() for _ in range(3))).decode()
        return (
            {
                "id": self._new("rs"),
                "summary": [{"text": summary, "type": "summary_text"}],
                "type": "reasoning",
                "encrypted_content": f"gAAAAAB{sealed}",
            },
        )

    def _call(self, use: Use, call_id: str) -> Json:
        return {
            "arguments": json.dumps(use.arguments, ensure_ascii=False),
            "call_id": call_id,
            "name": use.name,
            "type": "function_call",
            "id": self._new("fc"),
            "status": "completed",
        }

    def _message(self, part: Json) -> Json:
        return {
            "id": self._new("msg"),
            "content": [part],
            "role": "assistant",
            "status": "completed",
            "type": "message",
        }


def _text(output: object) -> str:
    """What a tool returned: text as it is, everything else as JSON."""
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
