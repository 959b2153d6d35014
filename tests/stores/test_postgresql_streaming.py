"""What PostgreSQL sends row by row as it makes it: the ends of sessions, and the sums of all of them."""

from __future__ import annotations

import pytest
from servers import fresh_postgres, postgres_execute

from sessionctl.core.address import parse_address
from sessionctl.core.model import Order, Want
from sessionctl.core.selector import Query
from sessionctl.errors import SessionctlError
from sessionctl.stores import create_store, open_store
from sessionctl.stores.base import Store

EVERY = Want.SIZE | Want.VERSION | Want.COMPACTED
SESSIONS = 1200


@pytest.fixture
def url(postgres_url: str) -> str:
    """A store of many sessions of three items, whose keys are not in the order of their stamps."""
    create_store(parse_address(postgres_url)).close()
    postgres_execute(
        postgres_url,
        f"INSERT INTO agent_sessions (session_id) SELECT 's' || n FROM generate_series(1, {SESSIONS}) n",
    )
    postgres_execute(
        postgres_url,
        "INSERT INTO agent_messages (session_id, message_data, created_at) SELECT 's' || n, n || '.' || place, "
        "timestamp '2026-01-01' + (3 - place) * interval '1 day' "
        f"FROM generate_series(1, {SESSIONS}) n, generate_series(1, 3) place ORDER BY place, n",
    )
    return postgres_url


def opened(url: str) -> Store:
    return open_store(parse_address(url))


def ends(store: Store, *ids: str, first: int = 1, last: int = 2) -> dict[str, tuple[list[str], list[str]]]:
    return {
        found.session_id: ([item.text for item in found.head], [item.text for item in found.tail])
        for found in store.ends(ids, first=first, last=last)
    }


class TestEnds:
    def test_of_many_sessions(self, url: str) -> None:
        with opened(url) as store:
            found = ends(store, *(f"s{n}" for n in range(1, SESSIONS + 5)))
            assert found == {f"s{n}": ([f"{n}.3"], [f"{n}.2", f"{n}.1"]) for n in range(1, SESSIONS + 1)}
            assert list(found) == [f"s{n}" for n in range(1, SESSIONS + 1)]

    def test_large_texts_do_not_travel_with_all_others_in_one_row(self, url: str) -> None:
        large = "ü" * 70_000
        postgres_execute(url, "UPDATE agent_messages SET message_data = %s WHERE message_data = '7.2'", (large,))
        with opened(url) as store:
            assert ends(store, "s6", "s7", "s8", last=5) == {
                "s6": (["6.3"], ["6.3", "6.2", "6.1"]),
                "s7": (["7.3"], ["7.3", large, "7.1"]),
                "s8": (["8.3"], ["8.3", "8.2", "8.1"]),
            }

    def test_stamps_that_python_does_not_know(self, url: str) -> None:
        postgres_execute(url, "UPDATE agent_messages SET created_at = 'infinity' WHERE message_data = '7.2'")
        with opened(url) as store:
            (found,) = store.ends(["s7"], first=1, last=5)
            assert found.tail == list(store.items("s7"))

    def test_databases_without_an_encoding(self, postgres_server: str) -> None:
        (version,) = postgres_execute(postgres_server, "SHOW server_version_num")[0]
        provider = "LOCALE_PROVIDER libc" if int(version) >= 150_000 else ""
        with fresh_postgres(postgres_server, f"ENCODING 'SQL_ASCII' {provider} LOCALE 'C' TEMPLATE template0") as url:
            create_store(parse_address(url)).close()
            postgres_execute(url, "INSERT INTO agent_sessions (session_id) VALUES ('a')")
            text = r"""E'"\xc3\xa9"'"""
            postgres_execute(url, f"INSERT INTO agent_messages (session_id, message_data) VALUES ('a', {text})")
            with opened(url) as store:
                assert ends(store, "a") == {"a": (['"é"'], ['"é"'])}


class TestPasses:
    def test_are_left_early(self, url: str) -> None:
        """The server does not go on with it, and the store answers."""
        with opened(url) as store:
            for _ in range(3):
                passing = store.sessions(Query(), order=Order.PHYSICAL, want=EVERY)
                assert next(passing).id == "s1"
                assert ends(store, "s2") == {"s2": (["2.3"], ["2.2", "2.1"])}
                passing.close()  # type: ignore[attr-defined]
                assert store.census(store.now()).sessions == SESSIONS
            passing = store.sessions(Query(), order=Order.PHYSICAL, want=EVERY)
            next(passing)
        mine = "application_name = 'sessionctl' AND datname = current_database()"
        assert postgres_execute(url, f"SELECT count(*) FROM pg_stat_activity WHERE {mine}") == [(0,)]

    def test_errors_of_the_server_are_told(self, url: str) -> None:
        with opened(url) as store:
            postgres_execute(url, "ALTER TABLE agent_messages RENAME TO elsewhere")
            with pytest.raises(SessionctlError, match=r"the tables of .* changed"):
                next(store.sessions(Query(), want=EVERY))
            with pytest.raises(SessionctlError, match=r"the tables of .* changed"):
                next(iter(store.ends(["s1"], first=1, last=1)))
