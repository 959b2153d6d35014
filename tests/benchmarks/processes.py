"""Whole runs of programs: their time, their memory, and what they import."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

SMALLEST_APP = '''import typer
def main(name: str) -> None:
    """Say hello."""
    print(name)
typer.run(main)
'''
"""The smallest program with Typer's help, which Rich draws."""

_LAUNCHER = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
sys.stderr.write(f"\\npeak {done.returncode} {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}\\n")
"""
"""A child's peak begins with its parent's size, so a parent of no size stands between."""


def sessionctl(*args: str) -> list[str]:
    """The command as it is installed beside this Python."""
    script = Path(sys.executable).with_name("sessionctl")
    return [str(script), *args] if script.exists() else [sys.executable, "-m", "sessionctl", *args]


def environment(home: Path) -> dict[str, str]:
    """Nobody's settings, bytecode kept, no colour."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SESSIONCTL_", "XDG_", "PYTHON"))}
    return kept | {"HOME": str(home), "NO_COLOR": "1", "COLUMNS": "120"}


def seconds_of(command: Sequence[str], env: Mapping[str, str]) -> float:
    """From start to end of a program, its output thrown away. It must succeed."""
    started = time.perf_counter()
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def peak_of(command: Sequence[str], env: Mapping[str, str]) -> int:
    """The most memory a program had resident, in bytes. It must succeed."""
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command]
    said = subprocess.run(launcher, env=env, check=True, capture_output=True, text=True).stderr
    _, status, kibibytes = said.strip().splitlines()[-1].split()
    assert status == "0", said
    return int(kibibytes) * 1024


def peak_together(command: Sequence[str], env: Mapping[str, str]) -> int:
    """The most memory that a program and those it started had together, in bytes, looked at now and then.

    What several of them share is counted once (Linux: the proportional set size). It must succeed.
    """
    most = 0
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as program:
        while program.poll() is None:
            most = max(most, sum(map(_proportional, _family(program.pid))))
            time.sleep(0.02)
    assert program.returncode == 0, command
    return most


def _family(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from _family(int(child))


def _proportional(pid: int) -> int:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return 0


def imports_of(args: Sequence[str], env: Mapping[str, str]) -> set[str]:
    """The top-level modules that ``sessionctl ARGS`` imports."""
    command = [sys.executable, "-X", "importtime", "-m", "sessionctl", *args]
    said = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stderr
    lines = (line.rpartition("|")[2].strip() for line in said.splitlines() if line.startswith("import time:"))
    return {name.partition(".")[0] for name in lines}
