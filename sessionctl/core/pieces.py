"""What a reader is shown of one item: its texts, arguments, results, and what can only be told about.

Encoded images and files are never shown, only what they are and how large; encrypted contents likewise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any

from sessionctl.core.envelope import sealed_at
from sessionctl.core.payload import Payload, media, objects, string, without_blobs
from sessionctl.core.units import format_size, format_time


class Tone(Enum):
    """How a piece is meant to be read."""

    SAID = auto()
    """Words of a participant."""
    INPUT = auto()
    """What a tool was called with; JSON where the tool takes JSON."""
    RESULT = auto()
    """What a tool returned; JSON where the tool returns JSON."""
    ASIDE = auto()
    """Told about, not shown: media, reasoning, notes."""
    PROBLEM = auto()
    """A refusal or failure."""


@dataclass(frozen=True, slots=True)
class Piece:
    tone: Tone
    text: str


Fields = Mapping[str, Any]


def pieces(payload: Payload) -> Iterator[Piece]:
    """The pieces of an item in reading order. Never raises; texts are as stored, not yet safe for a terminal."""
    if payload.unreadable:
        text = payload.data if isinstance(payload.data, str) else _json(payload.data)
        yield Piece(Tone.RESULT, text)
        return
    reader = _READERS.get(payload.type or "", _unknown)
    for piece in reader(payload.fields):
        if piece.text:
            yield Piece(piece.tone, without_blobs(piece.text))
    if payload.status in ("incomplete", "failed"):
        yield Piece(Tone.PROBLEM, f"status: {payload.status}")


def _json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        return f"[a {type(value).__name__} nested too deeply to show]"


def _text(value: object) -> str:
    """A string as it is, nothing for None, other JSON as JSON."""
    return value if isinstance(value, str) else "" if value is None else _json(value)


# -- messages -------------------------------------------------------------------------------------------


def _message(fields: Fields) -> Iterator[Piece]:
    yield from _content(fields.get("content"), Tone.SAID)


def _content(content: object, tone: Tone) -> Iterator[Piece]:
    """A string or a list of parts; whatever else stands there is shown as JSON."""
    if not isinstance(content, list):
        yield Piece(tone, _text(content))
        return
    for part in content:
        yield from _part(part, tone) if isinstance(part, dict) else [Piece(tone, _text(part))]


def _part(part: dict[str, Any], tone: Tone) -> Iterator[Piece]:
    kind = string(part.get("type")) or ""
    if kind == "refusal":
        yield Piece(Tone.PROBLEM, f"refused: {_text(part.get('refusal'))}")
    elif kind.endswith("image") or "screenshot" in kind:
        yield Piece(Tone.ASIDE, _image(part))
    elif kind.endswith("file"):
        yield Piece(Tone.ASIDE, _file(part))
    elif kind.endswith("audio"):
        sound = part.get("input_audio")
        sound = sound if isinstance(sound, dict) else part
        yield Piece(Tone.ASIDE, media(f"audio {_text(sound.get('format'))}".strip(), _text(sound.get("data"))))
    elif "text" in part:
        yield Piece(tone, _text(part["text"]))
        yield from _citations(part.get("annotations"))
    else:
        yield Piece(tone, _json(part))


def _image(part: Fields) -> str:
    url = part.get("image_url")
    if isinstance(url, dict):  # the Chat Completions form
        url = url.get("url")
    return _reference("image", url, part.get("file_id"), part.get("data"))


def _file(part: Fields) -> str:
    name = string(part.get("filename"))
    return _reference(
        f"file {name}" if name else "file", part.get("file_url"), part.get("file_id"), part.get("file_data")
    )


def _reference(what: str, url: object, file_id: object, inline: object) -> str:
    """Where something lies, or what it is and how large when it is here."""
    if isinstance(url, str) and url:
        head, _, encoded = url.partition(";base64,")
        return f"{what}: {media(head.removeprefix('data:'), encoded)}" if url.startswith("data:") else f"{what}: {url}"
    if isinstance(inline, str) and inline:
        head, comma, encoded = inline.partition(",")
        return media(what, encoded if comma else head)
    return f"{what}: {file_id}" if isinstance(file_id, str) else what


def _citations(annotations: object) -> Iterator[Piece]:
    for note in objects(annotations):
        source = string(note.get("url")) or string(note.get("filename")) or string(note.get("file_id"))
        if source:
            yield Piece(Tone.ASIDE, f"cites {source}")


# -- tools ----------------------------------------------------------------------------------------------


def _arguments(fields: Fields) -> Iterator[Piece]:
    yield Piece(Tone.INPUT, _text(fields.get("arguments")))


def _custom_input(fields: Fields) -> Iterator[Piece]:
    yield Piece(Tone.INPUT, _text(fields.get("input")))


def _code(fields: Fields) -> Iterator[Piece]:
    yield Piece(Tone.INPUT, _text(fields.get("code")))


def _output(fields: Fields) -> Iterator[Piece]:
    output = fields.get("output", fields.get("result"))
    yield from _part(output, Tone.RESULT) if _is_part(output) else _content(output, Tone.RESULT)


def _is_part(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str)


def _mcp_call(fields: Fields) -> Iterator[Piece]:
    yield from _arguments(fields)
    yield Piece(Tone.RESULT, _text(fields.get("output")))
    yield Piece(Tone.PROBLEM, _text(fields.get("error")))


def _mcp_answer(fields: Fields) -> Iterator[Piece]:
    approved = fields.get("approve") is True
    reason = _text(fields.get("reason"))
    text = ("approved" if approved else "not approved") + (f": {reason}" if reason else "")
    yield Piece(Tone.ASIDE if approved else Tone.PROBLEM, text)


def _tools(fields: Fields) -> Iterator[Piece]:
    names = [string(tool.get("name")) or string(tool.get("type")) or "?" for tool in objects(fields.get("tools"))]
    yield Piece(Tone.ASIDE, f"{len(names)} tools: {', '.join(names)}" if names else "no tools")
    yield Piece(Tone.PROBLEM, _text(fields.get("error")))


def _shell(fields: Fields) -> Iterator[Piece]:
    action = fields.get("action")
    action = action if isinstance(action, dict) else {}
    commands = action.get("commands")  # shell_call: a list of command lines; local_shell_call: one argv
    lines = [_text(line) for line in commands] if isinstance(commands, list) else [_argv(action.get("command"))]
    yield Piece(Tone.INPUT, "\n".join(f"$ {line}" for line in lines))


def _argv(command: object) -> str:
    return " ".join(map(_text, command)) if isinstance(command, list) else _text(command)


def _shell_output(fields: Fields) -> Iterator[Piece]:
    output = fields.get("output")
    if not isinstance(output, list):
        yield from _output(fields)
        return
    for part in objects(output):
        yield Piece(Tone.RESULT, _text(part.get("stdout")))
        yield Piece(Tone.PROBLEM, _text(part.get("stderr")))
        outcome = part.get("outcome")
        if isinstance(outcome, dict) and outcome.get("type") == "timeout":
            yield Piece(Tone.PROBLEM, "timed out")
        elif isinstance(outcome, dict) and outcome.get("exit_code") not in (0, None):
            yield Piece(Tone.PROBLEM, f"exit {_text(outcome.get('exit_code'))}")


def _patch(fields: Fields) -> Iterator[Piece]:
    change = fields.get("operation")
    if not isinstance(change, dict):
        yield from _unknown(fields)
        return
    yield Piece(
        Tone.INPUT, f"{_text(change.get('type'))} {_text(change.get('path'))}\n{_text(change.get('diff'))}".strip()
    )


def _computer(fields: Fields) -> Iterator[Piece]:
    actions = [*objects(fields.get("action")), *objects(fields.get("actions"))]
    for action in actions:
        details = ", ".join(f"{key}={_text(value)}" for key, value in action.items() if key != "type")
        yield Piece(Tone.INPUT, f"{_text(action.get('type'))}({details})")
    for check in objects(fields.get("pending_safety_checks")):
        yield Piece(Tone.PROBLEM, f"safety check: {_text(check.get('message') or check.get('code'))}")


def _web_search(fields: Fields) -> Iterator[Piece]:
    for action in objects(fields.get("action")):
        details = [_text(value) for key, value in action.items() if key in ("query", "url", "pattern") and value]
        yield Piece(Tone.INPUT, f"{_text(action.get('type'))}: {' '.join(details)}")


def _file_search(fields: Fields) -> Iterator[Piece]:
    queries = fields.get("queries")
    yield Piece(Tone.INPUT, "\n".join(map(_text, queries)) if isinstance(queries, list) else _text(queries))
    for found in objects(fields.get("results")):
        yield Piece(Tone.RESULT, f"{_text(found.get('filename') or found.get('file_id'))}: {_text(found.get('text'))}")


def _interpreter(fields: Fields) -> Iterator[Piece]:
    yield from _code(fields)
    for output in objects(fields.get("outputs")):
        if "logs" in output:
            yield Piece(Tone.RESULT, _text(output["logs"]))
        else:
            yield Piece(Tone.ASIDE, _reference("image", output.get("url"), None, None))


def _made_image(fields: Fields) -> Iterator[Piece]:
    yield Piece(Tone.INPUT, _text(fields.get("revised_prompt")))
    yield Piece(Tone.ASIDE, media(f"image {_text(fields.get('output_format'))}".strip(), _text(fields.get("result"))))
    yield Piece(Tone.PROBLEM, _text(fields.get("error")))


# -- what the model and the SDK leave for themselves -------------------------------------------------------


def _reasoning(fields: Fields) -> Iterator[Piece]:
    texts = [_text(part.get("text")) for key in ("summary", "content") for part in objects(fields.get(key))]
    yield Piece(Tone.ASIDE, "\n".join(filter(None, texts)) or "no summary")
    sealed = fields.get("encrypted_content")
    if isinstance(sealed, str):
        yield Piece(Tone.ASIDE, f"encrypted reasoning, {format_size(len(sealed))}")


def _compaction(fields: Fields) -> Iterator[Piece]:
    sealed = _text(fields.get("encrypted_content"))
    yield Piece(Tone.ASIDE, f"stands for the conversation before it: encrypted, {format_size(len(sealed))}")


def _server_item(fields: Fields) -> Iterator[Piece]:
    yield Piece(Tone.ASIDE, f"refers to {_text(fields.get('id'))}, which the API keeps")


def _envelope(fields: Fields) -> Iterator[Piece]:
    token = _text(fields.get("payload"))
    sealed = _sealed_at(token)
    yield Piece(Tone.ASIDE, f"encrypted, {format_size(len(token))}" + (f", sealed {sealed}" if sealed else ""))


def _sealed_at(token: str) -> str | None:
    seconds = sealed_at(token)
    try:
        return None if seconds is None else format_time(datetime.fromtimestamp(seconds, UTC))
    except (ValueError, OverflowError, OSError):
        return None


def _unknown(fields: Fields) -> Iterator[Piece]:
    """Any type not known here: all of it but its type, so that nothing is hidden."""
    yield Piece(Tone.RESULT, _json({key: value for key, value in fields.items() if key != "type"}))


_READERS: Mapping[str, Callable[[Fields], Iterator[Piece]]] = {
    "message": _message,
    "function_call": _arguments,
    "function_call_output": _output,
    "custom_tool_call": _custom_input,
    "custom_tool_call_output": _output,
    "tool_search_call": _arguments,
    "tool_search_output": _tools,
    "additional_tools": _tools,
    "mcp_list_tools": _tools,
    "mcp_call": _mcp_call,
    "mcp_approval_request": _arguments,
    "mcp_approval_response": _mcp_answer,
    "shell_call": _shell,
    "shell_call_output": _shell_output,
    "local_shell_call": _shell,
    "local_shell_call_output": _output,
    "apply_patch_call": _patch,
    "apply_patch_call_output": _output,
    "computer_call": _computer,
    "computer_call_output": _output,
    "web_search_call": _web_search,
    "file_search_call": _file_search,
    "code_interpreter_call": _interpreter,
    "image_generation_call": _made_image,
    "program": _code,
    "program_output": _output,
    "reasoning": _reasoning,
    "compaction": _compaction,
    "item_reference": _server_item,
    "encrypted": _envelope,
}
