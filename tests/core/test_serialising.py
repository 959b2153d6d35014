"""Texts in the style of a class are what json.dumps would make of the item, and what is no JSON stays as it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionctl.core.serialising import Serialiser, Style, style_of
from sessionctl.testing.case import BROKEN_TEXTS, HOSTILE_ITEMS, turn

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.just('"\\ \n\x00'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=12,
)


@given(VALUES, st.sampled_from(Style), st.sampled_from(Style), st.booleans())
def test_it_is_what_the_class_would_write(value: Any, source: Style, target: Style, ascii_only: bool) -> None:
    stored = json.dumps(value, separators=source.value, ensure_ascii=ascii_only)
    expected = json.dumps(value, separators=target.value)
    made = Serialiser(target)
    assert made(stored) == expected
    assert made(stored) == expected  # by what it learnt


@given(st.text('{}[]",: \\nu0e1é'), st.sampled_from(Style))
def test_whatever_stands_there_is_what_python_reads_and_writes_or_stays(text: str, style: Style) -> None:
    try:
        pairs: list[int] = []

        def distinct(found: list[tuple[str, Any]]) -> dict[str, Any]:
            pairs.append(len(found) - len(dict(found)))
            return dict(found)

        expected = json.dumps(json.loads(text, object_pairs_hook=distinct), separators=style.value)
        expected = text if any(pairs) else expected
    except ValueError:
        expected = text
    assert Serialiser(style)(text) == expected


@pytest.mark.parametrize("text", BROKEN_TEXTS.values(), ids=BROKEN_TEXTS)
def test_what_is_no_json_stays(text: str) -> None:
    for style in Style:
        found = Serialiser(style)(text)
        assert found == text or json.loads(found) == json.loads(text)


def test_hostile_items_and_usual_ones() -> None:
    for item in [*HOSTILE_ITEMS.values(), *turn(1), *turn(2)]:
        for source in Style:
            stored = json.dumps(item, separators=source.value)
            for target in Style:
                assert Serialiser(target)(stored) == json.dumps(item, separators=target.value)
    deep = "[" * 100_000
    assert Serialiser(Style.COMPACT)(deep) == deep


def test_the_classes() -> None:
    assert style_of("SQLAlchemySession") is Style.COMPACT
    assert {style_of("SQLiteSession"), style_of("AdvancedSQLiteSession")} == {Style.SPACED}
