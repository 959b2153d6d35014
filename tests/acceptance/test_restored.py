"""An archive of any store restored into any other: the SDK reads the same items in the same order."""

from __future__ import annotations

import random
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from archives import header, item, session
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from operating import Ran, in_process
from sdk_cases import CASES, SdkCase, SqliteCase, fill, made
from servers import fresh_mysql, fresh_postgres
from soak.forker import forker
from soak.killing import in_store

from sessionctl.archive.codecs import Compression
from sessionctl.archive.writer import create_archive
from sessionctl.core.model import Want
from sessionctl.core.record import Stamps, StoredItem
from sessionctl.core.selector import Query
from sessionctl.stores.base import Store
from sessionctl.testing.case import HOSTILE_IDS, HOSTILE_ITEMS, turn, user

NAMES = ("sqlite", "sqlite-sqlalchemy", "sqlite-advanced", "postgresql", "mariadb")
MAKERS = {maker.name: maker for maker in CASES if maker.name in NAMES}
AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(days=60)
LONG = "long " * 60
"""An id that VARCHAR(255) does not take."""
NOT_HOSTILE_TO_SERVERS = {name: HOSTILE_IDS[name] for name in ("quotes", "newline", "emoji", "slash", "percent")}


class Places:
    """What stands for a test's fixtures: a store more than the test's own one."""

    def __init__(self, stack: ExitStack, request: pytest.FixtureRequest) -> None:
        self._stack, self._request = stack, request

    def getfixturevalue(self, argname: str) -> Any:
        if argname == "postgres_url":
            return self._stack.enter_context(fresh_postgres(self._request.getfixturevalue("postgres_server")))
        if argname == "mysql_url":
            return self._stack.enter_context(fresh_mysql(self._request.getfixturevalue("mysql_server")))
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory()))


@contextmanager
def store(name: str, request: pytest.FixtureRequest) -> Iterator[SdkCase]:
    """An empty store with its tables."""
    with ExitStack() as stack:
        case = stack.enter_context(made(MAKERS[name], Places(stack, request)))
        case.write("made the tables", turn(0))
        empty(case)
        yield case


def empty(case: SdkCase) -> None:
    for table in reversed(case._tables):
        case.execute(f"DELETE FROM {table}")


def address(case: SdkCase) -> str:
    return str(case.path) if isinstance(case, SqliteCase) else str(getattr(case, "url", ""))


def archived(case: SdkCase, file: Path) -> list[str]:
    """All sessions of the store in an archive, as a run on it would write them."""
    with case.open() as opened:
        info, ids = opened.info(), [ref.id for ref in opened.sessions(Query())]
        origin = header(store=opened.address.recorded, kind=info.kind, flavour=info.flavour, zone=None)
        with create_archive(str(file), origin) as writer:
            for whole in opened.whole(ids):
                writer.add(whole.session, whole.items)
            writer.seal()
    return ids


def restored(file: Path, case: SdkCase, *more: str) -> Ran:
    return in_process("restore", file, "-s", address(case), "--yes", "-o", "json", *more)


