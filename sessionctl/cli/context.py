"""The global options of this invocation, set while the command line is parsed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What holds for every command of one call of the program."""

    config: Path | None = None
    quiet: bool = False
    no_color: bool = False
    debug: bool = False
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


_current: ContextVar[Invocation | None] = ContextVar("invocation", default=None)


def current() -> Invocation:
    """The invocation as parsed so far."""
    return _current.get() or Invocation()


def set_current(invocation: Invocation | None) -> None:
    """Called by the root of the command tree alone; None starts afresh."""
    _current.set(invocation)
