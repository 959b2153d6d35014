"""A migration before and after, for people and for programs."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from sessionctl.cli.output import Output
from sessionctl.cli.views.tally import WORDS, show_tally
from sessionctl.core.report import Stopped
from sessionctl.core.units import count
from sessionctl.operations.migration.cut_over import CutOver
from sessionctl.operations.migration.outlook import Outlook
from sessionctl.operations.put_back import Case

_NAMED = 10
_WHY = {
    Case.ALREADY: "with all these items",
    Case.REFUSED: "they are there with other items",
    Case.UNFIT: "the target cannot hold their ids, texts or times",
}


def show_outlook(out: Output, outlook: Outlook, title: str, console: Console) -> None:
    """What would be done."""
    out.line(title, console=console)
    matched = outlook.matched
    out.line(f"  sources     {count(matched.sessions, 'session')}, {count(matched.items, 'item')}", console=console)
    if outlook.makes_tables:
        out.line("  tables      are made, with the index after the rows", console=console)
    if outlook.in_place:
        out.line(f"  in place    {count(outlook.in_place, 'session')}, copied before", console=console)
    others = outlook.there - outlook.in_place
    if others > 0:
        out.line(f"  there now   {count(others, 'session')} of the same ids, to be compared", console=console)
    if outlook.holds:
        out.line(f"  holds       {outlook.holds:,} are carried over", console=console)
    _show_what_stays(out, outlook, console)


def _show_what_stays(out: Output, outlook: Outlook, console: Console) -> None:
    if outlook.loses_branches:
        out.line("  stays       what AdvancedSQLiteSession has beside its main branches, and usage", console=console)
    if misfits := outlook.misfits:
        out.line(f"  no place    {count(len(misfits), 'session')}", console=console)
        for misfit in misfits[:_NAMED]:
            out.line(f"              {misfit.session_id}: {misfit.why}", console=console)


def show_cut_over(out: Output, done: CutOver, title: str, outlook: Outlook) -> None:
    """What was done, and whether the source may be left."""
    out.line(title)
    show_tally(out, done.tally, out.console, _WHY, WORDS | {Case.BACK: "copied"})
    if done.in_place:
        out.line(f"  in place    {count(done.in_place, 'session')}, as they were copied before")
    if done.replaced:
        out.line(f"  replaced    {count(done.replaced, 'session')} (changed in the source meanwhile)")
    if done.deleted:
        out.line(f"  deleted     {count(done.deleted, 'session')} (gone from the source meanwhile)")
    if done.left:
        out.line(f"  left        {count(len(done.left), 'session')} (changed in the target, or held there)")
        for session_id in done.left[:_NAMED]:
            out.line(f"              {session_id}")
    _show_what_stays(out, outlook, out.console)
    if not done.passes:
        return
    if done.stopped is not Stopped.DONE:
        state = "stopped before the end: run it again, and it goes on"
    elif done.is_clean:
        what = "all that has a place there" if outlook.misfits else "everything"
        state = f"{what} is in place: stop the writers, run it once more, and switch"
    elif done.left or done.tally.refused:
        state = "not everything is in place: see above"
    else:
        state = "the last pass still found something to copy: run it again"
    out.line(f"  cut-over    {done.passes} {'pass' if done.passes == 1 else 'passes'}; {state}")


def to_json(outlook: Outlook, done: CutOver | None) -> dict[str, Any]:
    """What only a migration tells."""
    found: dict[str, Any] = {
        "in_place": done.in_place if done else outlook.in_place,
        "misfits": [{"session_id": misfit.session_id, "why": misfit.why} for misfit in outlook.misfits],
    }
    if done is None:
        return found
    already = done.tally.by_case[Case.ALREADY]
    return found | {
        "already": {"sessions": already.sessions, "items": already.items, "bytes": already.bytes},
        "replaced": {"sessions": done.replaced},
        "deleted": {"sessions": done.deleted},
        "refused": done.tally.refused,
        "left": done.left,
        "passes": done.passes,
        "clean": done.is_clean,
    }
