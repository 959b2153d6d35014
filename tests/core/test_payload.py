from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionctl.core.payload import Unreadable, exportable, read_item, searchable_text
from sessionctl.core.pieces import Tone, pieces

PNG = "iVBORw0KGgo" + "aB3d" * 5000


def shown(item: Any) -> str:
    text = item if isinstance(item, str) else json.dumps(item)
    return "\n".join(piece.text for piece in pieces(read_item(text)))


def test_user_input_without_a_type() -> None:
    payload = read_item('{"content": "hello", "role": "user"}')
    assert (payload.type, payload.role, payload.is_user) == ("message", "user", True)
    assert not payload.is_error


def test_user_input_with_a_type() -> None:
    assert read_item('{"type": "message", "content": [], "role": "user"}').is_user
    assert not read_item('{"type": "message", "content": [], "role": "assistant"}').is_user
    assert not read_item('{"type": "additional_tools", "role": "user"}').is_user


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", Unreadable.NOT_JSON),
        ('{"role": "user", "content": "cut', Unreadable.NOT_JSON),
        ("[1]", Unreadable.NOT_AN_OBJECT),
        ("17", Unreadable.NOT_AN_OBJECT),
        ("null", Unreadable.NOT_AN_OBJECT),
        ('"text"', Unreadable.NOT_AN_OBJECT),
        ("[" * 100_000 + "]" * 100_000, Unreadable.NOT_LOADABLE),
        ('{"n": ' + "9" * 10_000 + "}", Unreadable.NOT_LOADABLE),
        ('{"role": "user", "content": "\udcff"}', Unreadable.NOT_UTF8),
    ],
)
def test_what_is_no_item(text: str, why: Unreadable) -> None:
    payload = read_item(text)
    assert payload.unreadable is why
    assert payload.type is None
    list(pieces(payload))
    assert searchable_text(text) == text


