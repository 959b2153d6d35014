"""What stays in the place of turns that go, as options."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import typer

from sessionctl.cli.options.grouping import grouped
from sessionctl.config import Settings
from sessionctl.core.condensing import Kind
from sessionctl.errors import UsageError
from sessionctl.operations.trim import Wish

INSTEAD = "In the place of old turns"

SummarizeOpt = Annotated[
    bool,
    typer.Option(
        "--summarize", rich_help_panel=INSTEAD,
        help="A summary of the turns that go, by an agent on a model: texts are sent there.",
    ),
]  # fmt: skip
CompactOpt = Annotated[
    bool,
    typer.Option(
        "--compact", rich_help_panel=INSTEAD,
        help="What the Responses API's compaction makes of them, for agents on OpenAI's models.",
    ),
]  # fmt: skip
ModelOpt = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="NAME", rich_help_panel=INSTEAD, show_default="the settings' summarize.model",
        help="The model that does it.",
    ),
]  # fmt: skip
SummaryTokensOpt = Annotated[
    int | None,
    typer.Option(
        "--summary-tokens", min=1, metavar="N", rich_help_panel=INSTEAD, show_default="2000",
        help="A summary has N tokens at most.",
    ),
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Instead:
    """What the user wants in the place of turns that go; ``kind`` None: nothing."""

    kind: Kind | None
    model: str | None
    max_tokens: int | None

    def added(self, wish: Wish, known: Settings, *, is_dry: bool) -> Wish:
        """``wish`` with the terms for it. Raises UsageError where they do not go together, or something is missing.

        A dry run asks no model, and needs no key.
        """
        if self.kind is None:
            return wish
        if wish.limits is None:
            raise UsageError(
                f"{_flag(self.kind)} is for the oldest turns: it needs a limit",
                hint="name one, like --max-tokens 40000",
            )
        terms = known.condensing(self.kind, model=self.model, max_tokens=self.max_tokens)
        if terms.api_key is None and not is_dry:
            raise UsageError(
                f"the key for {terms.base_url} is not set: ${terms.key_variable}", hint=f"export {terms.key_variable}"
            )
        return replace(wish, condensing=terms)


def _instead(
    summarize: SummarizeOpt = False,
    compact: CompactOpt = False,
    model: ModelOpt = None,
    summary_tokens: SummaryTokensOpt = None,
) -> Instead:
    """What these options mean. Raises UsageError where they contradict, or say nothing."""
    if summarize and compact:
        raise UsageError("--summarize and --compact exclude each other")
    if model and not (summarize or compact):
        raise UsageError("--model goes with --summarize or --compact")
    if summary_tokens and not summarize:
        raise UsageError("--summary-tokens goes with --summarize")
    kind = Kind.SUMMARY if summarize else Kind.COMPACTION if compact else None
    return Instead(kind=kind, model=model, max_tokens=summary_tokens)


def _flag(kind: Kind) -> str:
    return "--summarize" if kind is Kind.SUMMARY else "--compact"


condensing = grouped("instead", _instead)
"""Puts these options in the place of a command's parameter ``instead: Instead``."""
