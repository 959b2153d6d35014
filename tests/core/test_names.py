"""Names of files: legal everywhere, one for each id, never a way out of the directory."""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionctl.core.names import LONGEST, file_name
from sessionctl.testing.case import HOSTILE_IDS

HOSTILE = [
    *HOSTILE_IDS.values(),
    *("", ".", "..", "...", "/", "../x", "a/../b", "C:\\x", "-rf", ".hidden", "~root", "x" * 5000, "é" * 500),
    *("con", "CON", "nul.txt", "com1", "index", "a.", "a ", "\udcff\udcfe", "\ud800", "\0", "a%2Fb", "a/b", "%"),
]
ids = st.text() | st.text("aAbB%~./\\-:é\0 ", max_size=8) | st.sampled_from(HOSTILE)


def assert_harmless(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9%_~][A-Za-z0-9%_~.-]*", name)
    assert len(name) <= LONGEST
    assert PurePosixPath(name).name == PureWindowsPath(name).name == name
    assert not PureWindowsPath(name).is_reserved()
    assert not name.endswith(".")


@pytest.mark.parametrize("session_id", HOSTILE)
def test_hostile(session_id: str) -> None:
    assert_harmless(file_name(session_id))


@given(ids)
def test_any(session_id: str) -> None:
    assert_harmless(file_name(session_id))


@given(ids, ids)
def test_no_two_ids_share_a_name(one: str, other: str) -> None:
    if one != other:
        assert file_name(one).casefold() != file_name(other).casefold()


def test_ordinary_ids_stay_readable() -> None:
    assert file_name("user-17_a.b") == "user-17_a.b"
    assert file_name("user-17:order help") == "user-17%3Aorder%20help"
    assert re.fullmatch(r"User-17~[0-9a-f]{20}", file_name("User-17"))
    assert len({file_name(each) for each in ("User-17", "user-17", "USER-17")}) == 3
