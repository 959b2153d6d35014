"""archive prune: what is past its time goes, and nothing else; what is held stays, and so does what nobody can tell."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pexpect
import pytest
from archives import SMALL, header, run_archive
from operating import DAY, Ran, in_process, ledger_file, ledger_rows, on_terminal, store_of

from sessionctl.archive.codecs import Compression
from sessionctl.archive.writer import create_archive
from sessionctl.cli.app import run
from sessionctl.ledger import Ledger, begun_at, new_run, new_run_id

OLDER = ("--older-than", "35d")


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_of(tmp_path_factory.mktemp("store") / "store.db", {"user-2": DAY, "mia": 40 * DAY})


@pytest.fixture
def origin(store: Path) -> str:
    """What archives say of the store they came from."""
    return f"sqlite:///{store}"


def prune(*arguments: str | Path) -> int:
    return run(["archive", "prune", *map(str, arguments), *OLDER])


def pruned(*arguments: str | Path) -> Ran:
    return in_process("archive", "prune", *arguments, "--yes", "-o", "json")


def gone(ran: Ran) -> list[str]:
    assert ran.status == 0, ran.said
    return [record["run_id"] for record in ran.json["removed"]]


def settings(home: Path, text: str) -> None:
    path = home / ".config" / "sessionctl" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_old_ones_go_and_young_ones_stay(tmp_path: Path, origin: str, capsys: pytest.CaptureFixture[str]) -> None:
    old, young = (
        run_archive(tmp_path, "old", 40, segments=3, store=origin),
        run_archive(tmp_path, "young", 34, store=origin),
    )
    (old / "000004.jsonl.zst.part").write_bytes(b"what a killed run leaves")
    assert prune(tmp_path, "--dry-run") == 0
    assert "removes     1 archive, " in capsys.readouterr().out
    assert old.exists()
    assert prune(tmp_path, "--yes") == 0
    assert "removed 1 archive, " in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [young]
    assert run(["archive", "verify", str(tmp_path)]) == 0
    capsys.readouterr()
    assert prune(tmp_path, "--yes") == 0


def test_it_asks(tmp_path: Path, origin: str, capsys: pytest.CaptureFixture[str]) -> None:
    old = run_archive(tmp_path, "old", 40, store=origin)
    assert prune(tmp_path) == 2
    assert "--yes" in capsys.readouterr().err
    assert old.exists()


@pytest.mark.parametrize("answer", ["y", "n"])
def test_at_a_terminal(tmp_path: Path, origin: str, answer: str) -> None:
    old = run_archive(tmp_path, "old", 40, store=origin)
    child = on_terminal("archive", "prune", tmp_path, "--older-than", "35d", columns=200)
    child.expect(rb"Remove 1 archive\? .* \[y/N\]")
    child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    assert (child.exitstatus, old.exists()) == ((0, False) if answer == "y" else (2, True))


def test_as_json(tmp_path: Path, origin: str) -> None:
    run_archive(tmp_path, "old", 40, segments=2, store=origin)
    run_archive(tmp_path, "young", store=origin)
    (tmp_path / "notes").mkdir()
    told = pruned(tmp_path, *OLDER).json
    (removed,) = told["removed"]
    assert (removed["run_id"], removed["files"], removed["sessions"]) == ("old", 2, 6)
    assert (told["kept"], [Path(left["directory"]).name for left in told["left_alone"]]) == (1, ["notes"])


def test_nothing_but_archives_is_removed(tmp_path: Path, origin: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever else may lie there, in every disguise."""
    aside = run_archive(tmp_path / "aside", "linked", 40, store=origin)
    place = tmp_path / "place"
    run_archive(place, "mixed", 40, store=origin).joinpath("notes.txt").write_text("mine")
    run_archive(place, "nested", 40, store=origin).joinpath("000002.jsonl.zst").mkdir()
    run_archive(place, "renamed", 40, store=origin).rename(place / "other-name")
    run_archive(place, "truncated-header", 40, store=origin).joinpath("000001.jsonl.zst").write_bytes(b"(\xb5/\xfd")
    run_archive(place, "link-inside", 40, store=origin).joinpath("000002.jsonl.zst").symlink_to(
        aside / "000001.jsonl.zst"
    )
    (place / "linked").symlink_to(aside)
    (place / "empty").mkdir()
    (place / "somebody-elses").mkdir()
    (place / "somebody-elses" / "000001.jsonl.zst").write_bytes(b"no archive")
    (place / "000001.jsonl.zst").write_bytes((aside / "000001.jsonl.zst").read_bytes())
    before = sorted(tmp_path.rglob("*"))
    assert prune(place, "--yes") == 0
    assert sorted(tmp_path.rglob("*")) == before
    told = capsys.readouterr().err
    for name in ("mixed", "nested", "other-name", "truncated-header", "link-inside", "empty", "somebody-elses"):
        assert f"/{name}" in told


