"""Trims that leave a summary or a compaction, on each kind of store: the SDK goes on, and undo takes it back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from acceptance.scripted_model import QUESTION, run_agent
from acceptance.strict_model import refusal
from acceptance.test_archived_purge import address, rows, undone
from acceptance.transcripts import read_transcripts
from histories import sound
from hypothesis import given, settings
from hypothesis import strategies as st
from model_server import Answer, ModelServer, Request, compacted, model_server, said
from operating import Ran, in_process, item_counts, ledger_rows, running, wait_for, write_sessions
from sdk_cases import CASES, SdkCase, SqliteCase, made
from sdk_process import SdkProcess

from sessionctl.core.extract import Extract, in_place
from sessionctl.core.history import verdict
from sessionctl.core.model import Item, Rewrite
from sessionctl.core.payload import read_item
from sessionctl.core.plan import Step
from sessionctl.core.spans import spans
from sessionctl.core.summary import read_summary
from sessionctl.core.trimming import TrimLimits
from sessionctl.core.trimming import trim as trim_items
from sessionctl.testing.case import turn, user

ENGINES = ("sqlite", "sqlite-sqlalchemy", "sqlite-advanced", "postgresql", "mariadb")
TURNS = [item | ({"id": f"msg_{number}"} if "id" in item else {}) for number in range(12) for item in turn(number)]
NOW = datetime(2026, 11, 1, tzinfo=UTC)
SUMMARY = "The weather in twelve towns was asked for; 客户 wants an umbrella."


@pytest.fixture(params=[maker for maker in CASES if maker.name in ENGINES], ids=lambda maker: maker.name)
def case(request: pytest.FixtureRequest) -> Iterator[SdkCase]:
    with made(request.param, request) as made_case:
        yield made_case


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Start the model's server with an answer, and point the program to it."""
    with model_server(lambda _: said(SUMMARY)) as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)

        def serving(answer: Answer = server.answer) -> ModelServer:
            server.answer = answer
            return server

        yield serving


def trim(store: str | Path, *arguments: str | Path) -> Ran:
    return in_process("trim", "-s", store, "--min-idle", "0", "--yes", "-o", "json", *arguments)


def read_back(item: Any) -> Any:
    return read_summary(read_item(json.dumps(item)))


def test_the_agent_goes_on_and_undo_takes_it_back(case: SdkCase, serve: Any, tmp_path: Path) -> None:
    serve()
    rules = {"role": "developer", "content": "Be brief."}
    for name in ("goes on", "back", "other"):
        case.write(name, [rules, *TURNS])
        case.read(name)  # Advanced: this reserves its branch
    before = rows(case)
    wanted = ("--id", "goes on", "--id", "back", "--keep-turns", "3", "--archive", tmp_path / "archive")
    done = trim(address(case), *wanted, "--summarize")
    assert done.status == 0, done.said
    assert done.json["condensed"] == {"sessions": 2, "requests": 2, "input_tokens": 600, "output_tokens": 40}
    assert done.json["time"]["model_s"] > 0
    assert (done.json["changed"], done.json["removed"]["items"]) == ({"sessions": 2}, 2 * 9 * 4)
    left = case.read("back")
    assert left[0] == rules
    assert left[2:] == TURNS[-12:]
    found = read_back(left[1])
    assert (found.text, found.turns, found.items) == (SUMMARY, 9, 36)
    assert refusal(left, TURNS) is None
    assert case.read("other") == [rules, *TURNS]
    assert rows(case)["agent_sessions"] == before["agent_sessions"]  # no stamp moved

    left = case.read("goes on")  # its summary may be of another second
    given, _ = case._runner.run(run_agent(case, "goes on"))
    assert given[:-1] == left
    assert given[-1]["content"] == QUESTION
    again = trim(address(case), *wanted, "--summarize", "--dry-run")
    assert "0 items" not in again.text  # one turn more, to be condensed with the summary
    assert again.json["removed"]["items"] == 1 + 4

    assert undone(case, done.json["run_id"])["restored"]["sessions"] == 2
    assert case.read("back") == [rules, *TURNS]
    assert case.read("goes on")[: 1 + len(TURNS)] == [rules, *TURNS]
    assert case.read("goes on")[1 + len(TURNS)]["content"] == QUESTION
    assert [row for row in rows(case)["agent_messages"] if "back" in row] == [
        row for row in before["agent_messages"] if "back" in row
    ]


