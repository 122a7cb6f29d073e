"""Which images a model is to say something of: the rows of a manifest, or all images of a folder."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from client.data.kinds import Kind, first_of_kind
from client.data.kinds.measured import MeasuredKind
from client.data.manifest.csv_files import file_below
from client.data.manifest.folder_content import below, is_image, stem
from client.data.manifest.rows import Manifest, Record, scan_manifest
from client.predict.dicom.studies import Series, is_dicom_file, series_of
from shared.errors import DataError
from shared.job.schema import JobSpec

MANIFEST = "manifest.csv"


def find_rows(data: Path, job: JobSpec, kinds: Mapping[str, Kind], staging: Path | None = None) -> Manifest:
    """Return the rows; a manifest may lack the targets.

    Args:
        data: A manifest, the folder that holds one, an image, or a folder of images or of DICOM studies.
        job: Of the run.
        kinds: Of all its fields.
        staging: See `client.predict.dicom.studies.series_of`.

    Raises:
        DataError: There is nothing, or a column is missing that the model's inputs come from.
    """
    image = kinds.get(first_of_kind(kinds, "image"))
    measured = next((kind for kind in kinds.values() if isinstance(kind, MeasuredKind)), None)
    images = () if image is None else image.columns
    needs = [
        column
        for kind in kinds.values()
        if kind.field.role == "input" and kind.field.required
        for column in kind.columns
    ]
    has_manifest = data.is_dir() and (data / MANIFEST).is_file()
    fits = _is_image if measured is None else measured.fits
    if (data.is_dir() and not has_manifest) or (data.is_file() and fits(data)):
        columns = images if measured is None else measured.columns
        return _images_below(data, columns, needs, job.data.dimensions, staging, fits=fits)
    lacks = image is not None and not image.field.required
    found = scan_manifest(data, images, needs, may_lack_images=lacks)
    usable = {
        found.at(record) for record in found.records
    }  # a patient on two sides of a split is not a fault here
    problems = [problem for problem in found.problems if problem.where not in usable]
    return Manifest(found.path, found.columns, found.records, problems)


def _is_image(file: Path) -> bool:
    return is_image(file.name) or is_dicom_file(file)


def _images_below(
    folder: Path,
    columns: tuple[str, ...],
    needs: list[str],
    dimensions: int,
    staging: Path | None,
    *,
    fits: Callable[[Path], bool],
) -> Manifest:
    """Return each file below a folder that fits the model as a row of its own, in the order of the names.

    For a network that sees volumes, the DICOM files of one series are one image. A file is its own folder.
    """
    if len(columns) != 1 or set(needs) - set(columns):
        wanted = ", ".join(dict.fromkeys((*columns, *needs)))
        raise DataError(
            f"has no {MANIFEST}, and the model sees more than one image: {wanted}",
            where=folder,
            remedy=f"Write a {MANIFEST} with the columns patient, {wanted}.",
        )
    column, top = columns[0], folder if folder.is_dir() else folder.parent
    files = list(_files(folder, fits)) if folder.is_dir() else [folder]
    slices = [path for path in files if is_dicom_file(path)] if dimensions == 3 else []
    found = [Series(path, below(top, path), "") for path in files if path not in set(slices)]
    found = sorted([*found, *series_of(slices, top, staging)], key=lambda one: one.name)
    if not found:
        wanted = "an image" if fits is _is_image else "a file of what a scanner measured"
        raise DataError(f"has neither a {MANIFEST} nor {wanted}", where=folder)
    records = [
        Record(
            row=number,
            patient=one.patient or (stem(one.path.name) if is_image(one.path.name) else one.path.name),
            images=(one.path,),
            cells={column: one.name},
            folder=top,
            looked_up={f"{file_below.__name__} {one.name}": one.path},  # a series may be called by its number
        )
        for number, one in enumerate(found, 1)
    ]
    return Manifest(folder, (column,), records, [])


def _files(folder: Path, fits: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield the files below a folder that fit, in the order of their names."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _files(path, fits)
        elif fits(path):
            yield path
