"""The command line: parsing, confirming, drawing. Nothing below it prints."""

from __future__ import annotations

import gc

# Start-up makes many objects, and they stay: looking for garbage among them took 7 % of a short command.
gc.set_threshold(50_000)
