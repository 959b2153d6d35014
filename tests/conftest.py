"""What every test may rely on: an environment of its own, no colour, and real servers on demand."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from sdk_process import _old_sdk, _sdk, old_sdk, sdk, sdk_processes
from servers import mysql_server, mysql_url, postgres_server, postgres_url
from small_disks import disk

__all__ = [
    "_old_sdk",
    "_sdk",
    "disk",
    "mysql_server",
    "mysql_url",
    "old_sdk",
    "postgres_server",
    "postgres_url",
    "sdk",
    "sdk_processes",
]

_COLOUR = {"FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS", "GITHUB_ACTIONS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}
_SCREEN = {"COLUMNS", "LINES"}  # readline exports them to the workers of xdist
_DRIVERS = ("PG", "MYSQL_")
_LONG = (
    "tests/docs/",
    "tests/acceptance/test_real_transcripts.py",
    "tests/acceptance/test_migrated_live.py",
    "tests/acceptance/test_shared_ledger.py",
    "tests/acceptance/test_faults_",
    "tests/benchmarks/",
)
"""These come first: at the end one worker would be busy with them, or wait, alone. Some share what their module makes,
which is made once as long as no other worker takes a part of them."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stores", help="contract cases to run, by name: --stores=sqlite,postgresql (default: all)")


def pytest_configure(config: pytest.Config) -> None:
    """Settings of whoever runs the tests must not decide them, nor a shell that runs them in the background."""
    del config
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored it would be in every program they start
    for name in list(os.environ):
        mine = name.startswith("SESSIONCTL_") and not name.startswith("SESSIONCTL_TEST_")
        if mine or name in _COLOUR | _SCREEN or name.startswith(_DRIVERS):
            del os.environ[name]
    os.environ["NO_COLOR"] = "1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(_LONG))
    chosen = config.getoption("--stores")
    if not chosen:
        return
    names = set(chosen.split(","))
    dropped = [item for item in items if (case := _case_of(item)) is not None and case not in names]
    known = {case for item in items if (case := _case_of(item)) is not None}
    if known and not names & known:
        raise pytest.UsageError(f"--stores={chosen} names no contract case: there are {', '.join(sorted(known))}")
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in dropped]


def _case_of(item: pytest.Item) -> str | None:
    """The contract case a test is run for, None where it is no contract test."""
    callspec = getattr(item, "callspec", None)
    return getattr(callspec.params.get("case"), "name", None) if callspec else None


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory of the test's own; settings and state of the user stay out of reach."""
    path = tmp_path_factory.mktemp("home", numbered=True)
    monkeypatch.setenv("HOME", str(path))
    for name, place in {
        "CONFIG": ".config",
        "STATE": ".local/state",
        "DATA": ".local/share",
        "CACHE": ".cache",
    }.items():
        monkeypatch.setenv(f"XDG_{name}_HOME", str(path / place))
    return path
