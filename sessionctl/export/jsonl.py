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
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from sessionctl.core.instants import rfc3339
from sessionctl.core.payload import Unreadable, read_item
from sessionctl.core.plan import Totals
from sessionctl.export.base import Document, Exported

_FLUSH_AT = 1 << 20
_LONG_NUMBER = re.compile(r"\d{4300}")
"""Longer integers are JSON, but Python refuses to load them."""


_HEAD = msgspec.defstruct(
    "Head", [("type", str | None, None), ("role", str | None, None), ("content", msgspec.Raw | None, None)]
)
"""The fields that records tell; decoding into it checks all of the JSON but makes no objects of the rest."""
_decode: Callable[[str], Any] = msgspec.json.Decoder(_HEAD).decode


class JsonlDocument(Document):
    """One record an item."""

    def add(self, exported: Exported) -> Totals:
        opening = _opening(exported)
        items, size, pending = 0, 0, 0
        lines: list[str] = []
        for position, (key, stored_at, at, text) in enumerate(exported.items):
            head, data = record_of(text)
            stamp = rfc3339(stored_at, at)
            number = key if type(key) is int else json.dumps(key)
            when = f'"{stamp}"' if stamp else "null"
            lines.append(f'{opening}{position},"id":{number},"created_at":{when}{head}{data}}}\n')
            items += 1
            octets = len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))
            size, pending = size + octets, pending + octets
            if pending >= _FLUSH_AT:
                self.file.write("".join(lines).encode())
                lines, pending = [], 0
        self.file.write("".join(lines).encode())
        return Totals(sessions=1, items=items, bytes=size)


def _opening(exported: Exported) -> str:
    store = f'"store":{json.dumps(exported.store)},' if exported.several else ""
    return f'{{{store}"session_id":{json.dumps(exported.session.id)},"position":'


def record_of(text: str) -> tuple[str, str]:
    """A stored text as the end of a record: what stands before the value, and the value."""
    try:
        head = _decode(text)
    except (ValueError, RecursionError):  # broken, or valid only for the slower and more tolerant parser
        return _tolerant(text)
    kind = head.type
    if kind is None:
        if head.role is None or head.content is None:
            return _tolerant(text)
        kind = "message"
    if "\n" in text or "\r" in text:  # never within a string: there they are escaped
        text = text.replace("\n", " ").replace("\r", " ")
    if len(text) > 4300 and _LONG_NUMBER.search(text):
        return _tolerant(text)
    return _fields(kind, head.role), text


def _tolerant(text: str) -> tuple[str, str]:
    payload = read_item(text)
    if payload.unreadable not in (None, Unreadable.NOT_AN_OBJECT) or not is_strict(text):
        return _fields(payload.type, payload.role, "text"), json.dumps(text)
    return _fields(payload.type, payload.role), text.replace("\n", " ").replace("\r", " ")


def is_strict(text: str) -> bool:
    """Is a text that Python loads JSON for others too? It can also be encoded then."""
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
