"""What was said of an image as FHIR (R4): a DiagnosticReport with an Observation for each number."""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydicom.sr.coding import Code

from client.predict.dicom.codes import Coded, private
from client.predict.dicom.maker import RESEARCH, Maker
from client.predict.said import Found, Numbers, Sizes

_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nlm.nih.gov/resources/ontology/DCM",
}
_OWN = "urn:wardround:names"
_UNITS = {"ml": ("ml", "mL"), "mm2": ("mm2", "mm2"), "pixels": ("pixels", "{pixels}")}  # shown, UCUM
_IMAGING = {"system": "http://loinc.org", "code": "18748-4", "display": "Diagnostic imaging study"}
_WARNING = f"{RESEARCH}: written by a model that is not a medical device; nobody has looked at it."


@dataclass(frozen=True)
class Subject:
    """Whose images they are.

    Attributes:
        patient: The identifier.
        study: UID of the DICOM study; empty where there is none.
    """

    patient: str
    study: str = ""


@dataclass(frozen=True)
class FhirReport:
    """Writes it.

    Attributes:
        subject: Whose images they are.
        maker: The model.
        codes: What each class is, by its name.
    """

    subject: Subject
    maker: Maker
    codes: Mapping[str, Coded]

    def bundle(self, sizes: Sizes, boxes: Sequence[Found], numbers: Numbers) -> bytes:
        """Return a bundle of type `collection` as JSON: the report first, then what it rests on."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        observed = list(self._observations(sizes, boxes, numbers))
        names = [self._name(number, one) for number, one in enumerate(observed)]
        report = {
            "resourceType": "DiagnosticReport",
            "status": "preliminary",
            "category": [{"text": "Imaging"}],
            "code": {"coding": [_IMAGING]},
            **self._about(),
            "issued": now,
            "conclusion": _WARNING,
        }
        if names:
            report["result"] = [{"reference": name} for name in names]
        if self.subject.study:
            report["imagingStudy"] = [self._study()]
        entries = [(self._name(-1, report | {"issued": ""}), report), *zip(names, observed, strict=True)]
        whole = {
            "resourceType": "Bundle",
            "type": "collection",
            "timestamp": now,
            "entry": [{"fullUrl": name, "resource": resource} for name, resource in entries],
        }
        return json.dumps(whole, indent=1).encode()

    def _observations(
        self, sizes: Sizes, boxes: Sequence[Found], numbers: Numbers
    ) -> Iterator[dict[str, Any]]:
        for name, (unit, size) in sizes.items():
            shown, ucum = _UNITS[unit]
            quantity = {"value": size, "unit": shown, "system": "http://unitsofmeasure.org", "code": ucum}
            yield self._observation(self._class(name), {"valueQuantity": quantity})
        for name in numbers.names:
            yield self._observation({"text": "Finding"}, {"valueCodeableConcept": self._class(name)})
        for name, value in numbers.values.items():
            yield self._observation(_concept(private(name)), {"valueQuantity": {"value": value}})
        for box in boxes:
            corners = f"box from {_places(box.low)} to {_places(box.high)}, in pixels of the file"
            yield self._observation(self._class(box.name), {"valueQuantity": {"value": box.score}}, corners)

    def _observation(
        self, code: dict[str, Any], value: dict[str, Any], note: str | None = None
    ) -> dict[str, Any]:
        found = {
            "resourceType": "Observation",
            "status": "preliminary",
            "category": [{"text": "Imaging"}],
            "code": code,
            **self._about(),
            **value,
            "device": {"display": f"{self.maker.title} ({self.maker.version})"},
            "note": [{"text": text} for text in (_WARNING, note) if text],
        }
        if self.subject.study:
            found["derivedFrom"] = [self._study()]
        return found

    def _about(self) -> dict[str, Any]:
        return {"subject": {"type": "Patient", "identifier": {"value": self.subject.patient}}}

    def _study(self) -> dict[str, Any]:
        """Refer to a study as FHIR does where it knows the UID alone."""
        identifier = {"system": "urn:dicom:uid", "value": f"urn:oid:{self.subject.study}"}
        return {"type": "ImagingStudy", "identifier": identifier}

    def _class(self, name: str) -> dict[str, Any]:
        return {**_concept(self.codes[name].type), "text": name}

    def _name(self, number: int, resource: dict[str, Any]) -> str:
        said = json.dumps(resource, sort_keys=True)
        return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, f'{self.maker.digest} {number} {said}')}"


def _concept(code: Code) -> dict[str, Any]:
    system = _SYSTEMS.get(code.scheme_designator, _OWN)
    return {"coding": [{"system": system, "code": code.value, "display": code.meaning}]}


def _places(corner: Sequence[float]) -> str:
    return "(" + ", ".join(f"{place:g}" for place in corner) + ")"
