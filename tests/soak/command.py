"""The command line of the soak."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from sdk_cases import CASES, SdkCase, made
from sdk_process import sdk_process
from servers import fresh_mysql, fresh_postgres, mysql_admin, postgres_admin
from soak import race
from soak.judging import Tally, judged

MAKERS = {maker.name: maker for maker in CASES}
RELEASES = ("new", "old")
OLD_PYTHON = "SESSIONCTL_TEST_OLD_SDK"


def main(description: str) -> int:
    wanted = _arguments(description)
    broken = False
    for engine in wanted.engine:
        for release in wanted.sdk:
            tally, took = _soaked(engine, release, wanted)
            print(f"\n{engine}, {release} SDK\n{_table(tally, took)}", flush=True)
            broken |= bool(tally.breaches)
    return int(broken)


def _arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=some_of(MAKERS), default=list(MAKERS), metavar="NAME[,NAME]")
    parser.add_argument("--sdk", type=some_of(RELEASES), default=["new"], metavar="new[,old]")
    parser.add_argument("--resumes", type=int, default=5000, metavar="N", help="acknowledged appends, at least")
    parser.add_argument("--writers", type=int, default=2, metavar="W", help="processes of three conversations each")
    parser.add_argument("--sessions", type=int, default=1500, metavar="N", help="stale sessions of each race")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), metavar="S")
    wanted = parser.parse_args()
    if "old" in wanted.sdk and not os.environ.get(OLD_PYTHON):
        parser.error(f"--sdk old needs ${OLD_PYTHON}: a Python that has openai-agents 0.19.4")
    return wanted


def some_of(known: Sequence[str] | Any) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: known are {', '.join(known)}")
        return chosen

    return parse


def _soaked(engine: str, release: str, wanted: argparse.Namespace) -> tuple[Tally, float]:
    """Races on fresh stores until so many appends were acknowledged, or a rule was broken."""
    tally, began, seed = Tally(), time.monotonic(), wanted.seed
    with ExitStack() as stack:
        servers, reader = Servers(stack), stack.enter_context(sdk_process())
        python = sys.executable if release == "new" else os.environ[OLD_PYTHON]
        writers = [stack.enter_context(sdk_process(python)) for _ in range(wanted.writers)]
        while tally.resumes < wanted.resumes and not tally.breaches:
            plan = race.Plan(sessions=wanted.sessions, seed=seed, old=release == "old")
            with fresh(engine, servers) as (case, _):
                tally.add(judged(race.run(case, writers, plan), reader, may_fail=plan.old))
                for process in (reader, *writers):
                    process.release()
            print(f"{engine}, {release} SDK, seed {seed}: {tally.resumes} resumes so far", file=sys.stderr, flush=True)
            seed += 1
    return tally, time.monotonic() - began


@contextmanager
def fresh(engine: str, servers: Servers) -> Iterator[tuple[SdkCase, Path]]:
    """An empty store, and the directory beside it where the program's own files go."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["HOME"] = str(directory)
        yield stack.enter_context(made(MAKERS[engine], _Places(stack, directory, servers))), directory


class Servers:
    """An administrator's URL of each kind of server; what has to be started for it ends with the stack."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    @cached_property
    def postgresql(self) -> str:
        return self._stack.enter_context(postgres_admin())

    @cached_property
    def mysql(self) -> str:
        return self._stack.enter_context(mysql_admin())


class _Places:
    """What stands for pytest's fixtures here: the places of one store, gone with the stack."""

    def __init__(self, stack: ExitStack, directory: Path, servers: Servers) -> None:
        self._stack, self._directory, self._servers = stack, directory, servers

    def getfixturevalue(self, argname: str) -> Any:
        if argname == "tmp_path":
            return self._directory
        if argname == "postgres_url":
            return self._stack.enter_context(fresh_postgres(self._servers.postgresql))
        return self._stack.enter_context(fresh_mysql(self._servers.mysql))


def _table(tally: Tally, took: float) -> str:
    tried = tally.resumes + tally.errors.total()

    def share(count: int) -> str:
        return f"{count:7}  {count / max(1, tried):7.2%} of appends"

    lines = [
        f"stale sessions                      {tally.sessions:7}  in {took:.0f} s",
        f"  deleted                           {tally.deleted:7}  by {tally.batches} transactions",
        f"appends tried                       {tried:7}",
        f"  to a session that kept its past   {share(tally.survived)}",
        f"  to one begun anew                 {share(tally.anew)}",
        f"  overlapping the session's batch   {share(tally.overlapped)}",
        f"    which deleted it                {share(tally.overlapped_deletion)}",
        f"  failed                            {share(tally.errors.total())}",
        f"    overlapping the batch           {share(tally.failed_overlapped)}",
        *(f"      {count:4} x {error}" for error, count in tally.errors.most_common()),
        f"rows given back to items            {tally.restored:7}",
        f"batches tried again                 {tally.refused_batches.total():7}  {dict(tally.refused_batches) or ''}",
        f"rules broken                        {len(tally.breaches):7}",
        *(f"      {breach}" for breach in tally.breaches[:20]),
    ]
    return "\n".join(line.rstrip() for line in lines)
