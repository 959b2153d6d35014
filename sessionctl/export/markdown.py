"""Markdown: transcripts that read well as text and rendered, on GitHub for one.

What was said is escaped, so that it shows as it was written and nothing in it becomes a heading, a link, an
image or HTML. What tools took and gave stands in fenced blocks, whose fences are longer than any in them.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from sessionctl.core.record import instant
from sessionctl.core.text import visible
from sessionctl.core.transcript import Kind
from sessionctl.core.units import count, format_size, format_stamp
from sessionctl.export.base import Exported, Piece, Rendered
from sessionctl.export.reading import Reading, Shown, facts, title

_ACTIVE = re.compile(r"[\\`*_{}\[\]<>&|~$]")
_AT_START = re.compile(r"^([ \t]*)([#+=-])", re.MULTILINE)
_ORDERED = re.compile(r"^([ \t]*\d{1,9})([.)])", re.MULTILINE)
_LEADING = re.compile(r"^[ \t]+", re.MULTILINE)
_BACKTICKS = re.compile(r"`+")


class MarkdownDocument(Rendered):
    """One transcript after the other."""

    @staticmethod
    def render(exported: Exported) -> Iterator[Piece]:
        session, reading = exported.session, Reading(exported.items)
        stamps = session.stamps
        yield _said(
            f"# {escaped(visible(session.id))}",
            f"- store: {_code(visible(exported.store))}\n"
            f"- created: {format_stamp(instant(stamps.created, stamps.created_at))}\n"
            f"- last activity: {format_stamp(instant(stamps.updated, stamps.updated_at))}",
        )
        for turn, items in reading.turns():
            yield _said(f"## {title(turn)}", " · ".join(facts(turn)))
            for shown in items:
                yield _said(*_item(shown))
        totals = reading.totals
        yield _said(f"*{count(totals.items, 'item')}, {format_size(totals.bytes)}*")._replace(totals=totals)


def _said(*paragraphs: str) -> Piece:
    return Piece("".join(f"{paragraph}\n\n" for paragraph in paragraphs).encode())


def _item(shown: Shown) -> Iterator[str]:
    marks = [*shown.facts, *(["failed"] if shown.failed else [])]
    if shown.kind is Kind.MESSAGE:
        yield f"**{escaped(shown.label)}** · {' · '.join(marks)}"
        yield from _notes(shown)
        for part in shown.parts:
            yield from (quoted(block.text) for block in part)
        return
    yield f"<details><summary><code>{html.escape(shown.label)}</code> · {' · '.join(marks)}</summary>"
    yield from _notes(shown)
    for number, part in enumerate(shown.parts):
        if number or shown.kind is Kind.OUTPUT:
            yield "→"
        for block in part:
            yield fenced(block.text, "json" if block.is_json else "text")
    yield "</details>"


def _notes(shown: Shown) -> Iterator[str]:
    yield from (f"*{escaped(note)}*" for note in shown.notes)


def escaped(text: str) -> str:
    """``text`` so that Markdown shows it as it is, lines and their indents included."""
    text = _ACTIVE.sub(r"\\\g<0>", text)
    text = _ORDERED.sub(r"\1\\\2", _AT_START.sub(r"\1\\\2", text))
    return _LEADING.sub(lambda found: "&nbsp;" * len(found[0].expandtabs(4)), text)


def quoted(text: str) -> str:
    """A block quote of ``text`` that keeps its lines."""
    return "\n".join(f"> {line}  " if line else ">" for line in escaped(text).split("\n"))


def fenced(text: str, language: str) -> str:
    """A code block that nothing in ``text`` can end."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _code(text: str) -> str:
    """An inline code span that nothing in ``text`` can end."""
    fence = "`" * (_longest_run(text) + 1)
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in _BACKTICKS.findall(text)), default=0)
