"""What a job may say about the loss of images; loads no PyTorch."""

from typing import Literal

from pydantic import Field

from shared.tasks.options import TaskOptions


class ImageOptions(TaskOptions):
    """A task whose answer is an image, compared with another one pixel by pixel."""

    loss: Literal["l1", "l2"] = Field("l1", description="Absolute or squared errors.")
    ssim_weight: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of 1 - SSIM in the loss (Zhao et al. 2017); the errors have the rest.",
    )

    @property
    def power(self) -> int:
        """Of the errors in the loss."""
        return 1 if self.loss == "l1" else 2
