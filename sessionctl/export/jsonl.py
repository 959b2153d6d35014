"""JSON Lines: one record an item, for programs.

``{"session_id", "position", "id", "created_at", "type", "role", "data"}`` in this order; the records of a
session follow each other in the order in which the SDK reads them, positions from 0. ``data`` is the item
itself, the stored text to the letter (line breaks between its tokens become spaces). A stored text that is
no JSON, or JSON that only Python reads (``NaN``), stands as a string under ``text`` in its place. With
several stores ``store`` comes first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any, ClassVar

import msgspec

from sessionctl.core.joined import JoinedItems
from sessionctl.core.payload import Unreadable, read_item
from sessionctl.core.plan import Totals
from sessionctl.core.record import plain_items, rfc3339
from sessionctl.export.base import Exported, Piece, Rendered

_BLOCK = 1 << 16
"""Octets written at once; much larger ones are given memory of their own by the system each time, at twice the cost."""
_LONG = 4300
"""Integers of more digits are JSON, but Python refuses to load them."""
_SAMPLED = 200
_STRIDE = _LONG // _SAMPLED
"""Every so many characters one is looked at first: of so long a number these are ``_SAMPLED`` digits in a row."""
_SOME, _ALL = rf"\d{{{_SAMPLED}}}", rf"\d{{{_LONG}}}"
_DIGITS: dict[type, tuple[re.Pattern[Any], re.Pattern[Any]]] = {
    str: (re.compile(_SOME), re.compile(_ALL)),
    bytes: (re.compile(_SOME.encode()), re.compile(_ALL.encode())),
}
_PARTS = 8
"""Of a record that is made with others."""
_POSITIONS: list[bytes] = []
"""Those that were asked for so far."""


_ABSENT = msgspec.Raw(b"")
_HEAD = msgspec.defstruct(
    "Head", [("type", str | None, None), ("role", str | None, None), ("content", msgspec.Raw, _ABSENT)]
)
"""The fields that records tell; decoding into it checks all of the JSON but makes no objects of the rest."""
_decode: Callable[[str | bytes], Any] = msgspec.json.Decoder(_HEAD).decode
_REFUSALS = (ValueError, RecursionError)
"""Of a text that is broken, or valid only for the slower and more tolerant parser."""


class JsonlDocument(Rendered):
    """One record an item."""

    is_plain: ClassVar[bool] = True

    @staticmethod
    def render(exported: Exported) -> Iterator[Piece]:
        opening = _opening(exported)
        items = exported.items
        if isinstance(items, JoinedItems) and (records := _at_once(opening.encode(), items)) is not None:
            many = len(items.keys)
            yield Piece(records, Totals(sessions=1, items=many, bytes=sum(map(len, items.texts))))
            return
        position, size, pending = -1, 0, 0
        parts: list[str] = []
        said, at_said, created = None, None, "null"
        for position, (key, stored_at, at, text) in enumerate(plain_items(exported.items)):
            if stored_at != said or at != at_said:  # the items of a batch share their stamp
                said, at_said, created = stored_at, at, _quoted(rfc3339(stored_at, at))
            number = key if type(key) is int else json.dumps(key)
            try:
                head = _decode(text)
                kind = head.type or _implied_type(head)
            except _REFUSALS:
                kind = None
            if kind and "\n" not in text and "\r" not in text and (len(text) <= _LONG or _is_loadable(text)):
                before, data = _fields(kind, head.role), text
            else:
                before, data = record_of(text)
            parts.append(f'{opening}{position},"id":{number},"created_at":{created}{before}{data}}}\n')
            pending += len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))
            if pending >= _BLOCK:
                yield Piece("".join(parts).encode())
                parts, size, pending = [], size + pending, 0
        yield Piece("".join(parts).encode(), Totals(sessions=1, items=position + 1, bytes=size + pending))


def _at_once(opening: bytes, items: JoinedItems) -> bytes | None:
    """The records of all items, where each is usual; None where one needs to be looked at by itself."""
    texts, many = items.texts, len(items.keys)
    try:
        heads = list(map(_decode, texts))
    except _REFUSALS:
        return None
    kinds = [head.type or _implied_type(head) for head in heads]
    if not all(kinds) or (max(map(len, texts), default=0) > _LONG and not all(map(_is_loadable, texts))):
        return None
    parts = [opening] * (_PARTS * many)
    parts[1::_PARTS] = _positions(many)
    parts[2::_PARTS] = items.keys
    parts[3::_PARTS] = [b',"created_at":"'] * many
    parts[4::_PARTS] = items.created
    parts[5::_PARTS] = [_ends(kind, head.role) for kind, head in zip(kinds, heads, strict=True)]
    parts[6::_PARTS] = texts
    parts[7::_PARTS] = [b"}\n"] * many
    records = b"".join(parts)
    return None if b"\r" in records else records


def _positions(many: int) -> list[bytes]:
    while len(_POSITIONS) < many:
        _POSITIONS.append(b'%d,"id":' % len(_POSITIONS))
    return _POSITIONS[:many]


def _quoted(stamp: str | None) -> str:
    return "null" if stamp is None else f'"{stamp}"'


def _opening(exported: Exported) -> str:
    store = f'"store":{json.dumps(exported.store)},' if exported.several else ""
    return f'{{{store}"session_id":{json.dumps(exported.session.id)},"position":'


def record_of(text: str) -> tuple[str, str]:
    """A stored text as the end of a record: what stands before the value, and the value."""
    try:
        head = _decode(text)
    except _REFUSALS:
        return _tolerant(text)
    kind = head.type or _implied_type(head)
    if kind is None or not _is_loadable(text):
        return _tolerant(text)
    return _fields(kind, head.role), _one_line(text)


def _is_loadable(text: str | bytes) -> bool:
    """Does Python load this JSON?"""
    if len(text) <= _LONG:
        return True
    some, every = _DIGITS[type(text)]
    return some.search(text[::_STRIDE]) is None or every.search(text) is None


def _implied_type(head: Any) -> str | None:
    return "message" if head.role is not None and head.content is not _ABSENT else None


def _tolerant(text: str) -> tuple[str, str]:
    payload = read_item(text)
    if payload.unreadable not in (None, Unreadable.NOT_AN_OBJECT) or not is_strict(text):
        return _fields(payload.type, payload.role, "text"), json.dumps(text)
    return _fields(payload.type, payload.role), _one_line(text)


def _one_line(text: str) -> str:
    """Valid JSON without line breaks: they are never within a string, where they would be escaped."""
    return text.replace("\n", " ").replace("\r", " ")


def is_strict(text: str) -> bool:
    """Is a text that Python loads JSON for others too? It can also be encoded then."""
    with suppress(ValueError, RecursionError):
        _decode(text)  # the quick way; what it refuses may still be JSON
        return True
    try:
        json.loads(text, parse_constant=_refuse)
        text.encode()
    except ValueError:
        return False
    return True


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


@lru_cache(maxsize=1024)
def _fields(kind: str | None, role: str | None, place: str = "data") -> str:
    return f',"type":{json.dumps(kind)},"role":{json.dumps(role)},"{place}":'


@lru_cache(maxsize=1024)
def _ends(kind: str, role: str | None) -> bytes:
    """Between the time and the value."""
    return b'"' + _fields(kind, role).encode()
