"""Addresses of stores as applications have them."""

from __future__ import annotations

import pytest

from sessionctl.core.address import parse_address

SOCKET = "%2Fvar%2Frun%2Fpostgresql"


@pytest.mark.parametrize(
    ("given", "becomes", "is_of_one_host"),
    [
        ("postgresql+asyncpg:///agents?host=/var/run/postgresql", f"postgresql:///agents?host={SOCKET}", True),
        ("postgresql+asyncpg:///agents", "postgresql:///agents", True),
        ("postgres://app@/agents?host=db.internal", "postgresql://app@/agents?host=db.internal", False),
        ("postgresql+asyncpg://app@db.internal/agents", "postgresql://app@db.internal/agents", False),
        ("postgresql://127.0.0.1:5432/agents", "postgresql://127.0.0.1:5432/agents", True),
        ("mysql+aiomysql:///agents?unix_socket=/run/my.sock", "mysql:///agents?unix_socket=%2Frun%2Fmy.sock", True),
    ],
)
def test_a_server_by_its_name_by_none_or_by_its_socket(given: str, becomes: str, is_of_one_host: bool) -> None:
    address = parse_address(given)
    assert (str(address), address.is_of_one_host) == (becomes, is_of_one_host)
    assert parse_address(address.recorded) == address  # what is recorded can be opened again
