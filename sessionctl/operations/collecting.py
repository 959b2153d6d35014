"""The garbage collector during the long loops over sessions."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def only_what_is_new() -> Iterator[None]:
    """For the length of the block the collector leaves alone what is there already.

    Libraries leave some hundred thousand objects that live as long as the process. To look at them again and again
    took up to a tenth of a purge.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
