from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import re
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pexpect
import pytest
from sdk_process import SdkProcess

from sessionctl.cli.app import run
from sessionctl.core.address import parse_address
from sessionctl.operations.inspect import Landed, follow, inspect
from sessionctl.stores import open_store

PNG = base64.b64encode(bytes(range(256)) * 2000).decode()
HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202e done"
SESSION = "support:mia:42"


def call(call_id: str, name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": json.dumps(arguments)}


def output(call_id: str, text: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def said(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


PICTURE = {"role": "user", "content": [
    {"type": "input_text", "text": "这是什么？"},
    {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
]}  # fmt: skip
THOUGHT = {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "let me look"}]}
TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Be kind."},
    PICTURE,
    THOUGHT,
    call("c1", "look", region="全部"),
    call("c2", "transfer_to_billing"),
    output("c1", json.dumps({"found": [{"animal": "cat", "note": "x" * 60}] * 20})),
    output("c2", '{"assistant": "Billing"}'),
    said(f"مرحبا {HOSTILE}"),
    user("Charge me, please."),
    call("c3", "charge", amount=12.5),
    output("c3", "An error occurred while running the tool. Please try again. Error: card declined"),
    said("That failed."),
]


def write(path: Path, *items: dict[str, Any], session: str = SESSION) -> None:
    from agents import SQLiteSession

    sdk = SQLiteSession(session, path)
    try:
        asyncio.run(sdk.add_items(list(items)))  # type: ignore[arg-type]
    finally:
        sdk.close()


def insert(path: Path, *texts: str | bytes, session: str = SESSION) -> None:
    """Rows as accidents leave them; bytes become text of invalid UTF-8."""
    sql = "INSERT INTO agent_messages (session_id, message_data) VALUES (?, CAST(? AS TEXT))"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(sql, [(session, text) for text in texts])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "store.db"
    write(path, *TALK)
    return path


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sessionctl(capfd: pytest.CaptureFixture[str]) -> Run:
    def call_it(*args: object) -> tuple[int, str, str]:
        status = run([str(arg) for arg in args])
        sys.stdout.flush()
        out, err = capfd.readouterr()
        return status, out, err

    return call_it


def parsed(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


# -- for people -----------------------------------------------------------------------------------------


def test_a_transcript_reads_well(sessionctl: Run, store: Path) -> None:
    status, out, _ = sessionctl("inspect", SESSION, "-s", store)
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == SESSION
    assert re.search(r"^size +12 items, .* KiB$", out, re.MULTILINE)
    assert re.search(r"^~[\d,]+ tokens, (by estimate|counted by o200k_base)$", out, re.MULTILINE)
    assert [line.split(" · ")[0] for line in lines if line.startswith("── ")] == [
        "── before the first turn", "── turn 1", "── turn 2",
    ]  # fmt: skip
    assert "image: image/png, 500 KiB" in out
    assert PNG[:40] not in out
    look = next(index for index, line in enumerate(lines) if "⚙ look" in line)
    assert "#3 → #5" in lines[look]
    assert lines[look + 1].strip() == '{"region": "全部"}'
    assert lines[look + 2].strip() == "→ {"
    assert "⇢ handoff: transfer_to_billing" in out
    assert '→ {"assistant": "Billing"}' in out
    assert lines[-1] == "✓ The model would accept this session."


def test_errors_are_visible_at_a_glance(sessionctl: Run, store: Path) -> None:
    _, out, _ = sessionctl("inspect", SESSION, "-s", store)
    assert [line.split()[1] for line in out.splitlines() if "✗" in line] == ["charge"]
    assert "→ An error occurred while running the tool." in out


def test_long_results_are_folded(sessionctl: Run, store: Path) -> None:
    _, folded, _ = sessionctl("inspect", SESSION, "-s", store)
    _, full, _ = sessionctl("inspect", SESSION, "-s", store, "--full")
    assert re.search(r"… \d+ more lines \(--full\)", folded)
    assert "(--full)" not in full
    assert full.count('"animal": "cat"') == 20


def test_stored_escape_sequences_are_spelled_out(sessionctl: Run, tmp_path: Path) -> None:
    hostile = f"evil{HOSTILE}"
    write(tmp_path / "a.db", user(hostile), call("c", hostile), output("c", hostile), said(hostile), session=hostile)
    for form in ((), ("--full",), ("--search", "evil"), ("-o", "json"), ("-o", "jsonl")):
        _, out, err = sessionctl("inspect", hostile, "-s", tmp_path / "a.db", *form)
        assert "evil" in out
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out + err)
    _, out, _ = sessionctl("inspect", hostile, "-s", tmp_path / "a.db")
    assert r"\x1b[2J" in out
    assert r"\u202e" in out


def test_rows_the_agent_never_sees_are_marked(sessionctl: Run, store: Path) -> None:
    insert(store, '{"role": "user", "content": "cut \x1b[31m', "[1, 2]", b'{"content": "\xff"}')
    status, out, _ = sessionctl("inspect", SESSION, "-s", store)
    assert status == 0
    assert "not seen by the agent: not valid JSON" in out
    assert r"→ {\"role\": \"user\", \"content\": \"cut \x1b[31m".replace('\\"', '"') in out
    assert "not an item: JSON, but not an object" in out
    assert "not an item: not valid UTF-8" in out
    assert "✗ The model would not accept this session." in out
    assert "  - a row on which reading the session fails: #14" in out


def test_branches_of_an_advanced_store_are_marked(sessionctl: Run, tmp_path: Path) -> None:
    from agents.extensions.memory import AdvancedSQLiteSession

    async def write_branches() -> None:
        sdk = AdvancedSQLiteSession(session_id="adv", db_path=tmp_path / "adv.db", create_tables=True)
        await sdk.add_items([user("one"), said("1"), user("two"), said("2")])  # type: ignore[list-item]
        await sdk.create_branch_from_turn(2, "other")
        await sdk.add_items([user("elsewhere")])  # type: ignore[list-item]
        sdk.close()

    asyncio.run(write_branches())
    _, out, _ = sessionctl("inspect", "adv", "-s", tmp_path / "adv.db")
    assert "not seen by the agent: it is on branch other only" in out
    assert out.count("not seen by the agent") == 1


def test_an_empty_session(sessionctl: Run, store: Path) -> None:
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("INSERT INTO agent_sessions (session_id) VALUES ('empty')")
    status, out, _ = sessionctl("inspect", "empty", "-s", store)
    assert status == 0
    assert "no items" in out


def test_items_without_a_session_row_are_shown(sessionctl: Run, store: Path) -> None:
    insert(store, '{"role": "user", "content": "orphan"}', session="rowless")
    status, out, _ = sessionctl("inspect", "rowless", "-s", store)
    assert status == 0
    assert "orphan" in out


# -- parts ----------------------------------------------------------------------------------------------


def positions(out: str) -> list[int]:
    return [item["position"] for turn in parsed(out)["turns"] for item in turn["items"]]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--last", 1), [8, 9, 10, 11]),
        (("--last", 99), list(range(12))),
        (("--items", "0:2"), [0, 1]),
        (("--items", "10:"), [10, 11]),
        (("--items", ":1"), [0]),
        (("--items", "90:99"), []),
        (("--search", "CHARGE"), [8, 9]),
        (("--search", "全部"), [3]),
        (("--search", "全部", "--last", 1), []),
        (("--search", "c1"), []),
    ],
    ids=str,
)
def test_parts(sessionctl: Run, store: Path, args: tuple[object, ...], expected: list[int]) -> None:
    _, out, _ = sessionctl("inspect", SESSION, "-s", store, *args, "-o", "json")
    assert positions(out) == expected
    status, out, _ = sessionctl("inspect", SESSION, "-s", store, *args)
    assert status == 0
    assert "✓ The model would accept" in out


