"""Images that a model draws, of nobody: files of each, and a page."""

import gzip
import io
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from client.data.look.cards import Card
from client.data.look.page import Sheet, page
from client.data.look.planes import Sample, planes
from client.data.look.tiles import tiles
from client.data.new_folder import new_folder, put
from client.predict.answering import Predictor
from client.predict.write import PAGE
from shared.errors import RunError
from shared.seeds import seed_of

SAMPLES = "samples"
_COUNT = 64


def write_samples(predictor: Predictor, out: Path, lines: list[str]) -> int:
    """Write images that are drawn by the job's seed into a new folder; return how many.

    Pictures are PNG, of the same black and white; volumes are NIfTI, with the numbers of the network.

    Raises:
        RunError: The task draws none.
        DataError: The folder exists or can't be written.
    """
    job = predictor.job
    drawn = predictor.task.draw(predictor.models, _COUNT, seed_of(job.job.seed, "samples"))
    if drawn is None:
        raise RunError(f"the task '{job.task.name}' draws no images")
    images: NDArray[np.float32] = drawn.float().cpu().numpy()
    ends = float(images.min()), float(images.max())
    spacing = None if job.data.spacing is None else tuple(job.data.spacing)
    cards = []
    with new_folder(out) as folder:
        (folder / SAMPLES).mkdir(mode=0o700)
        for number, image in enumerate(images, 1):
            ending, content = _file(image, ends, spacing)
            put(folder / SAMPLES / f"{number:04d}{ending}", content)
            shown = tiles(planes(Sample(image), spacing), ends)
            cards.append(Card(f"Sample {number}", (), "", shown, [], None, [], stage="drawn"))
        sheet = Sheet(f"Drawn by {job.job.name}", lines, [], [], (), {"Images of nobody": cards})
        put(folder / PAGE, page(sheet).encode())
    return len(images)


def _file(
    image: NDArray[np.float32], ends: tuple[float, float], spacing: tuple[float, ...] | None
) -> tuple[str, bytes]:
    if image.ndim == 4:
        stored = np.ascontiguousarray(np.moveaxis(image, 0, -1).squeeze())
        whole = nibabel.Nifti1Image(stored, np.diag([*(spacing or (1.0,) * 3), 1.0]))
        return ".nii.gz", gzip.compress(whole.to_bytes(), mtime=0)
    low, high = ends
    bytes_ = np.rint((image - low) / max(high - low, 1e-6) * 255).astype(np.uint8)
    pixels = bytes_.transpose(1, 2, 0) if len(bytes_) == 3 else bytes_[0]
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG")
    return ".png", stream.getvalue()
