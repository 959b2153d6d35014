"""The contract of the store port, on every backend that sessionctl has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sdk_cases import CASES, CaseMaker, SdkCase, made

from sessionctl.testing import (
    TestDeleting,
    TestForeseeing,
    TestHarmless,
    TestHolding,
    TestListing,
    TestOpening,
    TestPaging,
    TestQuerying,
    TestReading,
    TestRechecking,
    TestReturning,
    TestReturningParts,
    TestRewriting,
    TestRewritingRecheck,
    TestSearching,
    TestSizing,
    TestVacuuming,
)

__all__ = [
    "TestDeleting",
    "TestForeseeing",
    "TestHarmless",
    "TestHolding",
    "TestListing",
    "TestOpening",
    "TestPaging",
    "TestQuerying",
    "TestReading",
    "TestRechecking",
    "TestReturning",
    "TestReturningParts",
    "TestRewriting",
    "TestRewritingRecheck",
    "TestSearching",
    "TestSizing",
    "TestVacuuming",
]


@pytest.fixture(params=CASES, ids=lambda maker: maker.name)
def case(request: pytest.FixtureRequest) -> Iterator[SdkCase]:
    """An empty store of each kind."""
    maker: CaseMaker = request.param
    with made(maker, request) as store:
        yield store
