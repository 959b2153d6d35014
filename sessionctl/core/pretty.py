"""JSON laid out for reading: indented, with everything in it kept as it is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

_INLINE = 76
"""JSON up to this many characters stays on one line."""


class _Number(str):
    """A number as it is written in the source: 12.50 must not be shown as 12.5."""

    __slots__ = ()


class _Object(list[tuple[str, Any]]):
    """An object's members, in order and with repeated keys."""


_READER = json.JSONDecoder(object_pairs_hook=_Object, parse_int=_Number, parse_float=_Number, parse_constant=_Number)


def pretty_json(text: str) -> str | None:
    """``text`` indented, its escaped letters decoded, if it is a JSON object or array; else None."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        node = _READER.decode(text)
        return "\n".join(_lines(node, ""))
    except (ValueError, RecursionError):
        return None


def _lines(node: Any, indent: str, before: str = "") -> Iterator[str]:
    inline = _inline(node, _INLINE - len(before))
    if inline is not None or not isinstance(node, list):
        yield indent + before + (inline if inline is not None else _scalar(node))
        return
    opening, closing = ("{", "}") if isinstance(node, _Object) else ("[", "]")
    yield indent + before + opening
    deeper = indent + "  "
    if not isinstance(node, _Object) and not any(isinstance(child, list) for child in node):
        yield from _filled([_scalar(child) for child in node], deeper)
        yield indent + closing
        return
    for index, child in enumerate(node, 1):
        key, value = (_quoted(child[0]) + ": ", child[1]) if isinstance(node, _Object) else ("", child)
        *head, last = _lines(value, deeper, key)
        yield from head
        yield last + ("," if index < len(node) else "")
    yield indent + closing


def _filled(values: Sequence[str], indent: str) -> Iterator[str]:
    """A long array of plain values: as many on a line as fit."""
    line = ""
    for index, value in enumerate(values, 1):
        part = value + ("," if index < len(values) else "")
        if line and len(line) + 1 + len(part) > _INLINE:
            yield indent + line
            line = part
        else:
            line = f"{line} {part}" if line else part
    yield indent + line


def _inline(node: Any, room: int) -> str | None:
    """The node on one line, None where that takes more than ``room`` characters."""
    if not isinstance(node, list):
        text = _scalar(node)
        return text if len(text) <= room else None
    is_object, parts = isinstance(node, _Object), list[str]()
    room -= 2
    for child in node:
        key, value = (_quoted(child[0]) + ": ", child[1]) if is_object else ("", child)
        part = _inline(value, room - len(key))
        if part is None:
            return None
        parts.append(key + part)
        room -= len(parts[-1]) + 2
        if room < -2:
            return None
    return ("{%s}" if is_object else "[%s]") % ", ".join(parts)


def _scalar(value: Any) -> str:
    return str(value) if isinstance(value, _Number) else _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
