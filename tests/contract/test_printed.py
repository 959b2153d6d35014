"""The parts of the contract that tables can break, on those that ``schema print`` prints for PostgreSQL.

The case ``mariadb`` of the whole contract is on printed tables too.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sdk_cases import POSTGRES_PRINTED, SdkCase, made

from sessionctl.testing import TestDeleting, TestReading, TestReturning, TestRewriting

__all__ = ["TestDeleting", "TestReading", "TestReturning", "TestRewriting"]


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Iterator[SdkCase]:
    with made(POSTGRES_PRINTED, request) as store:
        yield store
