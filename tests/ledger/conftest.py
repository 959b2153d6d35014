from __future__ import annotations

from pathlib import Path

import pytest

from sessionctl.core.address import StoreAddress, parse_address

URLS = {"postgresql": "postgres_url", "mariadb": "mysql_url"}


@pytest.fixture(params=["local", *URLS])
def at(request: pytest.FixtureRequest, tmp_path: Path) -> StoreAddress:
    """Where a ledger may be: nothing is there yet."""
    if request.param == "local":
        return parse_address(f"sqlite:///{tmp_path}/state/sessionctl/ledger.db")
    return parse_address(request.getfixturevalue(URLS[request.param]))
