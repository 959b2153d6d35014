"""A diet without losing the conversation: large outputs, images and files become short stubs that are valid.

Calls keep their ids and all else they have. A stub says what was removed, how large it was and the SHA-256 of it:
of the string as it stood in the item, in UTF-8. Where the API takes nothing but an image, the stub is
an image of one pixel that says so in its comment.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from types import MappingProxyType
from typing import Any

from sessionctl.core.cutting import Boundaries
from sessionctl.core.model import Item
from sessionctl.core.payload import Payload, objects
from sessionctl.core.units import format_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Elided:
    """An item with less in it: its new stored text, and how many pieces were replaced."""

    text: str
    pieces: int


class Elider:
    """Finds what to elide of one session, fed with its items from the newest on.

    Pieces of more than ``over`` octets go, except in the ``min_turns`` newest turns.
    """

    def __init__(self, over: int, min_turns: int) -> None:
        self._over = over
        self._turns_left = min_turns
        self._boundaries = Boundaries()

    def see(self, item: Item, payload: Payload) -> Elided | None:
        """The next older item, with less in it; None where it stays as it is."""
        if item.hidden:
            return None
        self._turns_left -= self._boundaries.passed(payload)
        return elide(item.text, payload, self._over) if self._turns_left <= 0 else None


def elide(text: str, payload: Payload, over: int) -> Elided | None:
    """A stored item without its pieces of more than ``over`` octets; None where it has none."""
    if len(text) * 4 <= over or payload.unreadable or payload.type == "encrypted":
        return None
    data = json.loads(text)  # its own copy
    replaced = 0
    for piece in _pieces(payload.type or "", data):
        octets = piece.value.encode("utf-8", "surrogatepass") if len(piece.value) * 4 > over else b""
        if len(octets) > over:
            stub = piece.form(f"{piece.what}, {format_size(len(octets))}, sha256 {sha256(octets).hexdigest()}")
            if len(stub) < len(piece.value):
                piece.put(stub)
                replaced += 1
    return Elided(text=as_stored(data, like=text), pieces=replaced) if replaced else None


_FIRST_KEY = re.compile(r'\{\s*"(?:[^"\\]|\\.)*"\s*:( ?)')


def as_stored(data: Any, *, like: str) -> str:
    """JSON in the manner of another text: with or without spaces, with or without letters beyond ASCII."""
    first = _FIRST_KEY.match(like)
    separators = (", ", ": ") if first is None or first[1] else (",", ":")
    text = json.dumps(data, separators=separators, ensure_ascii=like.isascii())
    try:
        text.encode()
    except UnicodeEncodeError:  # half a character, which can only stand there escaped
        return json.dumps(data, separators=separators)
    return text


# -- stubs ----------------------------------------------------------------------------------------------


def _sentence(removed: str) -> str:
    return f"[removed by sessionctl: {removed}]"


def _object(removed: str) -> str:
    """For a program, which reads its tools' outputs as JSON."""
    return json.dumps({"removed by sessionctl": removed})


def _pixel(removed: str) -> str:
    """Base64 of a PNG of one pixel with a comment."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    comment = chunk(b"tEXt", b"Comment\0" + _sentence(removed).encode("latin-1", "replace"))
    png = b"\x89PNG\r\n\x1a\n" + header + comment + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")
    return base64.b64encode(png).decode()


def _pixel_url(removed: str) -> str:
    return f"data:image/png;base64,{_pixel(removed)}"


# -- where things are -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Piece:
    """A string that may be large, what it is, the stub that may stand for it, and how to put that in its place."""

    value: str
    what: str
    form: Callable[[str], str]
    put: Callable[[str], None]


_WITHIN: Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = MappingProxyType(
    {
        "computer_call_output": ("output", (), ("image_url",)),
        "code_interpreter_call": ("outputs", ("logs",), ("url",)),
        "file_search_call": ("results", ("text",), ()),
    }
)
"""Of items whose outputs are objects of their own: where these are, and their texts and images."""


def _pieces(kind: str, item: dict[str, Any]) -> Iterator[_Piece]:
    """All that may be elided of an item: the arguments of calls and what people wrote are not."""
    if kind == "message":
        yield from _parts(item.get("content"), texts=False)
    elif kind in _WITHIN:
        place, texts, images = _WITHIN[kind]
        for made in objects(item.get(place)):
            yield from chain.from_iterable(_string(made, name, name) for name in texts)
            yield from chain.from_iterable(_image(made, name) for name in images)
    elif kind == "image_generation_call":
        yield from _string(item, "result", "image", _pixel)
    elif kind == "program_output":
        yield from _string(item, "result", "result")
    elif kind == "mcp_call" or kind.endswith("_output"):
        caller = item.get("caller")
        by_program = isinstance(caller, dict) and caller.get("type") == "program"
        yield from _string(item, "output", "output", _object if by_program else _sentence)
        yield from _parts(item.get("output"), texts=True)


def _parts(parts: Any, *, texts: bool) -> Iterator[_Piece]:
    """Large things in a list of content; a text may stand wherever an image or a file does."""
    for index, part in enumerate(parts) if isinstance(parts, list) else ():
        if not isinstance(part, dict):
            continue

        def put(stub: str, index: int = index) -> None:
            parts[index] = {"type": "input_text", "text": stub}

        match part:
            case {"type": "input_image", "image_url": str(url)} if url.startswith("data:"):
                yield _Piece(url, _media("image", url), _sentence, put)
            case {"type": "input_file", "file_data": str(content)}:
                name = part.get("filename")
                yield _Piece(content, _media(f"file {name[:80]}" if isinstance(name, str) else "file", content),
                             _sentence, put)  # fmt: skip
            case {"type": "input_audio", "input_audio": {"data": str(content)}}:
                yield _Piece(content, "audio", _sentence, put)
            case {"type": "input_text", "text": str(text)} if texts:
                yield _Piece(text, "output", _sentence, put)
            case {"stdout": _} | {"stderr": _} if texts:
                yield from _string(part, "stdout", "stdout")
                yield from _string(part, "stderr", "stderr")


def _string(holder: dict[str, Any], name: str, what: str, form: Callable[[str], str] = _sentence) -> Iterator[_Piece]:
    if isinstance(holder.get(name), str):
        yield _Piece(holder[name], what, form, lambda stub: holder.update({name: stub}))


def _image(holder: dict[str, Any], name: str) -> Iterator[_Piece]:
    """An image in a place where only an image may stand; one that is elsewhere is not ours to remove."""
    url = holder.get(name)
    if isinstance(url, str) and url.startswith("data:"):
        yield _Piece(url, _media("image", url), _pixel_url, lambda stub: holder.update({name: stub}))


_DATA_URL = re.compile(r"data:([\w/+.-]{1,80})")


def _media(what: str, content: str) -> str:
    found = _DATA_URL.match(content)
    return f"{what}, {found[1]}" if found else what
