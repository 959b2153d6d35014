"""Errors for people and for programs: the status, one sentence, JSON where JSON was asked for, and no secret."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from operating import DAY, in_process, ledger_file, sessionctl, store_of

CANARY = "c4n4ry-s3cr3t"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_of(tmp_path / "store.db", {f"s{n}": (n + 1) * DAY for n in range(5)})


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


ERRORS = [
    (["list"], 2),
    (["list", "-s", "/nonexistent/store.db"], 10),
    (["list", "-s", "nosuch://host/db"], 2),
    (["list", "-s", "{store}", "--older-than", "soon"], 2),
    (["list", "-s", "{store}", "--limit", "-1"], 2),
    (["list", "-s", "{store}", "--limit", "1", "--limit", "2"], 2),
    (["inspect", "-s", "{store}", "nobody"], 1),
    (["inspect", "-s", "{store}"], 2),
    (["purge", "-s", "{store}"], 2),
    (["nonsense"], 2),
    (["purge", "-s", "{store}", "--all", "--yes", "--archive", ""], 2),
    (["trim", "-s", "{store}", "--all", "--yes", "--keep-turns", "1", "--archive", " "], 2),
    (["export", "-s", "{store}", "--format", "html", "--out", ""], 2),
    (["archive", "list", ""], 2),
    (["archive", "prune", "", "--older-than", "1d", "--yes"], 2),
    (["restore", "", "-s", "{store}", "--yes"], 2),
    (["list", "--config", "/nonexistent.toml", "-s", "{store}"], 2),
]


@pytest.mark.parametrize(
    ("arguments", "status"), ERRORS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_errors(store: Path, arguments: list[str], status: int) -> None:
    given = [argument.replace("{store}", str(store)) for argument in arguments]
    plain = in_process(*given)
    assert (plain.status, plain.out) == (status, b""), plain.said
    assert plain.said.startswith("error: ")
    assert len(plain.said.strip().splitlines()) <= 2
    as_json = in_process(*given, "-o", "json")
    assert (as_json.status, as_json.out) == (status, b"")
    assert as_json.error["message"]
    assert len(as_json.said.splitlines()) == 1


def test_a_traceback_only_with_debug(store: Path) -> None:
    missing = str(store.with_name("missing.db"))
    assert "Traceback" not in sessionctl("list", "-s", missing).said
    assert "Traceback" in sessionctl("--debug", "list", "-s", missing).said


def test_ok(store: Path) -> None:
    for command in (
        ["list"],
        ["stats"],
        ["inspect", "s0"],
        ["purge", "--all", "-n"],
        ["stores", "ping"],
        ["config", "path"],
    ):
        where = [] if command[0] == "config" else ["-s", str(store)]
        assert in_process(*command, *where).status == 0, command
    for command in (["--help"], ["--version"], ["purge", "--help"]):
        assert sessionctl(*command).status == 0


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+asyncpg", "mysql", "mariadb+aiomysql"])
@pytest.mark.parametrize("form", ["table", "json"])
def test_no_password_in_any_output(scheme: str, form: str, closed_port: int, home: Path) -> None:
    url = f"{scheme}://app:{CANARY}@127.0.0.1:{closed_port}/agents?password={CANARY}&sslpassword={CANARY}"
    for command in (
        ["list"],
        ["stats"],
        ["inspect", "x"],
        ["purge", "--all", "--yes"],
        ["purge", "--all", "-n"],
        ["stores", "ping"],
    ):
        done = in_process(*command, "-s", url, *(["-o", form] if command[0] != "inspect" or form == "json" else []))
        assert done.status in (2, 3, 10, 11), (command, done.said)
        assert CANARY.encode() not in done.out + done.err, command
        assert b"unforeseen" not in done.err
    done = sessionctl("--debug", "list", "-s", url)
    assert "Traceback" in done.said
    assert CANARY not in done.said
    assert not any(CANARY.encode() in file.read_bytes() for file in home.rglob("*") if file.is_file())


def test_no_password_in_the_plan_the_report_and_the_ledger(postgres_url: str, home: Path) -> None:
    import asyncio

    from agents.extensions.memory import SQLAlchemySession

    async def write() -> None:
        url = postgres_url.replace("postgresql://", "postgresql+asyncpg://")
        session = SQLAlchemySession.from_url("one", url=url, create_tables=True)
        await session.add_items([{"role": "user", "content": "hello"}])
        await session.engine.dispose()

    asyncio.run(write())
    joint = "&" if "?" in postgres_url else "?"
    url = f"{postgres_url}{joint}sslpassword={CANARY}"
    for command in (
        ["list"], ["stats"], ["purge", "--id", "one", "--min-idle", "0", "-n"],
        ["purge", "--id", "one", "--min-idle", "0", "--yes"],
    ):  # fmt: skip
        for form in ("table", "json"):
            done = in_process(*command, "-s", url, "-o", form)
            assert done.status == 0, done.said
            assert CANARY.encode() not in done.out + done.err, command
    stored = b"".join(file.read_bytes() for file in ledger_file(home).parent.iterdir())
    assert b"postgresql" in stored
    assert CANARY.encode() not in stored


def test_every_json_begins_with_the_schema(store: Path) -> None:
    for command in (["list"], ["stats"], ["inspect", "s0"], ["purge", "--all", "-n"], ["purge", "--id", "s4", "--yes"]):
        done = in_process(*command, "-s", store, "-o", "json")
        assert done.status == 0, done.said
        assert done.out.startswith(b'{"schema": "sessionctl/v1", ')
        assert done.out.endswith(b"}\n")
        assert done.out.count(b"\n") == 1
        json.loads(done.out, parse_constant=pytest.fail)
