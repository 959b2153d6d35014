"""How fast sessionctl is, beside the raw drivers and the SDK's own means, measured side by side in one run.

    python tests/benchmarks/run.py                                        everything: 100,000 sessions of 20 items
    python tests/benchmarks/run.py --engine sqlite --only startup,list
    python tests/benchmarks/run.py --sessions 2000 --rounds 1             a quick look; targets are for the full size

Run it on a machine that does nothing else, with the project installed with its ``dev`` extra. The full size
takes about 3 GB of disk for each copy of a store (``--directory`` says where SQLite's go) and most of an hour.

What is measured, each as a ratio of ours to the baseline (median, lowest and highest of the rounds, which
alternate between the two):

startup   whole runs of ``sessionctl --help``, and of ``list`` on 50 sessions, beside the ``--help`` of the
          smallest Typer app; and that ``--help`` imports no driver, SQLAlchemy, asyncio or SDK
validate  100,000 items parsed and judged (would the model accept them?), beside the standard library's JSON parser
list      the newest 50 sessions with counts and bytes, beside the bare query for the newest 50 without; and what
          that does to the messages table, beside what these 50 sessions alone need
stats     all of ``stats``, beside one GROUP BY with bytes
memory    the peak of ``stats``, ``list -o jsonl`` and ``purge --dry-run``, beside the same on a tenth of the sessions,
          and of ``purge --yes`` of ten times as many sessions of one item, beside a tenth as many of one item
          (three rounds at most)
purge     deletion of the older half (the plan timed apart), beside the best single raw statement and other raw shapes
          (two rounds), beside the SDK's ``clear_session`` with a new object each, sampled on 1,000 sessions and scaled
          up, and on MariaDB beside pt-archiver (``apt-get install percona-toolkit``): at its best, and plain, sampled
          on the items of 1,000 sessions
trim      whole runs of ``trim --max-items 20`` of every session, beside raw SQL that deletes the same rows (try
          ``--sessions 10000 --items 200``), and their peak of memory beside that on a tenth of the sessions
live      the same deletion while the SDK appends in another process, to sessions of its own, with 10 ms of rest in
          between: its speed beside the raw statement on a store where nobody writes; how long the appends take beside
          how long they take while the store is idle; their errors; the largest log seen
export    all items as JSON Lines, whole programs and files, beside sqlite3's ``.dump`` (plain, and both compressed),
          psql's ``\\copy`` and mariadb-dump; and the memory of all its processes together
restore   an archive of the whole store into empty tables of PostgreSQL, beside a raw COPY of the same rows
migrate   a SQLite store of as many sessions into PostgreSQL, beside a COPY of its rows written by hand: into tables
          that it makes, with the index after the rows on both sides, and into tables that are there; and beside
          pgloader, tuned (``apt-get install pgloader``)
archived  whole runs of ``purge --archive`` of the older half, beside the same without an archive

Stores are generated anew (``generator.py``), one for each engine, and each purge has a fresh copy. PostgreSQL and
MariaDB are started for the run with durable commits, 1 GB of buffers and no autovacuum, or are those at
``$SESSIONCTL_TEST_POSTGRES_URL`` and ``$SESSIONCTL_TEST_MYSQL_URL`` (an administrator's URLs).

The exit status is 1 where a target was missed at the full size or above, else 0.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # The tests' directory instead of this one: modules here are benchmarks.*, and none hides another of its name.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from benchmarks.command import main

    sys.exit(main(__doc__ or ""))
