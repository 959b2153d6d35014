"""Spans of keys: they cover what is to be removed, nothing else, and in as few pieces as that takes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sessionctl.core.spans import spans

KEYS = st.sets(st.integers(1, 60))


def test_a_head_is_one_span_whatever_lies_between_its_keys() -> None:
    assert spans([40, 3, 17, 90], {3, 17, 40}) == ((3, 40, 3),)
    assert spans([1, 2, 3, 4, 5], {1, 2, 4}) == ((1, 2, 2), (4, 4, 1))
    assert spans([1, 2], ()) == ()


@given(st.permutations(range(1, 40)).flatmap(lambda keys: st.tuples(st.just(keys), KEYS)))
def test_exactly_what_is_to_be_removed_is_covered(drawn: tuple[list[int], set[int]]) -> None:
    keys, chosen = drawn
    remove = chosen & set(keys)
    found = spans(keys, remove)
    covered = [key for span in found for key in keys if span.first <= key <= span.last]
    assert sorted(covered) == sorted(remove)
    assert [span.items for span in found] == [sum(s.first <= key <= s.last for key in keys) for s in found]
    assert all({span.first, span.last} <= remove for span in found)
    between = [[k for k in keys if a.last < k < b.first] for a, b in pairwise(found)]
    assert all(set(some) - remove for some in between), "two spans that could have been one"
