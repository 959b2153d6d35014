"""The archive formats ``sessionctl-archive/1`` to ``/3``: their documentation and only implementation.

A file is UTF-8 JSON Lines, every line ended by LF, compressed as a whole by zstd, by gzip or not at all;
the manifest is a frame (a gzip member) of its own, so that it can be read from the end. In this order:

1. the header: ``{"sessionctl_archive": 1, "run_id", "segment", "created_at", "tool", "sdk", "command",
   "store", "kind", "flavour", "zone", "selectors", "reason"}``;
2. for each session, none twice:

   * ``{"session": id, "version", "stamps": {"created", "updated"[, "created_at", "updated_at"]}, "extras": {}}``
   * its items in the order of their keys, ``{"key", "stored_at"[, "at"], "data"}``. ``data`` is the last
     key and holds the stored text verbatim: the text is what stands between ``,"data":`` and the final ``}``.
     Text that is not one line of valid JSON stands as a string in ``text`` instead, invalid UTF-8 in ``b64``;
   * ``{"end": id, "items", "bytes", "sha256"}``: the number of items, the octets of their stored texts, and
     SHA-256 over the session's lines before this one;

3. the manifest: ``{"manifest": {"sessions", "items", "bytes", "sha256"}}``, with SHA-256 over the header and
   all ``end`` lines, each of which vouches for its session. A file without it is truncated.

Version 2 is the same but for two things: the header's ``sessionctl_archive`` is 2, and the line of a session may
end in ``"part": [[key, text], …]``. Then the session is not whole: a run took the items that follow out of it, and
the ``extras`` that go with them, and left all else in the store. The items whose keys are listed it did not remove
but put that text in place of theirs. Archives without parts are of version 1, which every release reads.

Version 3 is what a rotation leaves beside its targets. The line of a session may end in ``"elsewhere": {"store",
"sha256", "here"}``. Then its texts lie in the store of that address, under the same id and in the same order, and
``"data":null`` stands for each, but for those of the items at the positions ``here``. ``sha256`` is taken over all
texts, each as its length in octets, a colon, and its octets.

Lines are written without spaces between the tokens and in ASCII but for ``data``; what each field means
is told by ``core.record``. No line is longer than ``MAX_LINE`` octets.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from sessionctl.archive.texts import REFUSALS, as_string, is_lenient_json, no_constant, octets, parse_json
from sessionctl.core.record import Elsewhere, SessionRecord, Stamps, StoredItem
from sessionctl.core.units import format_size, format_time, parse_time
from sessionctl.errors import ItemTooLarge

_WHOLE, _PARTS, _ELSEWHERE = 1, 2, 3
"""The versions: of whole sessions only, with parts of sessions, and with sessions whose texts are elsewhere."""
MAX_LINE = 256 * 1024 * 1024
_BLOCK = 64 * 1024
"""Characters of items encoded at once."""
_NAMELY = "sessionctl_archive"

_quote = json.encoder.encode_basestring_ascii
_to_json = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


class Malformed(ValueError):
    """A line that this format does not allow; says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Where an archive comes from.

    ``segment`` counts the files of a run from 1. ``store`` is the masked address, ``selectors`` the selection
    in sentences, ``zone`` the one in which the store's naive stamps were read (None: they are UTC), ``sdk`` the
    oldest SDK release writing there, where it is known. ``parts``: there may be parts of sessions in it.
    ``elsewhere``: there may be sessions in it whose texts lie in another store.
    """

    run_id: str
    segment: int = 1
    created_at: datetime
    tool: str
    sdk: str | None = None
    command: str
    store: str
    kind: str
    flavour: str
    zone: str | None = None
    selectors: tuple[str, ...] = ()
    reason: str | None = None
    parts: bool = False
    elsewhere: bool = False

    @property
    def version(self) -> int:
        return _ELSEWHERE if self.elsewhere else _PARTS if self.parts else _WHOLE

    def numbered(self, segment: int, created_at: datetime) -> Header:
        """The same for another segment of the run."""
        return replace(self, segment=segment, created_at=created_at)


_TOLD = tuple(field.name for field in fields(Header) if field.name not in ("parts", "elsewhere"))


class Counts(NamedTuple):
    """Sessions, their items, and the octets of the items' stored texts."""

    sessions: int = 0
    items: int = 0
    bytes: int = 0

    def plus(self, more: Counts) -> Counts:
        return Counts(self.sessions + more.sessions, self.items + more.items, self.bytes + more.bytes)


class Block(NamedTuple):
    """Encoded lines of some items, and how many these are and how many octets their stored texts have."""

    data: bytes
    items: int
    bytes: int


class End(NamedTuple):
    """What closes a session."""

    id: str
    items: int
    bytes: int
    sha256: str


class Manifest(NamedTuple):
    """What closes a file."""

    counts: Counts
    sha256: str


