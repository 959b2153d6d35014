"""Space of tables on servers: what is estimated, who may give it back, and that a long statement can be ended."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from operating import sessionctl
from sdk_cases import CASES, MariadbCase, PostgresCase, fill, made
from servers import postgres_execute, postgres_role

from sessionctl.core.space import Task, Wish
from sessionctl.errors import StepEnded
from sessionctl.stores.mysql.vacuum import compressed_share
from sessionctl.testing.case import turn, user

MAKERS = {maker.name: maker for maker in CASES}
ITEMS = [*turn(1), user("a story " * 120)]
SESSIONS = 2000


@contextmanager
def store_of(name: str, request: pytest.FixtureRequest) -> Iterator[PostgresCase | MariadbCase]:
    """Two thousand sessions, of which the first half, by age, is gone."""
    with made(MAKERS[name], request) as case:
        assert isinstance(case, PostgresCase | MariadbCase)
        fill(case, [f"s{number:04}" for number in range(SESSIONS)], ITEMS, idle=timedelta(days=9))
        for table in ("agent_messages", "agent_sessions"):
            case.execute(f"DELETE FROM {table} WHERE session_id < 's1000'")
        yield case


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_the_estimate_is_near_what_it_comes_to(name: str, request: pytest.FixtureRequest) -> None:
    wish = Wish(full=True)
    with store_of(name, request) as case, case.open() as store:
        space = store.space(wish)
        for step in space.steps:
            store.vacuum(step, wish, lambda: False)
        freed = (space.usage.total or 0) - (store.usage().total or 0)
        assert freed > 0.2 * (space.usage.total or 0)
        assert 0.5 < space.gain / freed < 1.7
        assert any(step.task is Task.REBUILD and step.blocks and step.needs for step in space.steps)


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_a_long_statement_is_ended(name: str, request: pytest.FixtureRequest) -> None:
    endless = {"postgresql": "SELECT pg_sleep(60)", "mariadb": "SELECT benchmark(1000000000, sha2('a', 512))"}
    with made(MAKERS[name], request) as case:
        case.write("s1", turn(1))
        with case.open() as store, pytest.raises(StepEnded):
            store._maintain(endless[name], lambda: True)  # type: ignore[attr-defined]
        with case.open() as store:
            assert len(list(store.items("s1"))) == 4


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_what_is_for_files_is_refused(name: str, request: pytest.FixtureRequest) -> None:
    with made(MAKERS[name], request) as case:
        case.write("s1", turn(1))
        with case.open() as store:
            assert store.space(Wish(incremental=True)).refused


def test_only_their_owner_may(request: pytest.FixtureRequest) -> None:
    with made(MAKERS["postgresql"], request) as case:
        assert isinstance(case, PostgresCase)
        case.write("s1", turn(1))
        with postgres_role(case.url) as role:
            postgres_execute(case.url, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
            url = case.url.replace("postgres@", f"{role}@")
            told = sessionctl("vacuum", "-s", url, "--yes", "-o", "json")
        assert told.status == 11
        assert "only" in told.json["error"]


def test_the_share_that_compressed_pages_take() -> None:
    assert compressed_share([]) == 1
    assert compressed_share(["the same again and again " * 40] * 100) == 0.5
    pick = random.Random(1)
    numbers = [f"{pick.getrandbits(64):x}" for _ in range(20_000)]
    assert 0.5 < compressed_share(numbers) < 1
