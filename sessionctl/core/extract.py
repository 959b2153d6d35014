"""The part of a session that is to be condensed: what a model is told of it, and where its answer is put.

The answer takes the rows of the newest items that go, so it has keys, stamps and places that are the session's own:
nothing is inserted, an append does not matter, and archive and undo know it as texts that were replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from itertools import chain
from typing import Any

from sessionctl.core.eliding import as_stored
from sessionctl.core.model import Item, Span
from sessionctl.core.pieces import Piece, Tone, pieces
from sessionctl.core.plan import Step
from sessionctl.core.spans import spans
from sessionctl.core.summary import Summary, read_summary
from sessionctl.core.tokens import estimate_words
from sessionctl.core.transcript import Entry, Exchange, Joiner, Kind, Turn, entries, kind_of, label_of, turns
from sessionctl.core.units import format_minute

_LONGEST = 6000
"""Characters of one piece that the model is shown: of a longer one its beginning and its end."""
_LEFT_OUT = (Kind.ASIDE, Kind.ROW)
"""What the model and the SDK left for themselves says nothing to another model."""


@dataclass(frozen=True, kw_only=True)
class Extract:
    """The ``items`` that go of a session and are to be condensed, in the order of reading."""

    session_id: str
    items: Sequence[Item]

    @cached_property
    def entries(self) -> list[Entry]:
        """Those that the agent sees."""
        return [entry for entry in entries(self.items) if not entry.unseen]

    @cached_property
    def summaries(self) -> list[Summary]:
        """Those among them that stand for turns which went before."""
        return [found for entry in self.entries if (found := read_summary(entry.payload)) is not None]

    @cached_property
    def rest(self) -> list[Entry]:
        """The entries that are no summaries."""
        if not self.summaries:
            return self.entries
        return [entry for entry in self.entries if read_summary(entry.payload) is None]

    @property
    def size(self) -> int:
        """Octets of the stored texts."""
        return sum(item.size for item in self.items)

    def summary(self, text: str, by: str, at: datetime) -> Summary:
        """``text`` as what stands for all of it, the turns that earlier summaries stand for included."""
        times = [entry.item.created_at for entry in self.rest if entry.item.created_at is not None]
        begun = [*times, *(one.since for one in self.summaries if one.since)]
        ended = [*times, *(one.until for one in self.summaries if one.until)]
        own = sum(1 for turn in turns(self.rest) if turn.entries[0].payload.is_user)
        return Summary(
            text=text,
            turns=own + sum(one.turns for one in self.summaries),
            items=len(self.rest) + sum(one.items for one in self.summaries),
            since=min(begun, default=None),
            until=max(ended, default=None),
            by=by,
            at=at,
        )


# -- what a model is told -------------------------------------------------------------------------------


def chapters(extract: Extract, most_tokens: int) -> Iterator[str]:
    """The transcript for a reader who takes so many tokens at once, by estimate: as few texts as that allows."""
    held, tokens = list[str](), 0
    for block in _blocks(extract):
        more = estimate_words(block)
        if held and tokens + more > most_tokens:
            yield "\n".join(held)
            held, tokens = [], 0
        held.append(block)
        tokens += more
    if held:
        yield "\n".join(held)


def _blocks(extract: Extract) -> Iterator[str]:
    """One text for each exchange; what says nothing is left out."""
    joiner = Joiner()
    for turn in turns(extract.rest):
        told = [_told(exchange) for exchange in joiner.exchanges(turn) if kind_of(exchange.entry) not in _LEFT_OUT]
        for number, text in enumerate(told):
            yield text if number else f"{_heading(turn)}\n{text}"


def _heading(turn: Turn) -> str:
    at = format_minute(turn.started_at)
    return f"\n[turn {turn.index}{f', {at}' if at else ''}]"


def _told(exchange: Exchange) -> str:
    lines = [f"{label_of(exchange.entry, exchange.name)}: {_said(pieces(exchange.entry.payload))}"]
    lines += [f"-> {_said(pieces(output.payload))}" for output in exchange.outputs]
    return "\n".join(lines)


def _said(said: Iterable[Piece]) -> str:
    return "\n".join(_shortened(f"[{one.text}]" if one.tone is Tone.ASIDE else one.text) for one in said)


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    head, tail = text[: _LONGEST * 2 // 3], text[-_LONGEST // 3 :]
    return f"{head}\n[{len(text) - len(head) - len(tail):,} characters are left out here]\n{tail}"


# -- where the answer is put ----------------------------------------------------------------------------


def in_place(step: Step, extract: Extract, answer: Sequence[Mapping[str, Any]]) -> Step | str:
    """The step with ``answer`` in the place of the newest items of ``extract``, which it removes; or why not."""
    rows = [(item.key, item.text) for item in (entry.item for entry in extract.entries) if isinstance(item.key, int)]
    if not 0 < len(answer) <= len(rows):
        return f"{len(answer)} items came back in the place of {len(rows)}"
    targets = rows[-len(answer) :]
    texts = {key: as_stored(item, like=like) for (key, like), item in zip(targets, answer, strict=True)}
    size = sum(Item(key=None, text=text).size for text in texts.values())
    if size >= extract.size:
        return "what came back is no shorter than what it would stand for"
    if step.rewrite is None:
        raise TypeError("a session that is deleted leaves nothing")
    keys = [item.key for item in extract.items if isinstance(item.key, int)]
    rewrite = replace(
        step.rewrite,
        remove=tuple(chain.from_iterable(_without(span, keys, texts) for span in step.rewrite.remove)),
        replace=(*step.rewrite.replace, *texts.items()),
        unbranched=True,
    )
    return step._replace(bytes=step.bytes - size, rewrite=rewrite, condensed=len(texts))


def _without(span: Span, keys: Sequence[int], staying: Mapping[Any, str]) -> tuple[Span, ...]:
    """The span without the items that stay; ``keys`` hold all that are in it."""
    inside = [key for key in keys if span.first <= key <= span.last]
    return spans(inside, {key for key in inside if key not in staying})