class TestHolds:
    def held(self, store: Path, *what: str) -> str:
        added = in_process("hold", "add", "-s", store, "--reason", "complaint 1714", "-o", "json", *what)
        return str(added.json["hold_id"])

    @pytest.mark.parametrize(
        "what", [("--id", "user-2-3"), ("--match", "user-2*"), ("--id", "user-2-3", "--until", "2200-01-01")]
    )
    def test_an_archive_with_a_held_session_stays(
        self, tmp_path: Path, store: Path, origin: str, what: tuple[str, ...]
    ) -> None:
        """In its last file; and goes when the hold is released. Others of the store go."""
        held = run_archive(tmp_path, "held", 40, segments=3, store=origin)
        run_archive(tmp_path, "other", 40, store=f"sqlite:///{store}?sessions_table=agent_sessions")
        hold_id = self.held(store, *what)
        done = pruned(tmp_path, *OLDER)
        assert gone(done) == (["other"] if "--id" in what else [])
        why = {Path(left["directory"]).name: left["why"] for left in done.json["left_alone"]}["held"]
        assert all(part in why for part in ("'user-2", hold_id, "complaint 1714"))
        assert held.exists()
        in_process("hold", "release", "-s", store, hold_id, "--yes")
        assert "held" in gone(pruned(tmp_path, *OLDER))

    def test_holds_that_are_over_or_mean_others(self, tmp_path: Path, store: Path, origin: str) -> None:
        run_archive(tmp_path, "old", 40, store=origin)
        self.held(store, "--id", "mia")
        assert gone(pruned(tmp_path, *OLDER)) == ["old"]

    def test_a_hold_placed_while_it_asks(self, tmp_path: Path, store: Path, origin: str) -> None:
        held, other = (
            run_archive(tmp_path, name, 40, store=origin, segments=n) for n, name in ((2, "held"), (1, "other"))
        )
        child = on_terminal("archive", "prune", tmp_path, *OLDER, columns=200)
        child.expect(rb"Remove 2 archives\? .* \[y/N\]")
        self.held(store, "--id", "user-2-2")
        child.sendline("y")
        child.expect(rb"not removed: .*user-2-2.* is held")
        child.expect(pexpect.EOF)
        child.close()
        assert (child.exitstatus, held.exists(), other.exists()) == (1, True, False)

    def test_a_store_that_cannot_be_asked(self, tmp_path: Path, store: Path, origin: str) -> None:
        run_archive(tmp_path, "away", 40, store="postgresql://app:***@db.invalid/agents")
        run_archive(tmp_path, "lost", 40, store=f"{origin}.lost")
        done = pruned(tmp_path, *OLDER)
        assert gone(done) == []
        away, lost = (left["why"] for left in done.json["left_alone"])
        assert "the settings do not name that store, nor does --store" in away
        assert "no such file" in lost.lower() or "there is no" in lost
        self.held(store, "--match", "*")
        run_archive(tmp_path, "held", 40, store=origin)
        assert gone(pruned(tmp_path, *OLDER, "--allow-unknown-holds")) == ["away", "lost"]

    def test_a_damaged_archive_may_have_a_held_session(self, tmp_path: Path, store: Path, origin: str) -> None:
        path = tmp_path / "old" / "000001.jsonl"
        path.parent.mkdir()
        with create_archive(str(path), header(run_id="old", store=origin), Compression.NONE) as writer:
            for record, items in SMALL:
                writer.add(record, items)
            writer.seal()
        path.write_bytes(path.read_bytes().replace("héllo".encode(), "hällo".encode()))
        hold_id = self.held(store, "--id", "somebody")
        assert gone(done := pruned(tmp_path, "--older-than", "0")) == []
        assert "nobody can tell" in done.json["left_alone"][0]["why"]
        in_process("hold", "release", "-s", store, hold_id, "--yes")
        assert gone(pruned(tmp_path, "--older-than", "0")) == ["old"]


