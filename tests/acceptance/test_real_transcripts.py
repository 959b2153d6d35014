"""On real transcripts the main job is exactly right: what is listed and removed, and what agents find afterwards."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from acceptance.transcripts import BOUNDARY_S, LoadedStore, Row, Transcript, loaded
from operating import in_process, sessionctl

ENGINES = ["SQLiteSession", "SQLAlchemySession", "AdvancedSQLiteSession", "postgresql", "mariadb"]

pytestmark = pytest.mark.timeout(300)  # half a minute a store where the machine is busy


@pytest.mark.parametrize("name", ENGINES)
def test_the_main_job(
    name: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, subtests: pytest.Subtests
) -> None:
    """One test for each kind of store: writing it takes by far the longest, and processes that share the tests do not
    share a store."""
    with loaded(name, request, tmp_path_factory) as store:
        for check in (
            list_says_what_sql_says,
            stats_are_the_sums,
            inspect_shows_the_items_in_their_turns,
            purge_removes_exactly_what_is_stale,
        ):
            with subtests.test(check.__name__):
                check(store)


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def application_url(store: LoadedStore) -> str:
    """As the application names it, async driver and all."""
    driver = {"postgresql": "postgresql+asyncpg", "mysql": "mysql+aiomysql"}
    scheme, separator, rest = store.url.partition("://")
    return f"{driver[scheme]}://{rest}" if separator else f"sqlite+aiosqlite:///{store.url}"


def list_says_what_sql_says(store: LoadedStore) -> None:
    expected = store.rows()
    assert expected
    ran = sessionctl("list", "-s", application_url(store), "-o", "jsonl")
    assert (ran.status, ran.said) == (0, "")
    listed = [json.loads(line) for line in ran.text.splitlines()]
    assert len(listed) == len(expected)
    assert {
        record["session_id"]: Row(
            items=record["items"],
            octets=record["bytes"],
            created=seconds(record["created_at"]),
            updated=seconds(record["updated_at"]),
        )
        for record in listed
    } == expected
    assert all(record["last_activity"] == record["updated_at"] for record in listed)
    newest_first = sorted(expected, key=lambda session_id: (-expected[session_id].updated, session_id))
    assert [record["session_id"] for record in listed] == newest_first


def stats_are_the_sums(store: LoadedStore) -> None:
    rows = store.rows().values()
    ran = in_process("stats", "-s", store.url, "-o", "json")
    assert ran.status == 0
    stats = ran.json
    totals = {"sessions": len(rows), "items": sum(row.items for row in rows), "bytes": sum(row.octets for row in rows)}
    assert {key: stats[key] for key in totals} == totals
    assert (stats["empty_sessions"], stats["orphan_items"]) == (0, 0)
    assert seconds(stats["newest_activity"]) == max(row.updated for row in rows)
    assert seconds(stats["oldest_activity"]) == min(row.updated for row in rows)
    measured = in_process("stats", "-s", store.url, "--by-bytes", "-o", "json").json
    for histogram in ("by_age", "by_items"):
        assert {key: sum(bucket[key] for bucket in measured[histogram]) for key in totals} == totals
        counted = [{**bucket, "bytes": None} for bucket in measured[histogram]]
        assert stats[histogram] == counted
    ages = {bucket["bucket"]: bucket["sessions"] for bucket in stats["by_age"]}
    assert ages["under 90 days"] + ages["under 1 year"] == len(store.idle_for(BOUNDARY_S))
    largest = sorted((row.octets for row in rows), reverse=True)[:10]
    assert [session["bytes"] for session in measured["top"]] == largest
    longest = sorted((row.items for row in rows), reverse=True)[:10]
    assert [session["items"] for session in stats["top"]] == longest
    by_id = store.rows()
    assert all(session["bytes"] == by_id[session["session_id"]].octets for session in stats["top"])
    assert stats["sample"] == {"items": totals["items"], "complete": True}
    kinds: dict[str, list[int]] = {}
    for messages in store.messages(store.rows()).values():
        for _key, text, octets, _at in messages:
            kind = kinds.setdefault(json.loads(text).get("type", "message"), [0, 0])
            kind[0] += 1
            kind[1] += octets
    assert {kind["type"]: [kind["items"], kind["bytes"]] for kind in stats["by_type"]} == kinds


def inspect_shows_the_items_in_their_turns(store: LoadedStore) -> None:
    rows = store.rows()
    present = [transcript for session_id, transcript in store.transcripts.items() if session_id in rows]
    longest = max(present, key=lambda transcript: len(transcript.items))
    chosen = {t.session_id: t for t in [*present[:: len(present) // 9], longest]}
    assert len(chosen) >= 10
    assert {t.items[0].get("role") == "user" for t in chosen.values()} == {True, False}
    stored = store.messages(chosen)
    for session_id, transcript in chosen.items():
        ran = in_process("inspect", session_id, "-s", store.url, "-o", "json")
        assert ran.status == 0
        shown = ran.json
        items = [item for turn in shown["turns"] for item in turn["items"]]
        assert [item["data"] for item in items][: len(transcript.items)] == transcript.items
        assert [(i["id"], i["data"], i["bytes"], seconds(i["created_at"])) for i in items] == [
            (key, json.loads(text), octets, float(at)) for key, text, octets, at in stored[session_id]
        ]
        assert [(turn["index"], len(turn["items"])) for turn in shown["turns"]] == numbered(
            [item["data"] for item in items]
        )
        assert [turn["started_at"] for turn in shown["turns"]] == [
            turn["items"][0]["created_at"] for turn in shown["turns"]
        ]
        assert (shown["session"]["items"], shown["session"]["session_id"]) == (len(items), session_id)
        assert shown["verdict"]["acceptable"] is True
        assert {defect["position"] for defect in shown["verdict"]["defects"]} == reused_calls(transcript.items)


def numbered(items: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """(number, items) of each turn: user items in a row begin one, what stands before the first is turn 0."""
    is_user = [item.get("role") == "user" for item in items]
    begins = [here and not (before and here) for before, here in zip([False, *is_user], is_user, strict=False)]
    counts: dict[int, int] = {}
    number = 0
    for begin in begins:
        number += begin
        counts[number] = counts.get(number, 0) + 1
    return sorted(counts.items())


def reused_calls(items: list[dict[str, Any]]) -> set[int]:
    """Positions of calls whose id was used before: some of the models did that."""
    calls = [(n, item["call_id"]) for n, item in enumerate(items) if item.get("type") == "function_call"]
    first = {call_id: n for n, call_id in reversed(calls)}
    return {n for n, call_id in calls if first[call_id] != n}


def purge_removes_exactly_what_is_stale(store: LoadedStore) -> None:
    before = store.rows()
    doomed = store.idle_for(BOUNDARY_S)
    kept = set(before) - doomed
    assert len(doomed) >= 20
    assert len(kept) >= 10
    assert store.idle_for(BOUNDARY_S - 600) == doomed == store.idle_for(BOUNDARY_S + 60)  # the clock moves on
    texts = store.messages(kept)
    generations = _generations(store)

    ran = sessionctl("purge", "-s", store.url, "--older-than", "30d", "--max-share", "1.0", "--yes", "-o", "json")

    assert ran.status == 0, ran.said
    report = ran.json
    sums = {
        "sessions": len(doomed),
        "items": sum(before[session_id].items for session_id in doomed),
        "bytes": sum(before[session_id].octets for session_id in doomed),
    }
    assert (report["matched"], report["removed"]) == (sums, sums)
    assert report["skipped"] == {"active": 0, "held": 0, "changed": 0, "failed": 0, "missing": 0}
    assert (report["remaining"], report["stopped"], report["dry_run"]) == ({"sessions": 0}, "done", False)
    after = store.rows()
    assert after == {session_id: before[session_id] for session_id in kept}
    assert store.messages(kept) == texts
    _assert_nothing_hangs_loose(store, doomed, generations)
    for session_id in kept:
        assert store.case.read(session_id) == store.transcripts[session_id].items

    survivor, gone = (min(some, key=lambda s: (before[s].items, s)) for some in (kept, doomed))
    for transcript, old in (
        (store.transcripts[survivor], store.transcripts[survivor].items),
        (store.transcripts[gone], []),
    ):
        _run_an_agent(store, transcript, old)
    again = in_process("purge", "-s", store.url, "--older-than", "30d", "--max-share", "1.0", "--yes", "-o", "json")
    assert again.json["matched"] == {"sessions": 0, "items": 0, "bytes": 0}


def _generations(store: LoadedStore) -> dict[str, int]:
    """AdvancedSQLiteSession's, by which an application notices that its session is gone."""
    if "session_clear_generations" not in store.case._tables:
        return {}
    return dict(store.case.execute("SELECT session_id, generation FROM session_clear_generations"))


