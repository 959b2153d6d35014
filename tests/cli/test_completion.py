"""The completion scripts complete commands, options and values in real shells, and the shipped files are current."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Self

import pexpect
import pytest
from absent import absent

from sessionctl.cli.commands.completion import Shell

SHIPPED = {
    Shell.BASH: "sessionctl.bash",
    Shell.ZSH: "_sessionctl",
    Shell.FISH: "sessionctl.fish",
    Shell.POWERSHELL: "sessionctl.ps1",
}
COMPLETIONS = Path(__file__).parents[2] / "completions"
PROMPT = "ready>"


def shell(name: str) -> str:
    """The program; skips where it is not installed, and fails there under CI."""
    found = shutil.which(name)
    if found is None:
        absent(f"{name} is not installed")
    return found


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A home of its own, no start-up files, and the sessionctl of this environment on the path."""
    scripts = str(Path(sys.executable).parent)
    assert shutil.which("sessionctl", path=scripts), f"sessionctl is not installed in {sysconfig.get_path('scripts')}"
    return {
        "HOME": str(tmp_path),
        "PATH": os.pathsep.join([scripts, "/usr/local/bin", "/usr/bin", "/bin"]),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
        "ZDOTDIR": str(tmp_path),
    }


class Typist:
    """Somebody at a real terminal."""

    def __init__(self, program: str, arguments: list[str], env: dict[str, str], cwd: Path) -> None:
        self.child: pexpect.spawn[str] = pexpect.spawn(
            program, arguments, env=env, cwd=str(cwd), encoding="utf-8", timeout=20, dimensions=(40, 200)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.close(force=True)

    def run(self, line: str) -> None:
        self.child.sendline(line)
        self.child.expect_exact(PROMPT)

    def press_tab(self, typed: str, expected: str, *, times: int = 1) -> None:
        """Type, press Tab, and wait until what is expected stands on the screen; then clear the line."""
        self.child.send(typed + "\t" * times)
        self.child.expect(expected)
        self.child.send("\x15")  # Ctrl-U
        self.child.sendline("echo 'cl''eared'")
        self.child.expect_exact("cleared")
        self.child.expect_exact(PROMPT)


@pytest.mark.parametrize("name", Shell)
def test_the_shipped_files_are_the_output(name: Shell) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sessionctl", "completion", name], capture_output=True, check=True, timeout=60
    )
    shipped = COMPLETIONS / SHIPPED[name]
    assert shipped.read_bytes() == done.stdout, f"sessionctl completion {name} > completions/{shipped.name}"


def test_another_shell_is_a_usage_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sessionctl", "completion", "tcsh"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "tcsh" in done.stderr


def test_every_command_is_offered_and_nothing_else(env: dict[str, str]) -> None:
    from sessionctl.cli.app import CommandFiles

    asked = {
        "COLUMNS": "9999",
        "_SESSIONCTL_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": "sessionctl ",
    }
    done = subprocess.run(["sessionctl"], env={**env, **asked}, capture_output=True, text=True, check=True, timeout=60)
    offered = [line.partition("\t") for line in done.stdout.splitlines()]
    assert [name for name, _, _ in offered] == list(CommandFiles())
    assert all(description for _, _, description in offered)


