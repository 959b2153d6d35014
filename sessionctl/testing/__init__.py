"""The contract of ``stores.base`` as tests, for every adapter, ours or a plugin's.

A test module imports the test classes and gives a fixture ``case`` that makes a ``StoreCase``, a store of
its kind that the SDK's own session class writes and reads::

    from sessionctl.testing import *

    @pytest.fixture
    def case(tmp_path):
        return MyCase(tmp_path)

Needs pytest, which sessionctl itself does not.
"""

from __future__ import annotations

import pytest

for _clauses in (
    "changing",
    "foreseeing",
    "harmless",
    "holding",
    "listing",
    "looking",
    "reading",
    "returning",
    "returning_parts",
    "rewriting",
    "vacuuming",
):
    pytest.register_assert_rewrite(f"{__name__}.{_clauses}")

from sessionctl.testing.case import JsonObject, StoreCase  # noqa: E402 -- asserts are rewritten on import
from sessionctl.testing.changing import TestDeleting, TestRechecking  # noqa: E402
from sessionctl.testing.foreseeing import TestForeseeing  # noqa: E402
from sessionctl.testing.harmless import TestHarmless, TestOpening  # noqa: E402
from sessionctl.testing.holding import TestHolding  # noqa: E402
from sessionctl.testing.listing import TestListing, TestPaging, TestQuerying  # noqa: E402
from sessionctl.testing.reading import TestReading, TestSearching, TestSizing  # noqa: E402
from sessionctl.testing.returning import TestReturning  # noqa: E402
from sessionctl.testing.returning_parts import TestReturningParts  # noqa: E402
from sessionctl.testing.rewriting import TestRewriting, TestRewritingRecheck  # noqa: E402
from sessionctl.testing.vacuuming import TestVacuuming  # noqa: E402

__all__ = [
    "JsonObject",
    "StoreCase",
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
