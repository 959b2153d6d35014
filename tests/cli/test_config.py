"""``config show`` and ``config path`` say what is in force, where it came from, and no secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sessionctl.cli.app import run

SECRET = "s3cr3t"
TEXT = f"""
default_store = "prod"
[stores.prod]
url = "postgresql+asyncpg://app:{SECRET}@db.internal/agents?sslpassword={SECRET}"
timezone = "UTC"
[stores.b]
url_env = "B_URL"
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("B_URL", f"mysql://app:{SECRET}@db/agents")
    return tmp_path


@pytest.fixture
def file(home: Path) -> Path:
    file = home / ".config" / "sessionctl" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(TEXT)
    file.chmod(0o600)
    return file


def test_show_gives_every_value_and_its_origin(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSIONCTL_STORE", "b")
    assert run(["config", "show", "-o", "json"]) == 0
    out, err = capsys.readouterr()
    shown = json.loads(out)
    assert shown["schema"] == "sessionctl/v1"
    settings = {setting["key"]: (setting["value"], setting["origin"]) for setting in shown["settings"]}
    assert settings["config"] == (str(file), "default location")
    assert settings["default_store"] == ("b", "$SESSIONCTL_STORE")
    assert settings["stores.prod.url"] == (
        "postgresql+asyncpg://app:***@db.internal/agents?sslpassword=***",
        str(file),
    )
    assert settings["stores.b.url"] == ("mysql://app:***@db/agents", "$B_URL")
    assert shown["warnings"] == []
    assert SECRET not in out + err


def test_show_as_a_table(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.chmod(0o644)
    assert run(["config", "show"]) == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["KEY", "VALUE", "FROM"]
    assert ["default_store", "prod", str(file)] in lines
    assert ["stores.prod.timezone", "UTC", str(file)] in lines
    assert "chmod 600" in err
    assert SECRET not in out + err


def test_show_without_a_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "show", "-o", "json"]) == 0
    settings = {s["key"]: s["value"] for s in json.loads(capsys.readouterr().out)["settings"]}
    assert settings == {
        "config": None,
        "default_store": None,
        "state_dir": str(home / ".local" / "state" / "sessionctl"),
        "ledger": str(home / ".local" / "state" / "sessionctl" / "ledger.db"),
    }
    assert list(home.iterdir()) == []


def test_path_is_the_file_in_use(file: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "path"]) == 0
    assert capsys.readouterr().out == f"{file}\n"
    other = home / "other.toml"
    other.write_text("")
    for arguments in (["--config", str(other), "config", "path"], ["config", "path", "--config", str(other)]):
        assert run(arguments) == 0
        assert capsys.readouterr().out == f"{other}\n"
    assert run(["config", "path", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["path"], found["origin"], found["searched"][0]) == (str(file), "default location", str(file))


def test_path_without_a_file_names_the_places(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "path"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "no settings file" in err
    assert str(home / ".config" / "sessionctl" / "config.toml") in err.replace("\n", "")
    assert run(["config", "path", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] is None


def test_a_wrong_key_ends_in_a_sentence_and_2(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("defalt_store = 'x'")
    for arguments in (["config", "show"], ["config", "path"], ["stores", "list"]):
        assert run(arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "unknown key 'defalt_store'" in err
        assert "did you mean default_store?" in err
    assert run(["config", "show", "-o", "json"]) == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["code"] == "usage"


def test_other_forms_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "show", "-o", "csv"]) == 2
    assert "--output csv is not for this command" in capsys.readouterr().err