# -- encoding -------------------------------------------------------------------------------------------


def encode_header(header: Header) -> bytes:
    record = {name: getattr(header, name) for name in _TOLD}
    return _line({_NAMELY: header.version, **record, "created_at": format_time(header.created_at)})


def encode_session(session: SessionRecord) -> bytes:
    """Raises ValueError where ``extras`` are no JSON values."""
    stamps = session.stamps
    told = f'"created":{_scalar(stamps.created)},"updated":{_scalar(stamps.updated)}'
    if stamps.created_at is not None:
        told += f',"created_at":{_quote(stamps.created_at)}'
    if stamps.updated_at is not None:
        told += f',"updated_at":{_quote(stamps.updated_at)}'
    extras = _to_json(dict(session.extras)) if session.extras else "{}"
    names = f'"session":{_quote(session.id)},"version":{_quote(session.version)}'
    part = "" if session.part is None else f',"part":{_to_json(list(session.part.items()))}'
    elsewhere = "" if session.elsewhere is None else f',"elsewhere":{_to_json(asdict(session.elsewhere))}'
    return f'{{{names},"stamps":{{{told}}},"extras":{extras}{part}{elsewhere}}}\n'.encode()


def encode_end(end: End) -> bytes:
    return f'{{"end":{_quote(end.id)},"items":{end.items},"bytes":{end.bytes},"sha256":"{end.sha256}"}}\n'.encode()


def encode_manifest(manifest: Manifest) -> bytes:
    return _line({"manifest": {**manifest.counts._asdict(), "sha256": manifest.sha256}})


def encode_items(items: Iterable[StoredItem]) -> Iterator[Block]:
    """The lines of ``items``, in blocks of about 64 KiB. Raises ItemTooLarge."""
    lines: list[str] = []
    chars = verbatim = apart = 0
    last, stamp = None, "null"  # items stored together share their stamp
    for key, stored_at, at, text in items:
        if stored_at != last:
            last, stamp = stored_at, _scalar(stored_at)
        head = f'{{"key":{key if type(key) is int else _scalar(key)},"stored_at":{stamp}'
        if at is not None:
            head += f',"at":{_quote(at)}'
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
    if len(data) > MAX_LINE and max(len(line.encode()) for line in lines) > MAX_LINE:
        raise ItemTooLarge(f"an item is larger than the {format_size(MAX_LINE)} that a line of an archive can hold")
    # Only verbatim texts can hold more than ASCII: what the encoding added to the length, it added to them.
    return Block(data, len(lines), verbatim + apart + len(data) - chars)


def _scalar(value: str | int | None) -> str:
    return "null" if value is None else _quote(value) if isinstance(value, str) else str(int(value))


def _line(record: Mapping[str, Any]) -> bytes:
    return _to_json(record).encode() + b"\n"


# -- decoding: lines come without their LF, and each function raises Malformed ---------------------------------


_LINE = msgspec.defstruct(
    "_LINE",
    [("key", int | str | None), ("stored_at", str | None), ("data", msgspec.Raw), ("at", str | None, None)],
    forbid_unknown_fields=True,
)
_DATA = b',"data":'
_AROUND = len(_DATA) + 1
_parse_line = msgspec.json.Decoder(_LINE).decode


def is_session(line: bytes) -> bool:
    return line.startswith(b'{"session":')


def is_item(line: bytes) -> bool:
    return line.startswith(b'{"key":')


def is_end(line: bytes) -> bool:
    return line.startswith(b'{"end":')


def is_manifest(line: bytes) -> bool:
    return line.startswith(b'{"manifest":')


def decode_header(line: bytes) -> Header:
    """Says so where the version is one that this release does not know."""
    record = _object(line)
    if _NAMELY not in record:
        raise Malformed("this is not a sessionctl archive")
    version = record.pop(_NAMELY)
    if version not in (_WHOLE, _PARTS, _ELSEWHERE) or isinstance(version, bool):
        raise Malformed(f"its format is version {version!r}, this release reads {_WHOLE} to {_ELSEWHERE}")
    try:
        told: dict[str, Any] = {name: record[name] for name in _TOLD}
        read = {"created_at": parse_time(told["created_at"]), "selectors": tuple(told["selectors"])}
        header = Header(**told | read, parts=version == _PARTS, elsewhere=version == _ELSEWHERE)
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed(f"the header is incomplete or wrong: {error}") from None
    texts = (header.run_id, header.tool, header.command, header.store, header.kind, header.flavour, *header.selectors)
    options = (header.sdk, header.zone, header.reason)
    if not (
        isinstance(record["selectors"], list)
        and all(isinstance(text, str) for text in texts)
        and all(text is None or isinstance(text, str) for text in options)
        and _is_count(header.segment)
    ):
        raise Malformed("the header is wrong: a value is not of its kind")
    return header


