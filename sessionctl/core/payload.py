"""One stored item, read tolerantly: what kind it is, whose, about which call, and whether it speaks of an error.

A store holds whatever applications, other SDK releases and accidents put there, so nothing here trusts a
field to be present or of its type, and nothing raises. The item types are those of the Responses API's
input union and the ones the SDK adds; ``core.pieces`` says what a reader is shown of each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from math import isfinite
from typing import Any

import msgspec

from sessionctl.core.units import format_size

MAX_DEPTH = 100
"""Nesting below which an item can safely be written out again inside a larger JSON document."""


COMPACTION = "compaction"
"""The type of compaction items, a word that the stored text of each contains."""


class Unreadable(StrEnum):
    """Why a stored text is no item. What the SDK does with such a row differs: see each."""

    NOT_JSON = "not valid JSON"
    """Skipped silently on every read."""
    NOT_AN_OBJECT = "JSON, but not an object"
    """Handed to the model as it is."""
    NOT_LOADABLE = "JSON that Python refuses to load"
    """Nested too deeply or holding an integer of thousands of digits: reading the session raises."""
    NOT_UTF8 = "not valid UTF-8"
    """Reading the session raises, in the driver."""


class Payload:
    """What a stored text says. ``data`` is the parsed JSON, or the text itself where it does not parse.

    ``type`` is the item's; ``message`` for the bare ``{"content", "role"}`` form in which the SDK stores user
    input, ``encrypted`` for an EncryptedSession envelope; None where there is none. ``call_id`` is the id that
    joins a call and its output, whichever field holds it for this type; ``program`` the call id of the program
    that issued the item, None where the model itself did. What everything asks for is read at once; ``data``
    is built when it is first asked for.
    """

    __slots__ = ("_data", "_text", "call_id", "id", "name", "program", "role", "status", "type", "unreadable")

    def __init__(
        self, text: str, head: Any, kind: str | None, data: Any = ..., unreadable: Unreadable | None = None
    ) -> None:
        """``head`` holds the fields of ``_HEAD``, ``kind`` is the type; ``data`` where it was parsed already."""
        self._text = text
        self._data = data
        self.unreadable = unreadable
        self.type = kind
        self.role: str | None = head.role
        self.id: str | None = head.id
        self.status: str | None = head.status
        self.name: str | None = head.name if kind == "message" else _name(kind, head)
        self.call_id: str | None = head.call_id
        if head.call_id is None and kind in _CALLED_BY_OTHER_IDS:
            # The API's own type of local shell items knows only the id, the SDK writes a call_id as well.
            self.call_id = head.approval_request_id if kind == "mcp_approval_response" else head.id
        self.program = None if head.caller is None else _program(head.caller)

    @property
    def data(self) -> Any:
        """The parsed JSON; the text itself where it does not parse."""
        if self._data is ...:
            try:
                self._data = json.loads(self._text)
            except (ValueError, RecursionError):  # asked from so deep that it does not load there
                self._data = self._text
        return self._data

    @property
    def fields(self) -> Mapping[str, Any]:
        """The item's fields; none where it is no object."""
        return self.data if isinstance(self.data, dict) else {}

    @property
    def is_user(self) -> bool:
        """Does it start a turn? The SDK's two forms of user input: with ``type: message`` and without a type."""
        return self.role == "user" and self.type == "message"

    @property
    def is_handoff(self) -> bool:
        """A call that passes the conversation to another agent, by the SDK's default naming of such tools."""
        return self.type == "function_call" and (self.name or "").startswith("transfer_to_")

    @property
    def is_error(self) -> bool:
        """Does it report a failure: an unfinished or failed status, a refusal, an output that reads like an error?"""
        return self.status in ("incomplete", "failed") or _reports_error(self.type, self.fields)


_ABSENT = msgspec.Raw(b"")
_STRINGS = ["type", "role", "id", "call_id", "status", "name", "server_label", "namespace", "approval_request_id"]
_HEAD = msgspec.defstruct(
    "Head",
    [*((name, str | None, None) for name in _STRINGS), ("caller", Any, None), ("content", msgspec.Raw, _ABSENT)],
)
"""The fields that everything asks for; decoding into it checks all of the JSON but builds nothing of the rest."""
_NO_FIELDS = _HEAD()
_decode: Callable[[str], Any] = msgspec.json.Decoder(_HEAD).decode
_SHORT, _LONG = 800, 4300
"""Texts of so many letters cannot be nested too deeply to load; integers of so many digits Python refuses."""
_DEEP = 400
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # bytes that were no UTF-8; a stored escape of a surrogate is ASCII


