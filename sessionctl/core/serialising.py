"""Items as an SDK session class would have written them: the same JSON, with the spaces of that class.

The SQLite classes write ``json.dumps(item)``, SQLAlchemySession leaves the spaces out; the SDK's compaction compares
stored texts as they are, so that it matters. Between the spaces all stays as it stands, but for what is not ASCII:
both classes write escapes for it. A text that is no JSON is not for us to mend: it stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum

import msgspec


class Style(Enum):
    """The separators between values and behind keys, and what msgspec calls them (``indent``)."""

    SPACED = (0, (", ", ": "))
    COMPACT = (-1, (",", ":"))

    def __init__(self, indent: int, separators: tuple[str, str]) -> None:
        self.indent = indent
        self.separators = separators


def style_of(flavour: str) -> Style:
    """The style of the SDK session class that ``StoreInfo.flavour`` names."""
    return Style.COMPACT if flavour == "SQLAlchemySession" else Style.SPACED


def styled(text: str, style: Style) -> str:
    """``text`` in the style, or as it is."""
    if text.isascii():
        try:
            made: str = msgspec.json.format(text, indent=style.indent)
        except (msgspec.DecodeError, RecursionError):
            pass  # NaN and the like are numbers to Python alone
        else:
            return made
    try:
        return json.dumps(json.loads(text, object_pairs_hook=_distinct), separators=style.separators)
    except (ValueError, RecursionError):
        return text


def all_styled(texts: Sequence[str], style: Style) -> list[str]:
    """``styled`` of each, at less cost where nothing is unusual about any of them."""
    if all(map(str.isascii, texts)):
        made, indent = msgspec.json.format, style.indent
        with suppress(msgspec.DecodeError, RecursionError):
            return [made(text, indent=indent) for text in texts]
    return [styled(text, style) for text in texts]


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A key that comes twice would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice")
    return found
