"""AdvancedSQLiteSession only: branches, which a plain session does not have."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agents.extensions.memory import AdvancedSQLiteSession
from sdk_cases import SqliteCase

from sessionctl.core.model import Guard, Outcome
from sessionctl.testing.case import turn, user
from sessionctl.testing.looking import deletion, existing


def test_an_application_on_a_branch_of_a_deleted_session_goes_back_to_main(tmp_path: Path) -> None:
    """Without the bumped clear generation its next items would land on a branch that nobody reads."""
    case = SqliteCase(tmp_path / "store", "AdvancedSQLiteSession")
    case.write("mine", turn(1), turn(2))
    case.write("other", turn(3))
    with asyncio.Runner() as runner:
        session = AdvancedSQLiteSession(session_id="mine", db_path=case.path, create_tables=True)
        try:
            runner.run(session.create_branch_from_turn(2, "side"))
            runner.run(session.add_items([user("on the branch")]))
            with case.open() as store:
                assert list(store.apply([deletion(existing(store, "mine"))], Guard())) == [Outcome.DONE]
            assert case.remains("mine") == {"session_clear_generations"}
            runner.run(session.add_items([user("after")]))
        finally:
            session.close()
    assert case.read("mine") == [user("after")]
    assert case.read("other") == turn(3)
    case.close()
