"""The lines of items in archives: many at once, as nearly all are alike, and one by one where some are not."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from sessionctl.archive import format as form
from sessionctl.archive.texts import REFUSALS, as_string, is_lenient_json, octets, parse_json, quote, scalar
from sessionctl.core.record import StoredItem
from sessionctl.core.units import format_size
from sessionctl.errors import ItemTooLarge

_BLOCK = 64 * 1024
"""Characters of items encoded at once."""
_LINE = msgspec.defstruct(
    "_LINE",
    [("key", int | str | None), ("stored_at", str | None), ("at", str | None, None), ("data", msgspec.Raw)],
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
)
"""In the order in which a line has them, so that what is read can be compared with what would be written."""
START = b'{"key":'
"""How a line begins."""
_DATA = b',"data":'
_AROUND = len(_DATA) + 1
_decoder = msgspec.json.Decoder(_LINE)
_parse_line, _parse_lines = _decoder.decode, _decoder.decode_lines
_write_lines = msgspec.json.Encoder().encode_lines


class Block(NamedTuple):
    """Encoded lines of some items, and how many these are and how many octets their stored texts have."""

    data: bytes
    items: int
    bytes: int


def encode_items(items: Iterable[StoredItem]) -> Iterator[Block]:
    """The lines of ``items``, in blocks of about 64 KiB. Raises ItemTooLarge."""
    lines: list[str] = []
    chars = verbatim = apart = 0
    last, stamp = None, "null"  # items stored together share their stamp
    for key, stored_at, at, text in items:
        if stored_at != last:
            last, stamp = stored_at, scalar(stored_at)
        head = f'{{"key":{key if type(key) is int else scalar(key)},"stored_at":{stamp}'
        if at is not None:
            head += f',"at":{quote(at)}'
        try:
            parse_json(text)
            is_verbatim = "\n" not in text and "\r" not in text
        except REFUSALS:
            is_verbatim = is_lenient_json(text)
        if is_verbatim:
            line = f'{head},"data":{text}}}\n'
            verbatim += len(text)
        else:
            line = f"{head},{as_string(text)}}}\n"
            apart += octets(text)
        lines.append(line)
        chars += len(line)
        if chars >= _BLOCK:
            yield _block(lines, chars, verbatim, apart)
            lines, chars, verbatim, apart = [], 0, 0, 0
    if lines:
        yield _block(lines, chars, verbatim, apart)


def _block(lines: list[str], chars: int, verbatim: int, apart: int) -> Block:
    data = "".join(lines).encode()
    if len(data) > form.MAX_LINE and max(len(line.encode()) for line in lines) > form.MAX_LINE:
        most = format_size(form.MAX_LINE)
        raise ItemTooLarge(f"an item is larger than the {most} that a line of an archive can hold")
    # Only verbatim texts can hold more than ASCII: what the encoding added to the length, it added to them.
    return Block(data, len(lines), verbatim + apart + len(data) - chars)


# -- decoding: each function raises Malformed --------------------------------------------------------------


class Found(NamedTuple):
    """Some items: how many, the octets of their texts, and the items themselves where they were asked for."""

    number: int
    octets: int
    items: list[StoredItem]


Read = Callable[[bytes], Found | None]
"""What tells of whole lines, with their LF, which items they hold; None where each must be looked at by itself."""


def decode_items(lines: bytes) -> Found | None:
    """As ``Read``: None where one is not as usual."""
    found = _usual(lines)
    if found is None:
        return None
    try:
        decoded = [StoredItem(line.key, line.stored_at, line.at, str(line.data, "utf-8")) for line in found]
    except UnicodeDecodeError:
        return None
    return Found(len(found), sum([len(line.data) for line in found]), decoded)


def measure_items(lines: bytes) -> Found | None:
    """As ``decode_items``, and as strict, but without the items."""
    found = _usual(lines)
    if found is None or not (lines.isascii() or _is_utf8(lines)):
        return None
    return Found(len(found), sum([len(line.data) for line in found]), [])


def count_items(lines: bytes) -> Found | None:
    """As ``Read``, but only how many they are; nothing is checked but how the last line begins."""
    return Found(lines.count(b"\n"), 0, []) if lines.startswith(START, lines.rfind(b"\n", 0, -1) + 1) else None


def _usual(lines: bytes) -> Sequence[Any] | None:
    """As the parser reads them, if nothing about them is unusual: then they would be written just so again."""
    try:
        found: Sequence[Any] = _parse_lines(lines)
    except REFUSALS:
        return None
    return found if _write_lines(found) == lines else None


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def decode_item(line: bytes) -> StoredItem:
    """The item of a line, which comes without its LF."""
    plain = _plain(line)
    cut = line.find(_DATA)
    if plain is not None:
        return StoredItem(plain.key, plain.stored_at, plain.at, _utf8(line[cut + len(_DATA) : -1]))
    if cut < 0:
        return _decode_apart(line)
    if not line.endswith(b"}"):
        raise form.Malformed("the line of an item does not end")
    return _item(form.parse_object(line[:cut] + b"}"), _decode_data(line[cut + len(_DATA) : -1]))


def _plain(line: bytes) -> Any:
    """The line of an item as the parser reads it, if nothing about it is unusual; its UTF-8 is not checked yet.

    The data then is all of the line behind its key: no blanks around it, no second key, nothing behind it.
    """
    try:
        found = _parse_line(line)
    except REFUSALS:
        return None
    return found if len(found.data) == len(line) - line.find(_DATA) - _AROUND else None


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise form.Malformed("the line of an item is not UTF-8") from None


def _decode_data(raw: bytes) -> str:
    text = _utf8(raw)
    try:
        parse_json(text)
    except msgspec.DecodeError:
        if not is_lenient_json(text):
            raise form.Malformed("the data of an item is not JSON") from None
    except RecursionError:
        pass  # how deep the parser gets depends on who calls it: the digest vouches for this text
    return text


def _decode_apart(line: bytes) -> StoredItem:
    record = form.parse_object(line)
    kind = next((name for name in ("text", "b64") if isinstance(record.get(name), str)), None)
    if kind is None:
        raise form.Malformed("the line of an item has no text")
    value = record.pop(kind)
    try:
        text = value if kind == "text" else base64.b64decode(value, validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        raise form.Malformed("the bytes of an item are not base64") from None
    return _item(record, text)


def _item(record: Mapping[str, Any], text: str) -> StoredItem:
    key, stored_at, at = (record.get(name) for name in ("key", "stored_at", "at"))
    if (
        not {"key", "stored_at"} <= record.keys() <= {"key", "stored_at", "at"}
        or isinstance(key, bool)
        or not isinstance(key, int | str | None)
        or not all(value is None or isinstance(value, str) for value in (stored_at, at))
    ):
        raise form.Malformed("the line of an item is malformed")
    return StoredItem(key, stored_at, at, text)
