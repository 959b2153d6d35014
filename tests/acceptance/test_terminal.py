"""What people see: no line wider than the screen, columns that align, at the sizes people have."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from operating import COMMAND, DAY, plain_lines, shown_on_terminal, store_of, wait_for, write_sessions

from sessionctl.core.text import cell_width
from sessionctl.testing.case import user

SIZES = [(80, 24), (200, 50)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ids = {f"tenant-{n % 3}:user-{n:04}:a3f1b2c4-{n:04}": (n + 1) * DAY for n in range(30)}
    return store_of(tmp_path_factory.mktemp("terminal") / "store.db", ids | {"日本語の会話": DAY, "x" * 60: 2 * DAY})


VIEWS = {
    "list": ("list",),
    "stats": ("stats",),
    "plan": ("purge", "--older-than", "20d", "-n"),
    "inspect": ("inspect", "日本語の会話"),
}


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "200x50"])
@pytest.mark.parametrize("view", sorted(VIEWS))
def test_no_line_is_wider_than_the_screen(store: Path, view: str, size: tuple[int, int]) -> None:
    done = shown_on_terminal(*VIEWS[view], "-s", store, columns=size[0], rows=size[1])
    assert done.status == 0
    unbroken = [line for line in plain_lines(done.out) if str(store.parent) not in line and "--cursor" not in line]
    assert len(unbroken) > 5
    assert [line for line in unbroken if cell_width(line) > size[0]] == []


@pytest.mark.parametrize("columns", [60, 100])
def test_findings_are_folded_and_what_mends_them_stays_in_one_piece(tmp_path: Path, columns: int) -> None:
    path = tmp_path / "store.db"
    orphan = {"type": "function_call_output", "call_id": "gone", "output": "ok"}
    names = [*(f"tenant:日本語の会話:{number}" for number in range(7)), "x" * 90]
    write_sessions(path, {name: [user("a"), orphan] for name in names})
    done = shown_on_terminal("doctor", "-s", path, columns=columns, rows=40)
    assert done.status == 6
    lines = plain_lines(done.out)
    [mending] = [line for line in lines if "→ sessionctl doctor" in line]
    assert mending.strip() == f"→ sessionctl doctor --fix orphan_output -s sqlite:///{path}"
    unbroken = [line for line in lines if str(tmp_path) not in line]
    assert len(unbroken) > 5
    assert [line for line in unbroken if cell_width(line) > columns] == []
    assert any(line.rstrip().endswith("…") for line in unbroken)


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "200x50"])
def test_columns_align(store: Path, size: tuple[int, int]) -> None:
    done = shown_on_terminal("list", "-s", store, columns=size[0], rows=size[1])
    lines = [line for line in plain_lines(done.out) if re.search(r"20\d\d-\d\d-\d\d|SESSION", line)]
    assert len(lines) == 33
    assert "LAST ACTIVITY" in lines[0]
    assert {_start(line) for line in lines[1:]} == {lines[0].index("LAST ACTIVITY")}
    assert {cell_width(line.rstrip()) for line in lines} == {cell_width(lines[0].rstrip())}


def _start(line: str) -> int:
    """The cell in which the time of last activity begins."""
    found = re.search(r"\d{4}-\d\d-\d\d[T ]", line)
    assert found, line
    return cell_width(line[: found.start()])


def test_no_colour_where_none_is_wanted(store: Path) -> None:
    for how in ({"env": {"NO_COLOR": "1"}}, {"env": {"TERM": "dumb"}}):
        done = shown_on_terminal("list", "-s", store, **how)
        assert b"\x1b[3" not in done.out
    assert b"\x1b[3" not in shown_on_terminal("--no-color", "list", "-s", store).out
    assert b"\x1b[" in shown_on_terminal("list", "-s", store).out


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_in_a_real_terminal(store: Path, tmp_path: Path) -> None:
    """tmux lays the screen out as a terminal does: a line that is too wide would take two."""
    socket = str(tmp_path / "tmux")
    tmux = ["tmux", "-S", socket, "-f", "/dev/null"]
    command = " ".join([*COMMAND, "list", "-s", str(store), "--limit", "15"])
    keep = f"NO_COLOR=1 {command}; echo THE-END; cat"
    subprocess.run([*tmux, "new-session", "-d", "-x", "80", "-y", "24", keep], check=True)
    try:

        def screen() -> str:
            shown = subprocess.run([*tmux, "capture-pane", "-p"], check=True, capture_output=True, text=True).stdout
            return shown if "THE-END" in shown else ""

        lines = wait_for(screen, "the end of the list").splitlines()
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
    rows = [line for line in lines if re.search(r"20\d\d-\d\d-\d\d", line)]
    assert len(rows) == 15
    assert len({_start(line) for line in rows}) == 1
