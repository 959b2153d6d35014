"""Contents of stores behind SQL, which are fetched at once as long as they are few."""

from __future__ import annotations

import pytest

from sessionctl.stores.base import Store
from sessionctl.testing.returning import assert_contents_of_whole


def assert_contents_however_many(store: Store, ids: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those of whole sessions, be they little or too much for once."""
    for most in (1_000_000, 8):
        monkeypatch.setattr("sessionctl.stores.sql.whole._FETCHED_BYTES", most)
        assert_contents_of_whole(store, ids)
