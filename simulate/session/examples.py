"""Images of a rehearsal with what is true and what the model says; never of a real run."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from client.data.kinds.drawing import Drawing
from client.data.look.planes import Sample, planes
from client.data.look.tiles import tiles, window
from client.data.samples.site_data import Samples
from client.work.warm_networks import Bench
from shared.seeds import seed_of
from shared.tasks.fields import fields_of
from shared.tasks.look import Look
from simulate.session.reasons import with_reasons

RANKS = ("best", "median", "worst")
_GAP = 8  # pixels between two pictures
_HEADING = 16


@dataclass(frozen=True)
class Example:
    """One image of a test.

    Attributes:
        site: Whose it is.
        score: See `Look`.
        says: The same.
        png: The image, once with what is true and once with what was predicted.
    """

    site: str
    score: float
    says: str
    png: bytes


def examples_of(bench: Bench, samples: Samples, scores: Sequence[float]) -> dict[str, Tensor]:
    """Return the pictures of the best, the median and the worst sample of a site, as tensors of bytes.

    Args:
        bench: With the model that was tested.
        samples: The test.
        scores: Of each sample, in their order; none where the task draws nothing.

    Returns:
        By rank: the PNG; by `rank/score` and `rank/says` the rest of an `Example`.
    """
    image = next((name for name, own in fields_of(bench.job).items() if own.kind == "image"), None)
    order = np.argsort(np.array(scores), kind="stable")  # what is not a number comes last
    order = order[: int(np.isfinite(scores).sum())]
    if not len(order):
        return {}
    places = dict(zip(RANKS, (order[-1], order[len(order) // 2], order[0]), strict=True))
    found: dict[str, Tensor] = {}
    for rank, place in places.items():
        seed = seed_of(bench.job.job.seed, "evaluate")
        batch = bench.task.prepare(samples.batch([int(place)]), seed)
        device = next(bench.model.parameters()).device
        batch = batch.each(lambda _, value: value.to(device))  # noqa: B023 (called at once)
        predicted = bench.task.predict(bench.models, batch)
        look = with_reasons(bench.task.looks(predicted, batch)[0], bench.task, bench.models, batch, predicted)
        if image is None and not look.pictures:
            return {}
        spacing = None if batch.spacing is None else tuple(batch.spacing)
        whole = None if image is None else batch[image][0].float().cpu().numpy()
        picture = drawn(whole, look, spacing)
        found[rank] = _bytes(picture)
        found[f"{rank}/score"] = torch.tensor(look.score, dtype=torch.float64)
        found[f"{rank}/says"] = _bytes(look.says.encode())
    return found


def read_examples(site: str, tensors: Mapping[str, Tensor]) -> dict[str, Example]:
    """Return what `examples_of` returned at a site, by rank."""
    return {
        rank: Example(
            site,
            float(tensors[f"{rank}/score"]),
            tensors[f"{rank}/says"].numpy().tobytes().decode(),
            tensors[rank].numpy().tobytes(),
        )
        for rank in RANKS
        if rank in tensors
    }


def chosen(found: Sequence[Mapping[str, Example]]) -> dict[str, Example]:
    """Return the best and the worst example of all sites, and of their medians the one in the middle."""
    by_rank = {rank: [own[rank] for own in found if rank in own] for rank in RANKS}
    if not by_rank["best"]:
        return {}
    middle = sorted(by_rank["median"], key=lambda one: one.score)
    return {
        "best": max(by_rank["best"], key=lambda one: one.score),
        "median": middle[len(middle) // 2],
        "worst": min(by_rank["worst"], key=lambda one: one.score),
    }


def drawn(image: NDArray[np.float32] | None, look: Look, spacing: tuple[float, ...] | None) -> bytes:
    """Return a PNG: the image with what is true, and beside it the same with what was predicted.

    Args:
        image: (C, *S); of a volume the plane with the most of what is true is shown. None where a look has
            pictures of its own.
        look: What is drawn on it.
        spacing: Millimetres along each axis, or None.
    """
    pictures = _pictures(image, look, spacing)
    width = sum(picture.width for _, picture in pictures) + _GAP * (len(pictures) - 1)
    sheet = Image.new("RGB", (width, pictures[0][1].height + (_HEADING if len(pictures) > 1 else 0)))
    left, draw = 0, ImageDraw.Draw(sheet)
    for title, picture in pictures:
        if len(pictures) > 1:
            draw.text((left + 2, 2), title, fill="white")
        sheet.paste(picture, (left, sheet.height - picture.height))
        left += picture.width + _GAP
    content = io.BytesIO()
    sheet.save(content, "png")
    return content.getvalue()


def _pictures(
    image: NDArray[np.float32] | None, look: Look, spacing: tuple[float, ...] | None
) -> list[tuple[str, Image.Image]]:
    if look.pictures or image is None:
        samples = [(own.title, Sample(own.image, (Drawing(own.mask),))) for own in look.pictures]
    else:
        samples = [("true", Sample(image, (Drawing(look.true, look.true_boxes),)))]
        if look.true is not None or look.true_boxes is not None:
            samples.append(("predicted", Sample(image, (Drawing(look.found, look.found_boxes),))))
    first = samples[0][1]
    ends = window(first.image)
    return [(title, _tile(sample, spacing, first, ends)) for title, sample in samples]


def _tile(
    sample: Sample, spacing: tuple[float, ...] | None, at: Sample, ends: tuple[float, float]
) -> Image.Image:
    """Return a plane of a sample as a picture: of a volume the one with the most of what is true."""
    if sample.image.ndim == 4:
        sample = _flat(sample, at)
        spacing = None if spacing is None else spacing[:2]
    return tiles(planes(sample, spacing)[:1], ends)[0].picture


def _flat(sample: Sample, at: Sample) -> Sample:
    amounts = np.zeros(sample.image.shape[-1])
    for areas in at.areas:
        amounts += (areas != 0).sum(axis=(0, 1))
    for box in at.boxes:
        amounts[int(box[2]) : int(np.ceil(box[5]))] += 1
    index = int(amounts.argmax()) if amounts.any() else len(amounts) // 2
    there = sample.boxes[(sample.boxes[:, 2] <= index) & (sample.boxes[:, 5] > index)]
    cut = [Drawing(areas[..., index]) for areas in sample.areas]
    return Sample(sample.image[..., index], (*cut, Drawing(boxes=there[:, [0, 1, 3, 4, 6]])))


def _bytes(content: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(content, np.uint8).copy())
