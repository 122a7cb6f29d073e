"""FHIR: what was said as a report with observations, valid by the resources' own definitions (R4B)."""

import json

from fhir.resources.R4B.bundle import Bundle

from client.predict.dicom.codes import coded
from client.predict.dicom.maker import RESEARCH, Maker
from client.predict.fhir import FhirReport, Subject
from client.predict.said import Found, Numbers

MAKER = Maker("brain", "ab" * 32)
CODES = {name: coded(name) for name in ("tumour", "odd")}
SIZES = {"tumour": ("ml", 12.5), "odd": ("pixels", 0.0)}
BOXES = [Found("odd", 0.75, (1.0, 2.0), (3.0, 4.5))]
NUMBERS = Numbers({"score/tumour": 0.875}, ["tumour"])


def bundle(subject: Subject) -> Bundle:
    return Bundle.model_validate_json(FhirReport(subject, MAKER, CODES).bundle(SIZES, BOXES, NUMBERS))


def test_a_report_leads_to_its_observations_and_the_study() -> None:
    said = bundle(Subject("p1", "1.2.3"))
    report, *observed = [entry.resource for entry in said.entry]
    names = [entry.fullUrl for entry in said.entry]
    assert [one.reference for one in report.result] == names[1:]
    assert len(set(names)) == len(names)
    assert report.subject.identifier.value == "p1"
    assert report.imagingStudy[0].identifier.value == "urn:oid:1.2.3"
    assert report.status == "preliminary"
    assert report.conclusion.startswith(RESEARCH)
    values = {one.code.text or one.code.coding[0].display: one for one in observed if one.valueQuantity}
    assert (float(values["tumour"].valueQuantity.value), values["score/tumour"].code.coding[0].system) == (
        12.5,
        "urn:wardround:names",
    )
    assert values["tumour"].valueQuantity.code == "mL"
    assert values["tumour"].code.coding[0].code == "108369006"
    assert "(1, 2) to (3, 4.5)" in observed[-1].note[1].text
    [finding] = [one for one in observed if one.valueCodeableConcept]
    assert finding.valueCodeableConcept.text == "tumour"


def test_an_image_without_a_study_has_its_patient_alone() -> None:
    said = json.loads(FhirReport(Subject("p1"), MAKER, CODES).bundle(SIZES, [], NUMBERS))
    assert "imagingStudy" not in said["entry"][0]["resource"]
    bundle(Subject("p1"))


def test_a_report_on_nothing_is_valid() -> None:
    made = FhirReport(Subject("p1"), MAKER, CODES).bundle({}, [], Numbers({}, []))
    [report] = [entry.resource for entry in Bundle.model_validate_json(made).entry]
    assert report.result is None
    assert "[]" not in made.decode()
