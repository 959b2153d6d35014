"""Which steps of a vacuum are worth it, have room, and may be taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sessionctl.core.model import Usage
from sessionctl.core.report import Stopped
from sessionctl.core.space import (
    TRIVIAL,
    Need,
    Space,
    SpaceReport,
    Step,
    StepDone,
    Task,
    Wish,
    decide,
    foreseen,
    together,
)
from sessionctl.stores.sqlite.vacuum import BEARABLE_S, FileFacts, propose

MIB = 2**20
SHRINK = Step(task=Task.SHRINK, what="SHRINK", gain=500 * MIB)
ANALYSE = Step(task=Task.STATISTICS, what="ANALYZE")
LOG = Step(task=Task.LOG, what="LOG")
SPACE = Space(usage=Usage(total=1000 * MIB, free=500 * MIB, log=10 * MIB), steps=(SHRINK, ANALYSE, LOG))


class TestDecision:
    def test_what_is_worth_it_stays(self) -> None:
        assert decide(SPACE, Wish()) == SPACE
        assert foreseen(SPACE) == Usage(total=500 * MIB, free=0, log=0)

    @pytest.mark.parametrize("gain", [0, TRIVIAL - 1, 50 * MIB])
    def test_what_is_not_is_left_out_and_said(self, gain: int) -> None:
        little = replace(SPACE, steps=(replace(SHRINK, gain=gain), ANALYSE, LOG))
        decided = decide(little, Wish())
        assert decided.steps == (ANALYSE, LOG)
        assert "--force" in decided.notes[0]
        assert decide(little, Wish(force=True)).steps == little.steps

    def test_a_switch_goes_with_the_gain_it_is_for(self) -> None:
        steps = (Step(task=Task.SWITCH, what="lz4"), Step(task=Task.REBUILD, what="FULL", gain=0), ANALYSE)
        assert decide(replace(SPACE, steps=steps), Wish(compress=True)).steps == (ANALYSE,)

    def test_no_room_is_a_refusal(self) -> None:
        tight = replace(SHRINK, needs=(Need("/data", 10, 9), Need("/tmp", 10, 10), Need("the server", 10)))
        (refused,) = decide(replace(SPACE, steps=(tight,)), Wish()).refused
        assert "needs about 10 B in /data, where 9 B are free" in refused


class TestReport:
    def test_exit_status_and_json(self) -> None:
        def report(stopped: Stopped, **facts: object) -> SpaceReport:
            return SpaceReport(
                store="s", label="s", dry_run=False, run_id="r", space=SPACE, after=Usage(total=600 * MIB, free=0),
                done=(StepDone(step=SHRINK, seconds=1.5),), stopped=stopped, elapsed_s=2, **facts,  # type: ignore[arg-type]
            )  # fmt: skip

        done = report(Stopped.DONE)
        assert (done.exit_code, done.freed) == (0, 410 * MIB)
        assert report(Stopped.LIMIT).exit_code == 4
        assert report(Stopped.SIGNAL, signal=15).exit_code == 143
        assert report(Stopped.ERROR, error=("locked", 1)).exit_code == 1
        steps = done.to_json()["steps"]
        assert [(step["what"], step["seconds"], step["done"]) for step in steps] == [
            ("SHRINK", 1.5, True), ("ANALYZE", None, False), ("LOG", None, False),
        ]  # fmt: skip
        assert together([done, done], [{"store": "t"}], dry_run=False)["freed"] == 820 * MIB


FACTS = FileFacts(
    size=2000 * MIB, log=0, free=1000 * MIB, mode=0, directory=Path("/data"), room=5000 * MIB, temp=Path("/tmp"),
    temp_room=None,
)  # fmt: skip
SMALL = replace(FACTS, size=20 * MIB, free=10 * MIB)
OPEN = ("process 7 (uvicorn)",)


class TestSqliteFile:
    """What is proposed for a file, by its size, its mode and who has it open."""

    def test_a_large_one_is_written_anew_only_on_request_and_alone(self) -> None:
        plain = propose(FACTS, Wish())
        assert plain.steps == ()
        assert not plain.refused
        assert "it has stopped growing" in plain.notes[0]
        (step,) = propose(FACTS, Wish(full=True)).steps
        assert (step.task, step.alone, step.gain) == (Task.REBUILD, True, 1000 * MIB)
        assert step.seconds > BEARABLE_S
        (refused,) = propose(replace(FACTS, others=OPEN), Wish(full=True)).refused
        assert "open in process 7 (uvicorn)" in refused
        assert "give up after 5s" in refused

    @pytest.mark.parametrize("wish", [Wish(), Wish(full=True), Wish(incremental=True)])
    def test_a_small_one_is_written_anew_beside_others(self, wish: Wish) -> None:
        proposal = propose(replace(SMALL, others=OPEN), wish)
        assert not proposal.refused
        assert [(step.task, step.alone) for step in proposal.steps] == [(Task.REBUILD, False)]

    def test_a_movable_one_shrinks_beside_others(self) -> None:
        movable = replace(FACTS, mode=2, others=OPEN)
        for wish in (Wish(), Wish(incremental=True)):
            (step,) = propose(movable, wish).steps
            assert (step.task, step.gain, step.blocks) == (Task.SHRINK, 1000 * MIB, "")
        assert propose(movable, Wish(full=True)).refused
        assert propose(replace(movable, free=0), Wish()).steps == ()

    def test_making_it_movable_is_no_matter_of_gain(self) -> None:
        proposal = propose(replace(FACTS, free=0), Wish(incremental=True))
        assert decide(proposal, Wish(incremental=True)).steps == proposal.steps != ()

    def test_room_is_needed_for_a_temporary_file_and_a_log(self) -> None:
        (step,) = propose(FACTS, Wish(full=True)).steps
        assert step.needs == (Need("/data", 2000 * MIB, 5000 * MIB),)
        (step,) = propose(replace(FACTS, temp_room=7), Wish(full=True)).steps
        assert step.needs == (Need("/data", 1000 * MIB, 5000 * MIB), Need("/tmp", 1000 * MIB, 7))

    def test_by_way_of_another_directory_it_needs_room_there(self) -> None:
        wish = Wish(full=True, via=Path("/other"))
        (step,) = propose(replace(FACTS, room=0, via_room=3000 * MIB), wish).steps
        assert (step.needs, step.alone) == ((Need("/other", 1000 * MIB, 3000 * MIB),), True)
        assert propose(replace(FACTS, others=OPEN), wish).refused

    def test_it_does_not_compress(self) -> None:
        (refused,) = propose(FACTS, Wish(compress=True)).refused
        assert "rotate" in refused
