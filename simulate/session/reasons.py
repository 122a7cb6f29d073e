"""Why a model says what it says of an example of a rehearsal, beside its image."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from client.data.look.tiles import window
from client.explain.colours import overlaid
from client.explain.explainer import Explainer, Reasons
from shared.batch import Batch, Prediction
from shared.errors import RunError
from shared.tasks.base import Models, Task
from shared.tasks.look import Look, Shown

_METHODS = ("grad-cam", "attention")  # the first that the network can have


def with_reasons(look: Look, task: Task, models: Models, batch: Batch, predicted: Prediction) -> Look:
    """Return a look with a picture of what speaks for the prediction; as it is, where it has none.

    Args:
        look: Of the batch's first sample; one with masks, boxes or pictures shows enough.
        task: Of the networks.
        models: The networks.
        batch: Prepared, on their device.
        predicted: What they said of it.
    """
    about = task.explained(predicted)
    if not about or look.pictures or look.true is not None or look.true_boxes is not None:
        return look
    for method in _METHODS:
        with suppress(RunError):  # a network without convolutions, or without attention
            reasons = Explainer([method]).reasons(task, models, batch, predicted)[0]
            image = batch[about[0].field][0].float().cpu().numpy()
            return replace(look, pictures=_beside(image, reasons, method))
    return look


def _beside(image: NDArray[np.float32], reasons: Reasons, method: str) -> tuple[Shown, Shown]:
    values = reasons.maps[method].cpu().numpy()
    if values.ndim == 3:  # the plane where it is strongest
        plane = int(values.max(axis=(0, 1)).argmax())
        image, values = image[..., plane], values[..., plane]
    ends = window(image)
    coloured = ends[0] + overlaid(image, values, ends) * (ends[1] - ends[0])
    return Shown("image", image), Shown(reasons.about, coloured.astype(np.float32))
