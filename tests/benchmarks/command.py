"""The program behind run.py: its options, its servers, its tables."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

import servers
from benchmarks.engines import Engine
from benchmarks.figures import Figure, table
from benchmarks.generator import Scale
from benchmarks.measures import MEASURES, figures_of
from benchmarks.server_engines import Mariadb, Postgresql
from benchmarks.sqlite_engine import Sqlite

ENGINES = ("sqlite", "postgresql", "mariadb")
FULL = Scale(sessions=100_000, items=20)
_POSTGRES = {
    "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "shared_buffers": "1GB",
    "max_wal_size": "4GB", "autovacuum": "off",
}  # fmt: skip
_MARIADB = {"innodb-flush-log-at-trx-commit": "1", "innodb-buffer-pool-size": "1G", "innodb-log-file-size": "1G"}


def main(about: str) -> int:
    """Measure and show; ``about`` is the text of the program's help."""
    options = _options(about)
    load = os.getloadavg()[0]
    if load > 0.3 * (os.cpu_count() or 1):
        print(f"the machine is busy (load {load:.1f}): figures will scatter", file=sys.stderr)
    figures: list[Figure] = []
    scale = Scale(sessions=options.sessions, items=options.items)
    with tempfile.TemporaryDirectory(prefix="sessionctl-benchmark-", dir=options.directory) as name:
        for kind in options.engine:
            try:
                figures += _measured(kind, scale, options.only, options.rounds, Path(name))
            except servers.NotInstalled as error:
                print(f"{kind} is left out: {error}", file=sys.stderr)
    _show(figures)
    if options.json:
        options.json.write_text(json.dumps(_record(figures, scale, options.rounds, load), indent=1) + "\n")
    missed = [figure for figure in figures if figure.holds is False]
    is_full = scale.sessions >= FULL.sessions and scale.items >= FULL.items
    return 1 if missed and is_full else 0


def _options(about: str) -> argparse.Namespace:
    first, _, rest = about.partition("\n\n")
    parser = argparse.ArgumentParser(
        description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", type=_some_of(ENGINES), default=list(ENGINES), metavar="NAME[,NAME]")
    parser.add_argument("--sessions", type=int, default=FULL.sessions, metavar="N")
    parser.add_argument("--items", type=int, default=FULL.items, metavar="M", help="of each session")
    parser.add_argument("--only", type=_some_of(MEASURES), default=list(MEASURES), metavar="MEASURE[,MEASURE]")
    parser.add_argument("--rounds", type=int, default=5, metavar="R")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="where SQLite's stores go")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save all figures")
    return parser.parse_args()


def _some_of(known: tuple[str, ...]):  # noqa: ANN202 - argparse's own idea of a type
    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: known are {', '.join(known)}")
        return chosen

    return parse


def _measured(kind: str, scale: Scale, wanted: list[str], rounds: int, directory: Path) -> list[Figure]:
    found = []
    with ExitStack() as stack:
        admin_url = stack.enter_context(_server(kind))

        def engine(size: Scale) -> Engine:
            started = time.monotonic()
            made: Engine
            if kind == "sqlite":
                made = Sqlite(size, directory)
            else:
                made = (Postgresql if kind == "postgresql" else Mariadb)(size, admin_url, stack)
            took = time.monotonic() - started
            print(f"{kind}: {size.sessions} sessions of {size.items} items in {took:.0f} s", file=sys.stderr)
            return made

        whole = engine(scale)
        for figure in figures_of(whole, wanted, rounds, directory, engine):
            print(f"{kind}: {figure.measure}: {figure.name}: {figure.summary}", file=sys.stderr)
            found.append(figure)
    for left in directory.glob("store-*.db*"):
        left.unlink()
    return found


@contextmanager
def _server(kind: str) -> Iterator[str]:
    """An administrator's URL; none for SQLite."""
    variable = {"postgresql": "SESSIONCTL_TEST_POSTGRES_URL", "mariadb": "SESSIONCTL_TEST_MYSQL_URL"}.get(kind)
    if variable is None or os.environ.get(variable):
        yield os.environ.get(variable or "", "")
    elif kind == "postgresql":
        with servers._own_postgres(
            [part for key, value in _POSTGRES.items() for part in ("-c", f"{key}={value}")]
        ) as url:
            yield url
    else:
        with servers._own_mariadb([f"--{key}={value}" for key, value in _MARIADB.items()]) as url:
            yield url


def _show(figures: list[Figure]) -> None:
    for measure in MEASURES:
        if chosen := [figure for figure in figures if figure.measure == measure]:
            print(f"\n{measure}\n{table(chosen)}")


def _record(figures: list[Figure], scale: Scale, rounds: int, load: float) -> dict[str, object]:
    packages = ("openai-agents", "psycopg", "pymysql", "rich", "sessionctl", "sqlalchemy", "typer")
    return {
        "scale": {"sessions": scale.sessions, "items": scale.items, "seed": scale.seed}, "rounds": rounds,
        "machine": {"cpus": os.cpu_count(), "load": load, "system": platform.platform()},
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "figures": [figure.to_json() for figure in figures],
    }  # fmt: skip
