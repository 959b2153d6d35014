"""Settings: one TOML file and the ``SESSIONCTL_*`` variables, each effective value with where it came from.

The file names stores and how to reach them. It is never taken from the current directory, and nothing in
it may depend on the current directory either: cron and services start elsewhere than the operator who
wrote it. Passwords are looked up only when a store is resolved, and appear nowhere but in
``StoreAddress.url``.
"""

from __future__ import annotations

from sessionctl.config.locations import default_locations, state_dir
from sessionctl.config.settings import Setting, Settings, StoreSettings, load

__all__ = ["Setting", "Settings", "StoreSettings", "default_locations", "load", "state_dir"]
