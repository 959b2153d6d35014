"""Contents of stores behind SQL, which are fetched at once as long as they are few."""

from __future__ import annotations

import pytest

from sessionctl.stores.base import Store
from sessionctl.testing.returning import assert_contents_of_whole


def assert_contents_however_many(store: Store, ids: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those of whole sessions, be they few or too many for once."""
    for most in (10_000, 2):
        monkeypatch.setattr("sessionctl.stores.sql.whole.ROWS", most)
        assert_contents_of_whole(store, ids)
