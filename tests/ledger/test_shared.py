"""A ledger in a server's database: rights, ways not to reach it, poolers, and that no secret gets out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from beside_postgres import pgbouncer
from servers import mysql_execute, mysql_user, postgres_execute, postgres_role

from sessionctl.core.address import StoreAddress, parse_address
from sessionctl.core.report import Stopped
from sessionctl.errors import LedgerUnavailable, UsageError
from sessionctl.ledger import Ledger, Run, new_run

SECRET = "sw0rdfish"
RIGHTS = "SELECT, INSERT, UPDATE, DELETE"
TABLES = ("sessionctl_ledger", "sessionctl_runs", "sessionctl_segments")


def a_run(address: StoreAddress) -> Run:
    return new_run("purge", "sqlite:////a.db", Ledger(address).now(), {})


def refusal(address: StoreAddress) -> LedgerUnavailable:
    with pytest.raises(LedgerUnavailable) as caught:
        Ledger.open(address)
    assert SECRET not in f"{caught.value.message} {caught.value.hint}"
    return caught.value


def test_postgresql_who_may_not_make_its_tables_is_told_and_then_needs_few_rights(postgres_url: str) -> None:
    postgres_execute(postgres_url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with postgres_role(postgres_url) as name:
        address = parse_address(postgres_url.replace("postgres@", f"{name}:{SECRET}@"))
        refused = refusal(address)
        assert "permission denied for schema public" in refused.message
        assert all(table in str(refused.hint) for table in TABLES)
        assert not refused.transient
        Ledger.open(parse_address(postgres_url))
        assert "permission denied" in refusal(address).message
        postgres_execute(postgres_url, f"GRANT {RIGHTS} ON {', '.join(TABLES)} TO {name}")
        run = a_run(address)
        Ledger.open(address).begin(run)
        assert Ledger(address).run(run.run_id) is not None


def test_mysql_who_may_not_make_its_tables_is_told_and_then_needs_few_rights(mysql_url: str) -> None:
    database = mysql_url.rsplit("/", 1)[1]
    with mysql_user(mysql_url) as granted:
        address = parse_address(granted(f"SELECT ON `{database}`.*"))
        refused = refusal(address)
        assert "CREATE command denied" in refused.message
        assert all(table in str(refused.hint) for table in TABLES)
        Ledger.open(parse_address(mysql_url))
        assert "UPDATE command denied" in refusal(address).message
        granted(*(f"{RIGHTS} ON `{database}`.{table}" for table in TABLES))
        run = a_run(address)
        Ledger.open(address).begin(run)
        assert Ledger(address).run(run.run_id) is not None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"postgresql://ops:{SECRET}@127.0.0.1:1/ops", "cannot be reached"),
        (f"mysql://ops:{SECRET}@127.0.0.1:1/ops", "cannot be reached"),
        (f"postgresql+asyncpg://ops:{SECRET}@nowhere.invalid/ops", "cannot be reached"),
    ],
)
def test_a_server_that_is_not_there(url: str, said: str) -> None:
    error = refusal(parse_address(url))
    assert error.message.startswith("the ledger of runs cannot be used: ")
    assert said in error.message
    assert (error.transient, error.exit_code) == (True, 1)
    assert "SESSIONCTL_LEDGER" in str(error.hint)


def test_a_database_that_is_not_there(postgres_url: str, mysql_url: str) -> None:
    for url in (postgres_url, mysql_url):
        error = refusal(parse_address(url + "_not"))
        assert "no such database" in error.message
        assert not error.transient


def test_what_cannot_be_a_ledger() -> None:
    with pytest.raises(UsageError, match="a ledger cannot be at redis://ops:\\*\\*\\*@cache/0"):
        Ledger(parse_address(f"redis://ops:{SECRET}@cache/0"))
    with pytest.raises(UsageError, match="names no database"):
        Ledger(parse_address(f"mysql://ops:{SECRET}@db"))


def test_a_newer_layout_is_refused(postgres_url: str, mysql_url: str) -> None:
    for url, execute in ((postgres_url, postgres_execute), (mysql_url, mysql_execute)):
        address = parse_address(url)
        Ledger.open(address)
        execute(url, "UPDATE sessionctl_ledger SET layout = 99")
        error = refusal(address)
        assert ("newer sessionctl (layout 99)" in error.message, error.hint) == (True, "update sessionctl")
        with pytest.raises(LedgerUnavailable, match="newer sessionctl"):
            Ledger(address).runs()


def test_making_that_was_cut_off_is_made_whole(mysql_url: str) -> None:
    """MySQL commits every statement that makes something."""
    address = parse_address(mysql_url)
    Ledger.open(address)
    for table in TABLES[::2]:
        mysql_execute(mysql_url, f"DROP TABLE {table}")
    assert Ledger(address).runs() == ()
    run = a_run(address)
    Ledger.open(address).begin(run)
    assert Ledger(address).segments(run.run_id) == ()


@pytest.mark.parametrize(
    ("store", "may"),
    [
        ("sqlite:////srv/app.db", True),
        ("postgresql://app@localhost/agents", True),
        ("mysql://app@127.0.0.1:3306/agents", True),
        ("postgresql:///agents?host=/run/postgresql", True),
        ("postgresql://app@db.internal/agents", False),
    ],
)
def test_what_may_be_another_store_on_another_host(store: str, may: bool, tmp_path: Path) -> None:
    shared, address = Ledger(parse_address("postgresql://ops@db.internal/ops")), parse_address(store)
    here = new_run("purge", address.recorded, datetime.now(UTC), {})
    assert not shared.may_mean_another(here, address)
    assert shared.may_mean_another(replace(here, host="elsewhere"), address) is may
    assert not Ledger(tmp_path / "ledger.db").may_mean_another(replace(here, host="as it was called before"), address)


def test_behind_a_pooler_in_transaction_mode(postgres_url: str) -> None:
    with pgbouncer(postgres_url, pool_size=1) as url:
        address = parse_address(f"{url.rsplit('/', 1)[0]}/{postgres_url.rsplit('/', 1)[1]}")
        ledger, other = Ledger.open(address), Ledger.open(address)
        run = a_run(address)
        ledger.begin(run)
        for number in range(3):
            other.progress(run.run_id, {"number": number})
            ledger.progress(run.run_id, {"number": -number})
        other.finish(run.run_id, {"number": 7}, Stopped.DONE)
        found = ledger.run(run.run_id)
        assert found is not None
        assert (found.counts, found.stopped) == ({"number": 7}, Stopped.DONE)