def measured(opened: Store, session_id: str) -> tuple[Any, ...]:
    ref = opened.session(session_id, Want.SIZE)
    assert ref is not None
    return ref.items, ref.bytes, ref.created_at, ref.updated_at


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", NAMES)
def test_every_pair(source: str, target: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl.zst"
    with store(source, request) as origin, store(target, request) as goal:
        for number, session_id in enumerate(NOT_HOSTILE_TO_SERVERS.values()):
            origin.write(session_id, turn(number), [*HOSTILE_ITEMS.values()] if number == 0 else turn(7))
            origin.stamp(session_id, created_at=AGO, updated_at=AGO + timedelta(hours=number))
        goal.write("own", turn(5))
        ids = list(NOT_HOSTILE_TO_SERVERS.values())
        exported = in_process("export", "-s", address(origin), "--format", "archive", "--out", file)
        assert exported.status == 0, exported.said
        report = restored(file, goal)
        assert report.status == 0, report.said
        assert report.json["restored"] == report.json["matched"]
        with origin.open() as there, goal.open() as here:
            for session_id in ids:
                assert goal.read(session_id) == origin.read(session_id)
                assert goal.texts(session_id) == origin.texts(session_id)
                assert measured(here, session_id) == measured(there, session_id)
                before, after = (list(opened.items(session_id)) for opened in (there, here))
                assert [found.created_at for found in after] == [found.created_at for found in before]
        assert goal.read("own") == turn(5)
        again = restored(file, goal)
        assert (again.status, again.json["already"]) == (0, again.json["matched"])
        # The application goes on with what came, and with new sessions.
        for session_id in (ids[0], "new"):
            read = goal.read(session_id)
            goal.write(session_id, turn(9))
            assert goal.read(session_id) == [*read, *turn(9)]


def test_branches_go_along_where_they_are_known(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl.zst"
    with ExitStack() as stack:
        origin, goal = (stack.enter_context(store("sqlite-advanced", request)) for _ in range(2))
        plain = stack.enter_context(store("sqlite", request))
        origin.write("mine", [*turn(1), *turn(2)])
        origin._call(
            "mine",
            lambda sdk: sdk.create_branch_from_turn(2, "side"),
            lambda sdk: sdk.add_items([user("on the side")]),
        )
        goal.write("own", turn(5))
        archived(origin, file)
        for number, case in enumerate((goal, plain)):
            report = restored(file, case, "--id", "mine")
            assert (report.status, report.json["left_out"]["items"]) == (0, number)

        def branch(name: str, case: SdkCase) -> Any:
            return case._call("mine", lambda sdk: sdk.get_items(branch_id=name))[0]

        for name in ("main", "side"):
            assert branch(name, goal) == branch(name, origin)
        assert user("on the side") in branch("side", goal)
        assert plain.read("mine") == branch("main", origin)


def test_a_server_that_was_made_anew_gives_no_key_twice(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The keys of the archive are beyond those that the sequence gave by now."""
    file = tmp_path / "a.jsonl.zst"
    with store("postgresql", request) as case:
        for number in range(5):
            case.write(f"s{number}", turn(number))
        ids = archived(case, file)
        case.execute("TRUNCATE agent_messages, agent_sessions RESTART IDENTITY CASCADE")
        assert restored(file, case).json["restored"]["sessions"] == len(ids)
        for number in range(5):
            case.write(f"new{number}", turn(number))
            assert case.read(f"s{number}") == turn(number)


@pytest.mark.parametrize(("target", "refused"), [("mariadb", {LONG}), ("postgresql", set())])
def test_ids_that_are_too_long(target: str, refused: set[str], request: pytest.FixtureRequest, tmp_path: Path) -> None:
    check_refusals(target, {LONG: '{"n": 1}', "fine": '{"n": 2}'}, refused, request, tmp_path)


def check_refusals(
    target: str, texts: dict[str, str], refused: set[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """What does not fit is told session by session, and nothing of it is written."""
    file = tmp_path / "a.jsonl.zst"
    with create_archive(str(file), header()) as writer:
        for name, text in texts.items():
            writer.add(session(name), [item(1, '{"n": 0}'), item(2, text)])
        writer.seal()
    with store(target, request) as case:
        report = restored(file, case)
        assert (report.status, set(report.json["refused"])) == (3 if refused else 0, refused)
        assert report.json["skipped"]["failed"] == len(refused)
        for name, text in texts.items():
            assert case.texts(name) == ([] if name in refused else ['{"n": 0}', text])
        rows = case.execute("SELECT session_id FROM agent_sessions")
        assert {name for (name,) in rows} == texts.keys() - refused


@pytest.mark.parametrize(("target", "refused"), [("postgresql", {"bytes", "nul"}), ("mariadb", {"bytes"})])
def test_texts_that_a_server_cannot_hold(
    target: str, refused: set[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    check_refusals(target, {"bytes": "\udcff", "nul": "a\0b", "fine": "{}"}, refused, request, tmp_path)


@pytest.mark.parametrize("target", ["sqlite", "sqlite-advanced", "postgresql", "mariadb"])
def test_ids_and_texts_that_are_no_text(target: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Half a surrogate pair alone: JSON can tell of it, and no store can hold it."""
    file = tmp_path / "a.jsonl.zst"
    with create_archive(str(file), header()) as writer:
        for name, text in {"half": "\ud800", "half \ud800": "{}", "fine": "{}"}.items():
            writer.add(session(name), [item(1, '{"n": 0}'), item(2, text)])
        writer.seal()
    with store(target, request) as case:
        report = restored(file, case)
        assert (report.status, set(report.json["refused"])) == (3, {"half", "half \ud800"})
        assert report.json["skipped"]["failed"] == 2
        assert case.execute("SELECT session_id FROM agent_sessions") == [("fine",)]
        assert case.texts("fine") == ['{"n": 0}', "{}"]


def test_texts_longer_than_the_column(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """TEXT ends at 64 KiB."""
    file = tmp_path / "a.jsonl.zst"
    with create_archive(str(file), header()) as writer:
        writer.add(session("long"), [item(1, "1"), item(2, '"' + "é" * 40_000 + '"')])
        writer.add(session("fine"), [item(3, '"' + "é" * 30_000 + '"')])
        writer.seal()
    with store("mariadb", request) as case:
        case.execute("ALTER TABLE agent_messages MODIFY message_data TEXT NOT NULL")
        report = restored(file, case)
        assert (report.status, report.json["refused"]) == (3, ["long"])
        assert (case.texts("long"), len(case.texts("fine"))) == ([], 1)


@pytest.mark.parametrize("target", ["sqlite", "sqlite-advanced", "postgresql", "mariadb"])
def test_killed_at_random_instants_and_run_again(target: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Whatever is there by then is whole, and in the end all of it is, once."""
    names, file, pick = [f"s{number:03}" for number in range(200)], tmp_path / "a.jsonl.zst", random.Random(1)
    with store("sqlite", request) as origin, store(target, request) as goal, forker() as process:
        fill(origin, names, turn(1), idle=timedelta(days=60))
        archived(origin, file)
        texts, command, back = origin.texts(names[0]), ("restore", str(file), "-s", address(goal), "--yes"), 0
        for number in (3, 0, 8, None):
            instant = None if number is None else (number, pick.uniform(0, 0.01))
            status, _ = process.run(*command, home=tmp_path, in_portion=instant)
            assert status == (0 if number is None else -signal.SIGKILL), (tmp_path / "said").read_text()
            found = in_store(goal)
            assert all([text for _, text in items] == texts for items in found.values())
            assert max(back, 30) <= len(found) <= len(names)
            back = len(found)
        assert found.keys() == set(names)
        assert goal.read(names[-1]) == turn(1)
        with goal.open() as opened:
            assert {hold.value for hold in opened.holds()} == set(names)


CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
IDS = st.text(CHARACTERS, min_size=1, max_size=60).filter(lambda name: name.strip() == name)
TEXTS = st.text(CHARACTERS, max_size=80)


@pytest.mark.parametrize("target", ["sqlite", "postgresql", "mariadb"])
def test_whatever_texts_and_ids(target: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """On MariaDB with ids that its collation takes for different ones."""
    stamps = Stamps(created="2026-01-01 10:00:00", updated="2026-01-02 10:00:00")
    ids = st.uuids().map(str) if target == "mariadb" else IDS

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(content=st.dictionaries(ids, st.lists(TEXTS, max_size=5), max_size=6))
    def restores(content: dict[str, list[str]]) -> None:
        empty(case)
        file = tmp_path / "a.jsonl"
        file.unlink(missing_ok=True)
        with create_archive(str(file), header(), Compression.NONE) as writer:
            for name, texts in content.items():
                stored = [StoredItem(key, "2026-01-01 10:00:00", None, text) for key, text in enumerate(texts)]
                writer.add(session(name, stamps=stamps), stored)
            writer.seal()
        report = restored(file, case)
        assert report.status == 0, report.said
        assert {name: case.texts(name) for name in content} == content

    with store(target, request) as case:
        restores()
