"""trim --summarize and --compact as options, plans, questions and settings; nothing here asks a model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pexpect
import pytest
from operating import DAY, Ran, age, in_process, on_terminal, write_sessions

from sessionctl.testing.case import turn

NOWHERE = "http://127.0.0.1:9/v1"  # nobody is there, and nobody is asked
LONG: list[dict[str, Any]] = [item for number in range(10) for item in turn(number)]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = write_sessions(tmp_path / "store.db", {"day": LONG, "two days": LONG, "short": LONG[:4]})
    age(path, {"day": DAY, "two days": 2 * DAY, "short": 3 * DAY})
    return path


@pytest.fixture
def config(home: Path) -> Path:
    path = home / ".config" / "sessionctl" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(f'[summarize]\nmodel = "small"\nbase_url = "{NOWHERE}"\nmax_tokens = 300\n', encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def trim(store: Path, *arguments: str | Path) -> Ran:
    return in_process("trim", "-s", store, *arguments)


WANTED = ("--all", "--keep-turns", "3", "--summarize")


class TestDryRun:
    @pytest.mark.usefixtures("config")
    def test_says_what_leaves_the_house(self, store: Path) -> None:
        before = store.read_bytes()
        said = trim(store, *WANTED, "-n").text
        assert f"leaves      in the place of what goes, a summary of it by small at {NOWHERE}" in said
        assert re.search(r"^  sends       [\d.]+ KiB of text, ~[\d,]+ tokens$", said, re.MULTILINE)
        assert f"              to small at {NOWHERE}" in said
        assert "              and gets 600 tokens back at most" in said
        assert store.read_bytes() == before

    @pytest.mark.usefixtures("config")
    def test_json(self, store: Path) -> None:
        plan = trim(store, *WANTED, "-n", "-o", "json").json["plan"]
        told = plan["condensing"]
        assert (told["kind"], told["model"], told["base_url"]) == ("summary", "small", NOWHERE)
        assert told["sent"]["sessions"] == 2
        assert told["tokens"]["output_at_most"] == 600
        assert told["tokens"]["estimate"] is True
        assert told["tokens"]["input"] > told["sent"]["bytes"] / 10

    def test_of_a_compaction(self, store: Path) -> None:
        said = trim(store, "--all", "--keep-turns", "3", "--compact", "--model", "gpt-5.4", "-n").text
        assert "a compaction of it by gpt-5.4 at https://api.openai.com/v1" in said
        assert "back at most" not in said

    @pytest.mark.usefixtures("config")
    def test_of_no_more_than_will_be_done(self, store: Path) -> None:
        plan = trim(store, *WANTED, "--max-sessions", "1", "-n", "-o", "json").json["plan"]
        assert (plan["condensing"]["sent"]["sessions"], plan["condensing"]["tokens"]["output_at_most"]) == (1, 300)


@pytest.mark.usefixtures("config")
def test_the_question_says_who_gets_the_texts(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    child = on_terminal("trim", "-s", store, "--id", "day", "--keep-turns", "4", "--summarize", columns=300)
    child.expect(
        r"Send 24 items from 1 session to small at http://127.0.0.1:9/v1, leave a summary in their place, "
        r"in .*store.db\? This cannot be undone. \[y/N\] "
    )
    child.sendline("n")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--keep-turns", "3", "--summarize"], "no model is named"),
        (["--keep-turns", "3", "--summarize", "--compact", "--model", "m"], "exclude each other"),
        (["--elide-tool-output", "1KiB", "--summarize", "--model", "m"], "needs a limit"),
        (["--drop-after", "2026-01-01", "--summarize", "--model", "m"], "needs a limit"),
        (["--keep-turns", "3", "--model", "m"], "--model goes with --summarize or --compact"),
        (["--keep-turns", "3", "--compact", "--summary-tokens", "9"], "--summary-tokens goes with --summarize"),
        (["--keep-turns", "3", "--summarize", "--model", "m"], "the key for https://api.openai.com/v1 is not set"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_refused_before_anything_is_read(store: Path, arguments: list[str], why: str) -> None:
    before = store.read_bytes()
    done = trim(store, "--all", *arguments, "--yes")
    assert (done.status, done.out) == (2, b""), done.said
    assert why in " ".join(done.said.split())
    assert store.read_bytes() == before


def test_a_key_that_is_named_must_be_there(store: Path, config: Path) -> None:
    config.write_text(config.read_text(encoding="utf-8") + 'api_key_env = "HOUSE_KEY"\n', encoding="utf-8")
    done = trim(store, *WANTED, "--yes")
    assert (done.status, f"the key for {NOWHERE} is not set: $HOUSE_KEY" in " ".join(done.said.split())) == (2, True)
    assert trim(store, *WANTED, "-n").status == 0


class TestSettings:
    def test_flags_come_before_variables_and_these_before_the_file(
        self, store: Path, config: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        del config
        monkeypatch.setenv("SESSIONCTL_SUMMARIZE_MODEL", "middle")
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:10/v1")
        told = trim(store, *WANTED, "-n", "-o", "json").json["plan"]["condensing"]
        assert (told["model"], told["base_url"]) == ("middle", NOWHERE)
        told = trim(store, *WANTED, "--model", "large", "-n", "-o", "json").json["plan"]["condensing"]
        assert told["model"] == "large"
        shown = in_process("config", "show").text
        assert re.search(r"summarize.model +middle +\$SESSIONCTL_SUMMARIZE_MODEL", shown)
        assert re.search(r"summarize.max_tokens +300 ", shown)

    def test_the_address_that_the_sdk_uses(self, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:10/v1")
        told = trim(store, *WANTED, "--model", "m", "-n", "-o", "json").json["plan"]["condensing"]
        assert told["base_url"] == "http://127.0.0.1:10/v1"
        monkeypatch.setenv("OPENAI_BASE_URL", "http://me:secret@127.0.0.1:10/v1")
        done = trim(store, *WANTED, "--model", "m", "-n")
        assert (done.status, "$OPENAI_BASE_URL holds more than an address" in done.said) == (2, True)
        assert "secret" not in done.said

    @pytest.mark.parametrize(
        ("line", "why"),
        [
            ('modle = "m"', "did you mean model?"),
            ("max_tokens = 0", "max_tokens of summarize"),
            ("concurrency = 99", "must be at most 32"),
            ('timeout = "soon"', "timeout of summarize"),
            ('base_url = "ftp://x"', "is no http or https URL"),
            ('base_url = "https://me:secret@x/v1"', "holds more than an address"),
            ('prompt = " "', "is empty"),
        ],
    )
    def test_what_cannot_be(self, store: Path, home: Path, line: str, why: str) -> None:
        path = home / ".config" / "sessionctl" / "config.toml"
        path.parent.mkdir(parents=True)
        path.write_text(f"[summarize]\n{line}\n", encoding="utf-8")
        done = trim(store, *WANTED, "--model", "m", "-n")
        assert done.status == 2
        assert why in " ".join(done.said.split())
        assert "secret" not in done.said

    def test_a_variable_that_is_no_number(self, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SESSIONCTL_SUMMARIZE_MAX_TOKENS", "many")
        done = trim(store, *WANTED, "--model", "m", "-n")
        assert (done.status, "must be a number, not 'many'" in done.said) == (2, True)
