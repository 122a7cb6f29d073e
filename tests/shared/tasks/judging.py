"""Images that tests of tasks show to networks, and how the first model of a job is judged by them."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from shared.batch import Batch
from shared.job.schema import JobSpec
from shared.metrics.states import MetricSet
from shared.networks.build import build_model, models_of
from shared.tasks import make_task


def smooth_images(count: int, size: tuple[int, ...], channels: int = 1) -> Tensor:
    """Return smooth images (count, channels, *size) within 0.1 and 0.9."""
    generator = torch.Generator().manual_seed(count)
    small = torch.rand(count, channels, *(max(2, side // 4) for side in size), generator=generator)
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return 0.1 + 0.8 * nn.functional.interpolate(small, size, mode=mode)


def judged(spec: JobSpec, batches: Iterable[Batch]) -> MetricSet:
    """Return the metrics of the first model on the batches of a site."""
    task, models = make_task(spec), models_of(build_model(spec))
    metrics = task.metrics()
    for batch in batches:
        prepared = task.prepare(batch, 1)
        predicted = task.predict(models, prepared)
        task.update(metrics, predicted, prepared, task.sample_losses(models, prepared, predicted))
    return metrics


def judged_at_sites(
    spec: JobSpec, pictures: Tensor, batch_of: Callable[[Tensor, int], Batch], sites: int
) -> list[MetricSet]:
    """Return the metrics of the first model on images that are shared out among sites.

    Args:
        spec: The job.
        pictures: The images (B, C, *S).
        batch_of: Returns a batch of some of them, of which the first has this number.
        sites: How many.
    """
    found, start = [], 0
    for part in pictures.tensor_split(sites):
        batches = []
        for few in part.split(3):
            batches.append(batch_of(few, start))
            start += len(few)
        found.append(judged(spec, batches))
    return found
