"""All real transcripts taken out of every kind of store and brought back, and carried into every other kind.

    python tests/soak/real_transcripts.py                                   five kinds of stores, all transcripts
    python tests/soak/real_transcripts.py --engine sqlite,mariadb --every 10 --flips 50 --seed 7

purged    ``purge --archive`` of what is older than 30 days, and ``undo``: the rows of all tables are what they were
resumed   the same, while users of some sessions came back in between: what they said stands behind what it was
damaged   ``export --format archive``, and then a bit of the file flipped, or the file cut off: ``restore`` into an
          empty store names the file and writes nothing (or all, where the bit means nothing to the codec)
carried   that archive restored into an empty store of every kind: the SDK reads identical items in identical order,
          texts are identical, and so are times, to the second where the target keeps no more of them

The transcripts are those of ``$SESSIONCTL_TEST_TRANSCRIPTS``. The exit status is 1 where a rule was broken.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acceptance.transcripts import Dialect, Transcript
    from sdk_cases import SdkCase
    from soak.command import Servers

    from sessionctl.stores.base import Store

ENGINES = ("sqlite", "sqlite-sqlalchemy", "sqlite-advanced", "postgresql", "mariadb")
BACK = {"role": "user", "content": "I am back"}
GENERATIONS = "session_clear_generations"  # they count deletions, and never go back


class Soak:
    """The rules, one after the other, on stores of one kind."""

    def __init__(self, engine: str, servers: Servers, transcripts: Sequence[Transcript], pick: random.Random) -> None:
        self.engine, self._servers, self._transcripts, self._pick = engine, servers, transcripts, pick
        self.broken: list[str] = []

    def through(self, flips: int) -> None:
        with self._empty(self.engine) as (case, directory):
            stale = self._loaded(case)
            self._purged(case, directory, stale)
            self._resumed(case, directory, stale)
            archive = directory / "whole.jsonl.zst"
            self._run("export", "-s", _address(case), "--format", "archive", "--out", archive)
            self._damaged(archive, flips)
            for target in ENGINES:
                self._carried(case, archive, target)

    def _check(self, what: str, holds: bool, more: object = "") -> None:
        if not holds:
            self.broken.append(what)
        print(f"    {'holds' if holds else 'BROKEN'}: {what} {'' if holds else str(more)[:200]}".rstrip(), flush=True)

    @contextmanager
    def _empty(self, engine: str) -> Iterator[tuple[SdkCase, Path]]:
        from soak.command import fresh

        with fresh(engine, self._servers) as (case, directory):
            case.write("made the tables", [BACK])
            for table in reversed(case._tables):
                case.execute(f"DELETE FROM {table}")
            yield case, directory

    def _run(self, *args: Any, status: int = 0) -> Any:
        from operating import in_process

        ran = in_process(*args, "-o", "json")
        assert ran.status == status, ran.said
        return ran.json

    def _loaded(self, case: SdkCase) -> set[str]:
        """The ids of those that are to go."""
        from acceptance.transcripts import load

        store = load(case, _address(case), _dialect(case), self._transcripts)
        for transcript in self._transcripts if self.engine == "sqlite-advanced" else ():
            case.read(transcript.session_id)  # reserves its branch
        return store.idle_for(30 * 86400)

    def _purge(self, case: SdkCase, directory: Path) -> str:
        flags = ("--older-than", "30d", "--max-share", "1", "--yes", "--archive", directory / "archives")
        report = self._run("purge", "-s", _address(case), *flags)
        assert report["removed"] == report["matched"]
        return str(report["run_id"])

    def _purged(self, case: SdkCase, directory: Path, stale: set[str]) -> None:
        before, read = _rows(case), {name: case.read(name) for name in stale}
        run_id = self._purge(case, directory)
        left = {name for (name,) in case.execute("SELECT session_id FROM agent_sessions")}
        self._check(f"{len(stale)} of {len(self._transcripts)} sessions are gone", left.isdisjoint(stale))
        self._run("undo", run_id, "-s", _address(case), "--yes", "--hold-for", "0")
        differing = [table for table, rows in _rows(case).items() if rows != before[table]]
        self._check("undone, all rows are what they were", not differing, differing)
        changed = [name for name, items in read.items() if case.read(name) != items]
        self._check("and the SDK reads the same", not changed, changed)

    def _resumed(self, case: SdkCase, directory: Path, stale: set[str]) -> None:
        back = self._pick.sample(sorted(stale), max(1, len(stale) // 5))
        read = {name: case.read(name) for name in stale}
        run_id = self._purge(case, directory)
        for name in back:
            case.write(name, [BACK])
        report = self._run("undo", run_id, "-s", _address(case), "--yes", "--hold-for", "0")
        self._check(
            f"with {len(back)} resumed, all were restored", report["restored"]["sessions"] == len(stale), report
        )
        wrong = [name for name in stale if case.read(name) != read[name] + [BACK] * (name in back)]
        self._check("and what their users said since stands behind it", not wrong, wrong)

    def _damaged(self, archive: Path, flips: int) -> None:
        from operating import in_process

        sound, harmless, wrong = archive.read_bytes(), 0, []
        with self._empty(self.engine) as (goal, _):
            for number in range(flips):
                at = self._pick.randrange(len(sound))
                flipped = sound[:at] + bytes([sound[at] ^ 1 << self._pick.randrange(8)]) + sound[at + 1 :]
                archive.write_bytes(sound[:at] if number % 5 == 0 else flipped)
                ran = in_process("restore", archive, "-s", _address(goal), "--yes", "-o", "json")
                is_written = bool(goal.execute("SELECT 1 FROM agent_sessions LIMIT 1"))
                if ran.status == 0 and number % 5:
                    harmless += 1
                    for table in reversed(goal._tables):
                        goal.execute(f"DELETE FROM {table}")
                elif ran.status != 1 or f"{archive}, " not in ran.said or is_written:
                    wrong.append((at, ran.said))
        archive.write_bytes(sound)
        told = f"of {flips} damages all but {harmless} that mean nothing were refused, with nothing written"
        self._check(told, not wrong and harmless <= flips // 50, wrong)

    def _carried(self, case: SdkCase, archive: Path, target: str) -> None:
        with self._empty(target) as (goal, _):
            self._run("restore", archive, "-s", _address(goal), "--yes")
            wrong = []
            with case.open() as there, goal.open() as here:
                for transcript in self._transcripts:
                    name = transcript.session_id
                    same = (goal.read(name), goal.texts(name)) == (case.read(name), case.texts(name))
                    before, after = (_times(store, name, exact=target == self.engine) for store in (there, here))
                    if not same or before != after:
                        wrong.append(name)
            self._check(f"carried into {target}, items, texts and times are the same", not wrong, wrong)


def _address(case: SdkCase) -> str:
    return str(getattr(case, "path", "") or getattr(case, "url", ""))


def _dialect(case: SdkCase) -> Dialect:
    from acceptance.transcripts import MYSQL, POSTGRESQL, SQLITE
    from sdk_cases import PostgresCase, SqliteCase

    return SQLITE if isinstance(case, SqliteCase) else POSTGRESQL if isinstance(case, PostgresCase) else MYSQL


def _times(store: Store, session_id: str, *, exact: bool) -> list[Any]:
    """Of the session and its items."""
    ref = store.session(session_id)
    assert ref is not None
    found = [ref.created_at, ref.updated_at, *(item.created_at for item in store.items(session_id))]
    return found if exact else [at and at.replace(microsecond=0) for at in found]


def _rows(case: SdkCase) -> dict[str, list[Any]]:
    tables = [table for table in case._tables if table != GENERATIONS]
    return {table: sorted(case.execute(f"SELECT * FROM {table}"), key=repr) for table in tables}


def main() -> int:
    from acceptance.transcripts import read_transcripts
    from soak.command import Servers, some_of

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=some_of(ENGINES), default=list(ENGINES), metavar="NAME[,NAME]")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="one of so many transcripts")
    parser.add_argument("--flips", type=int, default=200, metavar="N")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), metavar="S")
    wanted = parser.parse_args()
    broken = False
    for engine in wanted.engine:
        began = time.monotonic()
        print(f"{engine}, seed {wanted.seed}", flush=True)
        with ExitStack() as stack:
            some = read_transcripts()[:: wanted.every]
            soak = Soak(engine, Servers(stack), some, random.Random(wanted.seed))
            soak.through(wanted.flips)
        print(f"    {len(soak.broken)} rules broken in {time.monotonic() - began:.0f} s", flush=True)
        broken |= bool(soak.broken)
    return int(broken)


if __name__ == "__main__":
    # The tests' directory instead of this one, as for the benchmarks.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    sys.exit(main())
