"""The ledger records every run, wherever it is kept, whoever runs beside it and however a run ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from operating import wait_for

from sessionctl.core.address import StoreAddress
from sessionctl.core.report import Stopped
from sessionctl.errors import LedgerUnavailable, RunUnderWay, SessionctlError
from sessionctl.ledger import Ledger, Run, Segment, new_run, new_run_id

NOW = datetime(2026, 3, 1, 12, 30, 0, 125000, UTC)
PROCESSES = 6
RUNS_EACH = 8

RUNNER = """
import sys
from datetime import UTC, datetime
from sessionctl.core.address import parse_address
from sessionctl.ledger import Ledger, new_run
at = parse_address(sys.argv[1])
sys.stdin.readline()
for number in range(int(sys.argv[2])):
    ledger = Ledger.open(at)
    run = new_run("purge", "sqlite:///a.db", datetime.now(UTC), {})
    ledger.begin(run)
    print(run.run_id, flush=True)
    ledger.progress(run.run_id, {"removed": {"sessions": number}})
    if len(sys.argv) > 3:
        sys.stdin.readline()
    ledger.finish(run.run_id, {"removed": {"sessions": number + 1}}, "done")
"""


def start(at: StoreAddress, runs: int, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUNNER, at.url or str(at), str(runs), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def a_run(**facts: object) -> Run:
    return new_run("purge", "postgresql://ops:***@db/agents", NOW, {}, **facts)  # type: ignore[arg-type]


def test_a_run_is_read_back_as_it_was_recorded(at: StoreAddress) -> None:
    ledger = Ledger.open(at)
    run = a_run(reason="ticket 7", criteria=("older than 30 days", "not matching vip:*"), digest="abc")
    ledger.begin(run)

    begun = ledger.run(run.run_id)
    assert begun is not None
    assert begun == replace(run, heartbeat_at=begun.heartbeat_at)
    assert begun.heartbeat_at is not None
    assert abs(begun.heartbeat_at - datetime.now(UTC)) < timedelta(seconds=30)  # not when the plan was made
    assert (begun.user, begun.pid) == (run.user, os.getpid())

    ledger.progress(run.run_id, {"removed": {"sessions": 1}})
    moved = ledger.run(run.run_id)
    assert moved is not None
    assert moved.counts == {"removed": {"sessions": 1}}
    assert moved.heartbeat_at is not None
    assert moved.heartbeat_at > begun.heartbeat_at
    assert moved.stopped is None

    counts = {"matched": {"sessions": 3}, "removed": {"sessions": 2}, "skipped": {"failed": 1}}
    ledger.finish(run.run_id, counts, Stopped.ERROR, "the store went away")
    ended = ledger.run(run.run_id)
    assert ended is not None
    assert (ended.counts, ended.stopped, ended.error) == (counts, Stopped.ERROR, "the store went away")
    assert ended.ended_at is not None
    assert ended.ended_at <= ledger.now()
    with pytest.raises(LedgerUnavailable, match="has no run"):
        ledger.finish("nothing", {}, "done")


def test_runs_come_newest_first_and_by_store(at: StoreAddress) -> None:
    ledger = Ledger.open(at)
    made = [new_run("purge", f"store-{n % 2}", NOW + timedelta(seconds=n), {}) for n in range(6)]
    for run in reversed(made):
        ledger.begin(run)
    assert [run.run_id for run in ledger.runs()] == [run.run_id for run in reversed(made)]
    assert [run.run_id for run in ledger.runs(limit=2)] == [made[5].run_id, made[4].run_id]
    assert [run.run_id for run in ledger.runs(store="store-0", limit=2)] == [made[4].run_id, made[2].run_id]
    assert ledger.run("nothing") is None


def test_reading_makes_nothing(at: StoreAddress) -> None:
    found = Ledger.existing(at)
    assert found is None if at.path else found is not None and found.runs() == ()
    Ledger.open(at).begin(a_run())
    found = Ledger.existing(at)
    assert found is not None
    assert len(found.runs()) == 1


def test_the_actor_is_the_one_named_in_the_environment() -> None:
    assert new_run("purge", "s", NOW, {"SESSIONCTL_ACTOR": "cron@ops"}).actor == "cron@ops"
    run = new_run("purge", "s", NOW, {})
    assert run.actor == run.user != ""


def test_ids_sort_by_time_and_do_not_repeat() -> None:
    ids = [new_run_id(NOW + timedelta(milliseconds=n)) for n in range(2000)]
    assert ids == sorted(ids)
    assert len({new_run_id(NOW) for _ in range(20000)}) == 20000
    assert new_run_id(datetime(2100, 1, 1, tzinfo=UTC)) > ids[-1]


HOSTILE = ("\x1b[31m red", "nul \0 inside", "lone \udc80\ud83d", "'); DROP TABLE runs; -- :name %s", "😀" * 999)


def test_hostile_text_is_kept(at: StoreAddress) -> None:
    ledger = Ledger.open(at)
    for text in HOSTILE:
        run = new_run("purge", text, NOW, {"SESSIONCTL_ACTOR": text}, reason=text, criteria=(text,))
        ledger.begin(run)
        ledger.finish(run.run_id, {text: 1}, "error", text)
        found = ledger.run(run.run_id)
        assert found is not None
        assert found.criteria == (text,)
        assert found.counts == {text: 1}
        spelled = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
        assert (found.actor, found.reason, found.store, found.error) == (spelled,) * 4
        assert len(ledger.runs(store=text)) == 1


def test_processes_side_by_side_lose_no_run(at: StoreAddress) -> None:
    """Each opens the ledger anew for every run, the first of them all at once where there is none yet."""
    runners = [start(at, RUNS_EACH) for _ in range(PROCESSES)]
    for runner in runners:
        assert runner.stdin
        runner.stdin.write("\n")
        runner.stdin.flush()
    ids: set[str] = set()
    for runner in runners:
        out, err = runner.communicate(timeout=100)
        assert (runner.returncode, err) == (0, "")
        ids |= set(out.split())
    runs = Ledger.open(at).runs()
    assert len(ids) == PROCESSES * RUNS_EACH
    assert {run.run_id for run in runs} == ids
    assert {run.stopped for run in runs} == {Stopped.DONE}
    assert sorted(run.counts["removed"]["sessions"] for run in runs) == sorted([*range(1, RUNS_EACH + 1)] * PROCESSES)


def test_threads_share_one_ledger(at: StoreAddress) -> None:
    ledger = Ledger.open(at)

    def one(number: int) -> None:
        run = new_run("purge", f"store-{number}", NOW, {})
        ledger.begin(run)
        ledger.finish(run.run_id, {}, "done")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(40)))
    assert {run.store for run in ledger.runs()} == {f"store-{number}" for number in range(40)}


def test_a_killed_run_stays_readable_and_is_taken_up(at: StoreAddress) -> None:
    runner = start(at, 1, "wait")
    assert runner.stdin
    assert runner.stdout
    runner.stdin.write("\n")
    runner.stdin.flush()
    run_id = runner.stdout.readline().strip()
    ledger = Ledger.open(at)
    with pytest.raises(RunUnderWay, match=f"process {runner.pid} on"):
        ledger.take_up(run_id)
    runner.send_signal(signal.SIGKILL)
    runner.communicate(timeout=30)

    run = ledger.run(run_id)
    assert run is not None
    assert (run.stopped, run.ended_at, run.pid) == (None, None, runner.pid)
    ledger.take_up(run_id)
    ended = ledger.run(run_id)
    assert ended is not None
    assert (ended.stopped, "cut off" in str(ended.error)) == (Stopped.ERROR, True)
    ledger.take_up(run_id)
    assert ledger.run(run_id) == ended


def test_one_that_was_taken_for_cut_off_and_lives_learns_it(at: StoreAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process stood still for long: it must not go on, but what it did it may still say."""
    ledger, run = Ledger.open(at), a_run(archive="/archives/x")
    ledger.begin(run)
    ledger.sealed(segment(run, 1))
    monkeypatch.setattr("sessionctl.ledger.record._SILENT", timedelta(0))
    ledger.take_up(run.run_id)
    with pytest.raises(SessionctlError, match="taken for cut off"):
        ledger.progress(run.run_id, {})
    ledger.committed(run.run_id, 1, ["a"])
    ledger.finish(run.run_id, {"removed": {"sessions": 2}}, Stopped.ERROR, "it stops here")
    ended = ledger.run(run.run_id)
    assert ended is not None
    assert (ended.error, ledger.segments(run.run_id)[0].kept) == ("it stops here", ("a",))


