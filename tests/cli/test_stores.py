"""``stores list`` says what is configured, ``stores ping`` what is there and how far away."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from sessionctl.cli.app import run

SECRET = "s3cr3t"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def configure(home: Path, text: str) -> None:
    file = home / ".config" / "sessionctl" / "config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o600)


def sdk_store(path: Path) -> Path:
    """A store with one session, written by the SDK."""
    from agents import SQLiteSession

    session = SQLiteSession("one", path)
    asyncio.run(session.add_items([{"role": "user", "content": "hello"}]))
    session.close()
    return path


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    status = run([*arguments, "-o", "json"])
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    return status, json.loads(out or err)


class TestList:
    TEXT = f"""
default_store = "prod"
[stores.prod]
url = "postgresql+asyncpg://app:{SECRET}@db.internal/agents"
timezone = "UTC"
[stores.tenants]
url = "~/tenants/*.db"
[stores.gone]
url_env = "NOT_SET"
[stores.locked]
url = "mysql://app@db/agents"
password_env = "NOT_SET"
"""

    def test_what_is_configured_without_connecting(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        configure(home, self.TEXT)
        status, listed = as_json(capsys, "stores", "list")
        assert status == 0
        prod, tenants, gone, locked = listed["stores"]
        assert prod == {
            "name": "prod",
            "kind": "postgresql",
            "fleet": False,
            "address": "postgresql://app:***@db.internal/agents",
            "options": {"timezone": "UTC"},
            "default": True,
            "problem": None,
        }
        assert (tenants["kind"], tenants["fleet"], tenants["default"]) == ("sqlite", True, False)
        assert tenants["address"] == f"sqlite:///{home}/tenants/*.db"
        assert (gone["address"], gone["problem"]) == (
            None,
            "store 'gone' takes its URL from $NOT_SET, which is not set",
        )
        assert (locked["address"], locked["problem"]) == ("mysql://app@db/agents", None)

    def test_names_and_table(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        configure(home, self.TEXT)
        assert run(["stores", "list", "-o", "name"]) == 0
        assert capsys.readouterr().out.split() == ["prod", "tenants", "gone", "locked"]
        assert run(["stores", "list"]) == 0
        out = capsys.readouterr().out
        assert "prod (default)" in out
        assert "fleet" in out
        assert SECRET not in out

    def test_nothing_configured(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert as_json(capsys, "stores", "list") == (0, {"schema": "sessionctl/v1", "stores": []})
        assert run(["stores", "list"]) == 0
        assert "no store is configured" in capsys.readouterr().err


class TestPing:
    def test_a_store(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = sdk_store(home / "a.db")
        before = path.read_bytes(), sorted(home.iterdir())
        status, pinged = as_json(capsys, "stores", "ping", "-s", str(path))
        assert status == 0
        (store,) = pinged["stores"]
        assert store["address"] == f"sqlite:///{path}"
        assert (store["kind"], store["flavour"]) == ("sqlite", "SQLiteSession")
        assert store["server"].startswith("SQLite 3.")
        assert sorted(store["tables"]) == ["agent_messages", "agent_sessions"]
        assert store["capabilities"] == {"lists": True, "item_times": True, "recheck": "transaction"}
        assert 0 < store["latency_s"] < 5
        assert abs(store["clock_ahead_s"]) < 5
        assert store["error"] is None
        assert (path.read_bytes(), sorted(home.iterdir())) == before

    def test_a_server(self, postgres_url: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        from agents.extensions.memory import SQLAlchemySession

        async def write() -> None:
            url = postgres_url.replace("postgresql://", "postgresql+asyncpg://")
            session = SQLAlchemySession.from_url("one", url=url, create_tables=True)
            await session.add_items([{"role": "user", "content": "hello"}])
            await session.engine.dispose()

        asyncio.run(write())
        configure(home, f"default_store = 'pg'\n[stores.pg]\nurl = '{postgres_url}'")
        status, pinged = as_json(capsys, "stores", "ping")
        assert status == 0
        (store,) = pinged["stores"]
        assert (store["store"], store["kind"]) == ("pg", "postgresql")
        assert store["server"].startswith("PostgreSQL")
        assert len(store["tables"]) == 2

    def test_foreign_tables_are_named(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        import sqlite3
        from contextlib import closing

        path = sdk_store(home / "a.db")
        with closing(sqlite3.connect(path)) as db:
            db.execute(
                "CREATE TABLE billing (id TEXT REFERENCES agent_sessions(session_id) ON DELETE CASCADE, amount INT)"
            )
        _, pinged = as_json(capsys, "stores", "ping", "-s", str(path))
        (hazard,) = pinged["stores"][0]["hazards"]
        assert "billing" in hazard["what"]
        assert run(["stores", "ping", "-s", str(path)]) == 0
        assert "billing" in capsys.readouterr().err

    def test_one_failing_does_not_stop_the_others(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        good, other = sdk_store(home / "a.db"), sdk_store(home / "b.db")
        nowhere = f"postgresql://app:{SECRET}@127.0.0.1:1/agents"
        arguments = ["stores", "ping", "-s", str(good), "-s", nowhere, "-s", str(other)]
        status, pinged = as_json(capsys, *arguments)
        assert status == 3
        assert [store["error"] is None for store in pinged["stores"]] == [True, True, False]
        failed = pinged["stores"][2]
        assert (failed["error"]["code"], failed["store"]) == (
            "store_unavailable",
            "postgresql://app:***@127.0.0.1:1/agents",
        )
        assert run(arguments) == 3
        out, err = capsys.readouterr()
        assert len(out.splitlines()) == 4
        assert "failed" in out
        assert "127.0.0.1" in err
        assert SECRET not in out + err

    def test_a_single_failure_has_its_own_status(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (home / "text.db").write_text("not a database at all")
        for arguments in (
            ["-s", f"postgresql://app:{SECRET}@127.0.0.1:1/agents"],
            ["-s", str(home / "text.db")],
            ["-s", str(home / "missing.db")],
            ["-s", f"sqlite:///{home}/missing.db"],
        ):
            assert run(["stores", "ping", *arguments]) == 10
            out, err = capsys.readouterr()
            assert out == ""
            assert err.startswith("error: ")
            assert SECRET not in err
        assert not (home / "missing.db").exists()

    def test_no_store_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["stores", "ping"]) == 2
        assert "--store" in capsys.readouterr().err

    def test_all_stores_and_a_fleet(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        tenants = home / "tenants"
        tenants.mkdir()
        for name in ("a", "b"):
            sdk_store(tenants / f"{name}.db")
        (tenants / "notes.txt").write_text("no store")
        configure(home, f"[stores.one]\nurl = '{sdk_store(home / 'one.db')}'\n[stores.tenants]\nurl = '{tenants}'")
        status, pinged = as_json(capsys, "stores", "ping", "--all-stores")
        assert status == 0
        assert [store["address"] for store in pinged["stores"]] == [
            f"sqlite:///{home}/one.db",
            f"sqlite:///{tenants}/a.db",
            f"sqlite:///{tenants}/b.db",
        ]
        assert pinged["skipped"] == 1
