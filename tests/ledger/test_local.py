"""A ledger in a local file: whose it is, what is refused, and files of layouts before this one."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sessionctl.errors import LedgerUnavailable
from sessionctl.ledger import Ledger, Run, new_run, private_directory

NOW = datetime(2026, 3, 1, 12, 30, 0, 125000, UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "sessionctl" / "ledger.db"


def a_run(**facts: object) -> Run:
    return new_run("purge", "postgresql://ops:***@db/agents", NOW, {}, **facts)  # type: ignore[arg-type]


def test_the_files_are_the_owners_alone(path: Path) -> None:
    ledger = Ledger.open(path)
    with closing(sqlite3.connect(path)) as reader:  # keeps the side files in being
        reader.execute("SELECT count(*) FROM runs").fetchone()
        ledger.begin(a_run())
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == {"ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerUnavailable, match="not a directory"):
        Ledger.open(tmp_path / "file" / "ledger.db")
    with pytest.raises(LedgerUnavailable, match="not a directory"):
        private_directory(tmp_path / "file")


def test_a_directory_at_its_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="cannot be used"):
        Ledger.open(tmp_path)


def test_a_directory_without_write_permission_is_refused(tmp_path: Path) -> None:
    """Root may write anywhere, so the look is taken as an ordinary user."""
    script = (
        "import os, sys\nfrom pathlib import Path\n"
        "from sessionctl.ledger import Ledger\nfrom sessionctl.errors import LedgerUnavailable\n"
        "Ledger.open(Path('ours/ledger.db'))\n"
        "os.chmod('ours/ledger.db', 0o444); os.chmod('ours', 0o555); os.chmod('.', 0o555)\n"
        "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "for place in ('theirs/ledger.db', 'ours/ledger.db'):\n"
        "    try: Ledger.open(Path(place))\n"
        "    except LedgerUnavailable as error: print(error.message)\n"
    )
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    tmp_path.chmod(0o755)
    (tmp_path / "ours").chmod(0o755)
    first, second = done.stdout.splitlines()
    assert "permission denied" in first
    assert "ours/ledger.db" in second


def test_a_full_disk_shows_before_the_first_change(path: Path) -> None:
    Ledger.open(path)
    script = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from sessionctl.ledger import Ledger\nfrom sessionctl.errors import LedgerUnavailable\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n"
        "try: Ledger.open(Path(sys.argv[1]))\n"
        "except LedgerUnavailable as error: print(error.message)\n"
        "else: print('opened')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert "the ledger of runs cannot be used" in done.stdout


def test_what_is_no_ledger_is_left_alone(path: Path) -> None:
    private_directory(path.parent)
    path.write_bytes(b"this is not a database, whatever its name says " * 100)
    before = path.read_bytes()
    with pytest.raises(LedgerUnavailable, match="not a database"):
        Ledger.open(path)
    assert path.read_bytes() == before

    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE agent_sessions (session_id TEXT)")
    before = path.read_bytes()
    with pytest.raises(LedgerUnavailable, match="something else"):
        Ledger.open(path)
    assert path.read_bytes() == before


LAYOUT_1 = """
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, command TEXT NOT NULL, store TEXT NOT NULL, actor TEXT NOT NULL, user TEXT NOT NULL,
    host TEXT NOT NULL, pid INTEGER NOT NULL, reason TEXT, criteria TEXT NOT NULL, digest TEXT,
    started_at TEXT NOT NULL, heartbeat_at TEXT NOT NULL, ended_at TEXT, stopped TEXT, counts TEXT NOT NULL, error TEXT
) WITHOUT ROWID;
INSERT INTO runs VALUES ('00old', 'purge', 'sqlite:////a.db', 'mia', 'mia', 'host', 1, 'retention', '["older"]', 'd',
    '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z', '2026-01-01T00:01:00Z', 'done', '{"removed": {"sessions": 3}}',
    NULL);
PRAGMA application_id = 1396921412;
PRAGMA user_version = 1;
"""


def test_a_ledger_of_the_layout_before_is_read_and_then_taken_further(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as db:
        db.executescript(LAYOUT_1)
    before = path.read_bytes()
    reading = Ledger.existing(path)
    assert reading is not None
    [old] = reading.runs()
    assert (old.run_id, old.archive, old.counts) == ("00old", None, {"removed": {"sessions": 3}})
    assert (reading.segments("00old"), reading.unsettled("sqlite:////a.db")) == ((), ())
    assert path.read_bytes() == before
    ledger = Ledger.open(path)
    ledger.begin(a_run(archive="/archives/x"))
    assert ledger.runs()[-1] == old
    assert ledger.runs()[0].archive == "/archives/x"


def test_a_newer_layout_is_refused(path: Path) -> None:
    Ledger.open(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerUnavailable, match="newer sessionctl") as caught:
        Ledger.open(path)
    assert caught.value.hint == "update sessionctl"


def test_a_damaged_file_is_refused(path: Path) -> None:
    ledger = Ledger.open(path)
    for _ in range(50):
        ledger.begin(a_run(reason="x" * 1000))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(LedgerUnavailable):
        Ledger.open(path).begin(a_run())


def test_a_held_lock_ends_in_a_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger.open(path)
    monkeypatch.setattr("sessionctl.ledger.local._BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailable, match="locked"):
            ledger.begin(a_run())
        assert ledger.runs() == ()
    with pytest.raises(LedgerUnavailable, match="has no run"):
        ledger.finish("nothing", {}, "done")
