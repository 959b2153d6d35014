"""List sessions, newest activity first."""

from __future__ import annotations

from sessionctl.cli.options import OutputOpt
from sessionctl.cli.output import Form


def command(output: OutputOpt = Form.TABLE) -> None:
    """List."""
    print(output)
