"""Space: what a store takes on disk, what of it a vacuum can give back, by which steps, and whether it may."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from sessionctl.core.model import Usage
from sessionctl.core.report import Stopped, worst_stop
from sessionctl.core.units import format_size

TRIVIAL_SHARE, TRIVIAL = 0.05, 64 * 1024
"""What gives back less than this share of a store, or fewer octets, is not worth it."""


class Task(StrEnum):
    """What a step of a vacuum is about."""

    LOG = "log"
    """Move the log into the file and cut it."""
    SWITCH = "switch"
    """Change how the store keeps its rows from now on; at once, and no row is touched."""
    REWRITE = "rewrite"
    """Store the texts of rows anew, in short steps beside writers."""
    SHRINK = "shrink"
    """Give free space back in short steps beside writers."""
    REBUILD = "rebuild"
    """Write everything anew, without the free space."""
    REUSE = "reuse"
    """Find the space of deleted rows, so that new ones fill it."""
    STATISTICS = "statistics"
    """Refresh what the database knows of its rows, for its choice of indexes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the user wants of a vacuum beyond what does no harm beside writers.

    ``full``: write everything anew, whoever has to wait. ``via``: a directory for that, where the store's own
    disk is too full. ``incremental``: have a SQLite file give its space back in short steps from now on.
    ``compress``: True to have the engine compress, False to have it stop. ``force``: however little is gained.
    """

    full: bool = False
    via: Path | None = None
    incremental: bool = False
    compress: bool | None = None
    force: bool = False

    @property
    def writes_anew(self) -> bool:
        return self.full or self.incremental


class Need(NamedTuple):
    """Octets a step needs at a place while it lasts; ``room`` is what is free there, None where nobody can tell."""

    where: str
    size: int
    room: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: ``what`` is the statement, or what stands for it.

    ``table`` is what it is about, in the engine's spelling. ``gain``: about how many octets it gives back to the
    system; None where that is not what it is for. ``seconds``: about how long it takes. ``blocks``: who waits
    meanwhile, empty for nobody. ``alone``: it is only done while nobody else has the store open.
    """

    task: Task
    what: str
    table: str = ""
    gain: int | None = None
    seconds: float = 0.0
    blocks: str = ""
    needs: tuple[Need, ...] = ()
    alone: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "task": str(self.task),
            "what": self.what,
            "gain": self.gain,
            "estimated_s": round(self.seconds, 1),
            "blocks": self.blocks or None,
            "needs": [{"where": need.where, "bytes": need.size, "free": need.room} for need in self.needs],
        }


