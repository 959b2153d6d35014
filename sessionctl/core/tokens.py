"""How many tokens stored text is, as an estimate made without a tokenizer.

Always an estimate and to be shown as one: tool calls and ids run denser than prose, and escaped
non-Latin text runs thinner than its bytes suggest.
"""

from __future__ import annotations

BYTES_PER_TOKEN = 3.4
"""Octets of stored JSON per o200k_base token over 18,000 items of real agent transcripts."""


def estimate_tokens(stored_bytes: int) -> int:
    """Estimated tokens of ``stored_bytes`` octets of stored JSON."""
    return round(stored_bytes / BYTES_PER_TOKEN)