CALLS = [
    ({"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": 1}'}, ("c", "f"), '{"a": 1}'),
    ({"type": "function_call", "call_id": "c", "name": "f", "namespace": "n", "arguments": ""}, ("c", "n.f"), ""),
    ({"type": "custom_tool_call", "call_id": "c", "name": "sql", "input": "SELECT 1"}, ("c", "sql"), "SELECT 1"),
    (
        {"type": "shell_call", "call_id": "c", "action": {"commands": ["ls", "pwd"]}},
        ("c", None),
        "$ ls\n$ pwd",
    ),
    (
        {"type": "local_shell_call", "id": "i", "action": {"type": "exec", "command": ["ls", "-l"]}},
        ("i", None),
        "$ ls -l",
    ),
    (
        {
            "type": "apply_patch_call",
            "call_id": "c",
            "operation": {"type": "update_file", "path": "a.py", "diff": "+x"},
        },
        ("c", None),
        "update_file a.py\n+x",
    ),
    (
        {"type": "computer_call", "call_id": "c", "action": {"type": "click", "x": 1, "y": 2}},
        ("c", None),
        "click(x=1, y=2)",
    ),
    (
        {"type": "mcp_approval_request", "id": "m", "name": "rm", "server_label": "fs", "arguments": "{}"},
        ("m", "fs.rm"),
        "{}",
    ),
    ({"type": "mcp_approval_response", "approval_request_id": "m", "approve": True}, ("m", None), "approved"),
    ({"type": "program", "call_id": "c", "code": "x = 1"}, ("c", None), "x = 1"),
    ({"type": "program_output", "call_id": "c", "result": "7", "status": "completed"}, ("c", None), "7"),
    ({"type": "web_search_call", "action": {"type": "search", "query": "weather"}}, (None, None), "search: weather"),
    (
        {"type": "file_search_call", "queries": ["q"], "results": [{"filename": "a.txt", "text": "hit"}]},
        (None, None),
        "q\na.txt: hit",
    ),
    (
        {"type": "code_interpreter_call", "code": "1+1", "outputs": [{"type": "logs", "logs": "2"}]},
        (None, None),
        "1+1\n2",
    ),
    (
        {"type": "mcp_list_tools", "server_label": "fs", "tools": [{"name": "rm"}, {"name": "ls"}]},
        (None, "fs"),
        "2 tools",
    ),
    ({"id": "msg_1"}, (None, None), "refers to msg_1"),
    ({"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}, (None, None), "hm"),
    ({"type": "from_the_future", "what": "ever"}, (None, None), '{"what": "ever"}'),
]


@pytest.mark.parametrize(
    ("item", "ids", "text"), CALLS, ids=lambda value: value.get("type", "") if isinstance(value, dict) else ""
)
def test_item_types(item: dict[str, Any], ids: tuple[str | None, str | None], text: str) -> None:
    payload = read_item(json.dumps(item))
    assert (payload.call_id, payload.name) == ids
    assert text in shown(item)
    assert not payload.is_error


FAILURES = [
    {"type": "function_call_output", "call_id": "c", "output": "Error: no such user"},
    {"type": "function_call_output", "call_id": "c", "output": "Traceback (most recent call last):\n  File"},
    {"type": "function_call_output", "call_id": "c", "output": "ValueError: bad"},
    {"type": "function_call_output", "call_id": "c", "output": "An error occurred while running the tool. Please"},
    {"type": "function_call_output", "call_id": "c", "output": "Tool execution was not approved."},
    {"type": "function_call_output", "call_id": "c", "output": "Tool 'slow' timed out after 5 seconds."},
    {"type": "function_call_output", "call_id": "c", "output": '{"error": "quota", "code": 429}'},
    {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": '{"isError": true}'}]},
    {"type": "function_call_output", "call_id": "c", "output": "fine", "status": "incomplete"},
    {"type": "apply_patch_call_output", "call_id": "c", "status": "failed"},
    {
        "type": "shell_call_output",
        "call_id": "c",
        "output": [{"stdout": "", "outcome": {"type": "exit", "exit_code": 2}}],
    },
    {"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "", "outcome": {"type": "timeout"}}]},
    {"type": "mcp_call", "id": "m", "name": "rm", "arguments": "{}", "error": {"type": "http_error", "code": 500}},
    {"type": "mcp_approval_response", "approval_request_id": "m", "approve": False},
    {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
]


@pytest.mark.parametrize("item", FAILURES, ids=lambda item: str(item.get("output", item["type"]))[:30])
def test_failures_are_errors(item: dict[str, Any]) -> None:
    assert read_item(json.dumps(item)).is_error


@pytest.mark.parametrize(
    "output",
    [
        "", "ok", "Errors are logged", '{"error": null}', '{"error": "", "ok": true}', '{"errors": []}',
        '{"text": "the word \\"error\\" alone"}', "No error occurred",
    ],
)  # fmt: skip
def test_what_only_sounds_like_an_error(output: str) -> None:
    assert not read_item(json.dumps({"type": "function_call_output", "call_id": "c", "output": output})).is_error


def test_a_user_may_speak_of_errors() -> None:
    assert not read_item('{"role": "user", "content": "Error: I do not understand"}').is_error


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}, "image: image/png, 14.7 KiB"),
        ({"type": "input_image", "image_url": "https://x.test/a.png"}, "image: https://x.test/a.png"),
        ({"type": "input_image", "file_id": "file_1"}, "image: file_1"),
        (
            {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PNG}"},
            "file a.pdf, 14.7 KiB",
        ),
        ({"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}}, "audio wav, 14.7 KiB"),
        (
            {"type": "output_text", "text": f"see ![x](data:image/gif;base64,{PNG}) there"},
            "see ![x]([image/gif, 14.7 KiB]) there",
        ),
        ({"type": "output_text", "text": PNG}, "[base64, 14.7 KiB]"),
    ],
)
def test_media_are_told_not_shown(part: dict[str, Any], said: str) -> None:
    item = {"role": "user", "content": [part]}
    assert shown(item) == said
    assert PNG[:50] not in searchable_text(json.dumps(item))


def test_a_long_line_of_one_letter_is_no_blob() -> None:
    assert shown({"role": "user", "content": "x" * 5000}) == "x" * 5000


def test_tones() -> None:
    item = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}],
    }
    assert [piece.tone for piece in pieces(read_item(json.dumps(item)))] == [Tone.SAID, Tone.PROBLEM]


def test_an_encrypted_envelope_tells_its_time() -> None:
    from cryptography.fernet import Fernet

    token = Fernet(Fernet.generate_key()).encrypt_at_time(b"secret", 1_795_437_855).decode()
    text = json.dumps({"__enc__": 1, "v": 1, "kid": "hkdf-v1", "payload": token})
    assert read_item(text).type == "encrypted"
    assert "sealed 2026-11-23T12:44:15Z" in shown(text)
    assert searchable_text(text) == ""


def test_search_finds_escaped_letters_inside_arguments() -> None:
    inner = json.dumps({"city": "北京"})
    text = json.dumps(
        {"type": "function_call", "id": "fc_abc", "call_id": "call_1", "name": "weather", "arguments": inner}
    )
    said = searchable_text(text)
    assert "北京" in said
    assert "weather" in said
    assert "fc_abc" not in said
    assert "function_call" not in said


@pytest.mark.parametrize(
    "text", ['{"a": NaN}', '{"a": [1e999]}', '{"a": {"b": -Infinity}}', '{"a": ' + "[" * 300 + "]" * 300 + "}"]
)
def test_what_strict_json_cannot_hold_is_exported_as_text(text: str) -> None:
    assert exportable(read_item(text), text) == text


@pytest.mark.parametrize(
    "text", ['{"a": "NaN"}', '{"a": 1.5e3}', '{"a": "e999 Infinity"}', "[1]", '{"a": [' + "[]," * 500 + "1]}"]
)
def test_what_it_can_hold_is_exported_parsed(text: str) -> None:
    assert exportable(read_item(text), text) == json.loads(text)


_FIELDS = (
    "type role content name call_id id status output arguments input action actions operation summary results queries "
    "tools error image_url file_data annotations text result code outputs payload __enc__ approve encrypted_content "
    "refusal outcome commands command filename approval_request_id server_label namespace caller pending_safety_checks"
)
_TYPES = (
    "message function_call function_call_output custom_tool_call custom_tool_call_output tool_search_call "
    "tool_search_output additional_tools mcp_list_tools mcp_call mcp_approval_request mcp_approval_response shell_call "
    "shell_call_output local_shell_call local_shell_call_output apply_patch_call apply_patch_call_output computer_call "
    "computer_call_output web_search_call file_search_call code_interpreter_call image_generation_call program "
    "program_output reasoning compaction item_reference refusal input_image input_file input_audio output_text"
)
FIELDS, TYPES = _FIELDS.split(), _TYPES.split()
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(TYPES)
KEYS = st.sampled_from(FIELDS) | st.text(max_size=5)
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(FIELDS), ANY_JSON, max_size=8), st.sampled_from([*TYPES, None]))
def test_wrong_types_in_every_field_never_raise(item: dict[str, Any], kind: str | None) -> None:
    text = json.dumps(item | ({"type": kind} if kind else {}))
    payload = read_item(text)
    assert isinstance(payload.is_error, bool)
    assert all(isinstance(piece.text, str) for piece in pieces(payload))
    assert isinstance(searchable_text(text), str)
    json.dumps(exportable(payload, text), allow_nan=False)


@given(st.text() | st.from_regex(r'[\[\]{}",:0-9a-z\\ ]*'))
def test_any_text_is_read(text: str) -> None:
    payload = read_item(text)
    list(pieces(payload))
    searchable_text(text)
    json.dumps(exportable(payload, text), allow_nan=False)
