"""doctor: what the SDK writes wrong, or finds wrong, is named in every kind of store, and nothing where all is well."""

from __future__ import annotations

import asyncio
import base64
import json
import shlex
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from acceptance.strict_model import refusal
from agents.extensions.memory import AdvancedSQLiteSession, EncryptedSession
from agents.memory import SQLiteSession
from mysql_tables import create_mysql_tables
from operating import in_process, store_of, write_sessions
from sdk_cases import CASES, CaseMaker, PostgresCase, SdkCase, SqliteCase, made
from servers import mysql_connect, postgres_connect

from sessionctl.core.finding import CLASSES, Severity
from sessionctl.core.history import FATAL, HARMLESS
from sessionctl.core.selector import Query, Selector
from sessionctl.operations.doctor import diagnose
from sessionctl.testing.case import turn, user

SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": []}
ASKED = {"type": "mcp_approval_request", "id": "ap", "name": "f", "server_label": "s", "arguments": "{}"}
ANSWERED = {"type": "mcp_approval_response", "approval_request_id": "ap", "approve": True}
PROGRAM = {"type": "program", "id": "p", "call_id": "p", "code": "1", "fingerprint": "x"}
CALLER = {"caller": {"type": "program", "caller_id": "p"}}
SHELL = {"type": "shell_call", "call_id": "s", "action": {"commands": ["ls"]}, "status": "completed"}


def call(call_id: str, arguments: str = "{}") -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": arguments}


