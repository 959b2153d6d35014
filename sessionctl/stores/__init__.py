"""Adapters: the only code that talks to drivers. A backend is one package named like its URL scheme.

Each has a module ``adapter`` with a class named ``Adapter``; what stores behind SQLAlchemy share is in ``sql``.
Third parties add schemes by entry points of the group ``sessionctl.stores``. Modules are imported when a store of
their kind is opened, never before.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from sessionctl.core.address import StoreAddress
from sessionctl.drivers import extra_of
from sessionctl.errors import StoreUnavailable, UsageError
from sessionctl.stores.base import Store


class _Openable(Store):
    """What adapters are: made of an address."""

    @abstractmethod
    def __init__(self, address: StoreAddress) -> None: ...


_SCHEMES = {"sqlite": "sqlite", "postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}


def open_store(address: StoreAddress) -> Store:
    """Open the store at ``address`` (not a fleet: see ``stores.fleet.expand``).

    Raises UsageError for an unknown scheme, StoreUnavailable naming the extra where a driver is not
    installed, and what the adapter raises.
    """
    with _driver_named(address):
        return adapter(address.scheme)(address)


def create_store(address: StoreAddress, *, bare: bool = False) -> Store:
    """Make the SDK's tables at ``address`` where they are missing (``Store.create``), and open it.

    ``bare`` tables lack what ``complete_store`` adds. What is there and is no SDK store is left as it is.
    Raises as ``open_store``.
    """
    with _driver_named(address):
        made_of = adapter(address.scheme)
        made_of.create(address)
        if not bare:
            made_of.complete(address)
    return open_store(address)


def longest_new_text(address: StoreAddress) -> int | None:
    """The most octets of a text in tables that ``create_store`` would make; None where there is no limit."""
    with _driver_named(address):
        return adapter(address.scheme).longest_new_text(address)


def complete_store(address: StoreAddress) -> Store:
    """Add what ``create_store`` left out of ``bare`` tables, and open the store."""
    with _driver_named(address):
        adapter(address.scheme).complete(address)
    return open_store(address)


@contextmanager
def _driver_named(address: StoreAddress) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        extra = extra_of(error)
        if extra is None:
            raise
        raise StoreUnavailable(
            f"{address.scheme} stores need a driver that is not installed",
            hint=extra,
        ) from error


def adapter(scheme: str) -> type[_Openable]:
    """What opens stores of this scheme. Raises UsageError for an unknown one, ImportError where a driver is missing."""
    if scheme in _SCHEMES:
        adapter = import_module(f"sessionctl.stores.{_SCHEMES[scheme]}.adapter").Adapter
    else:
        found = next(iter(entry_points(group="sessionctl.stores", name=scheme)), None)
        if found is None:
            known = ", ".join(sorted(_SCHEMES))
            raise UsageError(f"no store speaks {scheme}://", hint=f"known schemes: {known}")
        adapter = found.load()
    return cast("type[_Openable]", adapter)


def finish_vacuum(address: StoreAddress) -> bool:
    """Bring the file at ``address`` to its end where a vacuum by way of another directory was cut off.

    False where there is nothing to be done. Raises SessionctlError where it cannot be done now.
    """
    if address.path is None or not address.path.is_file():
        return False
    from sessionctl.stores.sqlite.via import finish

    return finish(address.path)
