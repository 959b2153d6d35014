"""Trims beside other writers of a server and alone there: which of the two it is decides how large batches become."""

from __future__ import annotations

import pytest
from operating import wait_for
from sdk_cases import CASES, made

from sessionctl.core.model import Guard, Outcome, Rewrite, Span
from sessionctl.testing.case import turn

MAKERS = {maker.name: maker for maker in CASES}


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_what_a_trim_does_is_no_other_writer(name: str, request: pytest.FixtureRequest) -> None:
    with made(MAKERS[name], request) as case:
        case.write("s", [item for number in range(500) for item in turn(number)])
        with case.open() as store:
            keys = (item.key for item in list(store.items("s")))

            def met() -> int:
                before, key = store.spent.met, next(keys)
                assert isinstance(key, int)
                trim = Rewrite(session_id="s", version=None, remove=(Span(key, key, 1),))
                assert store.apply([trim], Guard()) == [Outcome.DONE]
                return store.spent.met - before

            met()
            case.write("other", turn(1))
            assert met() == 1
            wait_for(lambda: (met(), met())[1] == 0, "a moment in which nobody else writes on this server")
