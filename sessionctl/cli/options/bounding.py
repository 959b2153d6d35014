"""The limits of a run as options: declared once, for every command that changes stores."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from sessionctl.cli.options.common import duration, lag_limit
from sessionctl.cli.options.grouping import grouped
from sessionctl.core.limits import LagLimit, Limits

LIMITS = "Limits"

BatchSizeOpt = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Sessions in a batch, at most.", rich_help_panel=LIMITS)
]
RateOpt = Annotated[
    float | None, typer.Option(min=0.001, metavar="N", help="Sessions a second, at most.", rich_help_panel=LIMITS)
]
MaxSessionsOpt = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Stop after N sessions.", rich_help_panel=LIMITS)
]
MaxRuntimeOpt = Annotated[
    timedelta | None,
    typer.Option("--max-runtime", parser=duration, metavar="DUR", help="Stop after DUR.", rich_help_panel=LIMITS),
]
MaxReplicaLagOpt = Annotated[
    LagLimit | None,
    typer.Option(
        "--max-replica-lag", parser=lag_limit, metavar="DUR|SIZE", show_default="30s,4GiB", rich_help_panel=LIMITS,
        help="Wait while replicas are further behind, or slots hold back more log; off: never.",
    ),
]  # fmt: skip


def limits(
    batch_size: BatchSizeOpt = None,
    rate: RateOpt = None,
    max_sessions: MaxSessionsOpt = None,
    max_runtime: MaxRuntimeOpt = None,
    max_replica_lag: MaxReplicaLagOpt = None,
) -> Limits:
    """What these options set; the settings may set the others."""
    return Limits(
        batch_size=batch_size,
        rate=rate,
        max_sessions=max_sessions,
        max_runtime=max_runtime,
        max_replica_lag=max_replica_lag,
    )


bounded = grouped("limits", limits)
"""Puts the limits in the place of a command's parameter ``limits: Limits``."""
