"""The ends of sessions of MySQL, whatever the columns of their tables are: as all of the items tell them."""

from __future__ import annotations

import pytest
from mysql_tables import create_mysql_tables
from servers import mysql_execute

from sessionctl.core.address import parse_address
from sessionctl.core.model import Want
from sessionctl.stores import open_store
from sessionctl.stores.base import Store

STAMPS = ("'2026-03-29 01:30:00.250000'", "'2026-03-29 01:30:00.125000'", "'1969-05-01'", "'2040-01-01'")
TEXTS = ("hello", "a,b,,c", "grüße", '{"type":"compaction"}', "")


@pytest.mark.parametrize("charset", ["utf8mb4", "latin1", "utf16"])
@pytest.mark.parametrize("stamp", ["DATETIME", "DATETIME(6)", "DATETIME(3) NULL", "TIMESTAMP(6) NULL"])
def test_ends_are_those_of_all_items(mysql_url: str, stamp: str, charset: str) -> None:
    create_mysql_tables(mysql_url, collation=f"{charset}_bin")
    mysql_execute(mysql_url, f"ALTER TABLE agent_messages MODIFY created_at {stamp}")
    known = STAMPS[:2] if stamp.startswith("TIMESTAMP") else STAMPS
    stamps = [*known, "NULL"] if stamp.endswith("NULL") else known
    for name in "ab":
        mysql_execute(mysql_url, "INSERT INTO agent_sessions (session_id) VALUES (%s)", (name,))
        for at in stamps:
            for text in TEXTS if name == "a" else TEXTS[:2]:
                into = "INSERT INTO agent_messages (session_id, message_data, created_at)"
                mysql_execute(mysql_url, f"{into} VALUES (%s, %s, {at})", (name, text))
    with open_store(parse_address(mysql_url)) as store:
        for first, last in ((1, 3), (4, 100)):
            ends = list(store.ends(["a", "b", "c"], first=first, last=last))
            assert ends == list(Store.ends(store, ["a", "b", "c"], first=first, last=last))
            assert [end.session_id for end in ends] == ["a", "b"]
        compacted = [(ref := store.session(name, Want.COMPACTED)) and ref.compacted for name in "ab"]
        assert compacted == [True, False]
