"""Every real transcript trimmed at every limit, its newest turns dropped behind every item, its outputs made small.

    python tests/soak/trimming.py                      all transcripts, and 5,000 generated histories
    python tests/soak/trimming.py --examples 1000 --every 10
    python tests/soak/trimming.py --examples 500 --every 10 --begin 3       one of ten parts, which begin at 0 to 9

After each the validator finds no defect that was not there before, no pair is split, the newest turns and the
instructions at the beginning stay, what went and what is left are what was there, reading from the end decides
the same; and a run of the SDK takes its next turn before a model that refuses what the API refuses. Generated
histories have every kind of item, sound and broken, and are trimmed at limits of which one or several are
set. The exit status is 1 where a rule was broken.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Any


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=5_000, metavar="N", help="generated histories")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="of the transcripts only each N-th")
    parser.add_argument("--begin", type=int, default=0, metavar="N", help="with the transcript of this number")
    wanted = parser.parse_args()
    return int(_transcripts(wanted.begin, wanted.every) | _generated(wanted.examples))


def _transcripts(begin: int, every: int) -> bool:
    from acceptance.transcripts import read_transcripts
    from acceptance.trimmed import Subject

    began, trims, runs, breaches = time.monotonic(), 0, 0, list[str]()
    for transcript in read_transcripts()[begin::every]:
        subject = Subject(transcript.items, transcript.offsets)
        checks: list[tuple[str, list[str]]] = [(str(limits), subject.trimmed(limits)) for limits in subject.limits()]
        checks += [(f"drop after {at}", subject.dropped(at)) for at in range(len(transcript.items))]
        checks += [(f"drop after {at}", subject.dropped(at)) for at in subject.times]
        checks += [(f"elide over {over}", subject.elided(over)) for over in (0, 200, 1000)]
        trims, runs = trims + len(checks), runs + subject.runs
        breaches += [f"{transcript.session_id}, {what}: {rule}" for what, rules in checks for rule in rules]
    print(f"transcripts: {trims} changes and {runs} runs in {time.monotonic() - began:.0f} s", flush=True)
    return _told(breaches)


def _generated(examples: int) -> bool:
    from acceptance.trimmed import Subject
    from histories import any_history
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    tried = 0

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(any_history().filter(bool), st.randoms(use_true_random=False))
    def check(history: list[Any], choose: random.Random) -> None:
        nonlocal tried
        subject = Subject(history)
        for limits in choose.sample(list(subject.limits()), 3):
            assert subject.trimmed(limits) == [], limits
            tried += 1
        for after in (choose.choice(subject.times), choose.randrange(len(history))):
            assert subject.dropped(after) == [], f"drop after {after}"
        assert subject.elided(choose.choice([0, 100])) == [], "elide"

    began, breaches = time.monotonic(), list[str]()
    try:
        check()
    except Exception as error:  # noqa: BLE001 - whatever it is, the smallest history that shows it stands in its notes
        each = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
        breaches += ["\n".join([repr(one), *getattr(one, "__notes__", ())]) for one in each]
    print(f"generated: {examples} histories, {tried} trims in {time.monotonic() - began:.0f} s", flush=True)
    return _told(breaches)


def _told(breaches: list[str]) -> bool:
    print(f"    rules broken: {len(breaches)}")
    for breach in breaches[:20]:
        print(f"    {breach}")
    return bool(breaches)


if __name__ == "__main__":
    # The tests' directory instead of this one, as for the benchmarks.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    sys.exit(main())