def read_item(text: str) -> Payload:
    """Read one stored text. Never raises."""
    size = len(text)
    if size > _SHORT and (size >= _LONG or text.count("[") + text.count("{") > _DEEP):
        return _read_carefully(text)
    try:
        head = _decode(text)
    except (ValueError, RecursionError):  # broken, of other types, or valid only for a more tolerant parser
        return _read_carefully(text)
    if head.type:
        return Payload(text, head, head.type)
    if head.role is not None and head.content is not _ABSENT:
        return Payload(text, head, "message")
    return _read_carefully(text)


def _read_carefully(text: str) -> Payload:
    """By the parser that the SDK uses, with all that it takes and all that it refuses."""
    if not text.isascii() and _NOT_UTF8.search(text):
        return _no_item(text, Unreadable.NOT_UTF8)
    try:
        data = json.loads(text)
    except json.JSONDecodeError:
        return _no_item(text, Unreadable.NOT_JSON)
    except (ValueError, RecursionError):
        return _no_item(text, Unreadable.NOT_LOADABLE)
    if not isinstance(data, dict):
        return _no_item(data, Unreadable.NOT_AN_OBJECT)
    head = _HEAD(**{name: string(data.get(name)) for name in _STRINGS}, caller=data.get("caller"))
    return Payload(text, head, head.type or _implied_type(data, head.role), data)


def _no_item(data: Any, why: Unreadable) -> Payload:
    return Payload("", _NO_FIELDS, None, data, why)


def string(value: object) -> str | None:
    """``value`` if it is a string, else None."""
    return value if isinstance(value, str) else None


def _implied_type(data: Mapping[str, Any], role: str | None) -> str | None:
    if role is not None and "content" in data:
        return "message"
    if data.get("__enc__") == 1 and isinstance(data.get("payload"), str):
        return "encrypted"
    return "item_reference" if data.keys() <= {"id", "type"} and isinstance(data.get("id"), str) else None


def _name(kind: str | None, head: Any) -> str | None:
    scope: str | None = head.server_label or head.namespace
    if kind == "mcp_list_tools":
        return scope
    return f"{scope}.{head.name}" if scope and head.name else head.name


_CALLED_BY_OTHER_IDS = frozenset(
    ("mcp_approval_request", "mcp_approval_response", "local_shell_call", "local_shell_call_output")
)


def _program(caller: object) -> str | None:
    if not isinstance(caller, dict) or caller.get("type") != "program":
        return None
    return string(caller.get("caller_id"))


# -- errors ---------------------------------------------------------------------------------------------

_ERROR_TEXT = re.compile(
    r"\s*(?:Error\b|ERROR\b|error:|Traceback \(most recent call last\)|[\w.]{0,80}(?:Error|Exception)(?::|\()"
    r"|An error occurred while |Tool execution was not approved\.|Output withheld by an output guardrail\."
    r"|Tool '[^']{0,80}' timed out after )"
)
_ERROR_KEYS = ("error", "errors", "isError", "is_error")
_JSON_START = re.compile(r"\s*\{")


def _reports_error(kind: str | None, data: Mapping[str, Any]) -> bool:
    if data.get("error"):
        return True
    if kind == "message":
        return any(part.get("type") == "refusal" for part in objects(data.get("content")))
    if kind == "mcp_approval_response":
        return data.get("approve") is False
    if kind == "mcp_call" or (kind or "").endswith("_output"):
        return _output_is_error(data.get("output", data.get("result")))
    return False


def _output_is_error(output: object) -> bool:
    if isinstance(output, str):
        return bool(_ERROR_TEXT.match(output)) or _says_error(output)
    for part in objects(output):
        outcome = part.get("outcome")
        if isinstance(outcome, dict) and (
            outcome.get("type") == "timeout" or outcome.get("exit_code") not in (0, None)
        ):
            return True
        text = part.get("text")
        if isinstance(text, str) and (_ERROR_TEXT.match(text) or _says_error(text)):
            return True
    return isinstance(output, dict) and any(output.get(key) for key in _ERROR_KEYS)


