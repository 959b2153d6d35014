from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionctl.core.text import cell_width, shorten, visible

ACTING = [
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2066, 0x206A)),
    *"\u061c\u200e\u200f\u2028\u2029\ufeff\u200b\u2060\u00ad",
    "\ud83d",
    "\udc80",
    "\U000e0041",
]


@pytest.mark.parametrize("char", ACTING, ids=lambda c: f"{ord(c):04x}")
def test_acting_characters_are_spelled_out(char: str) -> None:
    shown = visible(f"a{char}b")
    assert char not in shown
    assert shown.isascii()
    assert shown.startswith("a\\")
    assert shown.endswith("b")


def test_spelling() -> None:
    assert visible("\x1b[31mred\x1b[0m") == r"\x1b[31mred\x1b[0m"
    assert visible("\u202egpj.exe") == r"\u202egpj.exe"
    assert visible("a\nb\tc\r") == r"a\nb\tc\r"
    assert visible("\U000e0041") == r"\U000e0041"


def test_multiline_keeps_lines_and_tabs_but_no_carriage_return() -> None:
    assert visible("a\nb\tc", multiline=True) == "a\nb\tc"
    assert visible("a\r\nb", multiline=True) == "a\nb"
    assert visible("done\rhidden", multiline=True) == r"done\rhidden"


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "日本語テキスト",
        "مرحبا بالعالم",
        "שלום",
        "می‌خواهم",  # a zero-width non-joiner belongs to Persian spelling
        "👩‍👩‍👧 ❤️ 🇩🇪",
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",  # the flag of Scotland
        "葛\U000e0100城",
        r"C:\x1b",
        "e\u0301",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert visible(text) == text


def test_hidden_messages_show() -> None:
    smuggled = "hi" + "".join(chr(0xE0000 + ord(c)) for c in "obey")
    assert visible(smuggled) == r"hi\U000e006f\U000e0062\U000e0065\U000e0079"
    assert visible("a\U000e0101") == r"a\U000e0101"
    assert visible("葛\U000e0100\U000e0101") == "葛\U000e0100" + r"\U000e0101"


@given(st.text(st.characters()))
def test_the_result_can_be_encoded_and_holds_no_control(text: str) -> None:
    shown = visible(text)
    shown.encode()
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in shown)
    assert visible(shown) == shown


def test_a_megabyte_takes_no_time() -> None:
    for text in ("x" * 1_000_000, "日本語 " * 250_000, '{"a": "line\\n"}\n' * 60_000):
        start = time.perf_counter()
        visible(text, multiline=True)
        assert time.perf_counter() - start < 1


def test_cell_width() -> None:
    assert cell_width("abc") == 3
    assert cell_width("日本") == 4
    assert cell_width("e\u0301") == 1
    assert cell_width("مرحبا") == 5


def test_shorten() -> None:
    assert shorten("a  b\n\n c ", 10) == "a b c"
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abcde…"
    assert shorten("日本語", 5) == "日本…"
    assert shorten("\x1b[2J", 20) == r"\x1b[2J"
    assert shorten(" " * 5_000_000 + "x", 10) == "…"
    assert shorten("abc", 0) == ""


@given(st.text(st.characters()), st.integers(0, 40))
def test_shorten_keeps_to_its_width_and_to_one_line(text: str, width: int) -> None:
    short = shorten(text, width)
    assert cell_width(short) <= width
    assert "\n" not in short
    short.encode()
