"""Contents of stores behind SQL, which are fetched at once as long as they are few."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import pytest

from sessionctl.stores.base import Store
from sessionctl.testing.returning import assert_contents_of_whole


def assert_contents_however_many(store: Store, ids: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those of whole sessions, be they little or too much for once."""
    for most in (1_000_000, 8):
        monkeypatch.setattr("sessionctl.stores.sql.whole._FETCHED_BYTES", most)
        assert_contents_of_whole(store, ids)


def assert_contents_in_order(store: Store, ids: Sequence[str]) -> None:
    """Of these sessions, which are all there, in whatever order they are asked for, and beside one that is not."""
    for asked in permutations([*ids, "gone"]):
        there = [session_id for session_id in asked if session_id != "gone"]
        assert [session_id for session_id, _ in store.contents(asked)] == there
        assert [whole.session.id for whole in store.whole(asked)] == there
