"""What is measured, each as figures of ours beside a baseline in the same run."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.engines import NAIVE_STATS, NEWEST, Engine
from benchmarks.figures import Figure, Target, seconds, side_by_side, typical
from benchmarks.processes import SMALLEST_APP, environment, imports_of, peak_of, seconds_of, sessionctl

from sessionctl.core.address import StoreAddress
from sessionctl.core.model import Guard, Want
from sessionctl.core.report import Stopped
from sessionctl.core.selector import Query, Selector
from sessionctl.ledger import Ledger, new_run
from sessionctl.operations.execute import Terms, apply_plan
from sessionctl.operations.purge import plan_purge
from sessionctl.operations.spool import SpooledPlan
from sessionctl.operations.stats import measure
from sessionctl.stores import open_store
from sessionctl.stores.base import Store

HEAVY = frozenset(
    {"agents", "aiomysql", "aiosqlite", "asyncio", "asyncpg", "openai", "psycopg", "pymysql", "sqlalchemy"}
)
PAGE = 50
MIN_IDLE = timedelta(minutes=15)
PURGE_TARGETS = {"sqlite": 1.0, "postgresql": 0.75, "mariadb": 0.7}
LOOP_TARGETS = {"sqlite": 15.0, "postgresql": 60.0, "mariadb": 20.0}


# --- start-up -----------------------------------------------------------------------------------


def startup(small: Engine, directory: Path, rounds: int, *, calls: int = 9) -> Iterator[Figure]:
    """``--help``, and ``list`` of a small SQLite store, beside the smallest Typer app's ``--help``."""
    app, env = directory / "smallest.py", environment(directory)
    app.write_text(SMALLEST_APP)
    bare = [sys.executable, str(app), "--help"]
    for name, args, limit, also in (
        ("--help", ["--help"], 1.3, {"sqlite3"}),
        ("list, 50 sessions", ["list", "-s", str(small.address)], 1.6, set()),
    ):
        command = sessionctl(*args)
        for warm_up in (command, bare):  # compiles what is not compiled yet
            seconds_of(warm_up, env)
        mine, theirs = side_by_side(
            rounds,
            lambda command=command: typical(lambda: seconds_of(command, env), calls),  # type: ignore[misc]
            lambda: typical(lambda: seconds_of(bare, env), calls),
        )
        heavy = imports_of(args, env) & (HEAVY | also)
        yield Figure(
            measure="startup", engine="", name=name, unit="s", ours=mine, baseline=theirs, target=Target(ratio=limit),
            note=f"IMPORTS {', '.join(sorted(heavy))}" if heavy else "imports nothing heavy",
        )  # fmt: skip


# --- list ---------------------------------------------------------------------------------------


def _page(store: Store) -> None:
    listed = list(store.sessions(Query(), limit=PAGE, want=Want.SIZE))
    assert all(ref.items and ref.bytes for ref in listed), "a session without items was listed"


def _open_and_list(address: StoreAddress) -> None:
    with open_store(address) as store:
        _page(store)


def listing(engine: Engine, rounds: int, *, calls: int = 11) -> Iterator[Figure]:
    """The 50 newest sessions with counts and bytes through the port, beside the bare query without them."""
    with open_store(engine.address) as store, engine.raw(engine.address) as run:
        for warm_up in (lambda: _page(store), lambda: run(NEWEST)):
            warm_up()
        mine, theirs = side_by_side(
            rounds, lambda: typical(lambda: _page(store), calls), lambda: typical(lambda: run(NEWEST), calls)
        )
    yield Figure(
        measure="list", engine=engine.name, name="newest 50 with sizes", unit="s", ours=mine, baseline=theirs,
        target=Target(ratio=3), note="beside the bare newest 50",
    )  # fmt: skip
    counted, needed, unit = engine.work_on_items(_open_and_list)
    yield Figure(
        measure="list", engine=engine.name, name="work on items", unit=unit, ours=(counted,), baseline=(needed,),
        target=Target(ratio=1.05), note="beside what these 50 sessions alone need",
    )  # fmt: skip


# --- stats --------------------------------------------------------------------------------------


def stats(engine: Engine, rounds: int) -> Iterator[Figure]:
    """All of ``stats`` in-process, beside the naive GROUP BY through the driver."""
    naive, scale = NAIVE_STATS.format(length=engine.octet_length), engine.generated.scale

    def ours() -> None:
        found = measure(store, Selector(), top=10)
        assert (found.totals.sessions, found.totals.items) == (scale.sessions, scale.sessions * scale.items)

    with open_store(engine.address) as store, engine.raw(engine.address) as run:
        mine, theirs = side_by_side(rounds, lambda: seconds(ours), lambda: seconds(lambda: run(naive)))
    target = Target(ratio=1 / 3) if engine.name == "sqlite" else None
    yield Figure(
        measure="stats", engine=engine.name, name="full stats", unit="s", ours=mine, baseline=theirs, target=target,
        note="beside the naive GROUP BY with bytes",
    )  # fmt: skip


# --- memory -------------------------------------------------------------------------------------


