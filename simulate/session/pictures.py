"""What a model draws, as one picture beside it: for people to look at."""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from server.files import write_atomic
from server.runs.folder import RunFolder
from shared.networks.build import build_model, models_of
from shared.seeds import seed_of
from shared.start_files import starts_of
from shared.strategies.vectors import MODEL
from shared.strategies.wire import Wire
from shared.tasks import make_task
from shared.tasks.base import Task
from shared.wire.packed_model import ModelState

_SIDE = 8  # images along each side of the picture
_FILE = "samples.png"


def write_samples(run: RunFolder, vector: NDArray[np.float32]) -> None:
    """Write 64 images of nobody that a model draws, where its task draws any.

    Args:
        run: Its folder gets the picture.
        vector: What the sites were last sent, with the packed model in it; parts that stay at the sites are
            drawn with as they were at first.
    """
    task = make_task(run.job)
    if type(task).draw is Task.draw:
        return
    model = build_model(run.job, files=starts_of(run.job, run.path))
    state, wire = ModelState(model), Wire.of(model, run.job.strategy)
    state.unpack(wire.split(vector, state.pack()[wire.own])[MODEL])
    drawn = task.draw(models_of(model), _SIDE**2, seed_of(run.job.job.seed, "samples"))
    if drawn is not None:
        picture = io.BytesIO()
        Image.fromarray(sheet(drawn)).save(picture, "png")
        write_atomic(run.path / _FILE, picture.getvalue())


def sheet(images: torch.Tensor) -> NDArray[np.uint8]:
    """Return images (64, C, *S) as one picture, (8 H, 8 W) or (8 H, 8 W, 3); of volumes, the middle slices.

    Of other than three channels the first is shown. The darkest pixel of all is black, the brightest white.
    """
    while images.dim() > 4:
        images = images[..., images.shape[-1] // 2]
    images = images if images.shape[1] == 3 else images[:, :1]
    low, high = images.aminmax()
    grey = (images - low) / (high - low).clamp(min=1e-6) * 255
    _, channels, height, width = images.shape
    rows = grey.round().byte().view(_SIDE, _SIDE, channels, height, width).permute(0, 3, 1, 4, 2)
    picture: NDArray[np.uint8] = rows.reshape(_SIDE * height, _SIDE * width, channels).numpy()
    return picture[..., 0] if channels == 1 else picture
