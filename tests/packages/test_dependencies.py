"""pyproject.toml and conf/constraints.txt against each other, and against what the package imports."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.packages.test_wheel import PROJECT
from tests.tools import ROOT

# Of the extra ``dev``, and why the package may name it
TOOLS = {"yaml": ["node/conformance/files.py"]}  # it writes committed files, in a checkout
# Not imported by name, and who does
BY_NAME = {
    "cramjam": "aiokafka compresses with it",
    "fhir-resources": "node.fhir.check.library imports the class that a table names",
    "tzdata": "zoneinfo reads it where the system has none",
}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines: list[str]) -> dict[str, str]:
    found = (line.partition("==") for line in lines if line and not line.startswith("#"))
    return {normal(name): version for name, _, version in found}


RUNTIME = pins(PROJECT["dependencies"])
DEV = pins(PROJECT["optional-dependencies"]["dev"])
CONSTRAINTS = pins((ROOT / "conf" / "constraints.txt").read_text().splitlines())


def imported(path: Path) -> Iterator[str]:
    """Top-level modules that a file imports; what only type checkers read does not count."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        for inner in ast.iter_child_nodes(node):
            if isinstance(inner, ast.If) and ast.unparse(inner.test) == "TYPE_CHECKING":
                inner.body = [ast.Pass()]
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0]


def test_pins_are_those_of_the_constraints() -> None:
    assert {**RUNTIME, **DEV}.items() <= CONSTRAINTS.items()
    assert not RUNTIME.keys() & DEV.keys()


def test_what_the_package_imports_it_depends_on() -> None:
    """What others happen to bring may go with their next version, and tools are not in the image."""
    homes: dict[str, list[str]] = {}
    for path in sorted((ROOT / "node").rglob("*.py")):
        for module in imported(path):
            homes.setdefault(module, []).append(str(path.relative_to(ROOT)))
    known = packages_distributions()
    foreign = {name: at for name, at in homes.items() if name not in {*sys.stdlib_module_names, "node"}}
    declared = {name: {normal(one) for one in known[name]} & RUNTIME.keys() for name in foreign}
    assert {name: at for name, at in foreign.items() if not declared[name]} == TOOLS
    used = {one for found in declared.values() for one in found}
    assert RUNTIME.keys() - used == BY_NAME.keys()
