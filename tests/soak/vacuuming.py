"""A SQLite file of 2 GB of which half was purged, and tables of servers, vacuumed beside SDK writers and alone.

    python tests/soak/vacuuming.py                                     90,000 sessions of 20 items
    python tests/soak/vacuuming.py --part refused,alone --directory D  files that were made there are used again
    python tests/soak/vacuuming.py --sessions 3000 --part movable,servers

refused   ``--full`` beside idle writers of another process is refused, and leaves the file as it is
alone     ``--full`` with nobody else there: the size is within 5 % of that of ``VACUUM INTO``, the file is sound
movable   a file whose pages were made movable beforehand gives its space back beside a writer, and beside four: none
          sees an error, nothing is lost or doubled, p99 of the one's appends is under 20 ms, 40 MB/s or more, the
          size as above
servers   PostgreSQL (plain, ``--full``, ``--compress``) and MariaDB (``--full``, ``--compress``), a twentieth as
          large, beside four writers: none sees an error, nothing is lost or doubled

The exit status is 1 where one of these does not hold; latencies and speed count at full size only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vacuumed import Beside

PARTS = ("refused", "alone", "movable", "servers")
FULL = 90_000
ITEMS = 20
NEAR = 1.05
P99_MS, MB_A_S = 20.0, 40.0
WRITERS = 4


class Soak:
    """What was measured, and which of the rules did not hold."""

    def __init__(self, sessions: int, directory: Path) -> None:
        self.sessions, self.directory = sessions, directory
        self.broken: list[str] = []

    def tell(self, text: str) -> None:
        print(text, flush=True)

    def check(self, what: str, holds: bool) -> None:
        self.tell(f"    {'holds' if holds else 'BROKEN'}: {what}")
        if not holds:
            self.broken.append(what)

    @contextlib.contextmanager
    def copied(self, *, movable: bool) -> Iterator[Path]:
        """A copy of the half-purged file, which is made on first need."""
        source = self.directory / f"{'movable' if movable else 'plain'}-{self.sessions}.db"
        if not source.exists():
            self._make(source, movable=movable)
        path = self.directory / "copy.db"
        shutil.copyfile(source, path)
        os.sync()  # the system would write the copy out beside the writers, who would wait for that
        try:
            yield path
        finally:
            for end in ("", "-wal", "-shm"):
                Path(f"{path}{end}").unlink(missing_ok=True)

    def _make(self, path: Path, *, movable: bool) -> None:
        from benchmarks.generator import Scale
        from benchmarks.sqlite_engine import Sqlite

        engine = Sqlite(Scale(sessions=self.sessions, items=ITEMS), self.directory)
        if movable:
            execute(engine._path, "PRAGMA auto_vacuum = 2", "VACUUM")
        engine.delete_older(engine.address)
        engine._path.rename(path)

    def compact_size(self, path: Path) -> int:
        compact = self.directory / "compact.db"
        compact.unlink(missing_ok=True)
        execute(path, f"VACUUM INTO '{compact}'")
        size = compact.stat().st_size
        compact.unlink()
        return size

    # --- parts --------------------------------------------------------------------------------

    def refused(self) -> None:
        from operating import sessionctl
        from sdk_process import sdk_process

        with self.copied(movable=False) as path, sdk_process() as writer:
            writer.get(str(path), "nobody", kind="SQLiteSession")  # it has the file open from now on
            size = path.stat().st_size
            done = sessionctl("vacuum", "-s", path, "--full", "--yes", "-o", "json")
            self.tell(f"    {done.said.strip()}")
            self.check("--full beside another process is refused", done.status == 2)
            self.check("the file is as it was", path.stat().st_size == size)

    def alone(self) -> None:
        from operating import sessionctl

        with self.copied(movable=False) as path:
            least = self.compact_size(path)
            done = sessionctl("vacuum", "-s", path, "--full", "--yes", "-o", "json")
            self._size(path, least)
            self.tell(f"    {done.json['freed'] / 1e6:.0f} MB in {done.json['elapsed_s']:.1f} s")
            self.check("it went through", done.status == 0)
            self._sound(path)

    def movable(self) -> None:
        for writers in (1, WRITERS):
            with self.copied(movable=True) as path:
                least = self.compact_size(path)
                self.tell(f"  {writers} at work")
                beside = self._beside(str(path), writers=writers, kind="SQLiteSession")
                if self.sessions >= FULL:
                    rate = beside.report["freed"] / 1e6 / beside.report["elapsed_s"]
                    self.check(f"{rate:.0f} MB/s: {MB_A_S:.0f} or more", rate >= MB_A_S)
                    if writers == 1:
                        self.check(f"p99 is under {P99_MS:.0f} ms", beside.latency_ms(0.99) < P99_MS)
                self._size(path, least)
                self._sound(path)

    def servers(self) -> None:
        from benchmarks.generator import Scale
        from benchmarks.server_engines import Mariadb, Postgresql
        from servers import mysql_admin, postgres_admin

        scale = Scale(sessions=max(100, self.sessions // 20), items=ITEMS)
        kinds: tuple[tuple[str, Any, Callable[[], Any], tuple[tuple[str, ...], ...]], ...] = (
            ("postgresql", Postgresql, postgres_admin, ((), ("--full",), ("--compress", "--force"))),
            ("mariadb", Mariadb, mysql_admin, (("--full",), ("--compress",))),
        )
        for name, kind, admin, ways in kinds:
            with admin() as url, contextlib.ExitStack() as stack:
                engine = kind(scale, url, stack)
                for way in ways:
                    self.tell(f"  {name} {' '.join(way)}")
                    with engine.copy() as address:
                        engine.delete_older(address)
                        self._beside(address.url, *way, kind="SQLAlchemySession", tables_exist=True)

    def _beside(self, url: str, *arguments: str, writers: int = WRITERS, **how: Any) -> Beside:
        from sdk_process import sdk_process
        from vacuumed import vacuum_beside

        with contextlib.ExitStack() as stack:
            processes = [stack.enter_context(sdk_process()) for _ in range(writers)]
            beside = vacuum_beside(processes, url, *arguments, **how)
        if beside.report:
            freed, took = beside.report["freed"], beside.report["elapsed_s"]
            latencies = ", ".join(f"p{100 * share:g} {beside.latency_ms(share):.1f}" for share in (0.5, 0.99, 1))
            self.tell(f"    {freed / 1e6:.0f} MB in {took:.1f} s, {len(beside.amid)} appends, ms: {latencies}")
        self.check(f"it went through {beside.said.strip()[-300:]}", beside.status == 0)
        self.check("appends overlapped it", bool(beside.amid))
        self.check(f"no writer saw an error {beside.errors[:2]}", not beside.errors)
        self.check("nothing is lost or doubled", not beside.wrong)
        return beside

    def _size(self, path: Path, least: int) -> None:
        size = path.stat().st_size
        self.check(f"{size / 1e6:.0f} MB, VACUUM INTO makes {least / 1e6:.0f} MB", size <= NEAR * least)

    def _sound(self, path: Path) -> None:
        (said,) = execute(path, "PRAGMA integrity_check")
        self.check("integrity_check", said == ("ok",))


def execute(path: Path, *statements: str) -> list[tuple[Any, ...]]:
    """Past sessionctl; the rows of the last one."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        return [db.execute(statement).fetchall() for statement in statements][-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=FULL, metavar="N", help=f"of {ITEMS} items each")
    parser.add_argument("--part", default=",".join(PARTS), metavar="PART[,PART]")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="where SQLite's files go, and stay")
    wanted = parser.parse_args()
    parts = wanted.part.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"{', '.join(unknown)}: known are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="sessionctl-soak-") as scratch:
        soak = Soak(wanted.sessions, wanted.directory or Path(scratch))
        for part in parts:
            soak.tell(part)
            getattr(soak, part)()
    return 1 if soak.broken else 0


if __name__ == "__main__":
    # The tests' directory instead of this one, as for the benchmarks.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    sys.exit(main())