def memory(engine: Engine, tenth: Engine, directory: Path, rounds: int) -> Iterator[Figure]:
    """The peak of whole commands on the store, beside the same on a tenth of it."""
    env = environment(directory)

    def peak(args: Sequence[str], of: Engine) -> float:
        where = str(of.address.path) if of.address.path else of.address.url
        half = [part.format(middle=f"{of.generated.middle:%Y-%m-%dT%H:%M:%SZ}") for part in args]
        return peak_of(sessionctl(*half, "-s", where), env) / 2**20

    for args in (
        ("stats",),
        ("list", "-o", "jsonl"),
        ("purge", "--before", "{middle}", "--max-share", "1", "--dry-run", "-o", "jsonl"),
    ):
        mine, theirs = side_by_side(
            rounds,
            lambda args=args: peak(args, engine),  # type: ignore[misc]
            lambda args=args: peak(args, tenth),  # type: ignore[misc]
        )
        name = f"{args[0]}{' --dry-run' if '--dry-run' in args else ''}"
        yield Figure(
            measure="memory", engine=engine.name, name=name, unit="MiB", ours=mine, baseline=theirs,
            target=Target(ratio=1.2), note="peak resident, beside a tenth of the sessions",
        )  # fmt: skip


# --- purge --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """One purge of the older half: seconds of planning and of applying, octets of the log left behind."""

    plan_s: float
    apply_s: float
    log: int


def _plan(engine: Engine, store: Store, directory: Path) -> SpooledPlan:
    return plan_purge(store, Selector(before=engine.generated.middle), min_idle=MIN_IDLE, spool_directory=directory)


def purge_older(engine: Engine, address: StoreAddress, directory: Path) -> Purged:
    """Purge the older half as the command does, ledger included, and see that exactly it is gone."""
    ledger = Ledger.open(directory / "ledger.db")
    with open_store(address) as store, contextlib.ExitStack() as stack:
        plans: list[SpooledPlan] = []
        plan_s = seconds(lambda: plans.append(stack.enter_context(_plan(engine, store, directory))))
        run = new_run("purge", str(address), datetime.now(UTC), {})
        reports = []
        terms = Terms(guard=Guard(min_idle=MIN_IDLE))
        apply_s = seconds(lambda: reports.append(apply_plan(store, plans[0], terms, ledger=ledger, run=run)))
        assert reports[0].stopped is Stopped.DONE, reports[0]
        log = store.usage().log or 0
    _check_left(engine, address)
    return Purged(plan_s=plan_s, apply_s=apply_s, log=log)


def _check_left(engine: Engine, address: StoreAddress, cleared: int = 0) -> None:
    scale = engine.generated.scale
    sessions = scale.sessions - (cleared or engine.generated.older)
    assert engine.left(address) == (sessions, sessions * scale.items)


def purge(engine: Engine, directory: Path, rounds: int, *, sample: int = 500) -> Iterator[Figure]:
    """Purge of the older half on a fresh copy, beside one raw statement and the SDK's own loop on others."""
    generated = engine.generated
    rows = generated.older * generated.scale.items
    ids = generated.spread(sample)
    purged: list[Purged] = []
    raw, loop = [], []
    for _ in range(rounds):
        with engine.copy() as address:
            purged.append(purge_older(engine, address, directory))
        with engine.copy() as address:
            raw.append(engine.delete_older(address, generated.middle))
            _check_left(engine, address)
        with engine.copy() as address:
            loop.append(engine.clear_sessions(address, ids) / len(ids) * generated.older)
            _check_left(engine, address, len(ids))
    log = max(p.log for p in purged)
    note = f"log at most {log / 2**20:.0f} MiB" if log else ""

    def beside(name: str, ours: Sequence[float], theirs: Sequence[float], target: float | None, note: str) -> Figure:
        return Figure(
            measure="purge", engine=engine.name, name=name, unit="rows/s", ours=tuple(rows / s for s in ours),
            baseline=tuple(rows / s for s in theirs), note=note,
            target=Target(ratio=target, at_least=True) if target else None,
        )  # fmt: skip

    applied = [p.apply_s for p in purged]
    yield beside("apply : one raw statement", applied, raw, PURGE_TARGETS[engine.name], note)
    loop_note = f"{len(ids)} sessions sampled, a new object each"
    yield beside("apply : clear_session loop", applied, loop, LOOP_TARGETS[engine.name], loop_note)
    whole = [p.plan_s + p.apply_s for p in purged]
    yield beside("plan + apply : one raw statement", whole, raw, None, "planning counts items and bytes too")
    yield beside("plan alone : one raw statement", [p.plan_s for p in purged], raw, None, "")


MEASURES: tuple[str, ...] = ("startup", "list", "stats", "memory", "purge")


def figures_of(
    engine: Engine, wanted: Sequence[str], rounds: int, directory: Path, smaller: Callable[[int], Engine]
) -> Iterator[Figure]:
    """All figures of one engine, in the order of MEASURES; ``smaller(n)``: the same kind of engine with n sessions."""
    with tempfile.TemporaryDirectory(dir=directory) as name:
        place = Path(name)
        if "startup" in wanted and engine.name == "sqlite":
            yield from startup(smaller(50), place, rounds)
        if "list" in wanted:
            yield from listing(engine, rounds)
        if "stats" in wanted:
            yield from stats(engine, rounds)
        if "memory" in wanted:
            yield from memory(engine, smaller(max(1, engine.generated.scale.sessions // 10)), place, min(rounds, 3))
        if "purge" in wanted:
            yield from purge(engine, place, rounds)
