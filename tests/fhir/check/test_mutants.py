"""Every rule of every constraint table: a mutant that breaks it is refused, one that breaks nothing passes."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import orjson
import pytest

from node.errors import ResourceInvalid
from node.fhir import check
from node.fhir.check import primitives
from node.fhir.check.shapes import Json, Shape
from tests.fhir.check.breaks import BAD
from tests.fhir.check.harmless import harmless, pruned
from tests.fhir.check.mutants import faults, rule_names
from tests.fhir.check.nodes import Mutant
from tests.fhir.check.samples import GOOD, roots, samples

_FEW_BAD = 3


@cache
def _roots(name: str) -> tuple[tuple[Shape, Json], ...]:
    return tuple((root, made) for root in roots(name) for made in samples(name, root))


def _mutants(name: str, of: Any) -> list[tuple[Mutant, Json]]:
    """One mutant a rule, with the resource it is made from: shapes occur in many places, their rules are the same.

    Of the bad values of a type each element is given the first few, and one element all; what may not stand
    beside a primitive is tried once.
    """
    found: dict[str, tuple[Mutant, Json]] = {}
    for root, resource in _roots(name):
        for mutant in of(check.RULES[name], root, resource):
            _, _, kind = mutant.rule.rpartition(": ")
            once = kind.endswith(" beside") or (kind.startswith("bad ") and int(kind.split()[-1]) >= _FEW_BAD)
            key = kind if once else mutant.rule
            found.setdefault(key, (mutant, resource))
    return list(found.values())


def _paths(refusal: str) -> list[str]:
    """The paths that a refusal names, without the names of extensions."""
    _, _, reasons = refusal.partition(": ")
    return [re.sub(r"\([^)]*\)", "", reason.partition(": ")[0]) for reason in reasons.split("; ")]


def _names(refusal: str, where: str) -> bool:
    """Whether a refusal is about the element at ``where``: it, what is in it, or the list or slice that it is in."""
    return any(path.startswith(where) or (where.startswith(path) and "." in path) for path in _paths(refusal))


def _unclaimed(name: str, rule: str) -> bool:
    """Without its claim a selection is of no profile, and valid as that."""
    return name == "imagingselection" and rule.endswith((".meta: missing", ".profile: missing"))


def _refused(name: str, resource: Json) -> str | None:
    try:
        check.check(name, resource)
    except ResourceInvalid as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", check.RULES)
def test_what_is_made_from_the_tables_passes(name: str) -> None:
    for root, resource in _roots(name):
        assert _refused(name, resource) is None, root.name


@pytest.mark.parametrize("name", check.RULES)
def test_every_rule_has_a_mutant(name: str) -> None:
    rules = check.RULES[name]
    wanted = {rule for root in (*roots(name), *rules.contained.values()) for rule in rule_names(root)}
    assert wanted - {mutant.rule for mutant, _ in _mutants(name, faults)} == set()
    assert len(wanted) > 100


@pytest.mark.parametrize("name", check.RULES)
def test_a_mutant_that_breaks_a_rule_is_refused(name: str) -> None:
    passed, elsewhere = [], []
    for mutant, resource in _mutants(name, faults):
        spoilt = orjson.loads(orjson.dumps(resource))
        mutant.change(spoilt)
        refused = _refused(name, spoilt)
        if refused is None:
            passed.append(mutant.rule)
        elif not _names(refused, mutant.where):
            elsewhere.append((mutant.rule, mutant.where, refused))
    assert [rule for rule in passed if not _unclaimed(name, rule)] == []
    assert elsewhere == []


@pytest.mark.parametrize("name", check.RULES)
def test_a_mutant_that_breaks_nothing_passes(name: str) -> None:
    refused = []
    for mutant, resource in _mutants(name, harmless):
        changed = orjson.loads(orjson.dumps(resource))
        mutant.change(changed)
        reason = _refused(name, pruned(changed))
        if reason is not None:
            refused.append((mutant.rule, mutant.where, reason))
    assert refused == []
    assert len(_mutants(name, harmless)) > 50


def _again(resource: Json, member: str, **changes: Any) -> None:
    resource[member].append({**resource[member][0], **changes})


def _count(resource: Json, *members: str, by: int = 1) -> None:
    for member in members:
        resource[member] += by


def _series_twice(study: Json) -> None:
    _again(study, "series")
    _count(study, "numberOfSeries")
    _count(study, "numberOfInstances", by=study["series"][0]["numberOfInstances"])


def _instance_twice(study: Json) -> None:
    _again(study["series"][0], "instance")
    _count(study["series"][0], "numberOfInstances")
    _count(study, "numberOfInstances")


def _one_more_counted(study: Json) -> None:
    _count(study["series"][0], "numberOfInstances")
    _count(study, "numberOfInstances")


# Fault -> the member that it is about, what makes it, words of the refusal.
WHOLE: dict[str, tuple[str, Callable[[Json], None], str]] = {
    "unreferenced": ("contained", lambda one: _again(one, "contained", id="another"), "nothing refers to it"),
    "id twice": ("contained", lambda one: _again(one, "contained"), "used twice"),
    "series counted": ("series", lambda one: _count(one, "numberOfSeries"), "ImagingStudy.numberOfSeries"),
    "instances counted": ("series", lambda one: _count(one, "numberOfInstances"), "sum of its series"),
    "instances of a series counted": ("series", _one_more_counted, "series[0].numberOfInstances"),
    "series twice": ("series", _series_twice, "series.uid: listed twice"),
    "instance twice": ("series", _instance_twice, "instance.uid: listed twice"),
}


@pytest.mark.parametrize("name", check.RULES)
@pytest.mark.parametrize("fault", WHOLE)
def test_rules_on_the_whole(name: str, fault: str) -> None:
    member, change, words = WHOLE[fault]
    _, resource = _roots(name)[0]
    if member not in resource:
        assert name == "imagingselection"
        return
    spoilt = orjson.loads(orjson.dumps(resource))
    change(spoilt)
    assert words in (_refused(name, spoilt) or "")


def test_every_primitive_type_has_good_and_bad_values() -> None:
    named = {one.name: one for one in vars(primitives).values() if isinstance(one, primitives.Primitive)}
    assert set(GOOD) == set(BAD) == set(named)
    for name, one in named.items():
        assert [value for value in GOOD[name] if one.wrong(value) is not None] == [], name
        assert [value for value in BAD[name] if one.wrong(value) is None] == [], name
