"""Identifiers that say less than others of the same value."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.assemble.parts import joined
from node.terms import Identifier, Issuer

ISSUERS = st.builds(Issuer, st.sampled_from(["", "A", "B"]), st.sampled_from(["", "1.2", "1.3"]))


def _agree(one: Identifier, other: Identifier) -> bool:
    """By the rule as it is said: the same value, and halves of issuers that are the same or not given."""
    halves = ((one.issuer.local, other.issuer.local), (one.issuer.universal, other.issuer.universal))
    return one.value == other.value and all(not a or not b or a == b for a, b in halves)


@given(st.lists(st.builds(Identifier, st.sampled_from(["x", "y"]), ISSUERS), max_size=6))
def test_the_fullest_stay_and_those_that_agree_with_one_of_them_go(found: list[Identifier]) -> None:
    ranked = sorted(
        range(len(found)), key=lambda at: ((found[at].issuer.local, found[at].issuer.universal).count(""), at)
    )
    kept: list[int] = []
    for at in ranked:
        if not any(_agree(found[at], found[other]) for other in kept):
            kept.append(at)
    assert joined(found) == tuple(found[at] for at in sorted(kept))


def test_many_different_ones_take_no_time() -> None:
    """With each compared to each, one study of 40,000 would hold up all others for minutes."""
    found = [Identifier("x", Issuer(f"H{at}")) for at in range(40_000)]
    assert joined(found) == tuple(found)