@pytest.mark.parametrize("args", [("--items", "5"), ("--items", "a:b"), ("--items", "-5:"), ("--last", 0)])
def test_parts_that_make_no_sense(sessionctl: Run, store: Path, args: tuple[object, ...]) -> None:
    status, out, err = sessionctl("inspect", SESSION, "-s", store, *args)
    assert status == 2
    assert out == ""
    assert err


def test_search_says_how_many(sessionctl: Run, store: Path) -> None:
    _, out, _ = sessionctl("inspect", SESSION, "-s", store, "--search", "charge")
    assert "2 items of 12 say 'charge'" in out
    assert "2 of 4 items" in out
    assert "That failed." not in out


# -- for programs ---------------------------------------------------------------------------------------


def test_json_is_the_contracts(sessionctl: Run, store: Path) -> None:
    insert(store, '{"role": "user", "content": "nan", "n": NaN}', "{broken")
    status, out, _ = sessionctl("inspect", SESSION, "-s", store, "-o", "json")
    assert status == 0
    assert out.isascii()
    whole = parsed(out)
    assert list(whole) == ["schema", "session", "verdict", "turns"]
    assert whole["schema"] == "sessionctl/v1"
    assert set(whole["session"]) == {
        "store", "session_id", "created_at", "updated_at", "last_activity", "items", "bytes", "tokens", "held",
        "tokens_by", "recorded_usage",
    }  # fmt: skip
    assert whole["verdict"]["acceptable"] is True
    with closing(sqlite3.connect(store)) as connection:
        rows = connection.execute("SELECT id, message_data FROM agent_messages ORDER BY id").fetchall()
    items = [item for turn in whole["turns"] for item in turn["items"]]
    assert [turn["index"] for turn in whole["turns"]] == [0, 1, 2, 3]
    assert {"class": "unreadable", "item": rows[-1][0]}.items() <= whole["verdict"]["defects"][0].items()
    for item, (key, text) in zip(items, rows, strict=True):
        assert {"id", "created_at", "type", "role", "call_id", "name", "bytes", "tokens", "data"} <= set(item)
        assert item["id"] == key
        assert item["bytes"] == len(text.encode())
        assert item["created_at"].endswith("Z")
    assert [item["data"] for item in items[:12]] == TALK
    assert [item["data"] for item in items[12:]] == [rows[12][1], rows[13][1]]
    assert (items[3]["type"], items[3]["call_id"], items[3]["name"]) == ("function_call", "c1", "look")
    assert whole["session"]["bytes"] == sum(item["bytes"] for item in items)
    assert whole["session"]["tokens"] == sum(item["tokens"] for item in items)
    assert items[1]["tokens"] < 800 < items[1]["bytes"] / 800  # a picture is no text


