"""``demo`` writes a store that the SDK made, as old as it should be, and never over another one."""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from agents import SQLiteSession

from sessionctl.cli.app import run
from sessionctl.core.sending import PAIRS
from sessionctl.demo import conversations
from sessionctl.demo.writing import write_store

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo store, for tests that only read; written as of now."""
    directory = tmp_path_factory.mktemp("shop")
    assert run(["demo", str(directory), "--quiet"]) == 0
    return directory / "conversations.db"


def rows(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        return db.execute(statement).fetchall()


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert run([*arguments, "-o", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def items() -> Iterator[dict[str, Any]]:
    for conversation in conversations():
        for batch in conversation.batches:
            yield from batch


class TestTheConversations:
    def test_are_the_same_each_time_and_not_shared(self) -> None:
        first, second = conversations(), conversations()
        assert first == second
        assert first[0].batches[0][0] is not second[0].batches[0][0]
        assert len({conversation.session_id for conversation in first}) == len(first) >= 40

    def test_hold_what_real_stores_hold(self) -> None:
        kinds = {str(item.get("type")) for item in items()}
        assert kinds >= {
            *("function_call", "function_call_output", "reasoning", "message", "web_search_call", "mcp_call"),
            *("code_interpreter_call", "mcp_list_tools", "mcp_approval_request", "mcp_approval_response"),
        }
        said = json.dumps(list(items()), ensure_ascii=False)
        for sign in (
            "石墨色",
            "ブランケット",
            "الصوف",
            "ל",
            "ö",
            "🧶",
            "data:image/png;base64,",
            "transfer_to_returns",
        ):
            assert sign in said
        assert max(len(str(item.get("output", ""))) for item in items()) > 3000
        assert any(item.get("approve") is False for item in items())

    def test_come_in_batches_as_a_runner_appends_them(self) -> None:
        """Input alone; calls together with their outputs, all calls first; the answer in a batch of its own."""
        for conversation in conversations():
            for batch in conversation.batches:
                assert batch
                kinds = [item.get("type", "input") for item in batch if item.get("type") != "reasoning"]
                alone = {"input", "message", "mcp_approval_response"} & set(kinds)
                assert not alone or len(kinds) == 1, (conversation.session_id, kinds)
                calls = [item["call_id"] for item in batch if item.get("type") == "function_call"]
                outputs = [item["call_id"] for item in batch if item.get("type") == "function_call_output"]
                assert kinds == ["function_call"] * len(calls) + ["function_call_output"] * len(outputs) or not calls
                assert len(set(calls)) == len(calls)

    def test_pair_up_but_for_the_accidents(self) -> None:
        unpaired = set()
        for conversation in conversations():
            found = {
                (item.get("type"), item.get("call_id") or item.get("approval_request_id") or item.get("id"))
                for batch in conversation.batches
                for item in batch
            }
            for call, output in PAIRS.items():
                ids = [{key for kind, key in found if kind == wanted} for wanted in (call, output)]
                if ids[0] != ids[1]:
                    unpaired.add(conversation.session_id)
        assert unpaired == {"user-77:address-change", "user-19:lost-parcel"}


class TestTheStore:
    def test_holds_every_item_as_the_sdk_reads_it(self, tmp_path: Path) -> None:
        made = conversations()
        path = tmp_path / "shop.db"
        written = write_store(path, made, NOW)
        assert (written.sessions, written.path) == (len(made), path)
        assert [file.name for file in tmp_path.iterdir()] == ["shop.db"]
        assert written.items == rows(path, "SELECT count(*) FROM agent_messages")[0][0]

        async def read(session_id: str) -> list[Any]:
            session = SQLiteSession(session_id, path)
            try:
                return [*await session.get_items()]
            finally:
                session.close()

        for conversation in made:
            expected = [item for batch in conversation.batches for item in batch]
            kept = expected[: len(expected) - conversation.withdrawn]
            assert asyncio.run(read(conversation.session_id)) == kept

    def test_is_as_old_as_the_conversations_say(self, tmp_path: Path) -> None:
        path = tmp_path / "shop.db"
        write_store(path, conversations(), NOW)
        stamped = {id_: (created, updated) for id_, created, updated in rows(path, "SELECT * FROM agent_sessions")}
        for conversation in conversations():
            ages = conversation.ages()
            assert all(older >= newer for older, newer in itertools.pairwise(ages))
            assert ages[-1] == conversation.age
            assert ages[0] < timedelta(days=120)
            times = tuple(f"{NOW - age:%Y-%m-%d %H:%M:%S}" for age in (ages[0], ages[-1]))
            assert stamped[conversation.session_id] == times
        spread = rows(
            path,
            "SELECT count(*) FROM agent_messages m JOIN agent_sessions s USING (session_id) "
            "WHERE m.created_at NOT BETWEEN s.created_at AND s.updated_at",
        )
        assert spread == [(0,)]
        times = rows(path, "SELECT created_at FROM agent_messages WHERE session_id = 'user-42:jumper' ORDER BY id")
        assert len(set(times)) > 8
        assert times == sorted(times)

    def test_shows_purge_at_work(self, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Old enough to be worth it, young enough for the share guard; some are in use at this moment."""
        plan = as_json(capsys, "purge", "--older-than", "30d", "--dry-run", "-s", str(shop))
        total = len(conversations())
        assert 0.4 * total < plan["matched"]["sessions"] < 0.5 * total
        assert plan["removed"] == plan["matched"]
        active = as_json(capsys, "list", "--newer-than", "10m", "-s", str(shop))["sessions"]
        assert len(active) >= 2

    def test_has_each_accident(self, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
        empty = as_json(capsys, "list", "--empty", "-s", str(shop))["sessions"]
        assert [session["session_id"] for session in empty] == ["user-105:hello"]
        verdicts = {
            conversation.session_id: as_json(capsys, "inspect", conversation.session_id, "-s", str(shop))["verdict"]
            for conversation in conversations()
        }
        refused = {session for session, verdict in verdicts.items() if verdict["acceptable"] is not True}
        assert refused == {"user-19:lost-parcel"}
        noted = {session: [d["class"] for d in verdict["defects"]] for session, verdict in verdicts.items()}
        assert {session: kinds for session, kinds in noted.items() if kinds} == {
            "user-19:lost-parcel": ["orphan_output"],
            "user-103:order-help": ["unreadable"],
        }

    def test_has_one_long_session(self, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
        found = as_json(capsys, "list", "--min-items", "100", "-s", str(shop))["sessions"]
        assert [(session["session_id"], session["items"]) for session in found] == [("staff-ines:catalogue-check", 120)]


class TestTheCommand:
    def test_says_what_it_made_and_commands_that_work(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        directory = tmp_path / "a shop's"
        assert run(["demo", str(directory)]) == 0
        out = capsys.readouterr().out
        assert f"{len(conversations())} sessions" in out
        script = "set -e\n" + "\n".join(line for line in out.splitlines() if line.startswith("  sessionctl "))
        assert script.count("sessionctl ") == 3
        monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "Mill Lane 8" in done.stdout
        assert "dry run: nothing was changed" in done.stderr

    def test_writes_to_the_current_directory_by_default(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        said = as_json(capsys, "demo")
        assert said == {
            "schema": "sessionctl/v1",
            "store": "sqlite:///sessionctl-demo/conversations.db",
            "sessions": len(conversations()),
            "items": said["items"],
        }
        assert (tmp_path / "sessionctl-demo" / "conversations.db").is_file()

    def test_overwrites_nothing(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "conversations.db").write_text("mine")
        assert run(["demo", str(tmp_path)]) == 2
        assert "is there already" in capsys.readouterr().err
        assert (tmp_path / "conversations.db").read_text() == "mine"
        assert [file.name for file in tmp_path.iterdir()] == ["conversations.db"]

    def test_leaves_nothing_unfinished(self, tmp_path: Path) -> None:
        """What cannot be written to its end does not stay."""
        broken = conversations()[0]
        broken.batches[1][0]["cannot be stored"] = object()
        with pytest.raises(TypeError):
            write_store(tmp_path / "shop.db", [broken], NOW)
        assert list(tmp_path.iterdir()) == []

    def test_says_where_it_cannot_write(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "file").touch()
        for place in (tmp_path / "file", tmp_path / "file" / "deeper"):
            assert run(["demo", str(place), "-o", "json"]) == 2
            error = json.loads(capsys.readouterr().err.splitlines()[-1])["error"]
            assert error["code"] == "usage"
            assert "cannot be written" in error["message"]
