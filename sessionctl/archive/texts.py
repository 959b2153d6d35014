"""Stored texts as lines hold them: what is one JSON value, what octets a text stands for, and it as a string."""

from __future__ import annotations

import base64
import json

import msgspec

quote = json.encoder.encode_basestring_ascii
parse_json = msgspec.json.Decoder(msgspec.Raw).decode
"""Checks that a text is one JSON value, by the letter of RFC 8259, and builds nothing."""
REFUSALS = (msgspec.DecodeError, UnicodeError, RecursionError)


def scalar(value: str | int | None) -> str:
    return "null" if value is None else quote(value) if isinstance(value, str) else str(int(value))


def octets(text: str) -> int:
    """Octets of a stored text that carries invalid UTF-8 by surrogate escapes."""
    return len(text) if text.isascii() else len(_stored_bytes(text) or text.encode("utf-8", "surrogatepass"))


def is_lenient_json(text: str) -> bool:
    r"""JSON that the strict parser refuses for a lone ``\ud83d`` in it, which the grammar allows."""
    if "\\u" not in text or "\n" in text or "\r" in text:
        return False
    try:
        text.encode()
        json.loads(text, parse_constant=no_constant)
    except (ValueError, RecursionError):
        return False
    return True


def no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def as_string(text: str) -> str:
    raw = _stored_bytes(text)
    if raw is None or _is_utf8(text):
        return f'"text":{quote(text)}'
    return f'"b64":"{base64.b64encode(raw).decode()}"'


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _stored_bytes(text: str) -> bytes | None:
    """The octets that ``text`` stands for; None where it stands for none (halves of a pair no store can hold)."""
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None
    return raw if raw.decode("utf-8", "surrogateescape") == text else None
