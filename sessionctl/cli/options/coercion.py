"""Typer's conversion of parameters, kept from loading Pydantic (a quarter of a short command) for plain values.

Typer 0.29 hands every value to a Pydantic adapter, also those that were not given at all. What is absent, text,
or the name of a choice needs none; everything else still goes Typer's way.
"""

from __future__ import annotations

from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from typer._coercion import build_runtime_param

_NOT_PLAIN = object()


class LateCoercion:
    """Takes the place of a parameter's runtime conversion, which is built when it is needed."""

    def __init__(self, descriptor: Any) -> None:
        self._descriptor = descriptor
        annotation = descriptor.annotation
        is_union = get_origin(annotation) in (Union, UnionType)
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType] if is_union else [annotation]
        is_own = getattr(descriptor.parameter_info, "parser", None) is not None
        self._kind = kinds[0] if len(kinds) == 1 and not is_own else None

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        plain = self._plain(value)
        return build_runtime_param(self._descriptor).coerce(value, param, ctx) if plain is _NOT_PLAIN else plain

    def _plain(self, value: Any) -> Any:
        kind = self._kind
        if kind is str and isinstance(value, str):
            return value
        if kind == list[str] and isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
            return list(value)
        if isinstance(kind, type) and issubclass(kind, Enum):
            known = {str(choice.value): choice for choice in kind}
            return value if isinstance(value, kind) else known.get(value, _NOT_PLAIN)
        return _NOT_PLAIN


def coerce_late(param: Any) -> Any:
    """The same parameter, converting late. Another Typer than the one pinned would just convert as it does."""
    param._runtime_param = LateCoercion(param.type_descriptor)  # noqa: SLF001 - Typer has no public place for it
    return param
