"""After every trim, drop and diet a run of the SDK goes on; ``tests/soak/trimming.py`` tries them all."""

from __future__ import annotations

import random
from typing import Any

from acceptance.transcripts import read_transcripts
from acceptance.trimmed import Subject
from histories import any_history, sound
from hypothesis import given, settings
from hypothesis import strategies as st

_EVERY = 30


@settings(max_examples=100)
@given(st.one_of(sound(), any_history()).filter(bool), st.randoms(use_true_random=False))
def test_generated_histories(history: list[Any], choose: random.Random) -> None:
    subject = Subject(history)
    for limits in choose.sample(list(subject.limits()), 2):
        assert subject.trimmed(limits) == [], limits
    assert subject.dropped(choose.choice(subject.times)) == []
    assert subject.dropped(choose.randrange(len(history))) == []
    assert subject.elided(0) == []


def test_real_transcripts() -> None:
    choose = random.Random(5)
    for transcript in read_transcripts()[::_EVERY]:
        subject = Subject(transcript.items, transcript.offsets)
        for limits in choose.sample(list(subject.limits()), 8):
            assert subject.trimmed(limits) == [], (transcript.session_id, limits)
        assert subject.dropped(choose.choice(subject.times)) == []
        assert subject.elided(300) == []
