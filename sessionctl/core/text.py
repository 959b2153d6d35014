"""Stored text on its way to a terminal: nothing in it may act there, and nothing may hide there.

Whoever talks to an agent decides what lies in its store, escape sequences, invisible letters and direction
overrides included. Ordinary text of any script stays as it is, right-to-left letters, joiners inside words
and emoji sequences too; what would act or hide is spelled out like a Python escape.
"""

from __future__ import annotations

import re
import unicodedata

# Matched first and kept: a flag such as Scotland's is made of tag letters, otherwise a way to hide text.
_FLAG = "\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f"
_ACTING = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 (tab and newline are added below), DEL, C1
    "\u00ad\u061c\u180e"  # soft hyphen, Arabic letter mark, Mongolian vowel separator
    "\u200b\u200e\u200f"  # zero-width space, direction marks; the joiners U+200C and U+200D stay
    "\u2028-\u202e"  # line and paragraph separators, embeddings and overrides
    "\u2060-\u206f"  # word joiner, invisible operators, isolates, deprecated format characters
    "\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff"  # lone surrogates: invalid UTF-8 in the store, or half an emoji cut off by an application
    "\U000e0000-\U000e00ff"  # tags: they spell invisible ASCII
)
# A variation selector is ordinary after an ideograph, elsewhere or doubled it can carry hidden bytes.
_STRAY_SELECTOR = "(?<![\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])[\U000e0100-\U000e01ef]"
_MULTILINE = re.compile(f"{_FLAG}|\r\n|[{_ACTING}]|{_STRAY_SELECTOR}")
_ONE_LINE = re.compile(f"{_FLAG}|[\t\n{_ACTING}]|{_STRAY_SELECTOR}")
_NAMED = {"\t": r"\t", "\n": r"\n", "\r": r"\r", "\r\n": "\n"}
_SPACE = re.compile(r"[ \t\r\n\f\v]+")


def visible(text: str, *, multiline: bool = False) -> str:
    r"""``text`` made safe for a terminal; what acts or hides is escaped (``\x1b``, ``\u202e``).

    ``multiline`` keeps newlines and tabs, and reads CR LF as a newline. The result holds no lone
    surrogates, so it can be encoded. Backslashes are left alone: this is for reading, not for undoing.
    """
    return (_MULTILINE if multiline else _ONE_LINE).sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    found = match[0]
    if found in _NAMED:
        return _NAMED[found]
    if len(found) > 1:
        return found
    code = ord(found)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def cell_width(text: str) -> int:
    """Terminal cells ``text`` takes: two for wide characters, none for combining ones; at least what is drawn."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(char: str) -> int:
    if char.isascii():
        return 1
    if char == "\ufe0f":  # turns the character before it into an emoji, which may be one cell wider
        return 1
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shorten(text: str, width: int) -> str:
    """``text`` as one safe line of at most ``width`` cells: white space folded, ``…`` where it was cut."""
    # Only the head can show; folding a whole megabyte for one table cell would be waste.
    head = text[: 8 * width + 64]
    line = visible(_SPACE.sub(" ", head).strip())
    if len(head) == len(text) and cell_width(line) <= width:
        return line
    room, kept = width - 1, []
    for char in line:
        room -= _cells(char)
        if room < 0:
            break
        kept.append(char)
    return "".join(kept).rstrip() + "…" if width > 0 else ""
