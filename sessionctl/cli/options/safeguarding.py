"""What makes a run safe, as options: declared once, for every command that changes stores."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

import typer

from sessionctl.cli.options.common import ReasonOpt, duration
from sessionctl.cli.options.grouping import grouped
from sessionctl.cli.options.selecting import SELECTORS
from sessionctl.core.plan import Allowances
from sessionctl.core.selector import Selector
from sessionctl.errors import UsageError

SAFETY = "Safety"
MIN_IDLE = timedelta(minutes=15)

EverythingOpt = Annotated[bool, typer.Option("--all", help="Every session.", rich_help_panel=SELECTORS)]
DryRunOpt = Annotated[bool, typer.Option("--dry-run", "-n", help="Show the plan and stop.")]
YesOpt = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
ArchiveOpt = Annotated[
    str | None,
    typer.Option(
        "--archive", metavar="DIR|URL", show_default="the store's setting", rich_help_panel=SAFETY,
        help="Write what is removed to an archive there first; undo brings it back.",
    ),
]  # fmt: skip
NoArchiveOpt = Annotated[
    bool, typer.Option("--no-archive", rich_help_panel=SAFETY, help="Without an archive, whatever the settings say.")
]
MinIdleOpt = Annotated[
    timedelta | None,
    typer.Option(
        "--min-idle", parser=duration, metavar="DUR", show_default="15m", rich_help_panel=SAFETY,
        help="Never touch a session active within DUR; 0 needs --id or --ids-from.",
    ),
]  # fmt: skip
MaxShareOpt = Annotated[
    float,
    typer.Option(
        "--max-share", min=0, max=1, metavar="SHARE", rich_help_panel=SAFETY,
        help="Refuse to take more than this share of a store's sessions.",
    ),
]  # fmt: skip
AllowCascadeOpt = Annotated[
    bool,
    typer.Option(
        "--allow-cascade", rich_help_panel=SAFETY,
        help="Go on though foreign keys or triggers of others take rows along.",
    ),
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """What is only planned, what need not be asked, and why it is done."""

    dry_run: bool
    yes: bool
    reason: str | None


def consenting(*, dry_run: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put these options in the place of a command's parameter ``consent``; ``dry_run`` is what its help says of it."""
    return grouped("consent", _consent, saying={"dry_run": dry_run} if dry_run else {})


def _consent(dry_run: DryRunOpt = False, yes: YesOpt = False, reason: ReasonOpt = None) -> Consent:
    return Consent(dry_run=dry_run, yes=yes, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Safety:
    """What must not be touched or lost; ``everything``: the user said that every session is meant."""

    everything: bool
    archive: str | None
    no_archive: bool
    min_idle: timedelta
    allowed: Allowances

    def check_choice(self, command: str, chosen: Selector) -> None:
        """Raises UsageError where the sessions were not chosen on purpose."""
        if chosen.is_everything and not self.everything:
            raise UsageError(
                f"{command} needs a selector or an id", hint="--all is the explicit way to mean every session"
            )
        if self.everything and not chosen.is_everything:
            raise UsageError("--all means every session: it does not go with a selector")
        self.check_idleness(chosen)

    def check_idleness(self, chosen: Selector) -> None:
        """Raises UsageError where sessions that nobody named could be in use."""
        if self.min_idle == timedelta(0) and not chosen.names_sessions:
            raise UsageError("--min-idle 0 needs --id or --ids-from")

    def archive_of(self, setting: str | None) -> str | None:
        """Where what is removed goes, ``setting`` being what the settings say; None for nowhere."""
        return None if self.no_archive else self.archive or setting


def safeguarding(
    *, without: Collection[str] = (), saying: Mapping[str, str] | None = None, panel: str | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put these options in the place of a command's parameter ``safety``; see ``grouped``."""
    return grouped("safety", _safety, without=without, saying=saying, panel=panel)


def _safety(
    everything: EverythingOpt = False,
    archive: ArchiveOpt = None,
    no_archive: NoArchiveOpt = False,
    min_idle: MinIdleOpt = None,
    max_share: MaxShareOpt = 0.5,
    allow_cascade: AllowCascadeOpt = False,
) -> Safety:
    """What these options mean. Raises UsageError where they contradict."""
    if archive is not None and not archive.strip():
        raise UsageError("--archive is empty", hint="name a directory or URL; --no-archive is for none")
    if archive and no_archive:
        raise UsageError("--archive and --no-archive exclude each other")
    return Safety(
        everything=everything,
        archive=archive,
        no_archive=no_archive,
        min_idle=MIN_IDLE if min_idle is None else min_idle,
        allowed=Allowances(max_share=max_share, cascade=allow_cascade),
    )
