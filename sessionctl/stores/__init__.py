"""Adapters: the only code that talks to drivers. A backend is one module named like its URL scheme.

Each module has a class named ``Adapter``. Third parties add schemes by entry points of the group
``sessionctl.stores``. Modules are imported when a store of their kind is opened, never before.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from sessionctl.core.address import StoreAddress
from sessionctl.drivers import extra_of
from sessionctl.errors import StoreUnavailable, UsageError
from sessionctl.stores.base import Store

_SCHEMES = {"sqlite": "sqlite", "postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}


def open_store(address: StoreAddress) -> Store:
    """Open the store at ``address`` (not a fleet: see ``stores.fleet.expand``).

    Raises UsageError for an unknown scheme, StoreUnavailable naming the extra where a driver is not
    installed, and what the adapter raises.
    """
    try:
        return _adapter(address.scheme)(address)
    except ModuleNotFoundError as error:
        extra = extra_of(error)
        if extra is None:
            raise
        raise StoreUnavailable(
            f"{address.scheme} stores need a driver that is not installed",
            hint=extra,
        ) from error


def _adapter(scheme: str) -> Callable[[StoreAddress], Store]:
    if scheme in _SCHEMES:
        adapter = import_module(f"sessionctl.stores.{_SCHEMES[scheme]}").Adapter
    else:
        found = next(iter(entry_points(group="sessionctl.stores", name=scheme)), None)
        if found is None:
            known = ", ".join(sorted(_SCHEMES))
            raise UsageError(f"no store speaks {scheme}://", hint=f"known schemes: {known}")
        adapter = found.load()
    return cast("Callable[[StoreAddress], Store]", adapter)
