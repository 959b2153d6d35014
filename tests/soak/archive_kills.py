"""``kill -9`` at random instants of ``purge --archive`` (``trim``, ``rotate``) and of ``undo``, and nothing is lost.

    python tests/soak/archive_kills.py                                     200 kills of purges on every kind of store
    python tests/soak/archive_kills.py --engine postgresql --kills 50 --seed 7
    python tests/soak/archive_kills.py --command rotate                    the same of rotations into ten files
    python tests/soak/archive_kills.py --command trim                      the same of trims to two of five turns

A purge of 240 stale sessions in small segments and batches is killed and run again until nothing is left;
then every run is undone, which is killed as well. After each kill every session is in the store as it was to
the byte, or gone and in a verified archive (in the target that its receipt names; of a trimmed one, what it lost).
In the end no session was changed by two runs, and with all undone the tables hold the rows of the beginning.
The exit status is 1 where a rule was broken.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from contextlib import ExitStack
from pathlib import Path


def main() -> int:
    from soak.command import MAKERS, Servers, fresh, some_of
    from soak.forker import forker
    from soak.killing import killed

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=some_of(MAKERS), default=list(MAKERS), metavar="NAME[,NAME]")
    parser.add_argument("--kills", type=int, default=200, metavar="N")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), metavar="S")
    parser.add_argument("--command", choices=("purge", "trim", "rotate"), default="purge")
    wanted = parser.parse_args()
    broken = False
    for engine in wanted.engine:
        began = time.monotonic()
        with ExitStack() as stack:
            servers, process = Servers(stack), stack.enter_context(forker())
            case, directory = stack.enter_context(fresh(engine, servers))
            tally = killed(case, directory, process, kills=wanted.kills, seed=wanted.seed, command=wanted.command)
        print(
            f"{engine}, seed {wanted.seed}: {tally.kills} runs and {tally.undo_kills} undoings killed in "
            f"{tally.rounds} rounds and {time.monotonic() - began:.0f} s; rules broken: {len(tally.breaches)}"
        )
        for phase, times in tally.phases.most_common():
            print(f"    {times:5}  {phase}")
        for breach in tally.breaches[:10]:
            print(f"    {breach}")
        broken |= bool(tally.breaches)
    return int(broken)


if __name__ == "__main__":
    # The tests' directory instead of this one, as for the benchmarks.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    sys.exit(main())