class TestKeep:
    """archive_keep of the settings."""

    @pytest.fixture(autouse=True)
    def two_stores(self, home: Path, tmp_path: Path, store: Path) -> None:
        other = store_of(tmp_path / "other.db", {"a": DAY})
        fleet = tmp_path / "tenants"
        fleet.mkdir()
        store_of(fleet / "one.db", {f"s{n}": n * 10 * DAY for n in range(9)})
        settings(
            home,
            f"""
            default_store = "prod"
            [stores.prod]
            url = "{store}"
            archive = "{tmp_path}/archives"
            archive_keep = "35d"
            [stores.other]
            url = "{other}"
            archive = "{tmp_path}/archives"
            archive_keep = "1y"
            [stores.tenants]
            url = "{fleet}"
            archive = "{tmp_path}/tenants-archives"
            archive_keep = "2d"
            [stores.plain]
            url = "{store}.plain"
        """,
        )

    def test_of_each_store_its_own(self, tmp_path: Path, origin: str) -> None:
        place, theirs = tmp_path / "archives", f"sqlite:///{tmp_path}/other.db"
        for name, days, whose in (("a36", 36, origin), ("a34", 34, origin), ("b36", 36, theirs), ("b400", 400, theirs)):
            run_archive(place, name, days, store=whose)
        run_archive(place, "nobody", 1000, store="sqlite:////no/such.db")
        assert gone(pruned()) == ["a36"]
        assert gone(pruned("-s", "other")) == ["b400"]
        done = pruned(place)
        assert gone(done) == []
        assert [left["why"].partition(": ")[2] for left in done.json["left_alone"]] == [
            "nothing says how long archives of sqlite:////no/such.db are kept"
        ]
        assert gone(pruned("--all-stores", "--older-than", "30d")) == ["a34", "b36"]

    def test_a_store_without_an_archive(self) -> None:
        done = in_process("archive", "prune", "-s", "plain", "--yes")
        assert (done.status, "plain has no archive in the settings" in done.said) == (2, True)

    def test_of_a_fleet(self, tmp_path: Path) -> None:
        """Its settings are those of each member; and a purge says what it leaves to be pruned."""
        one = tmp_path / "tenants" / "one.db"
        run_archive(
            tmp_path / "tenants-archives",
            new_run_id(datetime.now(UTC) - timedelta(days=3)),
            3,
            store=f"sqlite:///{one}",
        )
        done = in_process("purge", "-s", "tenants", "--older-than", "55d", "--yes")
        assert done.status == 0, done.said
        assert f"archive     {tmp_path}/tenants-archives/" in done.text
        assert "past archive_keep of 2d: 1 archive in" in done.said
        assert "archive prune --store tenants" in done.said
        assert len(gone(pruned("-s", "tenants"))) == 1
        assert "past archive_keep" not in in_process("purge", "-s", "tenants", "--older-than", "45d", "--yes").said

    @pytest.mark.parametrize("keep", ["35", "0", "soon"])
    def test_what_is_no_time_to_keep(self, home: Path, store: Path, keep: str) -> None:
        settings(home, f'[stores.prod]\nurl = "{store}"\narchive_keep = "{keep}"\n')
        done = in_process("archive", "prune", "-s", "prod")
        assert (done.status, "archive_keep of store 'prod'" in done.said) == (2, True)


def test_a_run_that_is_under_way_keeps_its_archive(tmp_path: Path, origin: str, home: Path) -> None:
    at = datetime.now(UTC) - timedelta(days=40)
    ledger = Ledger.open(ledger_file(home))
    under_way = replace(new_run("purge", origin, at, {}), heartbeat_at=datetime.now(UTC))
    ledger.begin(under_way)
    run_archive(tmp_path, under_way.run_id, 40, store=origin)
    assert gone(done := pruned(tmp_path, *OLDER)) == []
    assert "its run is still under way" in done.json["left_alone"][0]["why"]
    ledger.finish(under_way.run_id, {}, "done")
    assert gone(pruned(tmp_path, *OLDER)) == [under_way.run_id]


def test_it_is_recorded_and_undo_knows(tmp_path: Path, store: Path, home: Path) -> None:
    purge = in_process("purge", "-s", store, "--id", "mia", "--archive", tmp_path, "--yes", "-o", "json").json
    done = in_process("archive", "prune", tmp_path, "--older-than", "0", "--yes", "--reason", "spring", "-o", "json")
    assert gone(done) == [purge["run_id"]]
    row = ledger_rows(home)[-1]
    assert (row["command"], row["store"], row["reason"], row["stopped"]) == (
        "archive prune",
        purge["store"],
        "spring",
        "done",
    )
    assert done.json["run_ids"] == [row["run_id"]]
    assert json.loads(row["counts"])["pruned"]["sessions"] == 1
    undo = in_process("undo", purge["run_id"], "--yes")
    assert (undo.status, f"was removed by run {row['run_id']}" in undo.said) == (1, True)


def test_run_ids_tell_when_they_began() -> None:
    now = datetime.now(UTC)
    at = begun_at(new_run_id(now))
    assert at is not None
    assert abs(at - now) < timedelta(milliseconds=2)
    assert [begun_at(name) for name in ("", "notes", "z" * 23, "O" * 23)] == [None] * 4
