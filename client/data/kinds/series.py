"""The frames of a series, in the order of time."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from client.data.formats.dicom.cine import Cine, is_cine, read_cine
from client.data.formats.picture import Picture
from client.data.images.intensity import intensity
from client.data.images.readers import read_images
from client.data.images.refusing import guarded
from client.data.kinds.image import PixelsKind
from client.data.kinds.tally import Tally
from client.data.kinds.tiles import TilesKind
from client.data.manifest.rows import Record
from shared.errors import DataError
from shared.text.plural import many

if TYPE_CHECKING:
    from client.data.kinds.row_images import Scene


_OF_FRAMES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr", ".npy")  # their channels may be moments


class SeriesKind(TilesKind):
    """(T, C, *S) float32: the frames of a series in the order of time.

    The cell names a folder, whose files are taken in the order of the numbers in their names; files as
    'a.png|b.png'; one file whose channels are frames (NIfTI with a fourth axis, MetaImage, NRRD, .npy); or a
    cine, a DICOM file of many frames. The values of all frames are brought to a common range together.
    """

    word: ClassVar[str] = "frame"
    settings: ClassVar[frozenset[str]] = PixelsKind.settings | {"frames", "frame_step"}

    @property
    def mpp(self) -> None:
        """See the base class: frames are not cut."""
        return

    def files(self, record: Record) -> tuple[Path, ...]:
        """See the base class."""
        paths = super().files(record)
        if len(paths) > 1:
            chosen = self._chosen(paths[0].parent, len(paths))
            return tuple(paths[number] for number in chosen)
        return paths

    def read(self, record: Record, scene: "Scene") -> NDArray[np.float32]:
        """See the base class."""
        fitted = [self._fitted(picture, path) for path, picture in self.pictures(record, scene)]
        self._require_wanted(len(self.files(record)), len(fitted))
        whole = np.moveaxis(self._stacked([image for image, _ in fitted]), 1, 0)  # (C, T, *S)
        frames = np.moveaxis(intensity(np.ascontiguousarray(whole), self.data), 0, 1)
        return np.stack([grid.padded(frame) for frame, (_, grid) in zip(frames, fitted, strict=True)])

    def _of_file(self, path: Path, key: str) -> Sequence[Picture]:
        if self._is_cine(path):
            cine = guarded(path, partial(read_cine, path, partial(self._chosen, path)))
            return [self._coloured(Picture(frame, cine.spacing), path) for frame in cine.frames]
        return self._apart(read_images([path], self.data.dimensions), path)

    def _is_cine(self, path: Path) -> bool:
        return self.data.dimensions == 2 and guarded(path, partial(is_cine, path))

    def _require_wanted(self, files: int, frames: int) -> None:
        chosen = self.data.frames is not None or self.data.frame_step is not None
        if chosen and 1 < files < frames:
            raise DataError(
                f"the {self.name} names {files} files, some of several frames: which are taken is not clear",
                remedy="Save it as one file, or each frame as its own; or leave out which are taken.",
            )
        if self.data.frames not in (None, frames):
            raise DataError(
                f"the {self.name} has {many(frames, 'frame')}, and the job wants {self.data.frames}"
            )

    def _chosen(self, path: Path, count: int, times: NDArray[np.float64] | None = None) -> Sequence[int]:
        """Return the numbers of the frames that the job wants, in the order of time.

        Args:
            path: Their file, for the error.
            count: Frames that there are.
            times: When each was taken, in any unit; None: evenly apart.
        """
        wanted = self.data.frames
        if wanted is None:
            return range(0, count, self.data.frame_step or 1)
        if count < wanted:
            raise DataError(
                f"has {many(count, 'frame')}, and the job wants {wanted}",
                where=path,
                remedy="Leave it out.",
            )
        moments = np.arange(count) if times is None else times
        if wanted == 1:
            return [0]
        at = np.abs(np.linspace(moments[0], moments[-1], wanted)[:, None] - moments).argmin(axis=1)
        if len(set(at.tolist())) < wanted:
            raise DataError(
                f"has frames so unevenly apart that {wanted}, evenly spread, are not {wanted} of them",
                where=path,
                remedy="Ask for fewer: [data] frames.",
            )
        return at.tolist()

    def _apart(self, picture: Picture, path: Path) -> Sequence[Picture]:
        if path.is_file() and not path.name.lower().endswith(_OF_FRAMES):
            return super()._apart(picture, path)  # its channels are colours
        channels = self.data.channels
        if len(picture.array) % channels:
            raise DataError(
                f"has {len(picture.array)} channels, which are not frames of {channels}", where=path
            )
        parts = np.split(picture.array, len(picture.array) // channels)
        if len(parts) > 1:
            parts = [parts[number] for number in self._chosen(path, len(parts))]
        return [replace(picture, array=part) for part in parts]

    def describe(self, record: Record, into: Tally) -> None:
        """See the base class: of a cine its frames and their times."""
        for path in self.files(record):
            if self._is_cine(path):
                cine = guarded(path, partial(read_cine, path, _first))
                _describe_cine(cine, into)


def _first(_count: int, _times: NDArray[np.float64] | None) -> Sequence[int]:
    return [0]


def _describe_cine(cine: Cine, into: Tally) -> None:
    into.fact("frames of a cine", cine.count)
    if cine.times is None:
        into.counts["cines that do not say when their frames were taken: as if evenly apart"] += 1
        return
    gaps = np.diff(cine.times)
    into.fact("milliseconds between frames", float(gaps.mean()))
    into.counts["cines whose frames are not evenly apart"] += int(np.ptp(gaps) > 0.01 * gaps.mean())
