"""A folder with one DICOM series: every file of it is accounted for."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.misc import is_dicom

from client.data.formats.dicom.place import Plane, plane_of
from client.data.formats.dicom.single import frame_of, load, picture_of
from client.data.formats.dicom.stack import Stack, order_of, stack_of, straightened
from client.data.formats.dicom.values import read_frame
from client.data.formats.picture import Picture
from client.data.formats.placed_volumes import placed
from shared.errors import DataError

_ONE_PLACE = 1e-3  # mm
_DIRECTION = 1e-4  # of a component of a direction: what is written as one orientation
_SPACING = 1e-3  # relative
_TIMES = ("TemporalPositionIdentifier", "AcquisitionNumber", "DiffusionBValue", "EchoTime")
_TEXTS = ("ConvolutionKernel", "KVP")  # what else tells images of one position apart
_OF_CHANNEL = ("TemporalPositionIdentifier", "DiffusionBValue", "EchoTime")
_CONTRASTS = ("DiffusionBValue", "EchoTime")  # which no slice of a volume has otherwise than the others
_ROLES = ("LOCALIZER", "MIP", "MPR", "PROJECTION IMAGE")  # of ImageType: made beside or of the slices
_SAME = 0.01  # relative: what is written of one echo
_OWN_FOLDER = "Put each series into a folder of its own."


@dataclass(frozen=True)
class _Slice:
    dataset: Dataset
    path: Path
    plane: Plane


def read_series(folder: Path, dimensions: int | None) -> Picture:
    """Read the DICOM series in a folder as one volume, its slices ordered by their place in the patient.

    Several images of each place (time points, echoes, directions of diffusion) become channels. A stack that
    a tilted gantry has sheared is straightened.

    Args:
        folder: Its files; what is not a DICOM image is named in the notes.
        dimensions: 3 keeps a volume of one slice a volume.

    Raises:
        DataError: The folder holds no series or several, or the slices do not form an even stack.
    """
    images, notes = _images(folder)
    _one_series(images, folder)
    _one_meaning(images, folder)
    frame = next(filter(None, (frame_of(dataset) for dataset, _ in images)), "")
    modality = str(images[0][0].get("Modality") or "")  # the same in all of them
    return replace(_noted(_picture(images, folder, dimensions), notes), frame=frame, modality=modality)


def require_volume(headers: Sequence[tuple[Dataset, Path]], folder: Path) -> None:
    """Refuse headers of files that `read_series` would refuse, before anybody has read their pixels.

    Args:
        headers: Without pixels, each with the file's name.
        folder: Named in errors.

    Raises:
        DataError: They are of several series, or do not form an even stack.
    """
    _one_series(headers, folder)
    _one_meaning(headers, folder)
    if len(headers) > 1 and not _has_many(headers[0][0]):
        _stack(_places(headers, folder), folder)


def _picture(images: Sequence[tuple[Dataset, Path]], folder: Path, dimensions: int | None) -> Picture:
    if len(images) == 1:
        return picture_of(*images[0], dimensions)
    if _has_many(images[0][0]):
        return _in_time([picture_of(dataset, path, dimensions) for dataset, path in images], folder)
    return _volume(_places(images, folder), folder, dimensions)


def _has_many(dataset: Dataset) -> bool:
    """Say whether one file holds many slices."""
    return int(dataset.get("NumberOfFrames") or 1) > 1 or "MOSAIC" in (dataset.get("ImageType") or ())


def _places(images: Sequence[tuple[Dataset, Path]], folder: Path) -> list[list[_Slice]]:
    slices = [_Slice(dataset, path, _plane(dataset, path)) for dataset, path in images]
    _one_grid(slices, folder)
    return _by_place(slices, folder)


def _stack(places: Sequence[Sequence[_Slice]], folder: Path) -> Stack:
    thickness = places[0][0].dataset.get("SliceThickness")
    return stack_of([place[0].plane for place in places], float(thickness) if thickness else None, folder)


def _images(folder: Path) -> tuple[list[tuple[Dataset, Path]], list[str]]:
    """Return the DICOM images of a folder, and what else there is."""
    images, others = [], []
    found = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    for path in found:
        if not path.is_file():
            continue
        try:
            dataset = load(path)
        except (DataError, pydicom.errors.InvalidDicomError, ValueError, OSError, EOFError):
            if is_dicom(path):  # a slice that would be missing without a word
                raise
            others.append(path.name)
            continue
        if "PixelData" in dataset:
            images.append((dataset, path))
        elif path.name != "DICOMDIR":
            others.append(path.name)
    if not images:
        raise DataError("holds no DICOM image", where=folder)
    notes = []
    if inside := [path.name for path in found if path.is_dir()]:
        notes.append(f"{folder.name}: the folder {inside[0]} in it was not read")
    if others:
        shown = ", ".join(others[:3]) + (" and more" if len(others) > 3 else "")
        notes.append(f"{folder.name}: not DICOM images: {len(others)} of its files ({shown})")
    return images, notes


def _one_series(images: Sequence[tuple[Dataset, Path]], folder: Path) -> None:
    for tag, what in (
        ("PatientID", "patients"),
        ("SeriesInstanceUID", "series"),
        ("FrameOfReferenceUID", "frames of reference"),
    ):
        found = Counter(str(dataset.get(tag) or "") for dataset, _ in images)
        if tag == "FrameOfReferenceUID":
            del found[""]  # many files do not say it
        if len(found) > 1:
            about = {
                str(dataset.get(tag) or ""): f"'{dataset.get('SeriesDescription') or '?'}'"
                for dataset, _ in images
            }
            listed = ", ".join(
                f"{about[value] if what == 'series' else 'one'} ({count} file{'s' * (count != 1)})"
                for value, count in sorted(found.items())
            )
            raise DataError(
                f"holds images of {len(found)} {what}: {listed}", where=folder, remedy=_OWN_FOLDER
            )


def _one_meaning(images: Sequence[tuple[Dataset, Path]], folder: Path) -> None:
    """Refuse images whose numbers do not mean one thing, and overviews among slices."""
    for what, mark in _MARKS:
        found = Counter(mark(dataset) for dataset, _ in images)
        if what != "units":  # a PET must say its own
            del found[""]
        if len(found) > 1:
            listed = ", ".join(
                f"{value or 'none'} ({count} file{'s' * (count != 1)})"
                for value, count in sorted(found.items())
            )
            raise DataError(f"holds images of several {what}: {listed}", where=folder, remedy=_OWN_FOLDER)


def _rescaling(dataset: Dataset) -> str:
    """Say whether values are rescaled; nothing where that changes none."""
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if dataset.get("ModalityLUTSequence"):
        return "a table's values"
    if slope in (None, ""):
        return "stored values"
    return "" if (slope, intercept) == (1, 0) else "rescaled values"


def _role(dataset: Dataset) -> str:
    return next((word for word in _ROLES if word in (dataset.get("ImageType") or ())), "a slice")


def _told(tag: str) -> Callable[[Dataset], str]:
    return lambda dataset: str(dataset.get(tag) or "")


_MARKS: tuple[tuple[str, Callable[[Dataset], str]], ...] = (
    ("modalities", _told("Modality")),
    ("units", _told("Units")),  # of PET: Bq/ml, counts, SUV
    ("types of rescaled values", _told("RescaleType")),
    ("kinds of values", _rescaling),
    ("kinds of pixels", _told("PhotometricInterpretation")),
    ("roles", _role),
)


def _plane(dataset: Dataset, path: Path) -> Plane:
    plane = plane_of(dataset, path)
    if plane is None:
        raise DataError(
            "lacks its place in a stack (ImagePositionPatient, ImageOrientationPatient or PixelSpacing)",
            where=path,
        )
    return plane


def _one_grid(slices: Sequence[_Slice], folder: Path) -> None:
    first = slices[0]
    checks: tuple[tuple[str, Callable[[_Slice], bool]], ...] = (
        ("sizes", lambda one: _size(one) == _size(first)),
        ("orientations", lambda one: bool(np.abs(_ways(one) - _ways(first)).max() <= _DIRECTION)),
        ("pixel spacings", lambda one: np.allclose(one.plane.spacing, first.plane.spacing, rtol=_SPACING)),
    )
    for what, fits in checks:
        other = [one.path.name for one in slices if not fits(one)]
        if other:
            raise DataError(
                f"holds images of several {what}: {other[0]} differs from {first.path.name}, as {len(other)} "
                f"of {len(slices)} do",
                where=folder,
                remedy=_OWN_FOLDER,
            )


def _size(one: _Slice) -> tuple[int, int]:
    return int(one.dataset.Rows), int(one.dataset.Columns)


def _ways(one: _Slice) -> NDArray[np.float64]:
    return np.concatenate([one.plane.rows, one.plane.columns])


def _by_place(slices: Sequence[_Slice], folder: Path) -> list[list[_Slice]]:
    """Return the slices of each place, the places in their order; as many at each."""
    places: list[list[_Slice]] = []
    for index in order_of([one.plane for one in slices]):
        one = slices[index]
        if places and np.linalg.norm(one.plane.origin - places[-1][0].plane.origin) < _ONE_PLACE:
            places[-1].append(one)
        else:
            places.append([one])
    counts = {len(place) for place in places}
    if len(counts) > 1:
        raise DataError(
            f"holds between {min(counts)} and {max(counts)} images of one position",
            where=folder,
            remedy="Put each volume (time point, echo, direction) into a folder of its own.",
        )
    ordered = [sorted(place, key=lambda one: _moment(one.dataset)) for place in places]
    _one_channel_each(ordered, folder)
    return ordered


def _moment(dataset: Dataset) -> tuple[float | str, ...]:
    times = (float(dataset.get(tag) or 0) for tag in _TIMES)
    return (
        *times,
        *(_told(tag)(dataset) for tag in _TEXTS),
        _made_as(dataset),
        float(dataset.get("InstanceNumber") or 0),
    )


def _made_as(dataset: Dataset) -> str:
    """Return what a picture shows of a place, such as magnitude or phase."""
    return " ".join(str(part) for part in dataset.get("ImageType") or ())


def _one_channel_each(places: Sequence[Sequence[_Slice]], folder: Path) -> None:
    """Refuse a channel that would be an echo, a direction or a phase here and another one there."""
    for moment, first in enumerate(places[0]):
        if moment and _is_copy(first.dataset, places[0][moment - 1].dataset):
            other = places[0][moment - 1].path.name
            raise DataError(f"holds one image twice: {other} and {first.path.name}", where=folder)
        for tag in _OF_CHANNEL if len(places[0]) > 1 else ():
            values = [float(place[moment].dataset.get(tag) or 0) for place in places]
            if _differ(values):
                raise _other_channels(len(places[0]), tag, folder)
        for tag in _TEXTS if len(places[0]) > 1 else ():
            if len({_told(tag)(place[moment].dataset) for place in places}) > 1:
                raise _other_channels(len(places[0]), tag, folder)
    if len(places[0]) == 1:
        _one_contrast([own.dataset for (own,) in places], folder)


def _one_contrast(slices: Sequence[Dataset], folder: Path) -> None:
    """Refuse a volume of one image each position whose slices show other things, as after a wrong export."""
    for tag in _CONTRASTS:
        values = [float(slice_.get(tag)) for slice_ in slices if slice_.get(tag) not in (None, "")]
        if values and _differ(values):
            found = ", ".join(f"{value:g}" for value in sorted(set(values))[:3])
            raise DataError(f"holds slices of several {tag} ({found})", where=folder, remedy=_OWN_FOLDER)
    for tag in _TEXTS:
        texts = sorted({_told(tag)(slice_) for slice_ in slices} - {""})
        if len(texts) > 1:
            raise DataError(
                f"holds slices of several {tag} ({', '.join(texts[:3])})", where=folder, remedy=_OWN_FOLDER
            )


def _differ(values: Sequence[float]) -> bool:
    return max(values) - min(values) > _SAME * max(map(abs, values))


def _other_channels(count: int, tag: str, folder: Path) -> DataError:
    return DataError(
        f"holds {count} images of each position, but not of the same {tag} at each",
        where=folder,
        remedy="Put each volume (time point, echo, direction) into a folder of its own.",
    )


def _is_copy(one: Dataset, other: Dataset) -> bool:
    same = one.get("SOPInstanceUID") == other.get("SOPInstanceUID")
    return same and bool(one.PixelData == other.PixelData)


def _volume(places: Sequence[Sequence[_Slice]], folder: Path, dimensions: int | None) -> Picture:
    stack = _stack(places, folder)
    channels, paddings = [], []
    for moment in range(len(places[0])):
        frames = [read_frame(place[moment].dataset, place[moment].path) for place in places]
        if len(frames[0].array) > 1:
            raise DataError("is a series of colour pictures, not of slices", where=folder)
        channels.append(np.stack([frame.array[0] for frame in frames], axis=-1))
        empty = np.zeros(frames[0].array.shape[1:], dtype=bool)
        paddings.append(
            np.stack([empty if frame.padding is None else frame.padding for frame in frames], axis=-1)
        )
    array, padding, affine = np.stack(channels), np.any(paddings, axis=0), stack.affine()
    notes: tuple[str, ...] = ()
    if len(channels) > 1:
        notes = (f"{folder.name} holds {len(channels)} images of each position, which become channels",)
    if stack.is_tilted:
        notes = (
            *notes,
            f"the gantry of {folder.name} was tilted by {stack.tilt:.1f} degrees; it was straightened",
        )
        upright = [straightened(channel.astype(np.float64), stack, float(channel.min())) for channel in array]
        outside = straightened(padding.astype(np.float64), stack, 1.0)[0] > 0
        array, padding, affine = np.stack([one[0] for one in upright]), upright[0][1] | outside, upright[0][2]
    picture = placed(array, affine, dimensions, notes=notes)
    background = picture.turn.apply(padding) if padding.any() else None
    return replace(picture, background=background)


def _in_time(volumes: Sequence[Picture], folder: Path) -> Picture:
    """Return volumes of one grid as the channels of one."""
    first = volumes[0]
    for volume in volumes[1:]:
        if volume.shape != first.shape or not np.allclose(
            np.asarray(volume.affine), np.asarray(first.affine), atol=_ONE_PLACE
        ):
            raise DataError("holds volumes that lie on several grids", where=folder, remedy=_OWN_FOLDER)
    note = f"{folder.name} holds {len(volumes)} volumes, which become channels"
    array = np.concatenate([volume.array for volume in volumes])
    return Picture(array, first.spacing, first.affine, first.turn, notes=(*first.notes, note))


def _noted(picture: Picture, notes: Sequence[str]) -> Picture:
    return replace(picture, notes=(*picture.notes, *notes))
