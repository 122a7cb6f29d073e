"""Maps of what speaks for an answer, back on the image's file: in colour over it, and as files."""

import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from client.data.images.network_grid import Grid
from client.data.kinds.drawing import Drawing
from client.data.look.planes import Sample, planes
from client.data.look.tiles import LONGEST, Tile, tiles, window
from client.explain.colours import overlaid, strongest
from client.predict.geometry import Placed
from client.predict.places import NIFTI, as_stored_nifti, stored_affine
from shared.job.data_options import DataTable
from shared.tasks.answers import Answer

LEGEND = (
    "Over an image, orange is what speaks for what is explained and blue what speaks against it; each map "
    "has a scale of its own. It shows what the model looked at, not what is ill."
)


@dataclass(frozen=True)
class PlacedReasons:
    """A map on the pixels of an image's file.

    Attributes:
        method: That found it.
        values: (*S).
        placed: The image.
    """

    method: str
    values: NDArray[np.float32]
    placed: Placed

    def tiles(self, side: int = LONGEST) -> list[Tile]:
        """Return the image with the map over it, volumes cut where it is strongest."""
        picture = self.placed.picture
        shown = overlaid(picture.array, self.values, window(picture.array))
        sample = Sample(shown, (Drawing(strongest(self.values)),))
        views = [replace(one, areas=[]) for one in planes(sample, picture.spacing, picture.affine)]
        return [
            replace(one, title=", ".join(filter(None, (self.method, one.title))))
            for one in tiles(views, (0.0, 1.0), side)
        ]

    def file(self) -> tuple[str, bytes]:
        """Return the ending and the content of a file of the map.

        Of a picture: PNG as large as it is shown, 255 where most speaks for what is explained, 0 where
        nothing does. Of volumes and NIfTI: NIfTI in 32-bit floats, where the image lies, with the numbers
        of the method.
        """
        picture, nifti = self.placed.picture, self.placed.file.name.lower().endswith(NIFTI)
        if not nifti and len(picture.shape) == 2:
            stream = io.BytesIO()
            share = self.values.clip(min=0) / max(float(self.values.max()), 1e-12)
            Image.fromarray(np.rint(255 * share).astype(np.uint8)).save(stream, "PNG")
            return ".png", stream.getvalue()
        stored = picture.turn.undo(self.values)
        if nifti:
            whole = as_stored_nifti(self.placed.file, stored)
        else:
            whole = nibabel.Nifti1Image(stored, stored_affine(picture))
        return ".nii.gz", gzip.compress(
            whole.to_bytes(), mtime=0
        )  # the time of writing is none of the result


def reasons_on(placed: Placed, data: DataTable, answer: Answer) -> Iterator[PlacedReasons]:
    """Yield the maps of an answer on the image of its row."""
    grid = Grid.of(placed.picture, data, placed.file)
    for method, values in answer.reasons.items():
        yield PlacedReasons(method, grid.image_before(values[None].cpu().numpy())[0], placed)
