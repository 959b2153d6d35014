"""No look at a file costs this process its locks on it: others would take the log of a store away that is in use."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from operating import DAY, ids_in, store_of

from sessionctl.core.address import parse_address
from sessionctl.core.model import Delete, Guard, Outcome
from sessionctl.core.selector import Query
from sessionctl.stores import open_store
from sessionctl.stores.sqlite import peek
from sessionctl.stores.sqlite.holders import holding
from sessionctl.stores.sqlite.mark import read_mark
from sessionctl.stores.sqlite.side import uncheckpointed

APPLICATION = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("INSERT INTO agent_sessions (session_id) VALUES (?)", [sys.argv[2]])
db.commit()
db.close()
"""
"""An application that comes, writes and goes: whoever closes a file last moves the log into it and removes it."""


def another_store(path: Path) -> None:
    with open_store(parse_address(str(path))) as store:
        assert list(store.sessions(Query()))


def files(path: Path) -> list[Path]:
    return [Path(f"{path}{end}") for end in ("", "-wal", "-shm")]


def locked_here(path: Path) -> bool:
    return os.getpid() in holding(path.stat())


LOOKS = [another_store, uncheckpointed, read_mark]


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.__name__)
def test_an_application_that_goes_leaves_the_log_to_those_who_use_it(
    tmp_path: Path, look: Callable[[Path], object]
) -> None:
    path = store_of(tmp_path / "store.db", {"a": DAY, "b": DAY, "c": DAY})
    with open_store(parse_address(str(path))) as store:
        for name in ("a", "b"):
            ref = store.session(name)
            assert ref is not None
            assert store.apply([Delete(session_id=name, version=None)], Guard(min_idle=timedelta(0))) == [Outcome.DONE]
            look(path)
            subprocess.run([sys.executable, "-c", APPLICATION, str(path), f"new-{name}"], check=True)
            assert Path(f"{path}-wal").exists()
            if sys.platform == "linux":
                assert {path, Path(f"{path}-shm")} == {place for place in files(path) if locked_here(place)}
    assert ids_in(path) == {"c", "new-a", "new-b"}
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has which locks")
def test_an_application_in_the_same_process_keeps_its_locks(tmp_path: Path) -> None:
    path = store_of(tmp_path / "store.db", {"a": DAY})
    with contextlib.closing(sqlite3.connect(path)) as application:
        application.execute("SELECT * FROM agent_sessions").fetchall()
        another_store(path)
        assert locked_here(path)
        subprocess.run([sys.executable, "-c", APPLICATION, str(path), "new"], check=True)
        assert Path(f"{path}-wal").exists()
        assert peek._file(path) in peek._kept
    another_store(path)
    assert peek._file(path) not in peek._kept


def test_nothing_stays_open_beyond_the_last_connection(tmp_path: Path) -> None:
    path = store_of(tmp_path / "store.db", {"a": DAY})
    address, file = parse_address(str(path)), peek._file(path)
    with open_store(address) as store:
        assert list(store.sessions(Query()))
        with open_store(address) as other:
            assert list(other.sessions(Query()))
        assert file in peek._kept  # the header was read beside the connections of the first
    assert file not in peek._kept
    assert file not in peek._connections
