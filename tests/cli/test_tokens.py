"""Tokens as commands tell them: marked, by what they were counted, and beside what the agents recorded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from agents import Usage
from agents.extensions.memory import AdvancedSQLiteSession
from operating import in_process, store_of

from sessionctl.testing.case import turn


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Two sessions whose turns' usage the SDK stored, and one without."""
    path = tmp_path / "advanced.db"

    async def write() -> None:
        for name, turns in (("one", 2), ("two", 1), ("none", 0)):
            session = AdvancedSQLiteSession(session_id=name, db_path=path, create_tables=True)
            await session.add_items(turn(0))
            for number in range(1, turns + 1):
                await session.add_items(turn(number))
                used = Usage(requests=2, input_tokens=1000 * number, output_tokens=50, total_tokens=1000 * number + 50)
                run: Any = SimpleNamespace(context_wrapper=SimpleNamespace(usage=used))
                await session.store_run_usage(run)
            session.close()

    asyncio.run(write())
    return path


def test_what_the_agents_recorded(recorded: Path) -> None:
    told = {
        name: in_process("inspect", name, "-s", recorded, "-o", "json").json["session"]["recorded_usage"]
        for name in ("one", "two", "none")
    }
    assert told == {
        "one": {"requests": 4, "input_tokens": 3000, "output_tokens": 100, "total_tokens": 3100},
        "two": {"requests": 2, "input_tokens": 1000, "output_tokens": 50, "total_tokens": 1050},
        "none": None,
    }
    shown = in_process("inspect", "one", "-s", recorded).text
    assert "; recorded: 4 requests, 3,000 tokens in, 100 out\n" in shown
    stats = in_process("stats", "-s", recorded, "-o", "json").json
    assert stats["recorded_usage"] == {
        "requests": 6, "input_tokens": 4000, "output_tokens": 150, "total_tokens": 4150,
    }  # fmt: skip
    assert "  recorded   6 requests, 4,000 tokens in, 150 out\n" in in_process("stats", "-s", recorded).text


def test_stats_are_the_sum_of_the_transcripts(tmp_path: Path) -> None:
    path = store_of(tmp_path / "store.db", {"a": 0, "b": 0})
    stats = in_process("stats", "-s", path, "-o", "json").json
    transcripts = [in_process("inspect", name, "-s", path, "-o", "json").json["session"] for name in ("a", "b")]
    assert stats["tokens"] == sum(session["tokens"] for session in transcripts)
    assert {session["tokens_by"] for session in transcripts} == {stats["tokens_by"]}
    assert stats["tokens"] == sum(kind["tokens"] for kind in stats["by_type"])
    assert stats["recorded_usage"] is None
    assert f"~{stats['tokens']:,}, " in in_process("stats", "-s", path).text
