from __future__ import annotations

import base64
import json
import zlib
from hashlib import sha256
from typing import Any

import pytest
from histories import call, output, said, user
from hypothesis import given
from hypothesis import strategies as st

from sessionctl.core.eliding import Elider, elide
from sessionctl.core.model import Item
from sessionctl.core.payload import read_item

LARGE = "Lorem ipsum " * 500
IMAGE = base64.b64encode(bytes(range(256)) * 20).decode()
URL = f"data:image/jpeg;base64,{IMAGE}"
FUNCTION = {"type": "function_call_output", "call_id": "c", "status": "completed"}


def elided(item: dict[str, Any], over: int = 1000) -> Any:
    text = json.dumps(item)
    found = elide(text, read_item(text), over)
    return None if found is None else json.loads(found.text)


def stub(what: str, value: str, size: str) -> str:
    return f"[removed by sessionctl: {what}, {size}, sha256 {sha256(value.encode()).hexdigest()}]"


TEXT = stub("output", LARGE, "5.86 KiB")
PICTURE = {"type": "input_text", "text": stub("image, image/jpeg", URL, "6.69 KiB")}
IN_TEXTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({**FUNCTION, "output": LARGE}, {**FUNCTION, "output": TEXT}),
    (
        {**FUNCTION, "output": [{"type": "input_text", "text": LARGE}, {"type": "input_image", "image_url": URL}]},
        {**FUNCTION, "output": [{"type": "input_text", "text": TEXT}, PICTURE]},
    ),
    (
        {"type": "shell_call_output", "call_id": "c", "output": [{"stdout": LARGE, "stderr": "e", "outcome": {}}]},
        {"type": "shell_call_output", "call_id": "c",
         "output": [{"stdout": stub("stdout", LARGE, "5.86 KiB"), "stderr": "e", "outcome": {}}]},
    ),
    (
        {"role": "user", "content": [{"type": "input_text", "text": LARGE}, {"type": "input_image", "image_url": URL}]},
        {"role": "user", "content": [{"type": "input_text", "text": LARGE}, PICTURE]},
    ),
    (
        {"role": "user", "content": [{"type": "input_file", "filename": "a.txt", "file_data": LARGE}]},
        {"role": "user", "content": [{"type": "input_text", "text": stub("file a.txt", LARGE, "5.86 KiB")}]},
    ),
    (
        {"type": "mcp_call", "id": "m", "name": "f", "arguments": "{}", "server_label": "s", "output": LARGE},
        {"type": "mcp_call", "id": "m", "name": "f", "arguments": "{}", "server_label": "s", "output": TEXT},
    ),
    (
        {"type": "code_interpreter_call", "id": "i", "outputs": [{"type": "logs", "logs": LARGE}]},
        {"type": "code_interpreter_call", "id": "i",
         "outputs": [{"type": "logs", "logs": stub("logs", LARGE, "5.86 KiB")}]},
    ),
    (
        {"type": "file_search_call", "id": "i", "results": [{"filename": "a", "text": LARGE}]},
        {"type": "file_search_call", "id": "i",
         "results": [{"filename": "a", "text": stub("text", LARGE, "5.86 KiB")}]},
    ),
    (
        {"type": "program_output", "call_id": "p", "result": LARGE},
        {"type": "program_output", "call_id": "p", "result": stub("result", LARGE, "5.86 KiB")},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("item", "expected"), IN_TEXTS, ids=lambda item: item.get("type", "message"))
def test_what_is_large_becomes_a_stub(item: dict[str, Any], expected: dict[str, Any]) -> None:
    assert elided(item) == expected
    assert elided(expected, 300) is None
    assert elided(item, 10_000) is None


@pytest.mark.parametrize(
    ("item", "path"),
    [
        (output("computer_call", "c") | {"output": {"type": "computer_screenshot", "image_url": URL}},
         ("output", "image_url")),
        ({"type": "image_generation_call", "id": "i", "status": "completed", "result": IMAGE}, ("result",)),
    ],
)  # fmt: skip
def test_where_only_an_image_may_stand_there_is_one(item: dict[str, Any], path: tuple[str, ...]) -> None:
    found, whole = elided(item), item
    for name in path:
        found, whole = found[name], whole[name]
    png = base64.b64decode(found.removeprefix("data:image/png;base64,"))
    assert png.startswith(b"\x89PNG")
    chunks, at = {}, 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        body = png[at + 4 : at + 8 + length]
        assert zlib.crc32(body).to_bytes(4, "big") == png[at + 8 + length : at + 12 + length]
        chunks[body[:4]] = body[4:]
        at += 12 + length
    assert zlib.decompress(chunks[b"IDAT"]) == b"\0\0"
    assert sha256(whole.encode()).hexdigest().encode() in chunks[b"tEXt"]
    assert list(chunks) == [b"IHDR", b"tEXt", b"IDAT", b"IEND"]


