"""Synthetic hospitals with tables: numbers, events and classes, alone or beside an image."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from simulate.data.findings import draw_findings
from simulate.data.patients import Patient, Row, patients, place, row

HAZARDS = {"age": 0.04, "grade": 0.5, "marker": -0.6}  # log of the hazard's ratio for one more of each
BASE_HAZARD = 0.012  # a month, of somebody of 60 years, grade 2 and marker 0
_FOLLOW_UP = {"north": 60.0, "south": 36.0, "east": 72.0, "west": 48.0}  # months at most
_UNKNOWN = 0.1  # share of the patients whose marker nobody measured


def survival(folder: Path, seed: int) -> Iterator[Row]:
    """A table without images: months until death or the end of follow-up, which differs between hospitals.

    Times are exponential with the hazard `BASE_HAZARD` times the exponential of what `HAZARDS` says of each
    column, cut by a follow-up that is uniform up to the hospital's longest.
    """
    for patient in patients({"north": 160, "south": 110, "east": 80, "west": 50}, seed):
        rng = patient.rng
        age, grade = round(float(rng.normal(60, 12)), 1), int(rng.integers(1, 4))
        marker = round(float(rng.normal()), 3)
        risk = HAZARDS["age"] * (age - 60) + HAZARDS["grade"] * (grade - 2) + HAZARDS["marker"] * marker
        followed = _followed(patient, risk)
        yield {
            "site": patient.site,
            "patient": patient.name,
            "split": patient.split,
            "age": str(age),
            "grade": str(grade),
            "marker": "" if rng.random() < _UNKNOWN else str(marker),
            "sex": str(rng.choice(["female", "male"])),
            **followed,
        }


IMAGE_HAZARD = 0.9  # log of the hazard's ratio for one finding more in the image


def survival_images(folder: Path, seed: int) -> Iterator[Row]:
    """A picture of each patient, 48 x 48, beside a table: who has more nodules and is older dies sooner."""
    for patient in patients({"north": 100, "south": 70, "east": 50}, seed):
        pixels, findings = draw_findings(patient.rng, (48, 48))
        image = place(folder, "images", patient, f"{patient.name}.png")
        Image.fromarray(patient.scanned(pixels[None], patient.name)[0]).save(image)
        age = round(float(patient.rng.normal(60, 12)), 1)
        risk = HAZARDS["age"] * (age - 60) + IMAGE_HAZARD * (len(findings) - 1)
        yield row(folder, patient, image) | {"age": str(age), **_followed(patient, risk)}


RECORD_ODDS = {"cavities": 1.5, "age": 0.06, "marker": 1.2}  # log of the odds' ratio for one more of each
_LACKING = 0.08  # share of the patients without an image, and of those without a record


def records(folder: Path, seed: int) -> Iterator[Row]:
    """A picture of each patient, 48 x 48, beside a table: both say something of whether it is malignant.

    Some patients have no picture, others no record, and some of the records lack the marker.
    """
    for patient in patients({"north": 160, "south": 110, "east": 80, "west": 50}, seed):
        rng = patient.rng
        pixels, findings = draw_findings(rng, (48, 48))
        cavities = sum(finding.kind == "cavity" for finding in findings)
        age, marker = round(float(rng.normal(60, 12)), 1), round(float(rng.normal()), 3)
        sex, lacking = str(rng.choice(["female", "male"])), rng.random()
        odds = RECORD_ODDS["cavities"] * (cavities - 0.6) + RECORD_ODDS["age"] * (age - 60)
        malignant = rng.random() < 1 / (1 + np.exp(-odds - RECORD_ODDS["marker"] * marker))
        record = {"age": str(age), "sex": sex, "marker": "" if rng.random() < _UNKNOWN else str(marker)}
        if _LACKING <= lacking < 2 * _LACKING:
            record = dict.fromkeys(record, "")
        image = place(folder, "images", patient, f"{patient.name}.png")
        cells = row(folder, patient, image)
        if lacking < _LACKING:
            cells["image"] = ""
        else:
            Image.fromarray(patient.scanned(pixels[None], patient.name)[0]).save(image)
        yield {**cells, **record, "label": "malignant" if malignant else "benign"}


def _followed(patient: Patient, risk: float) -> Row:
    """Return how long a patient was followed, and whether the event came by then."""
    death = float(patient.rng.exponential(1 / (BASE_HAZARD * np.exp(risk))))
    end = float(patient.rng.uniform(0, _FOLLOW_UP[patient.site]))
    return {"time": f"{min(death, end):.2f}", "event": str(int(death <= end))}


def burden(folder: Path, seed: int) -> Iterator[Row]:
    """A picture of each patient, 48 x 48, and how many percent of it are nodules and cavities.

    The label is `cavity` where there is one, else `nodule`, else `clear`.
    """
    for patient in patients({"north": 120, "south": 80, "east": 60, "west": 40}, seed):
        pixels, findings = draw_findings(patient.rng, (48, 48))
        image = place(folder, "images", patient, f"{patient.name}.png")
        Image.fromarray(patient.scanned(pixels[None], patient.name)[0]).save(image)
        share = 100 * sum(finding.pixels for finding in findings) / pixels.size
        kinds = {finding.kind for finding in findings}
        label = next((kind for kind in ("cavity", "nodule") if kind in kinds), "clear")
        yield row(folder, patient, image) | {"burden": f"{share:.2f}", "label": label}
