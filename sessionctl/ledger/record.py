"""What the ledger records: runs, and the archive segments they sealed."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from sessionctl.core.report import Stopped

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME_DIGITS, _ID_DIGITS = 10, 23
_SILENT = timedelta(minutes=5)
"""Far longer than between two signs of life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a command that changes a store.

    ``store`` is the masked address, ``criteria`` the selection in sentences, ``digest`` the plan's, ``counts``
    the ``matched``, ``removed`` and ``skipped`` of the report. ``stopped`` and ``ended_at`` are None while it
    runs, and stay so for a run that was cut off, until somebody takes it up: ``heartbeat_at`` is its last sign
    of life, by the ledger's clock. ``pid_space`` is where ``pid`` means something. ``archive`` is where the
    sessions it removed lie, ``undoes`` the run whose sessions it puts back.
    """

    run_id: str
    command: str
    store: str
    actor: str
    user: str
    host: str
    pid: int
    started_at: datetime
    reason: str | None = None
    criteria: tuple[str, ...] = ()
    digest: str | None = None
    heartbeat_at: datetime | None = None
    ended_at: datetime | None = None
    stopped: Stopped | None = None
    counts: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    archive: str | None = None
    pid_space: str | None = None
    undoes: str | None = None

    def is_over(self, now: datetime) -> bool:
        """It ended or was cut off: its process is gone from here, or gave no sign of life for long.

        ``now`` is by the clock of the ledger.
        """
        if self.ended_at is not None or now - (self.heartbeat_at or self.started_at) > _SILENT:
            return True
        return self.pid_space == _pid_space() and not _is_alive(self.pid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A sealed segment of a run's archive.

    ``committed_at`` is None until all that the run does to its sessions has been done; ``kept`` are then the
    ids of those that the run did not remove after all (changed, active, missing, not reached). ``returned``
    are those that were put back since.
    """

    run_id: str
    number: int
    name: str
    sessions: int
    items: int
    bytes: int
    sha256: str
    sealed_at: datetime
    committed_at: datetime | None = None
    kept: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()


def new_run_id(now: datetime) -> str:
    """An id that sorts by time (to the millisecond) and is unique across hosts: 10 + 13 letters and digits.

    The form is that of a ULID with a shorter random part, in lower case.
    """
    return _base32(int(now.timestamp() * 1000), _TIME_DIGITS) + _base32(secrets.randbits(65), _ID_DIGITS - _TIME_DIGITS)


def begun_at(run_id: str) -> datetime | None:
    """When the run of this id began, as ``new_run_id`` put it there; None for an id of another form."""
    if len(run_id) != _ID_DIGITS or not set(run_id) <= set(_ALPHABET):
        return None
    milliseconds = 0
    for digit in run_id[:_TIME_DIGITS]:
        milliseconds = milliseconds << 5 | _ALPHABET.index(digit)
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError):
        return None


def new_run(
    command: str, store: str, now: datetime, env: Mapping[str, str], *, reason: str | None = None, **facts: Any
) -> Run:
    """A run that starts ``now`` in this process; the actor is ``$SESSIONCTL_ACTOR``, else the user."""
    user = _user()
    return Run(
        run_id=new_run_id(now),
        command=command,
        store=store,
        actor=env.get("SESSIONCTL_ACTOR") or user,
        user=user,
        host=socket.gethostname(),
        pid=os.getpid(),
        pid_space=_pid_space(),
        started_at=now,
        reason=reason,
        **facts,
    )


@cache
def _pid_space() -> str:
    """What a process id is counted in: the kernel since its start, and the namespace.

    Containers of one machine, and machines that were given the same name, must not look for each other's processes.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except (OSError, ValueError):  # not on Linux
        return socket.gethostname()


def _is_alive(pid: int) -> bool:
    """Is there such a process here? Where that cannot be asked without harm, the answer is yes."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _user() -> str:
    """The account this process runs as; containers often have no name for theirs."""
    if sys.platform != "win32":
        import pwd

        try:
            return pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            return f"uid {os.getuid()}"
    import getpass

    return getpass.getuser()


def _base32(number: int, digits: int) -> str:
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(5 * (digits - 1), -1, -5))
