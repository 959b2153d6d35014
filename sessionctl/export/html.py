"""HTML: one page a session, complete in itself, and an index of the pages.

A page asks nothing of the network. All stored text is escaped, and the page's own policy lets nothing run
but the one script below, by its hash: hostile text neither acts nor breaks the page.
"""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Iterator
from functools import cache
from html import escape
from importlib.resources import files
from typing import BinaryIO, ClassVar
from urllib.parse import quote

from sessionctl.core.pieces import Tone
from sessionctl.core.plan import Totals
from sessionctl.core.record import instant
from sessionctl.core.text import visible
from sessionctl.core.transcript import Kind, Turn
from sessionctl.core.units import count, format_size, format_stamp
from sessionctl.errors import SessionNotFound, UsageError
from sessionctl.export.base import Ending, Exported, Piece, Rendered
from sessionctl.export.reading import Block, Reading, Shown, facts, title

_IN_MEMORY = 4 << 20
_BRIEF = 120
_UNFOLD = '<button type="button" aria-pressed="false">Unfold all</button>'
_FOLDED = (Kind.CALL, Kind.OUTPUT, Kind.HANDOFF, Kind.ASIDE)
_CLASSES = {Kind.ASIDE: "aside", Kind.ROW: "row", Kind.HANDOFF: "handoff", Kind.CALL: "tool", Kind.OUTPUT: "tool"}
_TONES = {Tone.PROBLEM: "said problem", Tone.ASIDE: "said told"}


class HtmlDocument(Rendered):
    """One page for one session."""

    is_seamless: ClassVar[bool] = False

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._has_session = False

    def begin(self, exported: Exported) -> None:  # noqa: ARG002 - one is one
        if self._has_session:
            raise UsageError("an HTML page holds one session", hint="name a directory with --out")
        self._has_session = True

    @staticmethod
    def render(exported: Exported) -> Iterator[Piece]:
        stamps, reading = exported.session.stamps, Reading(exported.items)
        about = {
            "store": visible(exported.store),
            "created": format_stamp(instant(stamps.created, stamps.created_at)),
            "last activity": format_stamp(instant(stamps.updated, stamps.updated_at)),
        }
        described = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in about.items())
        yield Piece(f"{_top(visible(exported.session.id), _UNFOLD)}<dl>{described}</dl>\n".encode())
        for turn, items in reading.turns():
            yield Piece(_turn_head(turn).encode())
            for shown in items:
                yield Piece(_item(shown).encode())
            yield Piece(b"</section>\n")
        totals = reading.totals
        footer = f"<footer>{count(totals.items, 'item')}, {format_size(totals.bytes)}</footer>\n"
        yield Piece(footer.encode(), totals)

    def close(self) -> None:
        """Raises SessionNotFound where there was no session: a page without one would say nothing."""
        if not self._has_session:
            raise SessionNotFound("no session matches, and a page needs one")
        self.file.write(_bottom().encode())


class HtmlIndex(Ending):
    """The page that leads to the pages of sessions, in the order in which they were added."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._several = file, False
        self._rows = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - lives as long as the index
        self._totals = Totals()

    def add(self, path: str, exported: Exported, totals: Totals) -> None:
        """A session and where its page is, from the index."""
        stamps = exported.session.stamps
        store = f'<td class="wide">{escape(visible(exported.store))}</td>' if exported.several else ""
        row = (
            f'<tr class="item"><td><a href="./{quote(path)}">{escape(visible(exported.session.id)) or "(empty id)"}</a>'
            f'</td>{store}<td class="time">{format_stamp(instant(stamps.updated, stamps.updated_at))}</td>'
            f'<td class="time wide">{format_stamp(instant(stamps.created, stamps.created_at))}</td>'
            f'<td class="number">{totals.items:,}</td><td class="number wide">{format_size(totals.bytes)}</td></tr>\n'
        )
        self._rows.write(row.encode())
        self._several = exported.several
        self._totals += totals

    def close(self) -> None:
        """Write the page; nothing is added after."""
        store = '<th class="wide">Store</th>' if self._several else ""
        head = (
            f"<table><thead><tr><th>Session</th>{store}<th>Last activity</th><th class='wide'>Created</th>"
            "<th class='number'>Items</th><th class='number wide'>Size</th></tr></thead>\n<tbody>\n"
        )
        totals = self._totals
        self._file.write((_top("Sessions", "") + head).encode())
        self._rows.seek(0)
        while chunk := self._rows.read(1 << 20):
            self._file.write(chunk)
        said = ", ".join((count(totals.sessions, "session"), count(totals.items, "item"), format_size(totals.bytes)))
        self._file.write(f"</tbody></table>\n<footer>{said}</footer>\n{_bottom()}".encode())

    def discard(self) -> None:
        """Let go of the rows. Idempotent."""
        self._rows.close()


def _turn_head(turn: Turn) -> str:
    return (
        f'<section class="turn"><h2>{escape(title(turn))} '
        f'<span class="facts">{escape(" · ".join(facts(turn)))}</span></h2>\n'
    )


def _item(shown: Shown) -> str:
    classes = " ".join(["item", _class(shown), *(["failed"] if shown.failed else [])])
    marks = [*shown.facts, *(["failed"] if shown.failed else [])]
    head = f'<b>{escape(shown.label)}</b> <span class="facts">{escape(" · ".join(marks))}</span>'
    body = "".join(f'<p class="note">{escape(note)}</p>' for note in shown.notes)
    if shown.kind not in _FOLDED:
        body += "".join(_block(block) for part in shown.parts for block in part)
        return f'<article class="{classes}"><div class="head">{head}</div>{body}</article>\n'
    body += "".join(_parts(shown))
    summary = f'<summary data-brief="{escape(_brief(shown))}">{head}</summary>'
    return f'<article class="{classes}"><details>{summary}{body}</details></article>\n'


def _brief(shown: Shown) -> str:
    """How what is folded begins, on one line."""
    text = next((block.text for part in shown.parts for block in part), "")
    return " ".join(text[: 2 * _BRIEF].split())[:_BRIEF]


def _class(shown: Shown) -> str:
    if shown.kind is Kind.MESSAGE:
        return shown.role if shown.role in ("user", "assistant") else "system"
    return _CLASSES[shown.kind]


def _parts(shown: Shown) -> Iterator[str]:
    named = shown.kind in (Kind.CALL, Kind.HANDOFF)
    for number, part in enumerate(shown.parts):
        what = f'<div class="what">{"output" if number else "call"}</div>' if named and part else ""
        yield f'<div class="part">{what}{"".join(map(_block, part))}</div>'


def _block(block: Block) -> str:
    text = escape(block.text)
    if block.tone in (Tone.INPUT, Tone.RESULT):
        return f'<pre dir="auto">{text}</pre>'
    return f'<div class="{_TONES.get(block.tone, "said")}" dir="auto">{text}</div>'


# -- the page around it -----------------------------------------------------------------------------------


def _top(name: str, tools: str) -> str:
    style, script = _resource("page.css"), _resource("page.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<meta name="robots" content="noindex">\n'
        f"<title>{escape(name)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<header class="top"><div class="bar"><h1 dir="auto">{escape(name)}</h1><div class="tools">'
        f'<output></output><input type="search" placeholder="Search" aria-label="Search" title="/">{tools}'
        "</div></div></header>\n<main>\n"
    )


def _bottom() -> str:
    return f"</main>\n<script>{_resource('page.js')}</script>\n</body>\n</html>\n"


@cache
def _resource(name: str) -> str:
    return files("sessionctl.export").joinpath(name).read_text(encoding="utf-8")


@cache
def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
