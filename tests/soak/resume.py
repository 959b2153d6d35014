"""SDK writers resume sessions that are being purged, thousands of times, and nothing is lost or left in halves.

    python tests/soak/resume.py                                           5,000 resumes on every kind of store
    python tests/soak/resume.py --engine postgresql,mariadb --sdk new,old --resumes 20000
    python tests/soak/resume.py --engine sqlite --resumes 300 --seed 7    the same writers' choices again

A race is a fresh store of stale sessions of four items, several ``sessionctl purge`` processes in turn that
delete them (in batches of different sizes, slowly and at full speed), and SDK processes that append one unique
item each time to a session of the batch under way or its neighbours. Races follow each other until enough appends
were acknowledged. ``--sdk old`` writes with the release at ``$SESSIONCTL_TEST_OLD_SDK`` (0.19.4).

After each race every session is looked at in the tables and through the SDK: it has its whole past, or was
deleted and has nothing of it; each acknowledged append is there once, in order; nothing else is; its row is
there; AdvancedSQLiteSession's tables fit; sessions that nobody resumed are gone. Releases from 0.23.1 on
see no error. SQLAlchemySession before that looks for the session's row without locking it and then inserts:
what fails in that window is counted, and items left without their row must have got it back.

Servers are those at ``$SESSIONCTL_TEST_POSTGRES_URL`` and ``$SESSIONCTL_TEST_MYSQL_URL`` (an administrator's
URLs), or are started from the installed binaries. The exit status is 1 where a rule was broken. Which
transactions meet is up to the machine: the seed repeats choices, not their timing.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # The tests' directory instead of this one, as for the benchmarks.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from soak.command import main

    sys.exit(main(__doc__ or ""))