def test_jsonl_is_one_item_a_line(sessionctl: Run, store: Path) -> None:
    _, out, _ = sessionctl("inspect", SESSION, "-s", store, "-o", "jsonl")
    records = [parsed(line) for line in out.splitlines()]
    assert [record["data"] for record in records] == TALK
    assert [record["turn"] for record in records] == [0] + [1] * 7 + [2] * 4


def test_raw_is_to_the_byte(store: Path) -> None:
    insert(store, '{"a":  "spaced, \u202e日本"}', "{broken", b'{"content": "\xff\x1b"}')
    with closing(sqlite3.connect(store)) as connection:
        connection.text_factory = bytes
        rows = [text for (text,) in connection.execute("SELECT message_data FROM agent_messages ORDER BY id")]
    out = io.BytesIO(run_apart("inspect", SESSION, "-s", str(store), "--raw"))
    assert out.getvalue() == b"".join(row + b"\n" for row in rows)


def run_apart(*args: str) -> bytes:
    import subprocess

    return subprocess.run([sys.executable, "-m", "sessionctl", *args], check=True, capture_output=True).stdout


# -- finding the session --------------------------------------------------------------------------------


def test_an_unknown_session_names_near_ids(sessionctl: Run, store: Path) -> None:
    status, out, err = sessionctl("inspect", "suport:mia:42", "-s", store)
    assert (status, out) == (1, "")
    assert f"did you mean '{SESSION}'?" in err
    _, _, err = sessionctl("inspect", "MIA", "-s", store)
    assert SESSION in err
    _, _, err = sessionctl("inspect", "nothing like it", "-s", store, "-o", "json")
    assert parsed(err)["error"]["code"] == "session_not_found"


def test_a_fleet_shows_the_session_of_the_one_store_that_has_it(sessionctl: Run, tmp_path: Path) -> None:
    for tenant in ("a", "b", "c"):
        write(tmp_path / f"{tenant}.db", user(f"I am {tenant}"), session=f"only:{tenant}")
        write(tmp_path / f"{tenant}.db", user("hello"), session="everywhere" if tenant != "c" else "c")
    status, out, _ = sessionctl("inspect", "only:b", "-s", tmp_path)
    assert status == 0
    assert "I am b" in out
    status, out, err = sessionctl("inspect", "everywhere", "-s", tmp_path)
    assert (status, out) == (2, "")
    assert "a.db" in err
    assert "b.db" in err
    assert "c.db" not in err
    status, _, err = sessionctl("inspect", "nowhere", "-s", tmp_path)
    assert status == 1
    assert "in any of these stores" in err


