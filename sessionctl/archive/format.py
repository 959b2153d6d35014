"""The archive formats ``sessionctl-archive/1`` to ``/3``: their documentation, and all lines but those of items.

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

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any, NamedTuple

from sessionctl.archive.texts import no_constant, quote, scalar
from sessionctl.core.record import Elsewhere, SessionRecord, Stamps
from sessionctl.core.units import format_time, parse_time

_WHOLE, _PARTS, _ELSEWHERE = 1, 2, 3
"""The versions: of whole sessions only, with parts of sessions, and with sessions whose texts are elsewhere."""
MAX_LINE = 256 * 1024 * 1024
_NAMELY = "sessionctl_archive"

_to_json = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode
_from_json = json.JSONDecoder(parse_constant=no_constant).decode


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
    told = f'"created":{scalar(stamps.created)},"updated":{scalar(stamps.updated)}'
    if stamps.created_at is not None:
        told += f',"created_at":{quote(stamps.created_at)}'
    if stamps.updated_at is not None:
        told += f',"updated_at":{quote(stamps.updated_at)}'
    extras = _to_json(dict(session.extras)) if session.extras else "{}"
    names = f'"session":{quote(session.id)},"version":{quote(session.version)}'
    part = "" if session.part is None else f',"part":{_to_json(list(session.part.items()))}'
    elsewhere = "" if session.elsewhere is None else f',"elsewhere":{_to_json(asdict(session.elsewhere))}'
    return f'{{{names},"stamps":{{{told}}},"extras":{extras}{part}{elsewhere}}}\n'.encode()


def encode_end(end: End) -> bytes:
    return f'{{"end":{quote(end.id)},"items":{end.items},"bytes":{end.bytes},"sha256":"{end.sha256}"}}\n'.encode()


def encode_manifest(manifest: Manifest) -> bytes:
    return _line({"manifest": {**manifest.counts._asdict(), "sha256": manifest.sha256}})


def _line(record: Mapping[str, Any]) -> bytes:
    return _to_json(record).encode() + b"\n"


# -- decoding: lines come without their LF, and each function raises Malformed ---------------------------------


def is_session(line: bytes) -> bool:
    return line.startswith(b'{"session":')


def is_end(line: bytes) -> bool:
    return line.startswith(b'{"end":')


def is_manifest(line: bytes) -> bool:
    return line.startswith(b'{"manifest":')


def decode_header(line: bytes) -> Header:
    """Says so where the version is one that this release does not know."""
    record = parse_object(line)
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
    record = parse_object(line)
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


def decode_end(line: bytes) -> End:
    record = parse_object(line)
    if record.keys() != {"end", "items", "bytes", "sha256"} or not (
        _is_count(record["items"]) and _is_count(record["bytes"]) and isinstance(record["end"], str)
    ):
        raise Malformed("the last line of a session is malformed")
    return End(record["end"], record["items"], record["bytes"], str(record["sha256"]))


def decode_manifest(line: bytes) -> Manifest:
    record = parse_object(line).get("manifest")
    names = ("sessions", "items", "bytes")
    if not isinstance(record, dict) or not all(_is_count(record.get(name)) for name in names):
        raise Malformed("the manifest is malformed")
    return Manifest(Counts(*(record[name] for name in names)), str(record.get("sha256")))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def parse_object(line: bytes) -> dict[str, Any]:
    try:
        record = _from_json(line.decode())
    except (ValueError, RecursionError):
        raise Malformed("a line is not JSON") from None
    if not isinstance(record, dict):
        raise Malformed("a line is not a JSON object")
    return record
