"""Markdown: what was said shows as it was written, and what tools gave stays in its block."""

from __future__ import annotations

import re

import pytest
from exporting import session, written
from hypothesis import given
from hypothesis import strategies as st

from sessionctl.export.formats import Format
from sessionctl.export.markdown import escaped, fenced, quoted
from sessionctl.testing.case import HOSTILE_IDS, HOSTILE_ITEMS, assistant, turn, user


def document(*sessions: object) -> str:
    return written(Format.MARKDOWN, *sessions).decode()  # type: ignore[arg-type]


def test_a_turn() -> None:
    text = document(session("a_b", turn(3)))
    assert text.startswith("# a\\_b\n")
    assert re.findall("^## .*", text, re.MULTILINE) == ["## Turn 1"]
    assert "> question 3" in text
    assert "> answer 3" in text
    assert '```json\n{"n": 3}\n```\n\n→\n\n```text\nrain rain rain \n```' in text
    assert text.count("<details>") == text.count("</details>") == 1


def test_sessions_follow_each_other() -> None:
    found = re.findall("^# .*", document(session("one", turn(1)), session("two", turn(2))), re.MULTILINE)
    assert found == ["# one", "# two"]


@pytest.mark.parametrize("session_id", HOSTILE_IDS.values())
def test_hostile(session_id: str) -> None:
    text = document(session(session_id, [*HOSTILE_ITEMS.values(), user("# big\n<script>x</script>\n```\n- a\n1. b")]))
    assert len(re.findall("^# ", text, re.MULTILINE)) == 1
    assert "> \\# big" in text
    assert "\\<script\\>" in text
    assert "\x1b" not in text


def test_a_call_named_like_html() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "</code></summary><b>", "arguments": "```\n# out\n````"}
    text = document(session("s", [call]))
    assert "<code>&lt;/code&gt;&lt;/summary&gt;&lt;b&gt;</code>" in text
    assert "`````text\n```\n# out\n````\n`````" in text


_TEXTS = st.text("`~ab\n\t #->*_[]<&1.)\\|$=+", max_size=40)


@given(_TEXTS)
def test_nothing_ends_a_fence_early(text: str) -> None:
    opening, *content, closing = fenced(text, "text").split("\n")
    assert opening == closing + "text"
    assert "\n".join(content) == text
    assert not any(re.fullmatch(rf" {{0,3}}`{{{len(closing)},}}\s*", line) for line in content)


@given(_TEXTS)
def test_nothing_said_means_anything(text: str) -> None:
    """Every character that CommonMark acts on is escaped; taking the escapes away gives the text back."""
    shown = escaped(text)
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]<>|~]", shown.replace("&nbsp;", ""))
    assert not re.search(r"^(?:&nbsp;)*(?:[#+=-]|\d+[.)])", shown, re.MULTILINE)
    plain = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", shown.replace("&nbsp;", " "))
    assert plain == re.sub(r"^[ \t]+", lambda found: " " * len(found[0].expandtabs(4)), text, flags=re.MULTILINE)
    assert all(line.startswith(">") for line in quoted(text).split("\n"))


def test_long_answers_keep_their_lines() -> None:
    assert "> one  \n>\n> &nbsp;&nbsp;two" in document(session("s", [assistant("one\n\n  two")]))
