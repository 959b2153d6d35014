"""Settings: which file, what it may say, which store is meant, and that no secret gets out."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from sessionctl.config import Settings, load, state_dir
from sessionctl.core.limits import LagLimit, Limits
from sessionctl.errors import SessionctlError, StoreMissing, UsageError

SECRET = "s3cr3t"


class Files:
    """A home directory, a settings file and an environment to load from."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.env = {"HOME": str(self.home)}
        self.user_file = self.home / ".config" / "sessionctl" / "config.toml"

    def write(self, text: str, path: Path | None = None) -> Path:
        path = path or self.user_file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return path

    def load(self, text: str | None = None, **env: str) -> Settings:
        if text is not None:
            self.write(text)
        return load(None, {**self.env, **env})

    def refusal(self, text: str, **env: str) -> UsageError:
        with pytest.raises(UsageError) as caught:
            self.load(text, **env)
        assert str(self.user_file) in caught.value.message
        return caught.value


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    monkeypatch.chdir(tmp_path)
    return Files(tmp_path)


# Which file


def test_no_file_is_no_error(files: Files) -> None:
    settings = files.load()
    assert settings.path is None
    assert settings.stores == {}
    assert settings.searched[0] == files.user_file
    assert settings.searched[-1] == Path("/etc/sessionctl/config.toml")


def test_the_first_file_wins(files: Files) -> None:
    flag = files.write('default_store = "sqlite:////flag.db"', files.root / "flag.toml")
    variable = files.write('default_store = "sqlite:////variable.db"', files.root / "variable.toml")
    xdg = files.write('default_store = "sqlite:////xdg.db"', files.root / "xdg" / "sessionctl" / "config.toml")
    files.write('default_store = "sqlite:////home.db"')

    env = {**files.env}
    assert (load(None, env).path, load(None, env).default_store) == (files.user_file, "sqlite:////home.db")
    env["XDG_CONFIG_HOME"] = str(files.root / "xdg")
    assert load(None, env).path == xdg
    env["SESSIONCTL_CONFIG"] = str(variable)
    assert (load(None, env).path, load(None, env).origin) == (variable, "$SESSIONCTL_CONFIG")
    assert (load(flag, env).path, load(flag, env).origin) == (flag, "--config")


def test_a_file_in_the_current_directory_is_not_read(files: Files) -> None:
    for name in ("config.toml", "sessionctl.toml", ".sessionctl.toml", "sessionctl/config.toml"):
        files.write('default_store = "sqlite:////here.db"', files.root / name)
    assert files.load(XDG_CONFIG_HOME=".").path is None


def test_a_named_file_must_be_there(files: Files) -> None:
    with pytest.raises(UsageError, match="no such file") as caught:
        load(files.root / "missing.toml", files.env)
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match="no such file"):
        files.load(SESSIONCTL_CONFIG=str(files.root / "missing.toml"))
    with pytest.raises(UsageError, match="is a directory"):
        load(files.root, files.env)


def test_a_tilde_in_the_name_of_the_file(files: Files) -> None:
    named = files.write("", files.home / "own.toml")
    assert files.load(SESSIONCTL_CONFIG="~/own.toml").path == named


def test_a_home_of_somebody_else_is_warned_about_not_fatal(files: Files) -> None:
    files.write("")
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom sessionctl.config import load\n"
        "import sessionctl.config.file, tomllib\nos.chmod(sys.argv[1], 0)\n"
        "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "settings = load(None, {'HOME': sys.argv[1]})\nprint(settings.path, settings.warnings)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(files.home)], capture_output=True, text=True, check=True, timeout=60
    )
    files.home.chmod(0o755)
    assert done.stdout.startswith("None (")
    assert "permission denied" in done.stdout


