"""Cohorts out of a bulk export of FHIR: what the query sees of it, and what is no export."""

import json
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.condition import Condition
from fhir.resources.R4B.imagingstudy import ImagingStudy
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.patient import Patient

from client.data.manifest.csv_files import read_table
from tests.client.health_records.site import asked, write_site

DATABASE = 'database = "fhir:export"\n'
ICD, LOINC = "http://hl7.org/fhir/sid/icd-10", "http://loinc.org"
QUERY = """
SELECT s.accession_number, s.study_uid, i.value AS patient_id, p.gender AS sex,
       CAST(substr(s.started, 1, 4) AS INTEGER) - CAST(substr(p.birth_date, 1, 4) AS INTEGER) AS age,
       EXISTS (SELECT 1 FROM condition c WHERE c.patient = p.id AND c.code = 'C71') AS tumour,
       (SELECT value FROM observation o WHERE o.patient = p.id AND o.code = '2160-0'
        ORDER BY effective DESC LIMIT 1) AS creatinine,
       (SELECT value FROM observation o WHERE o.patient = p.id AND o.code = '8480-6') AS systolic
FROM imaging_study s JOIN patient p ON p.id = s.patient
JOIN identifier i ON i.patient = p.id AND i.type = 'MR'
WHERE s.modality LIKE '%MR%' ORDER BY 1
"""


def concept(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def resources(number: int) -> list[dict[str, Any]]:
    """Return what a hospital has of one patient."""
    about = {"subject": {"reference": f"Patient/p{number}"}}
    typed = {"type": concept("http://terminology.hl7.org/CodeSystem/v2-0203", "MR")}
    accession = {"type": concept("http://terminology.hl7.org/CodeSystem/v2-0203", "ACSN")}
    observed = {"resourceType": "Observation", "status": "final", **about}
    pressure = {"code": concept(LOINC, "8480-6"), "valueQuantity": {"value": 120 + number}}
    found: list[dict[str, Any]] = [
        {
            "resourceType": "Patient",
            "id": f"p{number}",
            "gender": "female" if number % 2 else "male",
            "birthDate": f"{1950 + number}-03-01",
            "identifier": [{"value": f"HOSP{number:04}", **typed}],
        },
        {
            "resourceType": "ImagingStudy",
            "status": "available",
            "started": "2020-03-10T08:00:00Z",
            "identifier": [
                {"system": "urn:dicom:uid", "value": f"urn:oid:1.2.{100 + number}"},
                {"value": f"ACC{100 + number}", **accession},
            ],
            "modality": [{"code": "MR"}, {"code": "SR"}],
            **about,
        },
        *(
            {
                **observed,
                "code": concept(LOINC, "2160-0"),
                "effectiveDateTime": f"20{year}-01-01",
                "valueQuantity": {"value": year / 10, "unit": "mg/dL"},
            }
            for year in (18, 19)
        ),
        {**observed, "code": concept(LOINC, "85354-9"), "component": [pressure]},
    ]
    if number % 2:
        found.append({"resourceType": "Condition", "code": concept(ICD, "C71"), **about})
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_site(tmp_path, DATABASE, QUERY)
    (tmp_path / "export").mkdir()
    found = [one for number in (1, 2) for one in resources(number)]
    for kind in {one["resourceType"] for one in found}:
        own = [one for one in found if one["resourceType"] == kind]
        (tmp_path / "export" / f"{kind}.000.ndjson").write_text("\n".join(map(json.dumps, own)) + "\n")
    (tmp_path / "export" / "Device.ndjson").write_text('{"resourceType": "Device"}\n\n')
    return tmp_path


def test_an_export_gives_the_columns_of_a_dataset(place: Path) -> None:
    answer, problem = asked(place, "--out", place / "list.csv")
    assert not problem
    assert answer["rows"] == 2
    assert [cells for _, cells in read_table(place / "list.csv")[1]] == [
        ["ACC101", "1.2.101", "HOSP0001", "female", "69", "1", "1.9", "121"],
        ["ACC102", "1.2.102", "HOSP0002", "male", "68", "0", "1.9", "122"],
    ]


def test_what_was_taken_back_or_is_of_nobody_is_not_counted(place: Path) -> None:
    about = {"subject": {"reference": "https://fhir.example/Patient/p2/_history/3"}}
    wrong = {
        "verificationStatus": concept("http://terminology.hl7.org/CodeSystem/condition-ver-status", "refuted")
    }
    seen = {"resourceType": "Observation", "status": "final", "code": concept(LOINC, "8480-6")}
    less = {"resourceType": "Observation", "status": "final", "code": concept(LOINC, "2160-0"), **about}
    more = [
        {"resourceType": "Condition", "code": concept(ICD, "C71"), **about, **wrong},
        {**seen, "status": "entered-in-error", "valueQuantity": {"value": 999}, **about},
        {**seen, "valueQuantity": {"value": 999}},
        {**seen, "valueQuantity": {"value": 999}, "subject": {"reference": "Group/p2"}},
        {**less, "effectiveDateTime": "2020-01-01", "valueQuantity": {"comparator": "<", "value": 0.5}},
    ]
    kinds = {"Condition": Condition, "Observation": Observation}
    for one in more:
        kinds[one["resourceType"]].model_validate(one)
    (place / "export" / "More.ndjson").write_text("\n".join(map(json.dumps, more)) + "\n")
    assert asked(place, "--out", place / "list.csv")[1] == ""
    assert [cells for _, cells in read_table(place / "list.csv")[1]][1] == [
        *["ACC102", "1.2.102", "HOSP0002", "male", "68"],
        *["0", "<0.5", "122"],
    ]


def test_two_exports_in_one_folder_are_told_apart(place: Path) -> None:
    first = (place / "export" / "Patient.000.ndjson").read_text()
    (place / "export" / "Patient.001.ndjson").write_text(first)
    assert asked(place)[0]["rows"] == 2
    (place / "export" / "Patient.001.ndjson").write_text(first.replace("1951", "1961"))
    assert "line 1: is another version of Patient/p1, which came before" in asked(place)[1]


def test_what_is_made_here_is_fhir() -> None:
    kinds = {
        "Patient": Patient,
        "Condition": Condition,
        "Observation": Observation,
        "ImagingStudy": ImagingStudy,
    }
    for one in resources(1):
        kinds[one["resourceType"]].model_validate(one)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"resourceType": "Patient"}', "line 1: is not a resource of FHIR R4"),
        ('{"resourceType": "Device"}\n[1]', "line 2: is not a resource of FHIR R4"),
        ('{"resourceType": "Condition", "subject": {"reference": 7}}', "is not a resource"),
        ('{"resourceType": "Patient", "id": {"a": 1}}', "is not a resource"),
        ("[" * 100_000, "is not a resource"),
        ("\udcff", "is not in UTF-8"),
    ],
)
def test_what_is_no_export(place: Path, content: str, problem: str) -> None:
    (place / "export" / "More.ndjson").write_bytes(content.encode("utf-8", "surrogateescape"))
    said = asked(place)[1]
    assert problem in said
    assert "More.ndjson" in said


def test_a_folder_without_an_export(place: Path) -> None:
    write_site(place, 'database = "fhir:nowhere"\n', QUERY)
    assert "has no files *.ndjson" in asked(place)[1]
    write_site(place, DATABASE, "DROP TABLE patient")
    assert "not authorized" in asked(place)[1]
