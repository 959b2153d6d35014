"""Options that belong together, declared once as the parameters of a function, for every command that has them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any


def grouped(
    parameter: str, make: Callable[..., Any], *, without: Collection[str] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put the options of ``make`` in the place of a command's ``parameter``, which gets what ``make`` makes of them.

    ``without``: options of ``make`` that this command does not have. One that the command has itself goes to both.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(command, eval_str=True).parameters
        options = inspect.signature(make, eval_str=True).parameters
        ours = {name: option for name, option in options.items() if name not in without}

        @functools.wraps(command)
        def with_options(**given: Any) -> Any:
            made = make(**{name: given[name] for name in ours})
            return command(**{parameter: made}, **{name: given[name] for name in own if name != parameter})

        keyword = [
            option.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for mine in own.values()
            for option in ([o for o in ours.values() if o.name not in own] if mine.name == parameter else [mine])
        ]
        with_options.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
        with_options.__annotations__ = {option.name: option.annotation for option in keyword}
        return with_options

    return decorate