@pytest.mark.parametrize("args", [("--raw", "-o", "json"), ("--follow", "-o", "json"), ("-o", "csv")])
def test_forms_that_do_not_go_together(sessionctl: Run, store: Path, args: tuple[str, ...]) -> None:
    status, out, _ = sessionctl("inspect", SESSION, "-s", store, *args)
    assert (status, out) == (2, "")


def test_reading_leaves_the_directory_as_it_was(sessionctl: Run, store: Path) -> None:
    before = {path.name: path.read_bytes() for path in store.parent.iterdir()}
    sessionctl("inspect", SESSION, "-s", store)
    assert {path.name: path.read_bytes() for path in store.parent.iterdir()} == before


# -- following ------------------------------------------------------------------------------------------


class Script:
    """Between two looks, does the next step; ends the following after the last."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps = list(steps)

    def __call__(self, _seconds: float) -> bool:
        if not self._steps:
            return True
        self._steps.pop(0)()
        return False


def texts(landed: Landed) -> list[str]:
    return [entry.payload.fields["content"] for entry in landed.entries]


def test_what_a_live_writer_does_is_followed(sdk: SdkProcess, tmp_path: Path) -> None:
    url = str(tmp_path / "live.db")
    sdk.add(url, "live", [user("before")])
    steps = Script(
        lambda: sdk.add(url, "live", [user("a"), user("b")]),
        lambda: None,
        lambda: sdk.pop(url, "live"),
        lambda: (sdk.pop(url, "live"), sdk.add(url, "live", [user("c"), user("d")])),
        lambda: sdk.clear(url, "live"),
        lambda: sdk.add(url, "live", [user("reborn")]),
    )
    with open_store(parse_address(url)) as opened:
        inspection = inspect(opened, "live")
        assert len(list(inspection.turns)) == 1
        changes = list(follow(opened, "live", inspection.end, wait=steps))
    assert [(texts(landed), landed.removed, landed.exists) for landed in changes] == [
        (["a", "b"], 0, True),
        ([], 1, True),
        (["c", "d"], 1, True),
        ([], 3, False),
        (["reborn"], 0, True),
    ]
    assert [entry.position for landed in changes for entry in landed.entries] == [1, 2, 1, 2, 0]


def test_following_a_long_session_shows_nothing_twice(sdk: SdkProcess, tmp_path: Path) -> None:
    url = str(tmp_path / "live.db")
    sdk.add(url, "live", [user(str(number)) for number in range(1000)])

    def pop_many() -> None:
        for _ in range(150):  # more than is remembered of the end
            sdk.pop(url, "live")

    steps = Script(
        lambda: sdk.add(url, "live", [user(f"new {number}") for number in range(300)]),
        pop_many,
        lambda: sdk.add(url, "live", [user("last")]),
    )
    with open_store(parse_address(url)) as opened:
        inspection = inspect(opened, "live")
        assert inspection.verdict.acceptable
        changes = list(follow(opened, "live", inspection.end, wait=steps))
    assert [texts(landed) for landed in changes] == [[f"new {number}" for number in range(300)], [], ["last"]]
    assert [landed.removed for landed in changes] == [0, 150, 0]
    assert changes[-1].entries[0].position == 1150


def test_no_append_of_a_restless_writer_is_missed(sdk: SdkProcess, tmp_path: Path) -> None:
    url = str(tmp_path / "live.db")
    sdk.add(url, "live", [user("before")])
    looks = iter(range(20))
    with sdk.running(url, ["live"]) as writer, open_store(parse_address(url)) as opened:

        def wait(_seconds: float) -> bool:
            writer.wait_appends(3)
            return next(looks, None) is None

        inspection = inspect(opened, "live")
        shown = [entry.item.key for turn in inspection.turns for entry in turn.entries]
        for landed in follow(opened, "live", inspection.end, wait=wait):
            assert landed.removed == 0
            shown += [entry.item.key for entry in landed.entries]
        stored = [item.key for item in opened.items("live")]
    assert len(shown) > 60
    assert shown == stored[: len(shown)]


# -- on a terminal --------------------------------------------------------------------------------------


def terminal(*args: str, columns: int = 80, **env: str) -> pexpect.spawn[str]:
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "PAGER", "LESS")}
    return pexpect.spawn(
        sys.executable, ["-m", "sessionctl", *args],
        env=plain | {"TERM": "xterm-256color"} | env, dimensions=(50, columns), encoding="utf-8", timeout=20,
    )  # fmt: skip


def end(child: pexpect.spawn[str]) -> tuple[str, int | None]:
    child.expect(pexpect.EOF)
    child.close()
    return str(child.before).replace("\r\n", "\n"), child.exitstatus


SGR = re.compile(r"\x1b\[[\d;]*m")


@pytest.mark.parametrize("columns", [80, 200])
def test_a_terminal_is_filled_but_not_overrun(store: Path, columns: int) -> None:
    from sessionctl.core.text import cell_width

    out, status = end(terminal("inspect", SESSION, "-s", str(store), columns=columns, PAGER=""))
    assert status == 0
    assert SGR.search(out)
    plain = SGR.sub("", out)
    assert "\x1b" not in plain
    header = 5  # ids and addresses are never broken, so that they can be copied
    assert max(cell_width(line) for line in plain.splitlines()[header:]) == columns


def test_no_color(store: Path) -> None:
    out, _ = end(terminal("inspect", SESSION, "-s", str(store), PAGER="cat", NO_COLOR="1"))
    assert "⚙ look" in SGR.sub("", out)
    assert not re.search(r"\x1b\[[\d;]*3[0-7]", out)


def test_raw_is_escaped_on_a_terminal(store: Path) -> None:
    insert(store, '{"role": "user", "content": "\x1b[2J"}')
    out, _ = end(terminal("inspect", SESSION, "-s", str(store), "--raw", "--items", "12:"))
    assert out.strip() == r'{"role": "user", "content": "\x1b[2J"}'


def test_the_pager_gets_it_all_in_colour(store: Path, tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text(f'#!/bin/sh\ncat > {tmp_path}/paged\necho "LESS=$LESS"\n')
    pager.chmod(0o755)
    out, status = end(terminal("inspect", SESSION, "-s", str(store), PAGER=str(pager)))
    assert status == 0
    assert out.strip() == "LESS=-FIRX"
    paged = (tmp_path / "paged").read_text()
    assert SGR.search(paged)
    assert "The model would accept" in paged


def test_a_pager_that_is_left_early_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "long.db"
    write(path, *[user(f"question {number} " * 40) for number in range(3000)])
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\nhead -n 1 > /dev/null\necho left\n")
    pager.chmod(0o755)
    out, status = end(terminal("inspect", SESSION, "-s", str(path), PAGER=str(pager)))
    assert (out.strip(), status) == ("left", 0)


def test_following_on_a_terminal_until_ctrl_c(store: Path, sdk: SdkProcess) -> None:
    child = terminal("inspect", SESSION, "-s", str(store), "--follow", PAGER="no-such-pager")
    child.expect("following, Ctrl-C ends it")
    sdk.add(str(store), SESSION, [user("are you there?")])
    child.expect_exact("are you there?")
    child.kill(signal.SIGINT)
    out, status = end(child)
    assert status == 130
    assert "Traceback" not in out


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    import subprocess

    path = tmp_path / "long.db"
    write(path, *[user(f"question {number} " * 40) for number in range(3000)])
    command = f"{sys.executable} -m sessionctl inspect {SESSION} -s {path} --full | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == SESSION
    assert done.stderr == ""


# -- real transcripts -----------------------------------------------------------------------------------


def test_real_transcripts_read_well(tmp_path: Path, sessionctl: Run) -> None:
    import gzip

    found = os.environ.get("SESSIONCTL_TEST_TRANSCRIPTS", "")
    data = Path(found) / "transcripts.jsonl.gz" if found and Path(found).is_dir() else Path(found)
    if not data.is_file():
        if os.environ.get("CI") == "true":
            pytest.fail("SESSIONCTL_TEST_TRANSCRIPTS must name the transcripts under CI=true")
        pytest.skip("SESSIONCTL_TEST_TRANSCRIPTS is not set")
    with gzip.open(data, "rt", encoding="utf-8") as lines:
        sessions = [json.loads(line) for line in lines][::30]
    for session in sessions:
        write(tmp_path / "real.db", *session["items"], session=session["session_id"])
    for session in sessions:
        status, out, _ = sessionctl("inspect", session["session_id"], "-s", tmp_path / "real.db")
        assert status == 0
        assert "✓ The model would accept this session." in out
        calls = sum(item.get("type") == "function_call" for item in session["items"])
        assert len(re.findall(r"^ [⚙✗⇢] .*→ #\d+$", out, re.MULTILINE)) == calls