def output(call_id: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": "ok"}


DEFECTS: dict[str, tuple[set[str], list[dict[str, Any]]]] = {
    "orphan call": ({"orphan_call"}, [user("a"), THOUGHT, call("a"), user("b"), SAID]),
    "orphan output": ({"orphan_output"}, [output("a"), user("a"), SAID]),
    "reasoning cut": ({"reasoning_without_item"}, [user("a"), THOUGHT, user("b"), SAID]),
    "reasoning at the end": ({"reasoning_without_item"}, [user("a"), SAID, THOUGHT]),
    "one of two": ({"orphan_call"}, [user("a"), call("a"), call("b"), output("a"), user("b"), SAID]),
    "asked": ({"approval_without_response"}, [user("a"), ASKED, user("b"), SAID]),
    "answered": ({"response_without_approval"}, [user("a"), ANSWERED, user("b"), SAID]),
    "output first": ({"output_before_call"}, [user("a"), output("a"), call("a"), SAID]),
    "twice": ({"reused_call_id"}, [*turn(1), *turn(1)[:3]]),
    "program": ({"orphan_call"}, [user("a"), PROGRAM, call("c") | CALLER,
                                  output("c") | CALLER, user("b"), SAID]),
    "shell": ({"orphan_call"}, [user("a"), SHELL, user("b"), SAID]),
    "sound": (set(), [user("a"), THOUGHT, call("a"), output("a"), SAID, *turn(2)]),
    "pending": (set(), [user("a"), THOUGHT, call("a")]),
}  # fmt: skip
"""The defects of a stored history, by the table of what the SDK repairs and what not; and two without any."""


@pytest.fixture(params=CASES, ids=lambda maker: maker.name)
def case(request: pytest.FixtureRequest) -> Iterator[SdkCase]:
    maker: CaseMaker = request.param
    with made(maker, request) as case:
        yield case


def found(*arguments: str | Path) -> dict[str, dict[str, Any]]:
    """The findings by class; the exit status must go with them."""
    done = in_process("doctor", *arguments, "-o", "json")
    findings = done.json["findings"]
    assert done.status == (6 if any(each["severity"] != "note" for each in findings) else 0), done.said
    assert [set(each) >= {"class", "severity", "count", "examples", "fix"} for each in findings].count(False) == 0
    return {each["class"]: each for each in findings}


# -- histories ------------------------------------------------------------------------------------------


def test_every_defect_that_the_sdk_writes_is_named(case: SdkCase) -> None:
    for name, (_, items) in DEFECTS.items():
        case.write(name, items)
    case.put_raw("sound", '{"role": "user", "content": "cut of')
    case.put_raw("shell", "[1, 2]")
    expected: dict[str, set[str]] = {"unreadable": {"sound"}, "not_an_object": {"shell"}}
    if case.flavour == "AdvancedSQLiteSession":  # it shows no row without structure
        del expected["not_an_object"]
    for name, (kinds, _) in DEFECTS.items():
        for kind in kinds:
            expected.setdefault(kind, set()).add(name)
    with case.open() as store:
        whole = {each.kind: each for each in diagnose(store, Selector()).findings if each.kind in FATAL | HARMLESS}
        sound = diagnose(store, Selector(named=("pending", "nobody"), named_given=True))
    assert {kind: set(each.examples) for kind, each in whole.items()} == expected
    assert whole["orphan_call"].count == 4
    assert sound.sessions == 1
    assert not [each for each in sound.findings if each.kind in FATAL | HARMLESS]


def test_what_is_mended_the_model_takes_and_undo_brings_back(case: SdkCase, tmp_path: Path) -> None:
    for name, (_, items) in DEFECTS.items():
        case.write(name, items)
        case.stamp(name, updated_at=datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=2))
    before = {name: case.texts(name) for name in DEFECTS}
    where = str(case.path) if isinstance(case, SqliteCase) else case.url
    kinds = sorted(set().union(*(kinds for kinds, _ in DEFECTS.values())))
    fix = [part for kind in kinds for part in ("--fix", kind)]
    assert in_process("doctor", *fix, "-s", where, "--dry-run", "-o", "json").json["dry_run"] is True
    assert {name: case.texts(name) for name in DEFECTS} == before
    done = in_process("doctor", *fix, "-s", where, "--archive", tmp_path / "archive", "--yes", "-o", "json")
    assert done.status == 0, done.said
    broken = {name for name, (wrong, _) in DEFECTS.items() if wrong}
    assert done.json["changed"]["sessions"] == len(broken)
    after = {name: case.texts(name) for name in DEFECTS}
    assert {name for name in DEFECTS if after[name] != before[name]} == broken
    assert all(set(after[name]) <= set(before[name]) for name in DEFECTS)
    with case.open() as store:
        assert not [each.kind for each in diagnose(store, Selector()).findings if each.kind in FATAL | HARMLESS]
    assert [name for name in DEFECTS if name != "pending" and refusal(case.read(name))] == []
    undone = in_process("undo", done.json["run_id"], "--yes", "-s", where, "-o", "json")
    assert undone.status == 0, undone.said
    assert {name: case.texts(name) for name in DEFECTS} == before


def test_an_active_session_is_not_mended_and_the_words_for_what_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    write_sessions(path, {"busy": DEFECTS["orphan output"][1]})
    done = in_process("doctor", "--fix", "orphan_output", "-s", path, "--yes", "--no-archive", "-o", "json")
    assert (done.status, done.json["skipped"]["active"], done.json["changed"]["sessions"]) == (0, 1, 0)
    now = ("--id", "busy", "--min-idle", "0")
    assert in_process("doctor", "--fix", "orphan_output", "-s", path, "--yes", *now).status == 0
    assert set(found("-s", path)) == {"open_permissions"}
    for given, words in (
        (("--fix", "missing_index"), "--fix mends histories"),
        (("--fix", "orphan_outputs"), "did you mean orphan_output?"),
        (("--yes",), "without --fix"),
        (("--fix", "orphan_output", "--min-idle", "0"), "--min-idle 0 needs"),
    ):
        refused = in_process("doctor", *given, "-s", path)
        assert (refused.status, words in refused.said) == (2, True), refused.said