def test_a_program_reads_json() -> None:
    caller = {"type": "program", "caller_id": "p"}
    found = elided({**FUNCTION, "caller": caller, "output": json.dumps({"rows": LARGE})})
    assert list(json.loads(found["output"])) == ["removed by sessionctl"]
    assert found["caller"] == caller


@pytest.mark.parametrize(
    "item",
    [
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": json.dumps({"text": LARGE})},
        {"role": "user", "content": LARGE},
        said(text=LARGE),
        {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": LARGE},
        {"type": "compaction", "id": "r", "encrypted_content": LARGE},
        {"type": "tool_search_output", "tools": [{"name": "f", "description": LARGE}]},
        {"role": "user", "content": [{"type": "input_image", "image_url": f"https://x.test/{LARGE}"}]},
        {"__enc__": 1, "v": 1, "kid": "k", "payload": LARGE},
    ],
    ids=lambda item: item.get("type", "message"),
)
def test_what_is_not_an_output_stays(item: dict[str, Any]) -> None:
    assert elided(item) is None


@pytest.mark.parametrize("style", [{}, {"separators": (",", ":")}, {"ensure_ascii": False}])
def test_it_is_written_as_it_was(style: dict[str, Any]) -> None:
    item = {"type": "function_call_output", "call_id": "ü", "output": LARGE}
    text = json.dumps(item, **style)
    found = elide(text, read_item(text), 1000)
    assert found is not None
    assert found.text == json.dumps({**item, "output": TEXT}, **style)


def test_half_a_character_stays_half_a_character() -> None:
    text = '{"type":"function_call_output","call_id":"é","note":"\\ud83d","output":"' + LARGE + '"}'
    found = elide(text, read_item(text), 1000)
    assert found is not None
    assert json.loads(found.text)["note"] == "\ud83d"
    found.text.encode()


def test_the_newest_turns_keep_all() -> None:
    pair = [call("function_call", "c"), {**FUNCTION, "output": LARGE}]
    items = [user(), *pair, said(), user(), *pair, said(), user(), *pair, said()]
    elider = Elider(1000, 2)
    stored = [Item(key=at, text=json.dumps(item)) for at, item in enumerate(items)]
    found = {item.key: elider.see(item, read_item(item.text)) for item in reversed(stored)}
    assert [key for key, less in found.items() if less] == [2]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30) | st.sampled_from([LARGE, URL]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "image_url", "stdout", "output", "input_audio"]), inner)
    ),
    max_leaves=8,
)
KINDS = [*(item["type"] for item, _ in IN_TEXTS if "type" in item), "message", "computer_call_output", "x_output"]


@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(["output", "content", "result", "outputs"]), JSON))
def test_no_shape_is_too_odd(kind: str, fields: dict[str, Any]) -> None:
    item = {"type": kind, "call_id": "c", **fields}
    found = elided(item)
    assert found is None or (found["type"], found["call_id"], found.keys()) == (kind, "c", item.keys())


SHAPES: list[tuple[str, dict[str, Any]]] = [
    ("FunctionCallOutput", {**FUNCTION, "output": [{"type": "input_image", "image_url": URL, "detail": "auto"}]}),
    ("FunctionCallOutput", {**FUNCTION, "output": [{"type": "input_file", "file_data": URL, "filename": "a"}]}),
    ("ComputerCallOutput", {"type": "computer_call_output", "call_id": "c",
                            "output": {"type": "computer_screenshot", "image_url": URL}}),
    ("ShellCallOutput", {"type": "shell_call_output", "call_id": "c", "output": [
        {"stdout": LARGE, "stderr": LARGE, "outcome": {"type": "exit", "exit_code": 0}}]}),
    ("LocalShellCallOutput", {"type": "local_shell_call_output", "id": "i", "output": LARGE}),
    ("ApplyPatchCallOutput", {"type": "apply_patch_call_output", "call_id": "c", "status": "failed", "output": LARGE}),
    ("ImageGenerationCall", {"type": "image_generation_call", "id": "i", "status": "completed", "result": IMAGE}),
    ("McpCall", {"type": "mcp_call", "id": "i", "name": "f", "arguments": "", "server_label": "s", "output": LARGE}),
    ("ProgramOutput", {"type": "program_output", "id": "i", "call_id": "c", "status": "completed", "result": LARGE}),
    ("Message", {"type": "message", "role": "user", "content": [
        {"type": "input_image", "image_url": URL, "detail": "auto"}, {"type": "input_file", "file_data": URL}]}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "item"), SHAPES)
def test_stubs_have_the_shape_that_the_api_takes(name: str, item: dict[str, Any]) -> None:
    from openai.types.responses import response_input_item_param
    from pydantic import TypeAdapter

    adapter = TypeAdapter(getattr(response_input_item_param, name))
    found = elided(item)
    assert found is not None
    for valid in (item, found):
        checked = adapter.validate_python(valid)
        for value in checked.values():
            if not isinstance(value, str | dict | None):
                list(value)  # pydantic looks at what is in an iterable only when it is read
