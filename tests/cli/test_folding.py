from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessionctl.cli.views.folding import Layout, wrap
from sessionctl.core.pretty import pretty_json
from sessionctl.core.text import cell_width

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=8), inner, max_size=8),
    max_leaves=30,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(JSON) | st.dictionaries(st.text(), JSON))
def test_indented_json_says_the_same(data: Any) -> None:
    shown = pretty_json(json.dumps(data))
    assert shown is not None
    assert json.loads(shown) == data


def test_json_is_shown_as_it_is_written() -> None:
    assert pretty_json('{"price": 12.50, "big": 1e3, "nan": NaN}') == '{"price": 12.50, "big": 1e3, "nan": NaN}'
    assert pretty_json('{"a": 1, "a": 2}') == '{"a": 1, "a": 2}'
    assert pretty_json('{"city": "\\u5317\\u4eac"}') == '{"city": "北京"}'


def test_long_json_is_indented_and_plain_arrays_are_filled() -> None:
    shown = pretty_json(json.dumps({"name": "x" * 70, "n": list(range(60))}))
    assert shown is not None
    lines = shown.split("\n")
    assert lines[:3] == ["{", '  "name": "' + "x" * 70 + '",', '  "n": [']
    assert lines[3].startswith("    0, 1, 2, 3,")
    assert lines[-2:] == ["  ]", "}"]
    assert all(len(line) < 90 for line in lines)


@pytest.mark.parametrize("text", ["", "plain", "17", '"text"', "{broken", "[" * 50_000 + "]" * 50_000])
def test_what_is_no_json_stays(text: str) -> None:
    assert pretty_json(text) is None


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])), st.integers(20, 60))
def test_wrapping_keeps_every_letter_and_the_width(line: str, width: int) -> None:
    parts = list(wrap(line, width))
    assert all(cell_width(part) <= width for part in parts)
    assert "".join(parts).replace(" ", "") == line.replace(" ", "")


def test_wrapping_breaks_at_spaces_and_keeps_the_indent() -> None:
    assert list(wrap("one two three", 8)) == ["one two", "three"]
    assert list(wrap("    alpha beta gamma", 13)) == ["    alpha", "      beta", "      gamma"]
    assert list(wrap("x" * 10, 4)) == ["xxxx", "xxxx", "xx"]
    assert list(wrap("日本語", 4)) == ["日本", "語"]


LINES = "\n".join(f"line {number}" for number in range(100))


def test_folding() -> None:
    folded = Layout(width=80).block(LINES, indent=4, keep=5)
    assert folded == ["line 0", "line 1", "line 2", "line 3", "line 4", "… 95 more lines (--full)"]
    assert len(Layout(width=80, full=True).block(LINES, indent=4, keep=5)) == 100
    assert len(Layout(width=80).block("\n".join("abcdefghi"), indent=4, keep=5)) == 9


def test_folding_keeps_what_was_searched_for() -> None:
    layout = Layout(width=80, needle=re.compile("line 50"))
    assert layout.block(LINES, indent=4, keep=5) == [
        "… 48 lines (--full)", "line 48", "line 49", "line 50", "line 51", "line 52", "… 47 more lines (--full)",
    ]  # fmt: skip
    unwrapped = Layout(width=None, needle=re.compile("needle")).block(
        "x" * 5000 + "needle" + "y" * 5000, indent=4, keep=5
    )
    assert len(unwrapped) == 1
    assert "needle" in unwrapped[0]
    assert len(unwrapped[0]) < 1000


def test_blocks_are_safe_for_a_terminal() -> None:
    (line,) = Layout(width=80).block("a\x1b[2J\r", indent=4, keep=5)
    assert line == r"a\x1b[2J\r"
