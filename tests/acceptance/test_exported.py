"""Exports by several processes: stopped, killed and robbed of a worker, they leave nobody behind and say why."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from operating import running, sessionctl, store_of, wait_for

SESSIONS = 900
"""More than two workers have in hand at once (four portions of 200)."""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_of(tmp_path / "store.db", {f"s{number:03}": 60.0 * number for number in range(SESSIONS)})


def workers_of(pid: int) -> list[int]:
    """Its children, once its output waits for a reader; two or none yet."""
    if "pipe" not in Path(f"/proc/{pid}/wchan").read_text():
        return []
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found if len(found) == 2 else []


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_every_session_comes_whole_the_oldest_activity_first(store: Path, tmp_path: Path) -> None:
    done = sessionctl("export", "-s", store, "--out", tmp_path / "all.jsonl.zst", "-o", "json")
    assert (done.status, done.json["exported"]["items"]) == (0, 4 * SESSIONS)
    assert [path.name for path in tmp_path.iterdir() if "all" in path.name] == ["all.jsonl.zst"]
    plain = sessionctl("export", "-s", store, "--out", "-")
    found = [json.loads(line) for line in plain.out.splitlines()]
    assert [record["position"] for record in found] == [0, 1, 2, 3] * SESSIONS
    portions = [{record["session_id"] for record in found[at : at + 800]} for at in range(0, 4 * SESSIONS, 800)]
    oldest_first = range(SESSIONS - 1, -1, -1)
    assert portions == [{f"s{n:03}" for n in oldest_first[at : at + 200]} for at in range(0, SESSIONS, 200)]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_no_worker_outlives_the_command(store: Path, number: signal.Signals, status: int) -> None:
    with running("export", "-s", store, "--out", "-") as process:
        workers = wait_for(lambda: workers_of(process.pid), "waiting for the reader")
        process.send_signal(number)
        assert process.wait(30) == status
        wait_for(lambda: all(map(is_gone, workers)), "the end of the workers")


def test_a_lost_worker_is_told(store: Path) -> None:
    with running("export", "-s", store, "--out", "-") as process:
        for worker in wait_for(lambda: workers_of(process.pid), "waiting for the reader"):
            os.kill(worker, signal.SIGKILL)
        out, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.decode().splitlines()[-1].endswith("a process beside this one has ended: Killed")
    assert len(out.splitlines()) < 4 * SESSIONS
