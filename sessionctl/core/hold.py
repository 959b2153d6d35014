"""Holds: sessions that nothing changes while they last, and who said so.

A hold is by session id or by glob, and need not meet any session yet. Holds that ``yields`` were placed by a
run that put sessions back: they keep the next policy run away, and give way to a run that names the session.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sessionctl.core.selector import glob_regex


class HoldKind(StrEnum):
    """How ``Hold.value`` means sessions."""

    ID = "id"
    GLOB = "glob"


class HoldOrigin(StrEnum):
    """What placed a hold."""

    USER = "user"
    UNDO = "undo"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One hold. Those placed together share their ``hold_id``; no two of these have the same kind and value.

    ``who`` is the actor with host, ``since`` and ``until`` are by the store's clock; ``until`` None: for ever.
    """

    hold_id: str
    kind: HoldKind
    value: str
    reason: str
    who: str
    since: datetime
    until: datetime | None = None
    origin: HoldOrigin = HoldOrigin.USER
    yields: bool = False

    def lasts(self, now: datetime) -> bool:
        """Is it in force at ``now``, the store's clock?"""
        return self.until is None or now < self.until

    def is_over(self, session_id: str) -> bool:
        """Does it mean this session?"""
        if self.kind is HoldKind.ID:
            return self.value == session_id
        return re.fullmatch(glob_regex(self.value), session_id, re.DOTALL) is not None


class Holds:
    """The holds in force at one moment, as a quick answer for many sessions."""

    def __init__(self, holds: Iterable[Hold], now: datetime) -> None:
        self._by_id: dict[str, list[Hold]] = {}
        self._globs: list[Hold] = []
        for hold in holds:
            if hold.lasts(now):
                kin = self._by_id.setdefault(hold.value, []) if hold.kind is HoldKind.ID else self._globs
                kin.append(hold)
        # One look by all globs together: nearly every session is met by none.
        together = "|".join(glob_regex(hold.value) for hold in self._globs)
        self._any_glob = re.compile(together, re.DOTALL) if self._globs else None

    def over(self, session_id: str) -> list[Hold]:
        """All that hold this session."""
        found = list(self._by_id.get(session_id, ()))
        if self._any_glob is not None and self._any_glob.fullmatch(session_id):
            found += [hold for hold in self._globs if hold.is_over(session_id)]
        return found

    def keep(self, session_id: str, *, named: bool) -> bool:
        """Must a run leave this session alone? ``named``: the run names it one by one."""
        return any(not (named and hold.yields) for hold in self.over(session_id))

    def among(self, session_ids: Iterable[str], named: Collection[str]) -> frozenset[str]:
        """Those of the sessions that a run which names ``named`` must leave alone."""
        near = [id_ for id_ in session_ids if id_ in self._by_id or (self._any_glob and self._any_glob.fullmatch(id_))]
        return frozenset(id_ for id_ in near if self.keep(id_, named=id_ in named))
