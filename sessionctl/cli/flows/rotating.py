"""What there is to check about where closed sessions go, and what they are put into."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sessionctl.core.rotation import STEM, Template
from sessionctl.errors import UsageError

if TYPE_CHECKING:
    from sessionctl.cli.flows.running import CoverOf
    from sessionctl.cli.options.rotating import Wish
    from sessionctl.core.address import StoreAddress
    from sessionctl.operations.rotation.rotate import Rotation


def check(wish: Wish, names: Sequence[str] | None, *, all_stores: bool) -> None:
    """Raises UsageError where sessions of several stores would meet, or come back by the next run of a fleet."""
    from sessionctl.cli.flows.stores_in_use import settings
    from sessionctl.operations.visiting import members

    template = wish.rotation.template
    addresses = settings().resolve(names or (), all_stores)
    if STEM not in template.fields and (len(addresses) > 1 or any(len(members(a)) > 1 for a in addresses)):
        raise UsageError(
            "sessions of several stores would come into the same targets",
            hint="{stem} in --into stands for the name of each store's file or database",
        )
    for address in addresses:
        if address.is_fleet and template.is_path and _is_member(template, address):
            raise UsageError(f"the files of --into {template.text} would belong to the fleet {address} themselves")


def _is_member(template: Template, fleet: StoreAddress) -> bool:
    """Might a target be a file of the fleet? By the fixed parts of both."""
    path = (fleet.path or Path()).absolute()
    example = template.text.replace("{", "").replace("}", "")
    if path.is_dir():
        return Path(example).parent == path
    pattern = str(path).replace("**/", "*")
    return fnmatch.fnmatchcase(example, pattern) and ("**" in str(path) or example.count("/") == pattern.count("/"))


def cover_of(rotation: Rotation) -> CoverOf:
    """What the sessions of a run are put into before they are deleted."""
    from sessionctl.cli.context import current
    from sessionctl.config import state_dir
    from sessionctl.operations.rotation.covering import rotation_of

    return lambda store, header, run, ledger: rotation_of(
        store, rotation, header, run, ledger, state_dir(current().env)
    )
