"""What became of sessions that were to be put back, for people."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

from sessionctl.cli.output import Output
from sessionctl.cli.views.plan import totals_text
from sessionctl.operations.put_back import NAMED, Case, Tally

_NAMED = 10
WORDS = {
    Case.BACK: "put back",
    Case.FRONT: "in front",
    Case.ALREADY: "there now",
    Case.REFUSED: "refused",
    Case.GONE: "gone",
    Case.KEPT: "not taken",
    Case.UNFIT: "failed",
    Case.STALE: "outdated",
}
PLANNED = WORDS | {Case.BACK: "puts back"}
"""Before anything was done."""


def show_tally(
    out: Output, tally: Tally, console: Console, why: Mapping[Case, str], words: Mapping[Case, str] = WORDS
) -> None:
    """One line a case that there is, with the reason for it, and the first that were refused."""
    for case, totals in tally.by_case.items():
        if totals.sessions or case is Case.BACK:
            reason = f" ({why[case]})" if case in why else ""
            out.line(f"  {words[case]:<11} {totals_text(totals)}{reason}", console=console)
    for session_id in tally.refused[:_NAMED]:
        out.line(f"              {session_id}", console=console)
    if (more := sum(tally.by_case[case].sessions for case in NAMED) - _NAMED) > 0:
        out.line(f"              … and {more:,} more", console=console)
