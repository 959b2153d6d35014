"""The archive commands: what is inside, is it sound, one transcript, and removal of nothing but old archives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from archives import archive, header, item, run_archive, session

from sessionctl.archive.codecs import Compression
from sessionctl.archive.writer import create_archive
from sessionctl.cli.app import run

HOSTILE = "\x1b]0;owned\x07\u202e"


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    status = run([*arguments, "-o", "json"])
    return status, json.loads(capsys.readouterr().out)


def test_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_archive(tmp_path, "r1", segments=2)
    status, told = as_json(capsys, "archive", "list", str(tmp_path))
    assert status == 0
    first, second = told["archives"]
    assert first["archive"] == str(tmp_path / "r1" / "000001.jsonl.zst")
    assert (first["sessions"], first["items"], first["segment"], second["segment"]) == (3, 5, 1, 2)
    assert first["store"] == "postgresql://app:***@db/agents"
    assert first["size"] == (tmp_path / "r1" / "000001.jsonl.zst").stat().st_size
    assert (first["run_id"], first["command"], first["complete"]) == ("r1", "purge", True)
    assert run(["archive", "list", str(tmp_path / "r1"), str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert "000001.jsonl.zst" in lines[1]


@pytest.mark.parametrize("compression", Compression)
def test_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str], compression: Compression) -> None:
    sound, damaged = tmp_path / "sound", tmp_path / "damaged"
    sealed = archive(sound, compression=compression)
    raw = bytearray(sound.read_bytes())
    raw[len(raw) // 2] ^= 4
    damaged.write_bytes(raw)
    status, told = as_json(capsys, "archive", "verify", str(sound))
    assert status == 0
    assert (told["archives"][0]["sound"], told["archives"][0]["sha256"]) == (True, sealed.sha256)
    assert run(["archive", "verify", str(damaged), str(sound)]) == 1
    out, err = capsys.readouterr()
    assert f"{damaged}, " in err
    assert "line" in err
    assert [("DAMAGED" in line, "sound" in line) for line in out.splitlines()[1:]] == [(True, False), (False, True)]
    status, told = as_json(capsys, "archive", "verify", str(damaged))
    assert status == 1
    assert told["archives"][0]["error"]["code"] == "archive_damaged"


def test_list_tells_a_truncated_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive(tmp_path / "a")
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:-30])
    status, told = as_json(capsys, "archive", "list", str(tmp_path / "a"))
    assert (status, told["archives"][0]["complete"]) == (1, False)


@pytest.mark.parametrize("command", ["list", "verify", "show"])
def test_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    for missing in (tmp_path, tmp_path / "nowhere"):
        assert run(["archive", command, str(missing), *(["id"] if command == "show" else [])]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: there is no ")


class TestShow:
    def test_as_inspect_shows_it(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        archive(tmp_path / "a")
        assert run(["archive", "show", str(tmp_path / "a"), "user-1:help"]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith("user-1:help\nstore     postgresql://app:***@db/agents, archived 2026-11-23T12:00:00Z")
        assert "héllo" in shown
        assert "size      3 items, " in shown
        status, told = as_json(capsys, "archive", "show", str(tmp_path / "a"), "user-1:help")
        assert status == 0
        (turn,) = told["turns"]
        assert [entry["id"] for entry in turn["items"]] == [1, 2, 5]
        assert turn["items"][0]["created_at"] == "2026-01-01T10:00:00Z"
        assert told["session"]["items"] == 3
        assert told["session"]["updated_at"] == "2026-01-02T10:00:00Z"

    def test_the_stored_texts(self, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        archive(tmp_path / "a")
        assert run(["archive", "show", str(tmp_path / "a"), "user-2", "--raw"]) == 0
        assert capfdbinary.readouterr().out == b'{"n":1}\n\xff\n'

    def test_of_several_files_the_one_that_has_it(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run_archive(tmp_path, "r1", segments=2)
        assert run(["archive", "show", str(tmp_path), "user-2-2"]) == 0
        assert capsys.readouterr().out.startswith("user-2-2\n")
        assert run(["archive", "show", str(tmp_path), "nobody"]) == 1
        assert "no session 'nobody'" in capsys.readouterr().err
        run_archive(tmp_path, "r2")
        assert run(["archive", "show", str(tmp_path), "user-2"]) == 2
        assert "is in 2 of these archives" in capsys.readouterr().err

    def test_nothing_of_a_damaged_session(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        archive(tmp_path / "a", compression="none")
        (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes().replace("héllo".encode(), "hällo".encode()))
        assert run(["archive", "show", str(tmp_path / "a"), "user-1:help"]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert f"{tmp_path / 'a'}, line 6: " in err

    def test_hostile_text_stays_text(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        name = f"id{HOSTILE}"
        path = tmp_path / "a"
        with create_archive(str(path), header(store=HOSTILE, run_id=HOSTILE, reason=HOSTILE)) as writer:
            writer.add(session(name), [item(1, json.dumps({"role": "user", "content": HOSTILE}), HOSTILE)])
            writer.seal()
        for arguments in (["show", str(path), name], ["list", str(path), "-o", "wide"], ["verify", str(path)]):
            assert run(["archive", *arguments]) == 0
            out, err = capsys.readouterr()
            assert not {"\x1b", "\x07", "\u202e"} & set(out + err)
