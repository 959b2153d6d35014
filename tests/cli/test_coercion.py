"""Plain values are converted without Pydantic, all others as Typer converts them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from operating import DAY, in_process, store_of

_LOADED = """
import sys
from sessionctl.cli.app import run
status = run(sys.argv[1:])
print("pydantic" in sys.modules, file=sys.stderr)
sys.exit(status)
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_of(tmp_path / "store.db", {"a:1": DAY, "b:1": DAY})


@pytest.mark.parametrize(
    ("flags", "loads"),
    [
        ([], False),
        (["-o", "json", "--match", "a*", "--exclude", "b*", "--search", "x", "-q"], False),
        (["--limit", "1"], True),
    ],
)
def test_pydantic_is_loaded_only_where_a_value_needs_it(store: Path, flags: list[str], loads: bool) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _LOADED, "list", "-s", str(store), *flags], capture_output=True, text=True, check=True
    )
    assert ran.stderr.splitlines()[-1] == str(loads)


def test_values_are_what_they_were(store: Path) -> None:
    ran = in_process("list", "-s", store, "--match", "a*", "--match", "b*", "-o", "name", "--limit", "2")
    assert ran.out.split() == [b"a:1", b"b:1"]
    ran = in_process("list", "-s", store, "--older-than", "12h", "--exclude", "b*", "-o", "name")
    assert ran.out.split() == [b"a:1"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["-o", "yaml"], "is not one of 'table'"),
        (["--limit", "few"], "valid integer"),
        (["--older-than", "30"], "is not a duration"),
        (["--min-items", "-1"], "--min-items"),
    ],
)
def test_what_does_not_convert_is_a_usage_error(store: Path, flags: list[str], says: str) -> None:
    ran = in_process("list", "-s", store, *flags)
    assert ran.status == 2
    assert says in ran.said
