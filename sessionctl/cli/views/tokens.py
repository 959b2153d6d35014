"""Tokens in words, the same wherever they are told."""

from __future__ import annotations

from sessionctl.core.model import RecordedUsage
from sessionctl.core.tokens import ESTIMATE
from sessionctl.core.units import count


def method_told(counted_by: str) -> str:
    """How tokens were counted."""
    return "by estimate" if counted_by == ESTIMATE else f"counted by {counted_by}"


def usage_told(usage: RecordedUsage) -> str:
    """What runs took, as it was recorded."""
    return f"{count(usage.requests, 'request')}, {usage.input_tokens:,} tokens in, {usage.output_tokens:,} out"
