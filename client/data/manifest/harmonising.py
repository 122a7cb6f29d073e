"""Columns of a manifest brought to the scale of all hospitals, each hospital's by themselves (ComBat)."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from client.data.combat import Numbers, Shift, shifts_of
from client.data.manifest.csv_files import read_table
from client.data.manifest.joining import moved, write_rows
from client.data.manifest.rows import manifest_path
from shared.errors import DataError, JobError
from shared.files import write_new
from shared.job.schema import JobSpec
from shared.tasks.records import RecordOptions
from shared.text.names import suggestion
from shared.text.numbers import read_number

SHIFTS = ".combat.json"
"""Behind the name of the new manifest: the file with what was taken out of its columns."""

_ONE = "this hospital"  # where no column says which
Scale = Mapping[str, Sequence[float]]


class Shifts(BaseModel):
    """The file that says what was taken out, so that later patients can be brought to the same scale.

    Attributes:
        scale: Mean and deviation of each column at all hospitals, as the job states them.
        sites: Of each hospital and column how far its mean lay off, and how wide it was, in deviations.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    scale: dict[str, tuple[float, float]] = Field(min_length=1)
    sites: dict[str, dict[str, tuple[float, float]]] = Field(min_length=1)


@dataclass(frozen=True)
class Harmonised:
    """What was written.

    Attributes:
        path: The new manifest.
        kept: The file of the shifts; that which was read, where these are of earlier patients.
        rows: Written.
        shifts: What was taken out.
    """

    path: Path
    kept: Path
    rows: int
    shifts: Shifts


def harmonise(
    manifest: Path, job: JobSpec, out: Path, *, columns: Collection[str] = (), like: Path | None = None
) -> Harmonised:
    """Write a manifest whose columns are on the scale that a job states, and beside it what was taken out.

    Rows whose `split` is 'test' have no part in the estimate, and each patient counts once.

    Args:
        manifest: A manifest, or the folder that holds one. Hospitals in a column `site` are taken one by one.
        job: States `[task] scaling`.
        out: A new file. Names of files are written as seen from its folder.
        columns: To change; all that are numbers, if none is named.
        like: Take out what stands in this file, of earlier patients of the same hospitals.

    Raises:
        JobError: The job states no scale.
        DataError: A file can't be read or written, lacks a column, or has too few patients.
    """
    path = manifest_path(manifest)
    header, table = read_table(path)
    rows = [dict(zip(header, cells, strict=False)) for _, cells in table]
    scale = _scale_of(job, columns)
    if lacking := [name for name in (*scale, "patient") if name not in header]:
        raise DataError(f"has no column '{lacking[0]}'; {suggestion(lacking[0], header)}", where=path)
    if not rows:
        raise DataError("has no rows", where=path)
    values = np.array([[_number(row.get(name, ""), name, path) for name in scale] for row in rows])
    places = _by_site(rows)
    if like is None:
        found = {}
        for site, own in places.items():
            patients = _of_patients([rows[place] for place in own], values[own])
            taken = shifts_of(patients, scale, f"{path}, {site}")
            found[site] = {name: (shift.by, shift.times) for name, shift in taken.items()}
        shifts = Shifts(scale={name: (one[0], one[1]) for name, one in scale.items()}, sites=found)
    else:
        shifts = _read(like, scale, places)
    for site, own in places.items():
        for place, (name, (mean, deviation)) in enumerate(scale.items()):
            shift = Shift(*shifts.sites[site][name])
            values[own, place] = shift.undone(values[own, place], mean, deviation)
    written = moved(rows, path.parent, out.parent)
    for row, own_values in zip(written, values, strict=True):
        row |= {
            name: "" if math.isnan(value) else f"{value:.9g}"
            for name, value in zip(scale, own_values, strict=True)
        }
    write_rows(out, header, written)
    kept = like or _kept(out, shifts)
    return Harmonised(out, kept, len(rows), shifts)


def _scale_of(job: JobSpec, columns: Collection[str]) -> Scale:
    """Return mean and deviation of the columns that are to be changed, in the job's order."""
    seen = job.task
    if not isinstance(seen, RecordOptions) or not seen.numbers:
        raise JobError("[task] columns: the job sees no column of numbers")
    if odd := sorted(set(columns) - set(seen.numbers)):
        problem = f"[task] columns: '{odd[0]}' is not a column of numbers; {suggestion(odd[0], seen.numbers)}"
        raise JobError(problem)
    if seen.scaling is None:
        raise JobError(
            "[task] scaling: the job does not state the means and deviations of all hospitals",
            remedy="`wardround describe JOB` asks the hospitals for them.",
        )
    return {name: seen.scaling[name] for name in seen.numbers if not columns or name in columns}


def _number(cell: str, name: str, path: Path) -> float:
    text = cell.strip()
    try:
        return read_number(text) if text else math.nan
    except ValueError:
        raise DataError(f"column '{name}': '{text}' is not a number", where=path) from None


def _by_site(rows: Sequence[Mapping[str, str]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        found.setdefault(row.get("site", "").strip() or _ONE, []).append(place)
    return found


def _of_patients(rows: Sequence[Mapping[str, str]], values: Numbers) -> Numbers:
    """Return the mean of each patient's rows (P, K), without the rows of the test."""
    of_patient: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        if row.get("split", "").strip() != "test":
            of_patient.setdefault(row["patient"].strip(), []).append(place)
    patients = np.full((len(of_patient), values.shape[1]), np.nan)
    for number, places in enumerate(of_patient.values()):
        known = ~np.isnan(values[places])
        sums = np.where(known, values[places], 0.0).sum(axis=0)
        np.divide(sums, known.sum(axis=0), out=patients[number], where=known.any(axis=0))
    return patients


def _read(path: Path, scale: Scale, sites: Collection[str]) -> Shifts:
    try:
        shifts = Shifts.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not one that `data harmonise` wrote"
        raise DataError(f"can't be read ({reason})", where=path) from None
    if lacking := [site for site in sites if not scale.keys() <= shifts.sites.get(site, {}).keys()]:
        raise DataError(f"says nothing of a column of '{lacking[0]}'", where=path)
    if odd := [name for name in scale if list(shifts.scale[name]) != list(scale[name])]:
        problem = f"is for another mean and deviation of '{odd[0]}' than [task] scaling has"
        raise DataError(problem, where=path, remedy="Take the job that it was made with.")
    return shifts


def _kept(out: Path, shifts: Shifts) -> Path:
    path = out.with_name(out.stem + SHIFTS)
    try:
        write_new(path, json.dumps(shifts.model_dump(), indent=2).encode())
    except FileExistsError:
        raise DataError("is there already, and nothing is overwritten", where=path) from None
    except OSError as error:
        raise DataError(f"can't be written ({error.strerror})", where=path) from None
    return path