class Part(NamedTuple):
    """What one call did of a step: is there ``more`` to do, and how many octets are ``left`` to be given back.

    ``note`` is a sentence on what could not be done. ``rest_s``: for how long at least the store wants to be left
    to others before the next part.
    """

    more: bool = False
    left: int | None = None
    note: str = ""
    rest_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What a store takes, and what its engine can do for a wish.

    ``others`` name who else has it open, where that can be seen. ``refused`` say why what was wished for must not
    be done, ``notes`` what is worth knowing of the rest; sentences.
    """

    usage: Usage
    steps: tuple[Step, ...] = ()
    others: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def gain(self) -> int:
        return sum(step.gain or 0 for step in self.steps)


def decide(space: Space, wish: Wish) -> Space:
    """The same without the steps that are not worth it or have no room, and with the reasons."""
    gain, total = space.gain, (space.usage.total or 0) + (space.usage.log or 0)
    notes, refused, steps = list(space.notes), list(space.refused), list(space.steps)
    gaining = [step for step in steps if step.gain is not None]
    if gaining and not wish.force and gain < max(TRIVIAL, TRIVIAL_SHARE * total):
        steps = [step for step in steps if not _is_for_gain(step, gaining)]
        notes.append(
            f"left out: {', '.join(step.what for step in gaining)} would give back only {format_size(gain)} "
            f"of {format_size(total)}; --force does it all the same"
        )
    for step in steps:
        refused += [
            f"{step.what} needs about {format_size(need.size)} in {need.where}, where {format_size(need.room)} are free"
            for need in step.needs
            if need.room is not None and need.room < need.size
        ]
    return replace(space, steps=tuple(steps), notes=tuple(notes), refused=tuple(refused))


def _is_for_gain(step: Step, gaining: Sequence[Step]) -> bool:
    return step in gaining or step.task in (Task.SWITCH, Task.REWRITE)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """A step that was taken: seconds it took, and whether it came to its end."""

    step: Step
    seconds: float
    is_complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceReport:
    """One store's part of a vacuum. In a dry run ``after`` is what it would come to.

    ``why`` explains ``stopped``, or why nothing was done; ``error`` is the sentence and exit status that ended it.
    """

    store: str
    label: str
    dry_run: bool
    run_id: str | None
    space: Space
    after: Usage
    stopped: Stopped
    elapsed_s: float
    done: tuple[StepDone, ...] = ()
    why: str | None = None
    error: tuple[str, int] | None = None
    signal: int | None = None

    @property
    def freed(self) -> int:
        return size_of(self.space.usage) - size_of(self.after)

    @property
    def exit_code(self) -> int:
        if self.stopped is Stopped.SIGNAL:
            return 128 + (self.signal or 2)
        if self.error is not None:
            return self.error[1]
        return 4 if self.stopped is Stopped.LIMIT else 0

    def counts(self) -> dict[str, Any]:
        """For the ledger."""
        before, after = size_of(self.space.usage), size_of(self.after)
        return {"space": {"before": before, "after": after, "freed": self.freed}}

    def to_json(self) -> dict[str, Any]:
        """The object of one store, without ``schema``."""
        taken = {done.step: done for done in self.done}
        return {
            "command": "vacuum",
            "store": self.store,
            "dry_run": self.dry_run,
            "run_id": self.run_id,
            "before": _usage(self.space.usage),
            "after": _usage(self.after),
            "freed": self.freed,
            "steps": [step.to_json() | _taken(taken.get(step)) for step in self.space.steps],
            "others": list(self.space.others),
            "refused": list(self.space.refused),
            "notes": list(self.space.notes),
            "stopped": str(self.stopped),
            "why": self.why,
            "elapsed_s": round(self.elapsed_s, 3),
            **({"error": self.error[0]} if self.error else {}),
        }


def size_of(usage: Usage) -> int:
    """All octets on disk: the store's and its log's."""
    return (usage.total or 0) + (usage.log or 0)


def foreseen(space: Space) -> Usage:
    """What the steps of ``space`` would come to."""
    usage = space.usage
    log = 0 if any(step.task is Task.LOG for step in space.steps) else usage.log
    free = None if usage.free is None else max(0, usage.free - space.gain)
    return Usage(total=(usage.total or 0) - space.gain, free=free, log=log)


def together(reports: Sequence[SpaceReport], failures: Iterable[Mapping[str, Any]], *, dry_run: bool) -> dict[str, Any]:
    """Several stores: sums, ``store`` null, and each store's own object in ``stores``."""
    return {
        "command": "vacuum",
        "store": None,
        "dry_run": dry_run,
        "run_id": None,
        "before": _usage(_sum(report.space.usage for report in reports)),
        "after": _usage(_sum(report.after for report in reports)),
        "freed": sum(report.freed for report in reports),
        "stopped": str(worst_stop(reports) if reports else Stopped.ERROR),
        "elapsed_s": round(sum(report.elapsed_s for report in reports), 3),
        "stores": [*(report.to_json() for report in reports), *failures],
    }


def _taken(done: StepDone | None) -> dict[str, Any]:
    return {"seconds": None if done is None else round(done.seconds, 3), "done": done is not None and done.is_complete}


def _usage(usage: Usage) -> dict[str, Any]:
    return {"total": usage.total, "free": usage.free, "log": usage.log}


def _sum(usages: Iterable[Usage]) -> Usage:
    found = list(usages)
    return Usage(
        total=sum(usage.total or 0 for usage in found),
        free=sum(usage.free or 0 for usage in found),
        log=sum(usage.log or 0 for usage in found),
    )
