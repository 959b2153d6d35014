"""A password never shows, even in a URL that it breaks."""

from __future__ import annotations

import pytest

from sessionctl.core.address import mask, parse_address
from sessionctl.errors import UsageError


@pytest.mark.parametrize("password", ["sec?ret", "sec#ret", "sec/ret?x", "sec:ret?", "123?sec", "?sec", "sec?ret#x"])
def test_a_password_that_breaks_the_url_is_refused_unseen(password: str) -> None:
    url = f"postgresql+asyncpg://app:{password}@db/agents?sslmode=require"
    assert mask(url) == "postgresql+asyncpg://***"
    with pytest.raises(UsageError, match="percent-encoded") as caught:
        parse_address(url)
    assert "sec" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db:5432/agents?user=app@server",
        "postgresql://db/agents?user=app@server",
        "postgresql://app@db:5432/agents",
        "postgresql://db1:5432,db2:5432/agents",
        "redis://[::1]:6379/0",
    ],
)
def test_a_url_without_a_password_is_shown_whole(url: str) -> None:
    assert mask(url) == url
    assert parse_address(url).scheme in ("postgresql", "redis")


@pytest.mark.parametrize("password", ["secret", "sec@ret", "sec/ret", "sec:ret", "sec%3Fret"])
def test_a_password_is_masked(password: str) -> None:
    url = f"postgresql://app:{password}@db:5432/agents?password=secret&sslmode=require"
    assert mask(url) == "postgresql://app:***@db:5432/agents?password=***&sslmode=require"
    assert "sec" not in str(parse_address(url)) + repr(parse_address(url))
