"""Person names as structured values, where a target has persons inside its resource."""

from __future__ import annotations

from node.fhir.datatypes import Json, compact, display_name, name_components


def human_names(raw: str) -> list[Json]:
    """A PN (PS3.5 6.2.1) as HumanNames of DSTU1, whose ``family`` is a list; one a component group.

    The alphabetic group is the official one. Given and middle names are split at spaces.
    """
    found = []
    for at, (family, given, middle, prefix, suffix) in enumerate(name_components(raw)):
        if not any((family, given, middle, prefix, suffix)):
            continue
        name = compact(
            use="official" if at == 0 else None,
            text=display_name(f"{family}^{given}^{middle}"),
            family=[family] if family else [],
            given=[*given.split(), *middle.split()],
            prefix=[prefix] if prefix else [],
            suffix=[suffix] if suffix else [],
        )
        found.append(name)
    return found
