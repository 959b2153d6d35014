"""Texts in the style of a class are what json.dumps would make of the item, and what is no JSON stays as it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionctl.core.serialising import Style, style_of, styled
from sessionctl.testing.case import BROKEN_TEXTS, HOSTILE_ITEMS, turn

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.just('"\\ \n\x00'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=12,
)


def dumped(value: Any, style: Style, **how: Any) -> str:
    return json.dumps(value, separators=style.separators, **how)


@given(VALUES, st.sampled_from(Style), st.sampled_from(Style), st.booleans())
def test_it_is_what_the_class_would_write(value: Any, source: Style, target: Style, ascii_only: bool) -> None:
    assert styled(dumped(value, source, ensure_ascii=ascii_only), target) == dumped(value, target)


@given(st.text('{}[]",: \\nu0e1é/A'), st.sampled_from(Style))
def test_whatever_stands_there_says_the_same_or_stays(text: str, style: Style) -> None:
    found = styled(text, style)
    try:
        value = json.loads(text)
    except ValueError:
        assert found == text
        return
    assert json.loads(found) == value
    if text.isascii():  # nothing but spaces
        assert "".join(found.split()) == "".join(text.split())


@pytest.mark.parametrize("text", BROKEN_TEXTS.values(), ids=BROKEN_TEXTS)
def test_what_is_no_json_stays(text: str) -> None:
    for style in Style:
        found = styled(text, style)
        assert found == text or json.loads(found) == json.loads(text)


def test_hostile_items_and_usual_ones() -> None:
    for item in [*HOSTILE_ITEMS.values(), *turn(1), *turn(2)]:
        for source in Style:
            for target in Style:
                assert styled(dumped(item, source), target) == dumped(item, target)
    deep = "[" * 100_000
    assert styled(deep, Style.COMPACT) == deep
    assert styled('{"é": 1, "é": 2}', Style.COMPACT) == '{"é": 1, "é": 2}'


def test_the_classes() -> None:
    assert style_of("SQLAlchemySession") is Style.COMPACT
    assert {style_of("SQLiteSession"), style_of("AdvancedSQLiteSession")} == {Style.SPACED}
