"""Which images a model is to say something of: the rows of a manifest, or all images of a folder."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from client.data.kinds import Kind
from client.data.manifest.folder_content import below, is_image, stem
from client.data.manifest.rows import Manifest, Record, scan_manifest
from shared.errors import DataError
from shared.job.schema import JobSpec
from shared.tasks.fields import image_columns_of, may_lack_images

MANIFEST = "manifest.csv"


def find_rows(data: Path, job: JobSpec, kinds: Mapping[str, Kind]) -> Manifest:
    """Return the rows; a manifest may lack the targets.

    Args:
        data: A manifest, the folder that holds one, or a folder of images.
        job: Of the run.
        kinds: Of all its fields.

    Raises:
        DataError: There is nothing, or a column is missing that the model's inputs come from.
    """
    images = image_columns_of(job)
    needs = [
        column
        for kind in kinds.values()
        if kind.field.role == "input" and kind.field.required
        for column in kind.columns
    ]
    if data.is_dir() and not (data / MANIFEST).is_file():
        return _images_below(data, images, needs, job.data.dimensions)
    found = scan_manifest(data, images, needs, may_lack_images=may_lack_images(job))
    usable = {
        found.at(record) for record in found.records
    }  # a patient on two sides of a split is not a fault here
    problems = [problem for problem in found.problems if problem.where not in usable]
    return Manifest(found.path, found.columns, found.records, problems)


def _images_below(folder: Path, columns: tuple[str, ...], needs: list[str], dimensions: int) -> Manifest:
    """Return each image below a folder as a row of its own, in the order of the names.

    For a network that sees volumes, a folder of several DICOM files and nothing else is one image: a series.
    """
    if len(columns) != 1 or set(needs) - set(columns):
        wanted = ", ".join(dict.fromkeys((*columns, *needs)))
        raise DataError(
            f"has no {MANIFEST}, and the model sees more than one image: {wanted}",
            where=folder,
            remedy=f"Write a {MANIFEST} with the columns patient, {wanted}.",
        )
    column = columns[0]
    files = list(_images(folder, series=dimensions == 3))
    if not files:
        raise DataError("has neither a manifest.csv nor an image", where=folder)
    records = [
        Record(
            row=number,
            patient=stem(path.name) if is_image(path.name) else path.name,
            images=(path,),
            cells={column: below(folder, path)},
            folder=folder,
        )
        for number, path in enumerate(files, 1)
    ]
    return Manifest(folder, (column,), records, [])


def _images(folder: Path, *, series: bool) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from [path] if series and _is_series(path) else _images(path, series=series)
        elif is_image(path.name):
            yield path


def _is_series(folder: Path) -> bool:
    """Say whether a folder holds slices of a volume, and nothing else."""
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    return len(names) > 1 and all(name.lower().endswith(".dcm") for name in names)