def decode_session(line: bytes) -> SessionRecord:
    record = _object(line)
    stamps = record.get("stamps")
    if (
        record.keys() - {"part", "elsewhere"} != {"session", "version", "stamps", "extras"}
        or not isinstance(stamps, dict)
        or not isinstance(record["extras"], dict)
        or not {"created", "updated"} <= stamps.keys() <= {"created", "updated", "created_at", "updated_at"}
        or not all(value is None or isinstance(value, str) for value in stamps.values())
        or not all(isinstance(record[name], str) for name in ("session", "version"))
    ):
        raise Malformed("the line of a session is malformed")
    return SessionRecord(
        id=record["session"],
        version=record["version"],
        stamps=Stamps(**stamps),
        extras=record["extras"],
        part=_part(record["part"]) if "part" in record else None,
        elsewhere=_elsewhere(record["elsewhere"]) if "elsewhere" in record else None,
    )


def _part(told: object) -> dict[int, str]:
    try:
        part = {key: text for key, text in told}  # type: ignore[attr-defined]  # noqa: C416 - one may be no pair
    except (TypeError, ValueError):
        raise Malformed("the line of a session is malformed") from None
    if not all(type(key) is int and isinstance(text, str) for key, text in part.items()):
        raise Malformed("the line of a session is malformed")
    return part


def _elsewhere(told: object) -> Elsewhere:
    if (
        not isinstance(told, dict)
        or told.keys() != {"store", "sha256", "here"}
        or not all(isinstance(told[name], str) for name in ("store", "sha256"))
        or not isinstance(told["here"], list)
        or not all(_is_count(position) for position in told["here"])
    ):
        raise Malformed("the line of a session is malformed")
    return Elsewhere(store=told["store"], sha256=told["sha256"], here=tuple(told["here"]))


def decode_item(line: bytes) -> StoredItem:
    plain = _plain(line)
    cut = line.find(_DATA)
    if plain is not None:
        return StoredItem(plain.key, plain.stored_at, plain.at, _utf8(line[cut + len(_DATA) : -1]))
    if cut < 0:
        return _decode_apart(line)
    if not line.endswith(b"}"):
        raise Malformed("the line of an item does not end")
    return _item(_object(line[:cut] + b"}"), _decode_data(line[cut + len(_DATA) : -1]))


def item_octets(line: bytes) -> int:
    """Checks the line of an item as ``decode_item`` does, and tells only the octets of its stored text."""
    plain = _plain(line)
    if plain is None:
        return octets(decode_item(line).text)
    if not line.isascii():
        _utf8(line)
    return len(plain.data)


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
        raise Malformed("the line of an item is not UTF-8") from None


def _decode_data(raw: bytes) -> str:
    text = _utf8(raw)
    try:
        parse_json(text)
    except msgspec.DecodeError:
        if not is_lenient_json(text):
            raise Malformed("the data of an item is not JSON") from None
    except RecursionError:
        pass  # how deep the parser gets depends on who calls it: the digest vouches for this text
    return text


def _decode_apart(line: bytes) -> StoredItem:
    record = _object(line)
    form = next((name for name in ("text", "b64") if isinstance(record.get(name), str)), None)
    if form is None:
        raise Malformed("the line of an item has no text")
    value = record.pop(form)
    try:
        text = value if form == "text" else base64.b64decode(value, validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        raise Malformed("the bytes of an item are not base64") from None
    return _item(record, text)


def _item(record: Mapping[str, Any], text: str) -> StoredItem:
    key, stored_at, at = (record.get(name) for name in ("key", "stored_at", "at"))
    if (
        not {"key", "stored_at"} <= record.keys() <= {"key", "stored_at", "at"}
        or isinstance(key, bool)
        or not isinstance(key, int | str | None)
        or not all(value is None or isinstance(value, str) for value in (stored_at, at))
    ):
        raise Malformed("the line of an item is malformed")
    return StoredItem(key, stored_at, at, text)


def decode_end(line: bytes) -> End:
    record = _object(line)
    if record.keys() != {"end", "items", "bytes", "sha256"} or not (
        _is_count(record["items"]) and _is_count(record["bytes"]) and isinstance(record["end"], str)
    ):
        raise Malformed("the last line of a session is malformed")
    return End(record["end"], record["items"], record["bytes"], str(record["sha256"]))


def decode_manifest(line: bytes) -> Manifest:
    record = _object(line).get("manifest")
    names = ("sessions", "items", "bytes")
    if not isinstance(record, dict) or not all(_is_count(record.get(name)) for name in names):
        raise Malformed("the manifest is malformed")
    return Manifest(Counts(*(record[name] for name in names)), str(record.get("sha256")))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _object(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line.decode(), parse_constant=no_constant)
    except (ValueError, RecursionError):
        raise Malformed("a line is not JSON") from None
    if not isinstance(record, dict):
        raise Malformed("a line is not a JSON object")
    return record
