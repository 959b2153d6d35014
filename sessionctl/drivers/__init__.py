"""Reaching database servers: an application's URL made fit for a driver, and the driver's errors for the user.

Stores use it, and the ledger. What is imported from a module of it needs its driver.
"""

from __future__ import annotations

import logging
from functools import cache

CONNECT_TIMEOUT_S = 10
LOCK_WAIT_S = 3
"""How long one statement of a change waits for a lock; longer, and the application behind it would notice."""
_EXTRAS = {"psycopg": "postgres", "pymysql": "mysql"}


def extra_of(error: ModuleNotFoundError) -> str | None:
    """What to install where a driver is missing; None where something else is."""
    extra = _EXTRAS.get((error.name or "").partition(".")[0])
    return extra and f"pip install 'sessionctl[{extra}]'"


@cache
def without_log() -> None:
    """Keep SQLAlchemy's log off the terminal, where Python puts it if nobody listens.

    It tells, with tracebacks, what goes wrong while a lost connection is put away. That it was lost is raised anyway.
    """
    logging.getLogger("sqlalchemy").addHandler(logging.NullHandler())
