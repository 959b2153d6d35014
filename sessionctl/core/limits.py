"""How much of a store's strength a run may take: the user's limits, pure arithmetic over what was seen."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import timedelta

from sessionctl.core.model import Lag
from sessionctl.core.units import exact_duration, format_size, parse_duration, parse_size


@dataclass(frozen=True, slots=True, kw_only=True)
class LagLimit:
    """How far replicas may fall behind before a run waits for them; None for no limit.

    ``delay``: of the slowest connected replica. ``retained``: octets of log kept for a replication slot.
    """

    delay: timedelta | None = timedelta(seconds=30)
    retained: int | None = 4 * 2**30

    def passed(self, lag: Lag) -> str | None:
        """What is behind, in words; None while all is within the limit."""
        if self.delay is not None and lag.seconds is not None and lag.seconds > self.delay.total_seconds():
            return f"a replica is {lag.seconds:.0f}s behind, more than {exact_duration(self.delay)}"
        if self.retained is not None and lag.retained > self.retained:
            kept, most = format_size(lag.retained), format_size(self.retained)
            return f"replication slot {lag.slot} holds back {kept} of log, more than {most}"
        return None

    def can_recover(self, lag: Lag) -> bool:
        """Will waiting help? Not where the log is held back for a slot that nobody reads."""
        return self.retained is None or lag.retained <= self.retained or lag.slot_active


def parse_lag_limit(text: str) -> LagLimit:
    """``30s``, ``4GiB``, both with a comma between them (what is not named has no limit), or ``off``.

    Raises ValueError with a sentence for the user.
    """
    if text.strip().lower() == "off":
        return LagLimit(delay=None, retained=None)
    delay, retained = None, None
    for part in text.split(","):
        try:
            value: timedelta | int = parse_duration(part.strip())
        except ValueError:
            try:
                value = parse_size(part.strip())
            except ValueError:
                raise ValueError(f"{part.strip()!r} is neither a duration (30s) nor a size (4GiB)") from None
        if (delay if isinstance(value, timedelta) else retained) is not None:
            raise ValueError("name one duration and one size at most, like 30s,4GiB")
        if isinstance(value, timedelta):
            delay = value
        else:
            retained = value
    return LagLimit(delay=delay, retained=retained)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a run may do: sessions a batch, sessions a second, sessions in all, for how long, at which lag.

    ``max_replica_lag`` None: nobody asked for one, and the default holds.
    """

    batch_size: int | None = None
    rate: float | None = None
    max_sessions: int | None = None
    max_runtime: timedelta | None = None
    max_replica_lag: LagLimit | None = None

    def over(self, others: Limits) -> Limits:
        """These, and where one is not set here, that of ``others``."""
        mine = {one.name: value for one in fields(self) if (value := getattr(self, one.name)) is not None}
        return replace(others, **mine)

    def less(self, sessions: int, seconds: float) -> Limits:
        """What is left of them for the next store of a run."""
        return replace(
            self,
            max_sessions=None if self.max_sessions is None else max(0, self.max_sessions - sessions),
            max_runtime=None
            if self.max_runtime is None
            else max(timedelta(0), self.max_runtime - timedelta(seconds=seconds)),
        )