def test_a_compaction(case: SdkCase, serve: Any, tmp_path: Path) -> None:
    server = serve(compacted)
    case.write("s", TURNS)
    case.read("s")
    before = rows(case)
    wanted = ("--id", "s", "--keep-turns", "4", "--archive", tmp_path / "archive", "--compact")
    done = trim(address(case), *wanted)
    assert done.status == 0, done.said
    (request,) = server.requests
    assert request.path == "/v1/responses/compact"
    assert [item.get("type") or item["role"] for item in request.body["input"]][:4] == [
        "user", "function_call", "function_call_output", "message"
    ]  # fmt: skip
    left = case.read("s")
    assert [item.get("role") or item["type"] for item in left[:9]] == ["user"] * 8 + ["compaction"]
    assert left[9:] == TURNS[-16:]
    assert refusal(left, TURNS) is None
    given, _ = case._runner.run(run_agent(case, "s"))
    assert given[8]["type"] == "compaction"
    more = trim(address(case), *wanted)
    assert (more.status, more.json["removed"]["items"]) == (0, 9 + 4), more.said
    assert undone(case, more.json["run_id"])["restored"]["sessions"] == 1
    assert undone(case, done.json["run_id"])["restored"]["sessions"] == 1
    assert case.read("s")[: len(TURNS)] == TURNS
    assert before["agent_messages"] == [row for row in rows(case)["agent_messages"] if row in before["agent_messages"]]


@pytest.mark.parametrize("engine", ["sqlite", "sqlite-advanced", "postgresql"])
def test_agents_write_while_the_model_thinks(
    engine: str, serve: Any, sdk: SdkProcess, request: pytest.FixtureRequest
) -> None:
    """Of three sessions one is appended to, one is cleared and begun anew, and one rests."""
    maker = next(maker for maker in CASES if maker.name == engine)
    with made(maker, request) as case:
        for name in ("appended", "begun anew", "rests"):
            case.write(name, [user(f"this is {name}"), *TURNS])
        kind = case._class if isinstance(case, SqliteCase) else "SQLAlchemySession"
        url = str(case.path) if isinstance(case, SqliteCase) else address(case)

        def answer(request: Request) -> Any:
            if "this is appended" in request.asked:
                sdk.add(url, "appended", turn(77), kind=kind)
            if "this is begun anew" in request.asked:
                sdk.clear(url, "begun anew", kind=kind)
                sdk.add(url, "begun anew", [user("again")], kind=kind)
            return said(SUMMARY)

        server = serve(answer)
        named = [part for name in ("appended", "begun anew", "rests") for part in ("--id", name)]
        done = trim(address(case), *named, "--keep-turns", "2", "--summarize")
        assert (done.status, done.json["changed"]) == (3, {"sessions": 2})
        assert done.json["skipped"]["changed"] == 1
        assert len(server.requests) == 3
        assert case.read("appended")[1:] == [*TURNS[-8:], *turn(77)]
        assert read_back(case.read("appended")[0]).text == SUMMARY
        assert case.read("begun anew") == [user("again")]
        assert case.read("rests")[1:] == TURNS[-8:]
        sdk.release()


@settings(max_examples=40, deadline=None)
@given(sound(max_turns=8).filter(bool), st.integers(1, 4))
def test_generated_histories(history: list[Any], keep: int) -> None:
    """Whatever kinds of items go and stay: the next turn is taken as before."""
    items = [Item(key=at, text=json.dumps(item), created_at=NOW) for at, item in enumerate(history)]
    read = [(item, read_item(item.text)) for item in items]
    going = trim_items(read, TrimLimits(keep_turns=keep, min_turns=1), NOW, lambda _: 1).removed(items)
    extract = Extract(session_id="s", items=going)
    keys = {item.key for item in going if isinstance(item.key, int)}
    rewrite = Rewrite(session_id="s", remove=spans(range(len(items)), keys))
    step = Step(session_id="s", version="", items=len(going), bytes=extract.size, rewrite=rewrite)
    made = in_place(step, extract, [extract.summary("So it was.", "m", NOW).item]) if going else "nothing goes"
    if isinstance(made, str):
        return
    instead = dict(made.rewrite.replace if made.rewrite else ())
    left = [instead.get(at, item.text) for at, item in enumerate(items) if at not in keys or at in instead]
    before, after = verdict(payload for _, payload in read), verdict(map(read_item, left))
    assert len(after.defects) <= len(before.defects)
    assert refusal(list(map(json.loads, left)), history) is None or refusal(history, history) is not None


