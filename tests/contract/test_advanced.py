"""AdvancedSQLiteSession only: branches, which a plain session does not have."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agents.extensions.memory import AdvancedSQLiteSession
from sdk_cases import SqliteCase

from sessionctl.core.model import Guard, Outcome, Rewrite, Span
from sessionctl.testing.case import turn, user
from sessionctl.testing.looking import deletion, existing
from sessionctl.testing.returning import put
from sessionctl.testing.returning_parts import taken
from sessionctl.testing.rewriting import items_of, without


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


@pytest.fixture
def case(tmp_path: Path) -> Iterator[SqliteCase]:
    made = SqliteCase(tmp_path / "store", "AdvancedSQLiteSession")
    yield made
    made.close()


def rows(case: SqliteCase) -> dict[str, list[tuple[Any, ...]]]:
    return {table: case.execute(f"SELECT * FROM {table} ORDER BY 1, 2") for table in case._tables}


def use(case: SqliteCase, session_id: str, *turns: int) -> None:
    """Usage as the SDK's store_run_usage writes it."""
    for number in turns:
        case.execute(
            "INSERT INTO turn_usage (session_id, branch_id, user_turn_number, requests, input_tokens) "
            "VALUES (?, 'main', ?, 1, ?)",
            session_id,
            number,
            1000 + number,
        )


def usage(case: SqliteCase) -> list[tuple[int, int]]:
    found = case.execute("SELECT user_turn_number, input_tokens FROM turn_usage WHERE session_id = 'mine' ORDER BY 1")
    return [(int(turn), int(tokens)) for turn, tokens in found]


def asked(case: SqliteCase, session_id: str, call: Callable[[Any], Any]) -> Any:
    return case._call(session_id, call)[0]


def turns_of(case: SqliteCase, session_id: str = "mine") -> list[tuple[int, str]]:
    found = asked(case, session_id, lambda session: session.get_conversation_turns())
    return [(turn["turn"], turn["content"]) for turn in found]


@pytest.mark.parametrize("places", [range(4), range(8, 12), (1, 2), range(12)], ids=["head", "tail", "pair", "all"])
def test_structure_and_usage_go_and_come_back_with_their_items(case: SqliteCase, places: Iterable[int]) -> None:
    for name in ("mine", "other"):
        case.write(name, *map(turn, (1, 2, 3)))
        use(case, name, 1, 2, 3)
    before = rows(case)
    rewrite = without(case, "mine", places)
    back = taken(case, rewrite)
    left = [item for place, item in enumerate([*turn(1), *turn(2), *turn(3)]) if place not in places]
    assert case.read("mine") == left
    users = {item["content"][-1] for item in left if item.get("role") == "user"}
    assert [str(number) for number, _ in usage(case)] == sorted(users)
    assert case.execute("SELECT count(*) FROM message_structure WHERE session_id = 'mine'") == [(len(left),)]
    assert put(case, back) == [Outcome.DONE]
    now = rows(case)
    assert now.pop("branch_reservations") in ([], [("mine", "main")])  # a branch of which nothing was left
    del before["branch_reservations"]
    assert now == before


def test_turns_that_came_since_the_tail_went_are_numbered_behind_it(case: SqliteCase) -> None:
    case.write("mine", *map(turn, (1, 2, 3)))
    use(case, "mine", 1, 2, 3)
    back = taken(case, without(case, "mine", range(4, 12)))
    case.write("mine", turn(7), turn(8))
    use(case, "mine", 2, 3)
    case.execute("UPDATE turn_usage SET input_tokens = 7000 + user_turn_number WHERE user_turn_number > 1")
    assert put(case, back) == [Outcome.DONE]
    assert case.read("mine") == [item for number in (1, 2, 3, 7, 8) for item in turn(number)]
    contents = [f"question {number}" for number in (1, 2, 3, 7, 8)]
    assert turns_of(case) == list(enumerate(contents, start=1))
    assert usage(case) == [(1, 1001), (2, 1002), (3, 1003), (4, 7002), (5, 7003)]
    case.write("mine", turn(9))
    assert turns_of(case)[-1] == (6, "question 9")
    branched = asked(case, "mine", lambda session: session.create_branch_from_turn(5, "side"))
    assert branched == "side"


def test_a_branch_keeps_what_leaves_the_main_one(case: SqliteCase) -> None:
    """An item that another branch holds stays for it, unseen on the main one, and comes back there."""
    case.write("mine", *map(turn, (1, 2, 3)))
    with asyncio.Runner() as runner:
        session = AdvancedSQLiteSession(session_id="mine", db_path=case.path, create_tables=True)
        try:
            runner.run(session.create_branch_from_turn(2, "side"))
            runner.run(session.add_items([user("on the branch")]))
        finally:
            session.close()
    before, side = rows(case), [*turn(1), user("on the branch")]

    def on_side() -> Any:
        return asked(case, "mine", lambda session: session.get_items(branch_id="side"))

    assert on_side() == side
    back = taken(case, without(case, "mine", range(8)))
    assert case.read("mine") == turn(3)
    assert on_side() == side
    assert len(case.texts("mine")) == 9
    case.pop("mine")
    case.write("mine", turn(3)[3:])
    assert on_side() == side, "an SDK pop took what only the branch held"
    assert put(case, back) == [Outcome.DONE]
    assert case.read("mine") == [*turn(1), *turn(2), *turn(3)]
    assert on_side() == side
    now = rows(case)
    assert now["agent_messages"][:8] == before["agent_messages"][:8]
    assert now["message_structure"][:8] == before["message_structure"][:8]


def test_a_replaced_text_is_classified_anew(case: SqliteCase) -> None:
    case.write("mine", *map(turn, (1, 2)))
    case.read("mine")  # this reserves its branch
    before = rows(case)
    key = items_of(case, "mine")[3].key
    assert isinstance(key, int)
    summary = json.dumps(user("it was about rain"))
    back = taken(case, without(case, "mine", range(3), replace=((key, summary),)))
    assert turns_of(case) == [(1, "it was about rain"), (2, "question 2")]
    assert put(case, back) == [Outcome.DONE]
    assert rows(case) == before


def test_what_must_not_show_in_other_branches_is_not_done(case: SqliteCase) -> None:
    """An item that becomes another one would break whatever branch shares it."""
    for name in ("mine", "other"):
        case.write(name, turn(1), turn(2))
    with case.open() as store:
        assert not store.has_branches("mine")
        asked(case, "mine", lambda session: session.create_branch_from_turn(2, "side"))
        assert (store.has_branches("mine"), store.has_branches("other")) == (True, False)
        before = rows(case)
        keys = {name: [item.key for item in store.items(name)] for name in ("mine", "other")}
        instead = json.dumps({"role": "assistant", "content": "so it was"})
        changes = [
            Rewrite(
                session_id=name, remove=(Span(some[0], some[2], 3),), replace=((some[3], instead),), unbranched=True
            )
            for name, some in keys.items()
        ]
        assert list(store.apply(changes, Guard())) == [Outcome.CHANGED, Outcome.DONE]
    mine = [row for row in before["agent_messages"] if "mine" in row]
    assert [row for row in rows(case)["agent_messages"] if "mine" in row] == mine
    assert case.read("other") == [json.loads(instead), *turn(2)]
    assert turns_of(case, "other") == [(2, "question 2")]
