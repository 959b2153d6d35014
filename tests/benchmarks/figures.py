"""What a benchmark finds: two things measured side by side in one run, and how to show it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A bound of the ratio, of our own value (in the figure's unit), or of either: then one that holds suffices."""

    ratio: float | None = None
    ours: float | None = None
    at_least: bool = False

    def holds(self, ratio: float | None, ours: float) -> bool:
        return self._keeps(self.ratio, ratio) or self._keeps(self.ours, ours)

    def _keeps(self, bound: float | None, value: float | None) -> bool:
        if bound is None or value is None:
            return False
        return value >= bound if self.at_least else value <= bound

    def shown(self, unit: str) -> str:
        ratio = "" if self.ratio is None else f"{self.ratio:.3g}"
        ours = "" if self.ours is None else f"{self.ours:.3g} {unit}"
        return f"{'>=' if self.at_least else '<='} {' or '.join(filter(None, (ratio, ours)))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Ours and the baseline's values, one of each a round; ``ratio`` is ours by the baseline's of the same round.

    Without a baseline, for what is counted and not compared, there is no ratio.
    """

    measure: str
    engine: str
    name: str
    unit: str
    ours: tuple[float, ...]
    baseline: tuple[float, ...] = ()
    target: Target | None = None
    note: str = ""

    @property
    def ratios(self) -> tuple[float, ...]:
        if not self.baseline:
            return ()
        return tuple(
            mine / theirs if theirs else float("inf") for mine, theirs in zip(self.ours, self.baseline, strict=True)
        )

    @property
    def ratio(self) -> float | None:
        """The median."""
        return statistics.median(self.ratios) if self.baseline else None

    @property
    def holds(self) -> bool | None:
        return self.target.holds(self.ratio, statistics.median(self.ours)) if self.target else None

    @property
    def summary(self) -> str:
        """The ratio, or our own value where there is none."""
        return _value(self.ours, self.unit) if self.ratio is None else f"{self.ratio:.2f}"

    def to_json(self) -> dict[str, Any]:
        return {
            "measure": self.measure, "engine": self.engine, "name": self.name, "unit": self.unit,
            "ours": self.ours, "baseline": self.baseline, "ratios": self.ratios, "ratio": self.ratio,
            "target": self.target.shown(self.unit) if self.target else None, "holds": self.holds, "note": self.note,
        }  # fmt: skip


def seconds(call: Callable[[], object]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def typical(call: Callable[[], object], times: int) -> float:
    """The median of several calls in a row, for calls of milliseconds."""
    return statistics.median(seconds(call) for _ in range(times))


def side_by_side(
    rounds: int, ours: Callable[[], float], baseline: Callable[[], float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measure A B A B …, so that whatever else the machine does meets both alike."""
    pairs = [(ours(), baseline()) for _ in range(rounds)]
    return tuple(mine for mine, _ in pairs), tuple(theirs for _, theirs in pairs)


_HEADERS = ("engine", "name", "ours", "baseline", "ratio", "min-max", "target", "", "note")


def table(figures: Iterable[Figure]) -> str:
    """One table in plain text."""
    rows = [_HEADERS, *map(_row, figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADERS))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _row(figure: Figure) -> tuple[str, ...]:
    spread = figure.ratios or figure.ours
    verdict = {None: "", True: "ok", False: "MISSED"}[figure.holds]
    return (
        figure.engine, figure.name, _value(figure.ours, figure.unit), _value(figure.baseline, figure.unit),
        "" if figure.ratio is None else f"{figure.ratio:.2f}", f"{min(spread):.2f}-{max(spread):.2f}",
        figure.target.shown(figure.unit) if figure.target else "", verdict, figure.note,
    )  # fmt: skip


def _value(values: Sequence[float], unit: str) -> str:
    if not values:
        return ""
    middle = statistics.median(values)
    if unit == "s":
        return f"{middle * 1000:.1f} ms" if middle < 1 else f"{middle:.2f} s"
    return f"{middle:,.1f} ms" if unit == "ms" else f"{middle:,.0f} {unit}"