def test_real_transcripts(serve: Any, tmp_path: Path) -> None:
    """Whatever agents really said: summed up, the strict model takes it, and condensed again as well."""
    serve()
    some = {one.session_id: one.items for one in read_transcripts()[::60]}
    path = write_sessions(tmp_path / "store.db", some)
    for keep in ("4", "2"):
        done = trim(path, "--ids-from", _ids(tmp_path, some), "--keep-turns", keep, "--summarize")
        assert (done.status, done.json["skipped"]["failed"]) == (0, 0), done.said
    assert done.json["condensed"]["sessions"] > 4
    for session_id, items in some.items():
        found = in_process("inspect", session_id, "-s", path, "-o", "json").json
        left = [item["data"] for one in found["turns"] for item in one["items"]]
        assert refusal(left, items) is None or refusal(items, items) is not None
        summary = read_back(left[1 if left[0].get("role") == "system" else 0])
        if summary is not None:
            assert summary.turns == len([item for item in items if item.get("role") == "user"]) - 2


def _ids(directory: Path, some: Any) -> Path:
    file = directory / "ids"
    file.write_text("".join(f"{name}\n" for name in some), encoding="utf-8")
    return file


def test_branches_share_what_would_give_way(serve: Any, request: pytest.FixtureRequest) -> None:
    server = serve()
    with made(next(maker for maker in CASES if maker.name == "sqlite-advanced"), request) as case:
        case.write("branched", TURNS)
        case._call("branched", lambda session: session.create_branch_from_turn(5))
        before = rows(case)
        done = trim(address(case), "--id", "branched", "--keep-turns", "2", "--summarize")
        assert (done.status, done.json["skipped"]["failed"], server.requests) == (3, 1, [])
        assert "branches" in done.json["failed"][0]["why"]
        assert rows(case) == before


class TestCutOff:
    @pytest.fixture
    def store(self, tmp_path: Path) -> Path:
        return write_sessions(tmp_path / "store.db", {f"s{number}": TURNS for number in range(8)})

    def arguments(self, store: Path) -> list[str]:
        named = [part for number in range(8) for part in ("--id", f"s{number}")]
        return ["trim", "-s", str(store), *named, "--min-idle", "0", "--keep-turns", "2", "--summarize", "--yes"]

    @pytest.fixture
    def slow(self, serve: Any) -> Iterator[ModelServer]:
        """The first five requests are answered at once, the others not before the test is over."""
        late = Event()
        yield serve(lambda request: said(SUMMARY, until=late if request.number >= 5 else None))
        late.set()

    def test_kill_9(self, store: Path, slow: ModelServer, home: Path, tmp_path: Path) -> None:
        archive = ("--archive", str(tmp_path / "archive"))
        with running(*self.arguments(store), *archive) as process:
            self.under_way(store, slow, process)
            process.kill()
            process.wait()
        counts = item_counts(store)
        assert sorted(counts.values()) == [9] * 5 + [48] * 3
        slow.answer = lambda _: said(SUMMARY)
        again = in_process(*self.arguments(store), *archive, "-o", "json")
        assert (again.status, again.json["condensed"]["sessions"]) == (0, 3), again.said
        assert len(slow.requests) == 5 + 3 + 3  # those answered are not asked about again
        for row in ledger_rows(home):
            assert in_process("undo", row["run_id"], "-s", store, "--yes").status == 0
        assert set(item_counts(store).values()) == {48}

    def test_ctrl_c(self, store: Path, slow: ModelServer) -> None:
        with running(*self.arguments(store), "-o", "json") as process:
            self.under_way(store, slow, process)
            os.killpg(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=20)
        assert process.returncode == 130, err
        assert b'"stopped": "signal"' in out
        assert b'"condensed": {"sessions": 5' in out
        assert b"Traceback" not in err
        assert sorted(item_counts(store).values()) == [9] * 5 + [48] * 3

    def under_way(self, store: Path, slow: ModelServer, process: subprocess.Popen[bytes]) -> None:
        def ready() -> bool:
            assert process.poll() is None, process.communicate()
            return len(slow.requests) == 8 and list(item_counts(store).values()).count(9) == 5

        wait_for(ready, "five sessions condensed and three asked about", every=0.05)
