"""What envelopes tell without being opened, beside the SDK that sealed them."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any

import pytest
from agents import SQLiteSession
from agents.extensions.memory import EncryptedSession

from sessionctl.core.envelope import Key, sealed_at
from sessionctl.testing.case import user

KEYS = ["a passphrase", base64.urlsafe_b64encode(bytes(range(32))).decode(), "x" * 43, "größer"]


def sealed(session_id: str, key: str) -> str:
    async def write() -> Any:
        inner = SQLiteSession(session_id)
        await EncryptedSession(session_id, inner, encryption_key=key).add_items([user("hello")])
        [envelope] = await inner.get_items()
        inner.close()
        return envelope

    return str(asyncio.run(write())["payload"])


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("session_id", ["mine", "客户:7"])
def test_only_the_key_and_the_session_that_sealed_it_fit(session_id: str, key: str) -> None:
    token = sealed(session_id, key)
    assert Key(key).fits(session_id, token)
    assert not Key(key).fits("another", token)
    assert not any(Key(other).fits(session_id, token) for other in KEYS if other != key)
    assert not Key(key).fits(session_id, token[:-8] + "AAAAAAA=")
    assert abs((sealed_at(token) or 0) - time.time()) < 60


@pytest.mark.parametrize("token", ["", "gAAA", "no token at all", "A" * 100, "ä" * 20])
def test_what_is_no_token_tells_nothing(token: str) -> None:
    assert sealed_at(token) is None
    assert not Key("k").fits("mine", token)
