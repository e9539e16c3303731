"""Contained resources: each distinct one once, with an id in the order in which it was first needed.

Endpoint and Device are spelt here for R4 and R5; what only one target has is in that target's module.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from node.fhir import terminology
from node.fhir.datatypes import Json, compact, string, uid, uid_identifier, uri
from node.fhir.options import FhirOptions
from node.model import Device, Study

# https://terminology.hl7.org/CodeSystem-endpoint-connection-type.html; IHE's IMR has the other one.
CONNECTION_TYPES: Final = {
    "dicom-wado-rs": (
        "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
        "DICOM WADO-RS",
    ),
    "ihe-iid": ("http://terminology.hl7.org/CodeSystem/endpoint-connection-type", "IHE IID"),
}
_STUDY_PAYLOAD: Final = {"coding": [{"system": terminology.DCM, "code": "113014", "display": "Study"}]}


class Contained:
    """The contained resources of one resource. Ids are short, lower case letters and digits: legal in DSTU1 too."""

    def __init__(self) -> None:
        self._ids: dict[bytes, str] = {}
        self._resources: list[Json] = []
        self._counts: dict[str, int] = {}

    def refer(self, prefix: str, kind: str, body: Json) -> Json | None:
        """A reference to a contained resource of ``kind``; None when ``body`` says nothing."""
        if not body:
            return None
        key = kind.encode() + orjson.dumps(body)
        if key not in self._ids:
            count = self._counts[prefix] = self._counts.get(prefix, 0) + 1
            self._ids[key] = f"{prefix}{count}"
            self._resources.append({"resourceType": kind, "id": self._ids[key], **body})
        return {"reference": f"#{self._ids[key]}"}

    def resources(self) -> list[Json]:
        """Those that were referred to, sorted by id."""
        return sorted(self._resources, key=lambda one: str(one["id"]))


@dataclass(slots=True)
class Context:
    """What the rows of a target look at beside their subject."""

    study: Study
    options: FhirOptions
    contained: Contained = field(default_factory=Contained)


Body = Callable[[Any, Context], Json]


def endpoint_address(options: FhirOptions) -> str | None:
    """The endpoint's address: the base URL of the services, without ``/studies`` (R5, 5.1.6.4)."""
    return (uri(options.endpoint.address) or uri(options.wado_rs_base) or "").rstrip("/") or None


def _coding(code: str) -> Json:
    system, display = CONNECTION_TYPES[code]
    return {"system": system, "code": code, "display": display}


def endpoint_r5(options: FhirOptions) -> Json:
    """Endpoint of R5 (https://hl7.org/fhir/R5/endpoint.html), of ``wado_rs_base`` alone: what ``[fhir.endpoint]``
    says is for the profiles that must have one. Empty without an address."""
    address = (uri(options.wado_rs_base) or "").rstrip("/")
    if not address:
        return {}
    return compact(
        status="active",
        connectionType=[{"coding": [_coding("dicom-wado-rs")]}],
        payload=[{"type": [_STUDY_PAYLOAD]}],
        address=address,
    )


def endpoint_r4(options: FhirOptions) -> Json:
    """Endpoint of R4 (https://hl7.org/fhir/R4/endpoint.html): ``connectionType`` is a Coding, once."""
    address = endpoint_address(options)
    if not address:
        return {}
    return compact(
        status="active",
        connectionType=_coding(options.endpoint.connection_type),
        name=string(options.endpoint.name),
        payloadType=[_STUDY_PAYLOAD],
        address=address,
    )


def device_r5(device: Device) -> Json:
    """Device of R5 from the General Equipment Module (PS3.3 C.7.5.1)."""
    station = string(device.station)
    names = [{"value": station, "type": "user-friendly-name"}] if station else []
    return _device(device, "name", names)


def device_r4(device: Device) -> Json:
    """Device of R4: its names are ``deviceName``, each with ``name`` and ``type``."""
    station = string(device.station)
    names = [{"name": station, "type": "user-friendly-name"}] if station else []
    return _device(device, "deviceName", names)


def _device(device: Device, member: str, names: list[Json]) -> Json:
    return compact(
        identifier=[uid_identifier(device.uid)] if uid(device.uid) else None,
        manufacturer=string(device.manufacturer),
        serialNumber=string(device.serial),
        **{member: names},
        modelNumber=string(device.model),
        version=[{"value": text} for value in device.software if (text := string(value))],
    )