# What it may say


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ('defalt_store = "x"', "'defalt_store'", "did you mean default_store?"),
        ('[stores.prod]\nulr = "postgresql://h/d"', "'stores.prod.ulr'", "did you mean url?"),
        (
            '[stores.prod]\nurl = "sqlite:////a.db"\nsession_table = "x"',
            "session_table",
            "did you mean sessions_table?",
        ),
        ('[store.prod]\nurl = "sqlite:////a.db"', "'store'", "did you mean stores?"),
        ("zzz = 1", "'zzz'", "known here: default_store, ledger, limits, stores, summarize"),
    ],
)
def test_an_unknown_key_names_the_nearest(files: Files, text: str, key: str, hint: str) -> None:
    error = files.refusal(text)
    assert error.exit_code == 2
    assert key in error.message
    assert error.hint == hint


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("default_store = 1", "'default_store' in {} must be text, not a whole number"),
        ("stores = 'x'", "'stores' in {} must be a table, not text"),
        ("[stores]\nprod = 'x'", "'stores.prod' in {} must be a table, not text"),
        ("[[stores]]\nurl = 'x'", "'stores' in {} must be a table, not a list"),
        ("[stores.prod]\nurl = 'sqlite:////a.db'\nsdk = 0.19", "'stores.prod.sdk' in {} must be text, not a number"),
        ("[stores.prod.url]\nx = 1", "'stores.prod.url' in {} must be text, not a table"),
        ("[stores.prod]\nurl = true", "'stores.prod.url' in {} must be text, not true or false"),
        ("[stores.prod]\nurl = 2026-01-01", "'stores.prod.url' in {} must be text, not a date"),
        ("[stores.prod]\nsdk = '0.19'", "store 'prod' in {} has no url"),
        ("[stores.prod]\nurl = ''", "url of store 'prod' in {} is empty"),
        ("[stores.prod]\nurl = 'sqlite:////a'\nurl_env = 'X'", "store 'prod' in {} has both url and url_env"),
        (
            "[stores.prod]\nurl = 'redis://h'\npassword_env = 'X'\npassword_file = '/x'",
            "store 'prod' in {} has both password_env and password_file",
        ),
        ("[stores.'a://b']\nurl = '/a.db'", "'a://b' in {} cannot be the name of a store"),
        ("default_store = 'prod'", "default_store in {} names no store: 'prod'"),
        ("a = \n", "{} is not valid TOML: Invalid value (at line 1, column 5)"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(files: Files, text: str, sentence: str) -> None:
    assert files.refusal(text).message == sentence.format(files.user_file)


def test_a_wrong_type_does_not_show_the_value(files: Files) -> None:
    error = files.refusal(f"[stores.prod]\nurl = ['postgresql://u:{SECRET}@h/d']")
    assert SECRET not in error.message + str(error.hint)


def test_bytes_that_are_no_text_are_refused_with_the_line(files: Files) -> None:
    files.write("")
    files.user_file.write_bytes(b"# one\n# two \xff\n")
    with pytest.raises(UsageError, match=r"not UTF-8 text \(at line 2\)"):
        files.load()


@pytest.mark.parametrize(
    "text",
    [
        "[stores.prod]\nurl = 'tenants/*.db'",
        "[stores.prod]\nurl = 'a.db'",
        "[stores.prod]\nurl = '/a.db'\npassword_file = 'secrets/db'",
        "[stores.prod]\nurl = '/a.db'\n[stores.x]\nurl = './b.db'",
        "default_store = 'data/a.db'",
    ],
)
def test_a_relative_path_is_refused(files: Files, text: str) -> None:
    assert "must be absolute" in files.refusal(text).message


@pytest.mark.parametrize("url", ["sqlite:///a.db", "sqlite+aiosqlite:///data/a.db"])
def test_a_relative_path_in_a_url_is_refused(files: Files, url: str) -> None:
    settings = files.load(f"[stores.prod]\nurl = '{url}'")
    with pytest.raises(UsageError, match="must be absolute"):
        settings.resolve(["prod"])
    settings = files.load("[stores.prod]\nurl_env = 'DB'", DB=url)
    with pytest.raises(UsageError, match=r"in \$DB must be absolute"):
        settings.resolve(["prod"])


def test_a_readable_password_is_warned_about(files: Files) -> None:
    text = f"[stores.prod]\nurl = 'postgresql://u:{SECRET}@h/d'"
    assert files.load(text).warnings == ()
    files.user_file.chmod(0o640)
    (warning,) = files.load().warnings
    assert "chmod 600" in warning
    assert SECRET not in warning
    files.write("[stores.prod]\nurl = 'postgresql://u@h/d'").chmod(0o644)
    assert files.load().warnings == ()


# Which store is meant


STORES = """
default_store = "prod"
[stores.prod]
url = "postgresql+asyncpg://app@db.internal/agents"
timezone = "Europe/Berlin"
sessions_table = "s"
[stores.tenants]
url = "~/tenants/*.db"
"""


def test_a_flag_wins_over_the_environment_over_the_file(files: Files) -> None:
    path = files.root / "a.db"
    path.touch()
    settings = files.load(STORES, SESSIONCTL_STORE="tenants")
    assert [(a.name, a.path, a.origin) for a in settings.resolve([str(path)])] == [(None, path, "--store")]
    assert [(a.name, a.origin) for a in settings.resolve([])] == [("tenants", "$SESSIONCTL_STORE")]
    (address,) = files.load(SESSIONCTL_STORE="").resolve([])
    assert (address.name, address.origin) == ("prod", f"default_store in {files.user_file}")
    assert address.options == {"timezone": "Europe/Berlin", "sessions_table": "s"}
    assert (address.scheme, str(address)) == ("postgresql", "postgresql://app@db.internal/agents")


def test_a_url_parameter_wins_over_the_key(files: Files) -> None:
    text = "[stores.prod]\nurl = 'mysql://h/d?sessions_table=mine'\nsessions_table = 'theirs'"
    (address,) = files.load(text).resolve(["prod"])
    assert address.options == {"sessions_table": "mine"}


def test_several_and_all(files: Files) -> None:
    settings = files.load(STORES)
    assert [a.label for a in settings.resolve(["tenants", "prod", "tenants"])] == ["tenants", "prod"]
    assert [(a.name, a.origin) for a in settings.resolve([], all_stores=True)] == [
        ("prod", "--all-stores"),
        ("tenants", "--all-stores"),
    ]
    with pytest.raises(UsageError, match="exclude each other"):
        settings.resolve(["prod"], all_stores=True)
    with pytest.raises(UsageError, match="none is configured"):
        files.load("").resolve([], all_stores=True)


def test_no_store_says_how_to_name_one(files: Files) -> None:
    with pytest.raises(UsageError, match="no store is named") as caught:
        files.load().resolve([])
    for way in ("--store", "$SESSIONCTL_STORE", "default_store"):
        assert way in str(caught.value.hint)


def test_paths_globs_and_urls(files: Files) -> None:
    (files.home / "data").mkdir(parents=True)
    settings = files.load(STORES)
    resolved = settings.resolve(["~/data", "none/*.db", "sqlite:///x.db", "mysql+aiomysql://u@h/d"])
    assert [a.path for a in resolved] == [files.home / "data", Path("none/*.db"), Path("x.db"), None]
    assert settings.resolve(["tenants"])[0].path == files.home / "tenants" / "*.db"
    # A name is a name before it is a path; ./ makes it a path.
    (files.root / "prod").touch()
    assert settings.resolve(["prod"])[0].name == "prod"
    assert settings.resolve(["./prod"])[0].path == Path("prod")


def test_a_store_that_is_nowhere_names_the_nearest(files: Files) -> None:
    settings = files.load(STORES)
    with pytest.raises(StoreMissing, match=r"'tenant' \(--store\)") as caught:
        settings.resolve(["tenant"])
    assert (caught.value.exit_code, caught.value.hint) == (10, "did you mean the configured store tenants?")
    with pytest.raises(StoreMissing) as caught:
        settings.resolve(["zzzzzz"])
    assert caught.value.hint == "configured stores: prod, tenants"
    with pytest.raises(UsageError, match="is empty"):
        settings.resolve([""])


# Secrets


@pytest.mark.parametrize("password", [SECRET, "p@ss:w/rd?#%&+ é", " spaced ", "$HOME"])
def test_a_password_reaches_the_driver_quoted(files: Files, password: str) -> None:
    from sqlalchemy import make_url

    secret_file = files.write(password + "\n", files.home / "secret")
    text = "[stores.a]\nurl = 'postgresql://app@db:5432/agents?sslmode=require'\n"
    by_env = files.load(text + "password_env = 'DB_PASSWORD'", DB_PASSWORD=password)
    by_file = files.load(text + f"password_file = '{secret_file}'")
    for settings in (by_env, by_file):
        (address,) = settings.resolve(["a"])
        url = make_url(address.url)
        assert (url.username, url.password, url.host, url.port, url.database) == ("app", password, "db", 5432, "agents")
        assert dict(url.query) == {"sslmode": "require"}
        assert str(address) == "postgresql://app:***@db:5432/agents?sslmode=require"
        shown = repr(settings) + repr(address) + repr(list(settings.effective()))
        assert password not in shown or password == "$HOME"


def test_a_url_from_the_environment(files: Files) -> None:
    text = "[stores.a]\nurl_env = 'DB_URL'\npassword_env = 'DB_PASSWORD'"
    settings = files.load(text, DB_URL="postgresql+asyncpg://app@db/agents", DB_PASSWORD=SECRET)
    (address,) = settings.resolve(["a"])
    assert address.url == f"postgresql://app:{SECRET}@db/agents"
    with pytest.raises(UsageError, match=r"takes its URL from \$DB_URL, which is not set"):
        files.load(text, DB_PASSWORD=SECRET).resolve(["a"])
    with pytest.raises(UsageError, match=r"takes its password from \$DB_PASSWORD, which is not set"):
        files.load(text, DB_URL="postgresql://app@db/agents").resolve(["a"])


def test_passwords_that_contradict_or_are_not_there(files: Files) -> None:
    cases = {
        f"url = 'postgresql://u:{SECRET}@h/d'\npassword_env = 'P'": "has a password in its URL and another",
        "url = '/a.db'\npassword_env = 'P'": "is a file, which takes no password",
        "url = 'sqlite:////a.db'\npassword_env = 'P'": "is a file, which takes no password",
        "url = 'redis://h'\npassword_file = '/nowhere/secret'": "cannot be read: no such file",
    }
    for text, sentence in cases.items():
        with pytest.raises(UsageError, match=sentence) as caught:
            files.load(f"[stores.a]\n{text}", P=SECRET).resolve(["a"])
        assert SECRET not in caught.value.message + str(caught.value.hint)


def test_a_password_without_a_user(files: Files) -> None:
    (address,) = files.load("[stores.a]\nurl = 'redis://h:1/0'\npassword_env = 'P'", P="x/y").resolve(["a"])
    assert address.url == "redis://:x%2Fy@h:1/0"


def test_what_is_in_force_and_where_from(files: Files) -> None:
    text = (
        f"default_store = 'a'\n[stores.a]\nurl = 'postgresql://u:{SECRET}@h/d?password={SECRET}'\nsdk = '0.19'\n"
        "[stores.b]\nurl_env = 'B_URL'\n[stores.c]\nurl_env = 'C_URL'\npassword_env = 'C_PASSWORD'\n"
    )
    env = {"B_URL": f"mysql://u:{SECRET}@h/d", "C_PASSWORD": SECRET, "SESSIONCTL_STATE_DIR": "/var/lib/x"}
    settings = files.load(text, **env)
    file = str(files.user_file)
    assert [(s.key, s.value, s.origin) for s in settings.effective()] == [
        ("config", file, "default location"),
        ("default_store", "a", file),
        ("state_dir", "/var/lib/x", "$SESSIONCTL_STATE_DIR"),
        ("ledger", "/var/lib/x/ledger.db", "$SESSIONCTL_STATE_DIR"),
        ("stores.a.url", "postgresql://u:***@h/d?password=***", file),
        ("stores.a.sdk", "0.19", file),
        ("stores.b.url_env", "B_URL", file),
        ("stores.b.url", "mysql://u:***@h/d", "$B_URL"),
        ("stores.c.url_env", "C_URL", file),
        ("stores.c.password_env", "C_PASSWORD", file),
        ("stores.c.url", None, "$C_URL"),
    ]
    overridden = files.load(SESSIONCTL_STORE=f"mysql://u:{SECRET}@h/d")
    assert [s.value for s in overridden.effective() if s.origin == "$SESSIONCTL_STORE"] == ["mysql://u:***@h/d"]


# The ledger


def test_where_the_ledger_is(files: Files) -> None:
    assert files.load().ledger_address.path == files.home / ".local/state/sessionctl/ledger.db"
    assert files.load('ledger = "~/runs.db"').ledger_address.path == files.home / "runs.db"
    assert files.load('ledger = "sqlite:////srv/runs.db"').ledger_address.path == Path("/srv/runs.db")
    shared = files.load(f'ledger = "postgresql+asyncpg://ops:{SECRET}@db/ops"')
    assert shared.ledger_address.url == f"postgresql://ops:{SECRET}@db/ops"
    assert SECRET not in f"{shared} {shared.ledger_address}"
    assert ("postgresql+asyncpg://ops:***@db/ops", str(files.user_file)) in {
        (s.value, s.origin) for s in shared.effective() if s.key == "ledger"
    }
    files.user_file.chmod(0o644)
    assert "holds a password" in files.load().warnings[0]
    overridden = files.load(SESSIONCTL_LEDGER=f"mysql://ops:{SECRET}@db/ops")
    assert overridden.ledger_address.url == f"mysql://ops:{SECRET}@db/ops"
    assert ("mysql://ops:***@db/ops", "$SESSIONCTL_LEDGER") in {(s.value, s.origin) for s in overridden.effective()}


def test_a_ledger_that_depends_on_the_directory_is_refused(files: Files) -> None:
    assert "must be absolute" in files.refusal('ledger = "runs.db"').message
    for relative in ("runs.db", "sqlite:///runs.db"):
        with pytest.raises(UsageError, match=r"\$SESSIONCTL_LEDGER must be absolute"):
            _ = files.load("", SESSIONCTL_LEDGER=relative).ledger_address


# The state directory


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"SESSIONCTL_STATE_DIR": "/s", "XDG_STATE_HOME": "/x"}, "/s"),
        ({"SESSIONCTL_STATE_DIR": "~/s"}, "/home/me/s"),
        ({"XDG_STATE_HOME": "/x"}, "/x/sessionctl"),
        ({"XDG_STATE_HOME": "relative"}, "/home/me/.local/state/sessionctl"),
        ({}, "/home/me/.local/state/sessionctl"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep state elsewhere")
def test_the_state_directory(env: dict[str, str], expected: str) -> None:
    assert str(state_dir({"HOME": "/home/me", **env})) == expected
    assert not Path(expected).exists()


def test_a_relative_state_directory_is_refused() -> None:
    with pytest.raises(SessionctlError, match=r"\$SESSIONCTL_STATE_DIR must be absolute"):
        state_dir({"HOME": "/home/me", "SESSIONCTL_STATE_DIR": "state"})


def test_settings_load_nothing_heavy() -> None:
    """Every command pays for this import."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom sessionctl.config import load\nload(None, {'HOME': '/nowhere'})\n"
        "print([m for m in ('tomllib', 'difflib', 'typer', 'sqlite3', 'asyncio', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    if not os.path.lexists("/etc/sessionctl/config.toml"):
        assert done.stdout.strip() == "[]"


# Limits of runs

LIMITED = """
[limits]
rate = 100
max_runtime = "30m"

[stores.prod]
url = "sqlite:////a.db"

[stores.prod.limits]
rate = 2.5
max_replica_lag = "10s,1GiB"
"""


def test_limits_of_a_store_come_before_those_of_all_and_variables_before_both(files: Files) -> None:
    settings = files.load(LIMITED)
    lag = LagLimit(delay=timedelta(seconds=10), retained=2**30)
    assert settings.limits_of("prod") == Limits(rate=2.5, max_runtime=timedelta(minutes=30), max_replica_lag=lag)
    assert settings.limits_of(None) == Limits(rate=100, max_runtime=timedelta(minutes=30))
    settings = files.load(LIMITED, SESSIONCTL_RATE="7", SESSIONCTL_BATCH_SIZE="50")
    assert settings.limits_of("prod").rate == 7
    assert settings.limits_of(None).batch_size == 50


def test_limits_are_shown_with_their_origin(files: Files) -> None:
    shown = {s.key: (s.value, s.origin) for s in files.load(LIMITED, SESSIONCTL_RATE="7").effective()}
    assert shown["limits.rate"] == ("7", "$SESSIONCTL_RATE")
    assert shown["limits.max_runtime"] == ("30m", str(files.user_file))
    assert shown["stores.prod.limits.rate"] == ("2.5", str(files.user_file))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[limits]\nrate = 0", "must be more than 0"),
        ('[limits]\nmax_runtime = "soon"', "'soon' is not a duration"),
        ('[limits]\nmax_replica_lag = "far"', "neither a duration"),
    ],
)
def test_a_limit_that_makes_no_sense(files: Files, text: str, said: str) -> None:
    settings = files.load(text)
    with pytest.raises(UsageError, match=said):
        settings.limits_of(None)


def test_a_limit_of_the_wrong_type(files: Files) -> None:
    assert "must be a whole number" in files.refusal('[limits]\nmax_sessions = "many"').message
    with pytest.raises(UsageError, match=r"\$SESSIONCTL_RATE must be a number"):
        files.load("", SESSIONCTL_RATE="fast").limits_of(None)
