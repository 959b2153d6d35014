"""From which store sessions go to which, under which ids and in which style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sessionctl.core.address import StoreAddress
from sessionctl.errors import UsageError
from sessionctl.operations.visiting import members

_STEM = "{stem}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One source and where its sessions go: ``prefix`` comes before their ids."""

    source: StoreAddress
    target: StoreAddress
    prefix: str = ""

    def id_there(self, session_id: str) -> str:
        return self.prefix + session_id

    def id_here(self, session_id: str) -> str | None:
        """The id in the source, None for one that no session of it gets."""
        return session_id.removeprefix(self.prefix) if session_id.startswith(self.prefix) else None


def routes(source: StoreAddress, target: StoreAddress, prefix: str) -> Sequence[Route]:
    """A route for each store that ``source`` means; ``{stem}`` in ``prefix`` is a file's name without its ending.

    Raises UsageError where target and source are the same, or several of the sources would get the same prefix
    though they were to be kept apart.
    """
    if target.is_fleet:
        raise UsageError(f"{target} is several stores: sessions go into one", hint="name one file")
    found = [Route(source=member, target=target, prefix=_filled(prefix, member)) for member in members(source)]
    if any(_are_same(route.source, target) for route in found):
        raise UsageError(f"{target} is itself among the sources")
    if _STEM in prefix and len({route.prefix for route in found}) < len(found):
        raise UsageError(f"--id-prefix {prefix!r} is the same for several files of {source}")
    return found


def _are_same(source: StoreAddress, target: StoreAddress) -> bool:
    """By another path or a link, too."""
    if source.path and target.path and source.path.exists() and target.path.exists():
        return source.path.samefile(target.path)
    return source.recorded == target.recorded


def _filled(prefix: str, member: StoreAddress) -> str:
    return prefix.replace(_STEM, member.path.stem if member.path else member.label)