def _says_error(text: str) -> bool:
    """A JSON object with an error in it; parsed only when the word occurs."""
    if not _JSON_START.match(text) or not re.search(r'"(?:errors?|is_?[Ee]rror)"', text):
        return False
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(data, dict) and any(data.get(key) for key in _ERROR_KEYS)


def objects(value: object) -> Iterator[dict[str, Any]]:
    """The objects in ``value`` if it is a list, ``value`` itself if it is an object."""
    if isinstance(value, dict):
        yield value
    elif isinstance(value, list):
        yield from (part for part in value if isinstance(part, dict))


# -- the whole item as JSON -----------------------------------------------------------------------------


def exportable(payload: Payload, text: str) -> Any:
    """``payload.data`` where it can stand in a strict JSON document, else the stored ``text`` as a string.

    Python reads ``NaN``, ``Infinity`` and ``1e999``, which JSON does not have; and a document nested
    almost too deeply to be read would become too deep to be written.
    """
    if payload.unreadable:
        return payload.data if payload.unreadable is Unreadable.NOT_AN_OBJECT and _is_plain(payload.data) else text
    suspicious = text.count("[") + text.count("{") > MAX_DEPTH or re.search(r"NaN|Infinity|[eE]\+?\d{3}", text)
    return payload.data if not suspicious or _is_plain(payload.data) else text


def _is_plain(data: Any) -> bool:
    level, depth = [data], 0
    while level and depth <= MAX_DEPTH:
        if any(isinstance(node, float) and not isfinite(node) for node in level):
            return False
        depth += 1
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
    return not level


# -- search ---------------------------------------------------------------------------------------------

NOT_SAID = frozenset(
    (
        *(
            "type",
            "role",
            "status",
            "phase",
            "id",
            "call_id",
            "approval_request_id",
            "caller",
            "container_id",
            "file_id",
        ),
        *("fingerprint", "encrypted_content", "logprobs", "detail", "execution"),
    )
)
"""Keys whose values say nothing to a reader, nor to the model."""
_DATA_URL = re.compile(r"data:([\w/+.-]{1,80})(?:;[\w=.-]{1,80})*;base64,([A-Za-z0-9+/_=-]*)")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{1000,}={0,2}")


def searchable_text(text: str) -> str:
    """All that is said in a stored item: content, names, arguments, outputs, summaries, a line each.

    JSON inside strings (arguments, outputs) is there also decoded, so that escaped letters are found. Ids,
    types and encoded media are left out. A row that is no item: its raw text; an encrypted one: nothing.
    """
    payload = read_item(text)
    if payload.unreadable:
        return text
    if payload.type == "encrypted":
        return ""
    return "\n".join(_said(payload.data))


def _said(data: Any) -> Iterator[str]:
    """In document order and without recursion: an item may be nested as deeply as the parser allows."""
    rest = [data]
    while rest:
        node = rest.pop()
        if isinstance(node, str):
            yield without_blobs(node)
            yield from _decoded(node)
        elif isinstance(node, dict):
            rest.extend(reversed([value for key, value in node.items() if key not in NOT_SAID]))
        elif isinstance(node, list):
            rest.extend(reversed(node))


def _decoded(text: str) -> Iterator[str]:
    if "\\" not in text or text.lstrip()[:1] not in ("{", "["):
        return
    try:
        yield without_blobs(json.dumps(json.loads(text), ensure_ascii=False))
    except (ValueError, RecursionError):
        return


def without_blobs(text: str) -> str:
    """``text`` with encoded media in it replaced by what they are and how large."""
    return replace_blobs(text, lambda kind, encoded: f"[{media(kind, encoded)}]")


def replace_blobs(text: str, by: Callable[[str, str], str]) -> str:
    """``text`` with encoded media in it replaced by what ``by`` makes of their media type and base64 text."""
    if len(text) < 100:
        return text
    if "base64," in text:
        text = _DATA_URL.sub(lambda found: by(found[1], found[2]), text)
    return _BASE64.sub(lambda found: by("base64", found[0]) if _is_encoded(found[0]) else found[0], text)


def _is_encoded(run: str) -> bool:
    """A long run of one kind of letters is more likely somebody's padding than encoded bytes."""
    return all(re.search(kind, run[:1000]) for kind in ("[a-z]", "[A-Z]", "[0-9]"))


def media(kind: str, encoded: str) -> str:
    """``"image/png, 1.2 MiB"`` for base64 text of that media type."""
    return f"{kind}, {format_size(len(encoded) * 3 // 4)}"
