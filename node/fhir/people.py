"""References to persons; their names only where ``include_names`` allows them."""

from __future__ import annotations

from node.fhir import terminology
from node.fhir.contained import Context
from node.fhir.datatypes import Json, compact, practitioner, string
from node.terms import Person


def person(person: Person, context: Context) -> Json | None:
    """A logical Practitioner; the first coded identification that has a value identifies."""
    for entry in person.codes:
        coded = terminology.coding(entry, context.options)
        value = coded["code"] if coded else string(entry.value)
        if value:
            known = compact(system=coded["system"] if coded else None, value=value)
            return practitioner(person, known, context.options)
    return practitioner(person, None, context.options)
