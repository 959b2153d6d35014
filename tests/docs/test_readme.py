"""What README tells people to type works, and what it shows is what they see."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from sessionctl.cli.app import app, run
from sessionctl.cli.context import set_current

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [(found[1], found[2]) for found in re.finditer(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)]
TRY_IT, TESTS = (text.strip() for language, text in BLOCKS[:2] if language == "sh")
_UNREACHABLE = re.compile(r"No matching distribution found|Could not find a version|NewConnectionError|Max retries")
_OUTSIDE = {name: os.environ.get(name) for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}  # as pip knows them


def command_lines() -> Iterator[tuple[str, ...]]:
    """The arguments of every call of sessionctl in README's shell and console blocks."""
    for language, text in BLOCKS:
        if language == "sh":
            lines = text.splitlines()
        elif language == "console":
            lines = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
        else:
            continue
        for line in lines:
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.wordchars += "$,:@?=&+"
            words = list(lexer)
            starts = [index for index, word in enumerate(words) if word == "sessionctl"]
            for start in starts:
                rest = words[start + 1 :]
                end = next((index for index, word in enumerate(rest) if not word.strip("();<>|&")), len(rest))
                yield tuple(rest[:end])


def parse(arguments: Sequence[str]) -> None:
    """Take a command line apart as the program would, and stop short of running it."""
    set_current(None)
    command: Any = typer.main.get_command(app)
    context: Any = None
    name, rest = "sessionctl", list(arguments)
    while True:
        context = command.make_context(name, rest, parent=context)
        if not hasattr(command, "resolve_command"):
            return
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)


@pytest.mark.parametrize("arguments", sorted(set(command_lines())), ids=" ".join)
def test_every_command_line_parses(arguments: Sequence[str]) -> None:
    parse(arguments)


def test_an_option_that_does_not_exist_does_not_parse() -> None:
    """The test above can fail."""
    for wrong in (
        ["list", "--no-such-option"],
        ["no-such-command"],
        ["stores", "pong"],
        ["purge", "--older-than", "1x"],
    ):
        with pytest.raises(typer.TyperException):
            parse(wrong)


def test_every_command_is_mentioned() -> None:
    command: Any = typer.main.get_command(app)
    called = {words[0] for words in command_lines()}
    assert called >= set(command.commands)


def masked(text: str) -> list[str]:
    """Lines without what differs from day to day: times, ages, and the width of their columns."""
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?Z", "TIME", text)
    text = re.sub(r"\b\d+[smhdy]( \d+[smhd])?\b", "AGE", text)
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def test_shows_what_people_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (console,) = (text for language, text in BLOCKS if language == "console")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SESSIONCTL_STORE", "sessionctl-demo/conversations.db")
    compared = 0
    for step in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        typed, _, shown = step.partition("\n")
        done = subprocess.run(
            ["sh", "-c", typed], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True, timeout=60
        )
        if shown:
            assert masked(shown) == masked(done.stdout), typed
            compared += 1
    assert compared >= 3


def test_settings_example_is_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = (text for language, text in BLOCKS if language == "toml" and "[stores." in text)
    file = tmp_path / "config.toml"
    file.write_text(example)
    assert run(["--config", str(file), "stores", "list", "-o", "name"]) == 0
    assert capsys.readouterr().out.split() == ["prod", "legacy", "tenants"]


def test_the_test_command_exists() -> None:
    assert TESTS == "bash tests/run"
    assert os.access(ROOT / "tests" / "run", os.X_OK)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the files that belong to the project."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    copy = tmp_path / "checkout"
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


def pip_environment() -> dict[str, str]:
    """Where pip finds its settings and its cache outside of the tests' own home."""
    home = _OUTSIDE["HOME"] or "/"
    found = {"PIP_CACHE_DIR": os.path.join(_OUTSIDE["XDG_CACHE_HOME"] or os.path.join(home, ".cache"), "pip")}  # noqa: PTH118
    settings = Path(_OUTSIDE["XDG_CONFIG_HOME"] or os.path.join(home, ".config"), "pip", "pip.conf")  # noqa: PTH118
    if settings.is_file():
        found["PIP_CONFIG_FILE"] = str(settings)
    return {name: value for name, value in found.items() if name not in os.environ}


@pytest.mark.timeout(900)
def test_one_line_installs_and_shows_the_main_job(checkout: Path) -> None:
    assert "\n" not in TRY_IT
    env = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(
        ["bash", "-c", TRY_IT],
        cwd=checkout,
        env=env | pip_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=840,
    )
    if done.returncode and _UNREACHABLE.search(done.stderr) and os.environ.get("CI") != "true":
        pytest.skip("the package index is not reachable: README's first command was not run")
    assert done.returncode == 0, done.stderr
    for seen in (
        "45 sessions, 455 items",  # demo
        "wechat:客户-2071",  # list
        "at depot: label unreadable",  # inspect
        "LARGEST SESSIONS",  # stats
        "Plan: purge",
        "… and 10 more",
    ):
        assert seen in done.stdout
    assert "dry run: nothing was changed" in done.stderr
    assert re.findall(r"^\++ sessionctl (\w+)", done.stderr, re.MULTILINE) == [
        *("demo", "list", "inspect", "stats", "purge"),
    ]
    assert not (checkout / "sessionctl-demo").exists()
