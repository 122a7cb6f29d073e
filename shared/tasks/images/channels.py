"""Which channels of an image a task is about; loads no PyTorch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

Channels = Annotated[list[Annotated[int, Field(ge=1, le=64)]] | None, Field(min_length=1, max_length=64)]
"""Numbers of channels from 1, as pages count them; None for all."""

UNIT = ("minmax", "percentile", "window")
"""Preparations that leave values within 0 and 1."""


def check_channels(key: str, channels: list[int] | None, has: int) -> Iterator[str]:
    """Yield what is wrong with the channels that a task names, of as many as the images have."""
    for number in channels or ():
        if number > has:
            yield f"[task] {key}: there is no channel {number}; [data] channels = {has}"
    if channels is not None and len(set(channels)) != len(channels):
        yield f"[task] {key}: a channel appears twice"


def unit_range_problems(job: "JobSpec") -> Iterator[str]:
    """Yield why images can't be compared whose values have no ends."""
    if job.data.intensity not in UNIT:
        yield (
            f"[data] intensity: '{job.data.intensity}' gives values no ends, from which PSNR, SSIM and noise "
            f"are counted; take {', '.join(map(repr, UNIT[:-1]))} or '{UNIT[-1]}'"
        )
