"""The folder of a list: a table, a datastore for MONAI Label, a scene for 3D Slicer; for its owner alone."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

from client.data.manifest.labels_back import stem_of
from client.data.new_folder import new_folder, put
from client.labelling.ranking import By, Ranked
from client.predict.csv_table import csv_table
from shared.errors import DataError
from shared.job.schema import JobSpec
from shared.tasks.answers import Cell
from shared.tasks.classes import classified_by

TABLE, SCENE = "to-label.csv", "scene.mrml"
DATASTORE = "monai-label"
_CONFIG = "datastore_v2.json"  # the name that MONAI Label looks for


def write_list(out: Path, job: JobSpec, rows: Sequence[Ranked], by: By) -> list[str]:
    """Write what is to be labelled into a new folder.

    Copies of the images lie in it, named by their rank, so that a program that takes them by name takes the
    first ones first. The manifest and its images are left as they are.

    Args:
        out: The folder.
        job: Of the model.
        rows: In their order.
        by: How they were ranked.

    Returns:
        What else there is beside the table.

    Raises:
        DataError: The folder exists or can't be written, or an image can't be read any more.
    """
    with new_folder(out) as folder:
        put(folder / TABLE, csv_table([_row(rank, one, job, by) for rank, one in enumerate(rows, 1)]))
        firsts = {image_id(rank, one): one.record.images[:1] for rank, one in enumerate(rows, 1)}
        files = {name: own[0] for name, own in firsts.items() if own and own[0].is_file()}
        if not files:
            return []
        store = folder / DATASTORE
        store.mkdir(mode=0o700)
        copies = {name: _copied(file, store / f"{name}{_ending(file)}") for name, file in files.items()}
        put(folder / SCENE, scene({name: f"{DATASTORE}/{copy.name}" for name, copy in copies.items()}))
        put(store / _CONFIG, datastore(job, rows, copies, by))
    return [DATASTORE, SCENE]


def image_id(rank: int, row: Ranked) -> str:
    """Return the name of a copy, without its ending."""
    images = row.record.images
    return f"{rank:04d}-{stem_of(images[0].name)}" if images else f"{rank:04d}"


def _row(rank: int, one: Ranked, job: JobSpec, by: By) -> dict[str, Cell]:
    """Return a row of the table; the last column is for the label."""
    images = {name: one.record.cells.get(name, "") for name in job.data.images}
    column = classified_by(job)[1].kind
    return {
        "rank": rank,
        "row": one.record.row,
        "patient": one.record.patient,
        **images,
        "id": image_id(rank, one),
        by: one.score,
        **one.answer.cells,
        column: "",
    }


def datastore(job: JobSpec, rows: Sequence[Ranked], copies: dict[str, Path], by: By) -> bytes:
    """Return the index of MONAI Label's local datastore (`LocalDatastoreModel` of version 0.8)."""
    objects = {}
    for rank, one in enumerate(rows, 1):
        name = image_id(rank, one)
        if name in copies:
            info = {
                "name": copies[name].name,
                "rank": rank,
                by: one.score if one.score == one.score else None,
            }
            objects[name] = {"image": {"ext": _ending(copies[name]), "info": info}, "labels": {}}
    found = {
        "name": job.job.name,
        "description": f"to be labelled, by {by}",
        "images_dir": ".",
        "labels_dir": "labels",
        "objects": objects,
    }
    return (json.dumps(found, indent=2) + "\n").encode()


def scene(files: dict[str, str]) -> bytes:
    """Return a scene of 3D Slicer (MRML) that loads each image as a volume, by its file as seen from it."""
    lines = ['<MRML version="Slicer4.4.0" userTags="">']
    for number, (name, file) in enumerate(files.items(), 1):
        storage = f"vtkMRMLVolumeArchetypeStorageNode{number}"
        lines += [
            f' <VolumeArchetypeStorage id="{storage}" name={quoteattr(name)} fileName={quoteattr(file)} '
            'useCompression="1" centerImage="0"></VolumeArchetypeStorage>',
            f' <Volume id="vtkMRMLScalarVolumeNode{number}" name={quoteattr(name)} '
            f'storageNodeRef="{storage}"></Volume>',
        ]
    return "\n".join([*lines, "</MRML>", ""]).encode()


def _copied(file: Path, copy: Path) -> Path:
    try:
        shutil.copyfile(file, copy)
        copy.chmod(0o600)
    except OSError as error:
        raise DataError(f"can't be copied ({error.strerror})", where=file) from None
    return copy


def _ending(file: Path) -> str:
    """Return '.nii.gz' of 'a.nii.gz'."""
    return file.name[len(stem_of(file.name)) :]