def test_of_encrypted_sessions_expired_and_plain_items_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, ids = tmp_path / "store.db", tmp_path / "ids"
    ids.write_text("old\nmixed\n")

    async def write() -> None:
        for name, lifetime in (("old", 600), ("mixed", 600)):
            inner = SQLiteSession(name, path)
            session = EncryptedSession(session_id=name, underlying_session=inner, encryption_key="k", ttl=lifetime)
            await session.add_items([user("secret"), *turn(1)])
            if name == "mixed":
                await inner.add_items([user("plain")])
            inner.close()

    asyncio.run(write())
    assert {kind for kind, each in found("-s", path).items() if each["examples"]} == {"plain_among_encrypted"}
    with closing(sqlite3.connect(path)) as db, db:
        ((key, envelope),) = db.execute("SELECT id, message_data FROM agent_messages ORDER BY id LIMIT 1").fetchall()
        aged = json.loads(envelope)
        token = bytearray(base64.urlsafe_b64decode(aged["payload"]))
        token[1:9] = int(datetime.now(UTC).timestamp() - 3600).to_bytes(8)
        aged["payload"] = base64.urlsafe_b64encode(token).decode()
        db.execute("UPDATE agent_messages SET message_data = ? WHERE id = ?", (json.dumps(aged), key))
    expired = found("-s", path)["expired_rows"]
    assert (expired["count"], expired["examples"]) == (1, ["old"])
    assert "expired_rows" not in found("-s", path, "--ttl", "2h")
    monkeypatch.setenv("RIGHT", "k")
    monkeypatch.setenv("WRONG", "another")
    assert "wrong_key" not in found("-s", path, "--key-env", "RIGHT", "--id", "mixed")
    wrong = found("-s", path, "--key-env", "WRONG")["wrong_key"]
    assert (wrong["count"], wrong["examples"], wrong["severity"]) == (10, ["old", "mixed"], "error")
    assert in_process("doctor", "-s", path, "--key-env", "NOWHERE").status == 2
    for finding in found("-s", path).values():
        if finding["class"] in ("expired_rows", "plain_among_encrypted"):
            pasted = shlex.split(finding["fix"])[1:]
            mended = in_process(*pasted, "--yes", "--no-archive", "--min-idle", "0", "--ids-from", ids)
            assert mended.status == 0, mended.said
    assert not found("-s", path).keys() & {"expired_rows", "plain_among_encrypted"}
    assert in_process("doctor", "--fix", "expired_rows", "-s", path).status == 2