class TestBash:
    @pytest.fixture
    def typist(self, env: dict[str, str], tmp_path: Path) -> Typist:
        (tmp_path / "settings-of-mine.toml").touch()
        typist = Typist(shell("bash"), ["--norc", "--noprofile"], env, tmp_path)
        typist.child.sendline("PS1='rea''dy>'; bind 'set bell-style none'; bind 'set enable-bracketed-paste off'")
        typist.child.expect_exact(PROMPT)
        typist.run("source <(sessionctl completion bash)")
        return typist

    def test_completes(self, typist: Typist) -> None:
        with typist:
            typist.press_tab("sessionctl compl", "sessionctl completion ")
            typist.press_tab("sessionctl completion pow", "completion powershell ")
            typist.press_tab("sessionctl list --no-c", "list --no-color ")
            typist.press_tab("sessionctl list --output=jsonl", "--output=jsonl ")
            typist.press_tab("sessionctl list --output=w", "--output=wide ")
            typist.press_tab("sessionctl list -o w", "-o wide ")
            typist.press_tab("sessionctl ", r"(?s)(?=.*completion)(?=.*config)(?=.*list)(?=.*stores)", times=2)

    def test_falls_back_to_files(self, typist: Typist) -> None:
        with typist:
            typist.press_tab("sessionctl --config sett", "--config settings-of-mine.toml ")
            typist.press_tab("sessionctl --config=sett", "--config=settings-of-mine.toml ")

    def test_words_with_colons(self, typist: Typist) -> None:
        """The same with and without the colon among the characters that break words."""
        answer = r"sessionctl() { printf 'vip:one\tx\nvip:two\tx\n'; }"
        with typist:
            typist.run(answer)
            typist.run("COMP_LINE='sessionctl list --id vip:o'; COMP_POINT=${#COMP_LINE}")
            typist.child.sendline('_sessionctl sessionctl; printf "<%s>" "${COMPREPLY[@]}"')
            typist.child.expect_exact("<one><two>")
            typist.child.expect_exact(PROMPT)
            typist.child.sendline(
                'COMP_WORDBREAKS=${COMP_WORDBREAKS//[:=]}; _sessionctl sessionctl; printf "<%s>" "${COMPREPLY[@]}"'
            )
            typist.child.expect_exact("<vip:one><vip:two>")


class TestZsh:
    @pytest.fixture(params=["sourced", "from fpath"])
    def typist(self, env: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> Typist:
        zsh = shell("zsh")
        (tmp_path / "settings-of-mine.toml").touch()
        functions = tmp_path / "functions"
        functions.mkdir()
        typist = Typist(zsh, ["--no-rcs", "-i"], env, tmp_path)
        typist.child.sendline("unsetopt zle_bracketed_paste prompt_sp; unset zle_bracketed_paste; PS1='rea''dy>'")
        typist.child.expect_exact(PROMPT)
        if request.param == "from fpath":
            shutil.copy(COMPLETIONS / "_sessionctl", functions)
            typist.run(f"fpath=({functions} $fpath)")
        typist.run("autoload -Uz compinit; compinit -u -D")
        if request.param == "sourced":
            typist.run("source <(sessionctl completion zsh)")
        return typist

    def test_completes(self, typist: Typist) -> None:
        with typist:
            typist.press_tab("sessionctl compl", "sessionctl completion ")
            typist.press_tab("sessionctl completion pow", "(completion )?powershell ")
            typist.press_tab("sessionctl list --no-c", "--no-color ")
            typist.press_tab("sessionctl list --output=w", "wide ")
            typist.press_tab("sessionctl list -o w", "wide ")
            typist.press_tab("sessionctl --config sett", "settings-of-mine.toml ")
            typist.press_tab("sessionctl ", r"(?s)completion +-- .*list +-- ", times=2)


class TestFish:
    def candidates(self, env: dict[str, str], cwd: Path, line: str) -> list[str]:
        fish = shell("fish")
        script = f"source {COMPLETIONS / 'sessionctl.fish'}; complete --do-complete '{line}'"
        done = subprocess.run(
            [fish, "--no-config", "-c", script],
            env=env,
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    def test_completes(self, env: dict[str, str], tmp_path: Path) -> None:
        (tmp_path / "settings-of-mine.toml").touch()
        commands = self.candidates(env, tmp_path, "sessionctl ")
        assert {"completion", "config", "list", "stores"} <= {line.split("\t")[0] for line in commands}
        assert all(re.fullmatch(r"\S+\t\S.*", line) for line in commands)
        assert self.candidates(env, tmp_path, "sessionctl completion pow") == ["powershell"]
        assert self.candidates(env, tmp_path, "sessionctl list --no-c") == ["--no-color\tNo colour."]
        assert self.candidates(env, tmp_path, "sessionctl list --output=w") == ["--output=wide"]
        assert self.candidates(env, tmp_path, "sessionctl list -o w") == ["wide"]
        files = self.candidates(env, tmp_path, "sessionctl --config sett")
        assert [line.split("\t")[0] for line in files] == ["settings-of-mine.toml"]