def _assert_nothing_hangs_loose(store: LoadedStore, doomed: set[str], generations: dict[str, int]) -> None:
    for table in set(store.case._tables) - {"agent_sessions"} - store.case.residue:
        assert store.count(f"{table} WHERE session_id NOT IN (SELECT session_id FROM agent_sessions)") == 0, table
    if "message_structure" in store.case._tables:
        assert store.count("message_structure WHERE message_id NOT IN (SELECT id FROM agent_messages)") == 0
        bumped = {session_id: n + (session_id in doomed) for session_id, n in generations.items()}
        assert _generations(store) == dict.fromkeys(doomed, 1) | bumped


def _run_an_agent(store: LoadedStore, transcript: Transcript, old: list[dict[str, Any]]) -> None:
    """A run with a tool call: the model is given what was stored and the new input, and all of it is stored behind."""
    from acceptance.scripted_model import ANSWER, QUESTION, run_agent

    given, output = store.case._runner.run(run_agent(store.case, transcript.session_id))
    question = {"role": "user", "content": QUESTION}
    assert given == [*old, question]
    assert output == ANSWER
    now = store.case.read(transcript.session_id)
    assert now[: len(old) + 1] == [*old, question]
    new = now[len(old) + 1 :]
    assert [item.get("type") for item in new] == ["function_call", "function_call_output", "message"]
    assert new[1]["output"] == "rain in Oslo"
    assert new[2]["content"][0]["text"] == ANSWER
