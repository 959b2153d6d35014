"""Items as an SDK session class would have written them: the same JSON, with the spaces of that class.

The SQLite classes write ``json.dumps(item)``, SQLAlchemySession leaves the spaces out; the SDK's compaction compares
stored texts as they are, so that it matters. A text that is no JSON, or that Python would read otherwise than it
stands there, is not for us to mend: it stays as it is.
"""

from __future__ import annotations

import json
import re
from enum import Enum

import msgspec

_SHAPES = 4096
"""Shapes of items remembered; there are few, until something in them is numbered."""
_ODD_ESCAPE = re.compile(
    r"\\(?![ntrbf]|u(?:00[01][0-9a-f]|[1-9a-f][0-9a-f]{3}|0[1-9a-f][0-9a-f]{2}|00[89a-f][0-9a-f]))"
)
"""Of an ASCII text without escaped quotes and backslashes: what json.dumps would not write so."""
_CHECKED = msgspec.json.Decoder(msgspec.Raw).decode
_SHORT = ("\\n", "\\t", "\\r", "\\b", "\\f")


class Style(Enum):
    """Separators between values, and between a key and its value."""

    SPACED = (", ", ": ")
    COMPACT = (",", ":")


def style_of(flavour: str) -> Style:
    """The style of the SDK session class that ``StoreInfo.flavour`` names."""
    return Style.COMPACT if flavour == "SQLAlchemySession" else Style.SPACED


class Serialiser:
    """Gives stored texts the ``style`` of one class.

    Most items of a store have one of a few shapes: all that stands between their strings. So it is a shape that is
    parsed and written anew, once; the strings are taken over as they are.
    """

    def __init__(self, style: Style) -> None:
        self._style = style
        self._shapes: dict[str, list[str] | None] = {}

    def __call__(self, text: str) -> str:
        """``text`` in the style, or as it is."""
        quick = self._by_shape(text) if text.isascii() and _is_json(text) else None
        return self._anew(text) if quick is None else quick

    def _by_shape(self, text: str) -> str | None:
        """None where a closer look is needed."""
        escaped = "\\" in text
        if escaped:
            # Control characters stand for the escapes that have to do with quotes: a JSON text has none itself.
            marked = text.replace("\\\\", "\0").replace('\\"', "\1")
            # The usual escapes are counted, which is quicker than looking at each.
            if marked.count("\\") != sum(map(marked.count, _SHORT)) and _ODD_ESCAPE.search(marked):
                return None
            parts = marked.split('"')
        else:
            parts = text.split('"')
        if not len(parts) % 2:
            return None
        shape = '"'.join(parts[::2])
        try:
            made = self._shapes[shape]
        except KeyError:
            made = self._learn(shape)
        if made is None:
            return None
        parts[::2] = made
        joined = '"'.join(parts)
        return joined.replace("\1", '\\"').replace("\0", "\\\\") if escaped else joined

    def _learn(self, shape: str) -> list[str] | None:
        """The shape in the style; None where it is none of a JSON text that Python would write in some style."""
        if len(self._shapes) >= _SHAPES:
            self._shapes.clear()
        # Keys must differ, or a parser would keep the last of them alone.
        segments = shape.split('"')
        numbered = "".join(f'{segment}"{number}"' for number, segment in enumerate(segments[:-1])) + segments[-1]
        made: list[str] | None = None
        parsed = _parsed(numbered)
        if parsed is not None and _same(numbered, parsed[0]):
            made = re.split(r'"\d+"', _dumped(parsed[0], self._style))
            made = made if len(made) == len(segments) else None
        self._shapes[shape] = made
        return made

    def _anew(self, text: str) -> str:
        parsed = _parsed(text)
        return text if parsed is None else _dumped(parsed[0], self._style)


def _is_json(text: str) -> bool:
    """Without NaN and the like, which only Python takes for numbers."""
    try:
        _CHECKED(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _parsed(text: str) -> tuple[object] | None:
    """The value, which may be None itself; no value for what is no JSON, or would not come through Python whole."""
    try:
        return (json.loads(text, object_pairs_hook=_distinct),)
    except (ValueError, RecursionError):
        return None


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice")
    return found


def _dumped(value: object, style: Style) -> str:
    return json.dumps(value, separators=style.value)


def _same(text: str, value: object) -> bool:
    """Would Python write ``value`` as it stands in ``text``, in some style? Numbers can be written in many ways."""
    return any(_dumped(value, style) == text for style in Style)