def test_a_run_that_says_nothing_gives_signs_of_life(at: StoreAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessionctl.ledger.pulse._BEAT_S", 0.01)
    ledger, run = Ledger.open(at), a_run()
    ledger.begin(run)
    first = heartbeat(ledger, run)
    with ledger.alive(run.run_id):
        wait_for(lambda: heartbeat(ledger, run) > first, "a sign of life")
    ledger.finish(run.run_id, {"x": 1}, "done")
    ended = ledger.run(run.run_id)
    assert ended is not None
    assert (ended.counts, ended.heartbeat_at) == ({"x": 1}, ended.ended_at)


def heartbeat(ledger: Ledger, run: Run) -> datetime:
    read = ledger.run(run.run_id)
    assert read is not None
    assert read.heartbeat_at is not None
    return read.heartbeat_at


def test_of_several_that_undo_a_run_at_once_one_may(at: StoreAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, run = Ledger.open(at), a_run()
    ledger.begin(run)
    ledger.finish(run.run_id, {}, "done")
    undoings, together = [a_run(undoes=run.run_id) for _ in range(4)], Barrier(4)

    def begin(undoing: Run) -> str | None:
        together.wait()
        try:
            Ledger.open(at).begin(undoing)
        except RunUnderWay as error:
            return error.message
        return None

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(begin, undoings))
    winner = undoings[answers.index(None)]
    others = [answer for answer in answers if answer]
    assert len(others) == 3
    assert all(f"undone already, by run {winner.run_id}" in answer for answer in others)
    assert [found.run_id for found in ledger.runs() if found.undoes] == [winner.run_id]
    ledger.finish(winner.run_id, {}, "done")
    cut_off = a_run(undoes=run.run_id)
    ledger.begin(cut_off)
    monkeypatch.setattr("sessionctl.ledger.record._SILENT", timedelta(0))
    ledger.begin(a_run(undoes=run.run_id))
    with pytest.raises(SessionctlError, match="taken for cut off"):
        ledger.progress(cut_off.run_id, {})


def segment(run: Run, number: int) -> Segment:
    return Segment(
        run_id=run.run_id, number=number, name=f"{number}.zst", sessions=3, items=6, bytes=9, sha256="0", sealed_at=NOW
    )


def test_segments_from_sealed_to_returned(at: StoreAddress) -> None:
    ledger, run = Ledger.open(at), a_run(archive="/archives/x")
    ledger.begin(run)
    one, two = segment(run, 1), segment(run, 2)
    for sealed in (one, two, two):  # again, where the answer to the first attempt was lost
        ledger.sealed(sealed)
    assert ledger.segments(run.run_id) == (one, two)
    assert [found.run_id for found in ledger.unsettled(run.store)] == [run.run_id]
    many = [f"user-{number}:😀" for number in range(10_000)]
    ledger.committed(run.run_id, 1, many, wholly=False)
    assert (ledger.segments(run.run_id)[0].committed_at, ledger.segments(run.run_id)[0].kept) == (None, tuple(many))
    for number in (1, 2):
        ledger.committed(run.run_id, number, ["a"])
    ledger.returned(run.run_id, 2, ["b\udcff"])
    assert [(s.kept, s.returned) for s in ledger.segments(run.run_id)] == [(("a",), ()), (("a",), ("b\udcff",))]
    assert ledger.unsettled(run.store) == ()


def test_when_a_run_is_over() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    here = a_run(heartbeat_at=NOW)
    assert not here.is_over(NOW)
    assert here.is_over(NOW + timedelta(minutes=6))
    assert replace(here, ended_at=NOW).is_over(NOW)
    assert replace(here, pid=gone.pid).is_over(NOW)
    elsewhere = replace(here, pid=gone.pid, pid_space="another kernel's, of a host with the same name")
    assert not elsewhere.is_over(NOW)
