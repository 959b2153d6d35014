"""Where sessionctl's own files are, by the environment given and never by the current directory."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from sessionctl.errors import UsageError

LEDGER_FILE = "ledger.db"
"""In the state directory."""


def home(env: Mapping[str, str]) -> Path | None:
    """The user's home directory, None where there is none to be found."""
    if named := env.get("USERPROFILE" if sys.platform == "win32" else "HOME"):
        return Path(named)
    try:
        return Path.home()
    except RuntimeError:
        return None


def expand(text: str, env: Mapping[str, str]) -> Path:
    """``text`` as a path with a leading ``~`` or ``~user`` replaced; left as it is where nobody is called that."""
    if text == "~" or text.startswith("~/"):
        base = home(env)
        return base / text[2:] if base else Path(text)
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def absolute(text: str, env: Mapping[str, str], what: str, where: str) -> Path:
    """``expand``, with a UsageError about ``what`` in ``where`` for a path that depends on the current directory."""
    path = expand(text, env)
    if path.is_absolute():
        return path
    raise UsageError(
        f"{what} in {where} must be absolute: {text!r} depends on the directory a program is started in",
        hint="write the whole path, or begin it with ~/",
    )


def default_locations(env: Mapping[str, str]) -> tuple[Path, ...]:
    """Where a settings file is looked for when none is named, first one first."""
    directories: list[Path] = []
    base = home(env)
    if xdg := _xdg("XDG_CONFIG_HOME", env):
        directories.append(xdg)
    elif base:
        directories.append(base / ".config")
    if base and sys.platform == "darwin":
        directories.append(base / "Library" / "Application Support")
    if sys.platform == "win32":
        directories += [Path(env[name]) for name in ("APPDATA", "PROGRAMDATA") if env.get(name)]
    else:
        directories.append(Path("/etc"))
    return tuple(directory / "sessionctl" / "config.toml" for directory in directories)


def state_dir(env: Mapping[str, str]) -> Path:
    """The directory of spooled plans, and of the ledger where it is not elsewhere.

    Not made here: reads leave no trace, and ``ledger.private_directory`` makes it for the first that writes.
    Raises UsageError for a relative ``$SESSIONCTL_STATE_DIR``, and where no home directory is known.
    """
    return state_dir_and_origin(env)[0]


def state_dir_and_origin(env: Mapping[str, str]) -> tuple[Path, str]:
    """``state_dir`` and what decided it."""
    if named := env.get("SESSIONCTL_STATE_DIR"):
        return absolute(named, env, "the state directory", "$SESSIONCTL_STATE_DIR"), "$SESSIONCTL_STATE_DIR"
    if xdg := _xdg("XDG_STATE_HOME", env):
        return xdg / "sessionctl", "$XDG_STATE_HOME"
    if sys.platform == "win32" and env.get("LOCALAPPDATA"):
        return Path(env["LOCALAPPDATA"], "sessionctl", "state"), "default"
    base = home(env)
    if base is None:
        raise UsageError("there is no home directory to keep the ledger in", hint="set SESSIONCTL_STATE_DIR")
    if sys.platform == "darwin":
        return base / "Library" / "Application Support" / "sessionctl" / "state", "default"
    return base / ".local" / "state" / "sessionctl", "default"


def _xdg(name: str, env: Mapping[str, str]) -> Path | None:
    """The XDG specification has relative values ignored."""
    path = Path(env.get(name) or "")
    return path if path.is_absolute() else None