def test_envelopes_of_another_key_id_in_one_session(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    sealed = {"__enc__": 1, "v": 1, "payload": base64.urlsafe_b64encode(b"\x80" + bytes(8)).decode()}
    write_sessions(path, {"a": [sealed | {"kid": "old"}] * 2 + [sealed | {"kid": "hkdf-v1"}],
                          "b": [sealed | {"kid": "hkdf-v1"}]})  # fmt: skip
    mixed = found("-s", path)["mixed_envelopes"]
    assert (mixed["count"], mixed["examples"]) == (2, ["a"])


def test_references_that_the_server_forgot(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    kept = THOUGHT | {"encrypted_content": "gAAA"}
    write_sessions(path, {"id": [user("a"), THOUGHT, SAID], "text": [user("a"), kept, SAID],
                          "reference": [user("a"), {"type": "item_reference", "id": "msg_1"}]})  # fmt: skip
    assert "dead_reference" not in found("-s", path)
    live = found("-s", path)["server_reference"]
    assert (live["severity"], set(live["examples"])) == ("note", {"id", "reference"})
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE agent_messages SET created_at = datetime('now', '-31 days')")
    dead = found("-s", path)["dead_reference"]
    assert set(dead["examples"]) == {"id", "reference"}
    mended = in_process(*shlex.split(dead["fix"])[1:], "--yes", "--no-archive", "--id", "id", "--id", "reference",
                        "--min-idle", "0", "-o", "json")  # fmt: skip
    assert (mended.status, mended.json["removed"]["items"]) == (0, 2), mended.said
    assert "dead_reference" not in found("-s", path)
    with closing(sqlite3.connect(path)) as db:
        left = [json.loads(text) for (text,) in db.execute("SELECT message_data FROM agent_messages ORDER BY id")]
    assert left == [user("a"), SAID, user("a"), kept, SAID, user("a")]


# -- stores ---------------------------------------------------------------------------------------------


def test_rows_that_do_not_belong_together(case: SdkCase) -> None:
    for name in ("whole", "orphaned", "emptied"):
        case.write(name, turn(1))
    case.execute("DELETE FROM agent_messages WHERE session_id = ?", "emptied")
    expected = {"empty_session": (1, ("emptied",))}
    case.execute("DELETE FROM agent_sessions WHERE session_id = ?", "orphaned")  # a foreign key takes its items along
    if "agent_messages" in case.remains("orphaned"):
        expected["orphan_items"] = (4, ("orphaned",))
    if case.flavour == "AdvancedSQLiteSession":
        expected["dangling_structure"] = (4, ("emptied",))
        expected["stale_generations"] = (1, ("orphaned",))
    with case.open() as store:
        rows = {each.kind: (each.count, each.examples) for each in store.findings(Query()) if each.examples}
        chosen = [each for each in store.findings(Query(named=frozenset({"whole"}))) if each.examples]
        statements = [each.fix for each in store.findings(Query()) if each.kind in expected and each.fix]
    assert rows == expected
    assert chosen == []
    for statement in statements:
        case.execute(statement)
    with case.open() as store:
        assert [each.kind for each in store.findings(Query()) if each.examples] == ["empty_session"]
    assert case.read("whole") == turn(1)


def test_an_advanced_session_opened_on_plain_rows(tmp_path: Path) -> None:
    """Its next pop would delete all of them."""
    case = SqliteCase(tmp_path / "store", "SQLiteSession")
    case.write("mine", turn(1))
    case.close()
    AdvancedSQLiteSession(session_id="mine", db_path=case.path, create_tables=True).close()
    hidden = found("-s", case.path)["unstructured_items"]
    assert (hidden["severity"], hidden["count"], hidden["examples"]) == ("error", 4, ["mine"])
    said = [*turn(1), user("more"), SHELL | {"id": "sh"}, {"role": "developer", "content": "short"}]
    plain, advanced = (SqliteCase(tmp_path / name, kind) for name, kind in
                       (("plain", "SQLiteSession"), ("advanced", "AdvancedSQLiteSession")))  # fmt: skip
    for each in (plain, advanced):
        each.write("mine", said)
    plain.put_raw("mine", '{"role": "user", "conte')
    AdvancedSQLiteSession(session_id="mine", db_path=plain.path, create_tables=True).close()
    plain.execute(found("-s", plain.path)["unstructured_items"]["fix"])
    opened = AdvancedSQLiteSession(session_id="mine", db_path=plain.path, create_tables=True)
    assert asyncio.run(opened.get_items()) == said
    opened.close()
    told = "SELECT message_type, sequence_number, user_turn_number, branch_turn_number FROM message_structure"
    assert plain.execute(f"{told} WHERE sequence_number < 8") == advanced.execute(told)
    assert "unstructured_items" not in found("-s", plain.path)
    plain.close()
    advanced.close()


def test_indexes_are_mended_by_the_statement_that_is_told(tmp_path: Path) -> None:
    path = store_of(tmp_path / "store.db", {"a": 0})
    name = "idx_agent_messages_session_id"
    for made_so, kind in (
        (f"CREATE INDEX {name} ON agent_messages (session_id, created_at)", "legacy_index"),
        ("CREATE INDEX other ON agent_messages (created_at)", "missing_index"),
    ):
        with closing(sqlite3.connect(path)) as db:
            db.executescript(f"DROP INDEX {name}; {made_so}")
        finding = found("-s", path, "--newer-than", "10m")[kind]
        with closing(sqlite3.connect(path)) as db:
            db.executescript(finding["fix"])
        assert kind not in found("-s", path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE INDEX idx_agent_messages_session_time ON agent_messages (session_id, created_at)")
    assert "mixed_layouts" in found("-s", path)


def test_space_and_permissions_of_a_file(tmp_path: Path) -> None:
    path = store_of(tmp_path / "store.db", {"a": 0})
    path.chmod(0o640)
    assert found("-s", path) == {}
    assert "nothing found" in in_process("doctor", "-s", path).text
    with closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TABLE gone (x); INSERT INTO gone VALUES (zeroblob(70000000))")
        path.chmod(0o644)
        assert set(found("-s", path)) == {"large_log", "open_permissions"}
        db.executescript("DROP TABLE gone; PRAGMA wal_checkpoint(TRUNCATE)")
        assert set(found("-s", path)) == {"free_pages", "open_permissions"}


def test_sessions_of_the_future_and_tables_of_others(tmp_path: Path) -> None:
    path = store_of(tmp_path / "store.db", {"a": -86400, "b": 0})
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            "CREATE TABLE notes (session_id TEXT REFERENCES agent_sessions (session_id));"
            "ALTER TABLE agent_sessions ADD COLUMN owner TEXT"
        )
    findings = found("-s", path)
    assert findings["future_stamps"]["count"] == 1
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(findings["future_stamps"]["fix"])
    assert "future_stamps" not in found("-s", path)
    assert "notes" in findings["foreign_rows"]["says"]
    assert "owner" in findings["unknown_layout"]["says"]
    assert "old_sdk" not in findings


def test_a_copy_that_the_agent_no_longer_writes_to_is_younger_than_its_sessions(tmp_path: Path) -> None:
    path = store_of(tmp_path / "store.db", {"a": 7200, "b": 86400})
    path.chmod(0o600)
    young = found("-s", path)["young_store"]
    assert (young["severity"], young["count"]) == ("note", 2)
    assert "young_store" not in found("-s", path, "--id", "a")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE agent_sessions SET updated_at = datetime('now', '-10 seconds') WHERE session_id = 'a'")
    assert found("-s", path) == {}


def test_what_lies_in_the_log_and_an_older_journal(tmp_path: Path) -> None:
    path = store_of(tmp_path / "store.db", {"a": 0})
    path.chmod(0o600)
    with closing(sqlite3.connect(path)) as reader, closing(sqlite3.connect(path)) as writer:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM agent_messages").fetchone()
        writer.executescript("CREATE TABLE big (x); INSERT INTO big VALUES (zeroblob(20000000))")
        for side in tmp_path.iterdir():
            side.chmod(0o600)
        waiting = found("-s", path)["uncheckpointed_pages"]
        assert 4500 < waiting["count"] < 6000
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    older = found("-s", path)["older_release"]
    subprocess.run(older["fix"], shell=True, check=True, capture_output=True)
    assert found("-s", path) == {}


def test_mariadb_tables_made_by_hand(mysql_url: str) -> None:
    create_mysql_tables(mysql_url, text_type="TEXT", collation="utf8mb4_general_ci", foreign_key=None, index=False)
    findings = found("-s", mysql_url)
    assert set(findings) == {"text_cap", "case_insensitive_ids", "missing_index", "no_foreign_key"}
    with closing(mysql_connect(mysql_url)) as connection, connection.cursor() as cursor:
        for kind in findings:
            for statement in findings[kind]["fix"].split("; "):
                cursor.execute(statement)
        assert found("-s", mysql_url) == {}
        cursor.execute("INSERT INTO agent_sessions (session_id) VALUES ('a')")
        cursor.execute("INSERT INTO agent_messages (id, session_id, message_data) VALUES (2000000000, 'a', '{}')")
    assert found("-s", mysql_url)["int4_ids"]["count"] == 2_000_000_000
    assert "local_times" not in found("-s", mysql_url)


def test_mariadb_ids_become_exact_beneath_their_foreign_key(mysql_url: str) -> None:
    create_mysql_tables(mysql_url, collation="utf8mb4_general_ci")
    with closing(mysql_connect(mysql_url)) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO agent_sessions (session_id) VALUES ('a')")
        cursor.execute("INSERT INTO agent_messages (session_id, message_data) VALUES ('a', '{}')")
        for statement in found("-s", mysql_url)["case_insensitive_ids"]["fix"].split("; "):
            cursor.execute(statement)
        assert "case_insensitive_ids" not in found("-s", mysql_url)
        cursor.execute("INSERT INTO agent_sessions (session_id) VALUES ('A')")
        with pytest.raises(Exception, match="foreign key constraint fails"):
            cursor.execute("INSERT INTO agent_messages (session_id, message_data) VALUES ('b', '{}')")
        cursor.execute("DELETE FROM agent_sessions WHERE session_id = 'a'")
        cursor.execute("SELECT count(*) FROM agent_messages")
        assert cursor.fetchall() == ((0,),)


def test_postgresql_in_a_zone_with_summer_time(postgres_url: str) -> None:
    case = PostgresCase(postgres_url)
    case.write("a", turn(1))
    case.execute("DROP INDEX idx_agent_messages_session_time")
    with closing(postgres_connect(postgres_url)) as connection:
        connection.autocommit = True
        findings = found("-s", f"{postgres_url}?timezone=America/New_York")
        assert set(findings) == {"missing_index", "local_times", "future_stamps"}
        connection.execute(findings["missing_index"]["fix"])
        connection.execute("SET TimeZone = 'America/New_York'")
        connection.execute(findings["future_stamps"]["fix"])
    assert "future_stamps" not in found("-s", f"{postgres_url}?timezone=America/New_York")
    assert found("-s", f"{postgres_url}?timezone=UTC") == {}
    case.execute("UPDATE agent_messages SET id = 2000000000 WHERE id = 1")
    findings = found("-s", f"{postgres_url}?timezone=UTC")
    assert findings["int4_ids"]["count"] == 2_000_000_000
    case.execute(findings["int4_ids"]["fix"])
    assert found("-s", f"{postgres_url}?timezone=UTC") == {}
    case.close()


# -- several stores, and the words ----------------------------------------------------------------------


def test_the_same_id_in_two_stores(tmp_path: Path) -> None:
    for name, ids in (("a.db", ("one", "two")), ("b.db", ("two", "three"))):
        store_of(tmp_path / name, dict.fromkeys(ids, 0)).chmod(0o600)
    done = in_process("doctor", "-s", tmp_path, "-o", "json")
    assert done.status == 6
    (both,) = done.json["findings"]
    assert (both["class"], both["count"], both["examples"]) == ("two_stores", 1, ["two"])
    store_of(tmp_path / "c.db", {"two": 0}).chmod(0o600)
    [thrice] = in_process("doctor", "-s", tmp_path, "-o", "json").json["findings"]
    assert (thrice["count"], thrice["examples"]) == (1, ["two"])
    listed = in_process(*shlex.split(thrice["fix"])[1:], "-o", "json").json
    assert [each["session_id"] for each in listed["sessions"]] == ["two", "two"]
    assert [each["findings"] for each in done.json["stores"]] == [[], []]
    assert in_process("doctor", "-s", tmp_path, "--id", "one", "-o", "json").status == 0


def test_notes_alone_are_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    write_sessions(path, {"a": [user("a"), call("x"), user("b")]})
    path.chmod(0o600)
    assert set(found("-s", path)) == {"orphan_call"}  # status 0, as ``found`` checks


def test_the_classes_are_published_and_the_gravest_come_first(tmp_path: Path) -> None:
    help_text = " ".join(in_process("doctor", "--help").text.split())
    assert [kind for kind in CLASSES if kind not in help_text] == []
    path = tmp_path / "store.db"
    write_sessions(path, {"a": DEFECTS["orphan call"][1], "b": DEFECTS["orphan output"][1], "c\x1b[2J": [output("z")]})
    lines = in_process("doctor", "-s", path).text.splitlines()
    classes = [line.split()[1] for line in lines if line.startswith("  ") and not line.startswith("   ")]
    assert classes == ["orphan_output", "orphan_call", "open_permissions", "server_reference"]
    assert "\x1b" not in "".join(lines)
    order = [Severity(each["severity"]) for each in in_process("doctor", "-s", path, "-o", "json").json["findings"]]
    assert order == sorted(order, key=list(Severity).index)
