"""Guards and reports: who refuses what, and which exit status a run has."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionctl.core.model import Effect, Hazard, Outcome
from sessionctl.core.plan import Allowances, PlanHeader, Totals, refusals, share_refusal
from sessionctl.core.report import Report, Stopped, combined_json, exit_code

HEADER = PlanHeader(
    command="purge", store="sqlite:///x.db", label="x", origin="--store", store_time=datetime(2026, 1, 1, tzinfo=UTC),
    min_idle=timedelta(minutes=15), criteria=(), sessions_in_store=100, ahead=0, share_basis=10, matched=Totals(),
    planned=Totals(), active=0, named_skipped=0, missing=0, digest="",
)  # fmt: skip


def refused(allowed: Allowances | None = None, **facts: Any) -> tuple[str, ...]:
    return refusals(replace(HEADER, **facts), allowed or Allowances())


class TestGuards:
    @pytest.mark.parametrize(
        ("matched", "total", "max_share", "refuses"),
        [
            (10, 20, 0.5, False), (11, 20, 0.5, True), (19, 19, 0.5, False), (20, 20, 1.0, False), (1, 20, 0.0, True),
            (0, 20, 0.0, False), (57, 100, 0.57, False), (0, 0, 0.5, False),
        ],
    )  # fmt: skip
    def test_share(self, matched: int, total: int, max_share: float, refuses: bool) -> None:
        assert (share_refusal("x", matched, total, max_share) is not None) is refuses

    @given(st.integers(20, 5000), st.data())
    def test_the_share_it_names_is_enough(self, total: int, data: st.DataObject) -> None:
        matched = data.draw(st.integers(0, total))
        sentence = share_refusal("x", matched, total, 0.3)
        if sentence:
            named = float(sentence.split("--max-share ")[1].split()[0])
            assert named <= 1.0
            assert share_refusal("x", matched, total, named) is None

    @pytest.mark.parametrize(("ahead", "refuses"), [(0, False), (1, False), (2, True)])
    def test_stamps_in_the_future(self, ahead: int, refuses: bool) -> None:
        assert bool(refused(ahead=ahead)) is refuses

    def test_a_frozen_store_cannot_be_allowed(self) -> None:
        assert refused(Allowances(max_share=1.0, cascade=True), frozen="it is newer")

    @pytest.mark.parametrize("effect", list(Effect))
    def test_hazards(self, effect: Effect) -> None:
        hazards = (Hazard(what="trigger t", effect=effect),)
        assert bool(refused(hazards=hazards)) is (effect is Effect.TAKES_ALONG)
        assert not refused(Allowances(cascade=True), hazards=hazards)

    def test_all_reasons_are_told_at_once(self) -> None:
        hazards = (Hazard(what="trigger t", effect=Effect.TAKES_ALONG),)
        assert len(refused(frozen="new", ahead=50, hazards=hazards, share_basis=90)) == 4


REPORT = Report(
    command="purge", store="sqlite:///x.db", label="x", dry_run=False, run_id="r", matched=Totals(sessions=3),
    removed=Totals(sessions=2), skipped={}, remaining=0, stopped=Stopped.DONE, elapsed_s=0.41234,
)  # fmt: skip
NONE = Totals()


class TestExitStatus:
    @pytest.mark.parametrize(
        ("facts", "status"),
        [
            ({}, 0),
            ({"skipped": {Outcome.ACTIVE: 1, Outcome.CHANGED: 2, Outcome.HELD: 3, Outcome.MISSING: 4}}, 0),
            ({"named_skipped": 1}, 3),
            ({"skipped": {Outcome.FAILED: 1}}, 3),
            ({"stopped": Stopped.LIMIT}, 4),
            ({"stopped": Stopped.LIMIT, "named_skipped": 1}, 4),
            ({"stopped": Stopped.SIGNAL, "signal": 2}, 130),
            ({"stopped": Stopped.SIGNAL, "signal": 15}, 143),
            ({"stopped": Stopped.DONE, "signal": 15}, 0),
            ({"stopped": Stopped.ERROR, "error": ("x", 11)}, 3),
            ({"stopped": Stopped.ERROR, "error": ("x", 11), "removed": NONE}, 11),
            ({"stopped": Stopped.ERROR, "error": ("x", 1), "removed": NONE}, 1),
        ],
    )
    def test_of_one_store(self, facts: dict[str, Any], status: int) -> None:
        assert replace(REPORT, **facts).exit_code == status
        assert exit_code([replace(REPORT, **facts)], 0) == status

    @pytest.mark.parametrize(
        ("kinds", "failures", "status"),
        [
            ("dd", 0, 0), ("dd", 1, 3), ("dl", 0, 4), ("dl", 1, 3), ("de", 0, 3), ("ds", 0, 130), ("sde", 2, 130),
            ("dn", 0, 3), ("", 2, 3), ("ee", 0, 3),
        ],
    )  # fmt: skip
    def test_of_several(self, kinds: str, failures: int, status: int) -> None:
        facts: dict[str, dict[str, Any]] = {
            "d": {},
            "l": {"stopped": Stopped.LIMIT},
            "e": {"stopped": Stopped.ERROR, "error": ("x", 11), "removed": NONE},
            "s": {"stopped": Stopped.SIGNAL, "signal": 2},
            "n": {"named_skipped": 1},
        }
        assert exit_code([replace(REPORT, **facts[kind]) for kind in kinds], failures) == status


class TestJson:
    KEYS = ("command", "store", "dry_run", "run_id", "matched", "removed", "skipped", "remaining", "archive", "stopped",
            "elapsed_s", "why", "time", "retries")  # fmt: skip

    def test_one_store_has_the_keys_of_the_contract_in_order(self) -> None:
        assert tuple(REPORT.to_json()) == self.KEYS
        assert list(REPORT.to_json()["skipped"]) == ["active", "held", "changed", "failed", "missing"]
        assert REPORT.to_json()["elapsed_s"] == 0.412

    def test_several_are_totals_and_each_store(self) -> None:
        other = replace(REPORT, store="y", stopped=Stopped.LIMIT, remaining=5, skipped={Outcome.ACTIVE: 2})
        whole = combined_json("purge", [REPORT, other], [{"store": "z"}], 1.0, dry_run=False)
        assert tuple(whole) == (*self.KEYS, "stores")
        assert whole["matched"]["sessions"] == 6
        assert (whole["remaining"], whole["stopped"], whole["store"]) == ({"sessions": 5}, "limit", None)
        assert [store["store"] for store in whole["stores"]] == ["sqlite:///x.db", "y", "z"]

    def test_all_failed(self) -> None:
        whole = combined_json("purge", [], [{"store": "z"}], 1.0, dry_run=True)
        assert (whole["command"], whole["stopped"], whole["dry_run"]) == ("purge", "error", True)
