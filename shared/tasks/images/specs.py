"""The metrics of tasks whose answer is an image, as tables name them; loads no PyTorch."""

from shared.metrics.spec import MetricSpec


def specs(before: str) -> tuple[MetricSpec, ...]:
    """Return the metrics of such a task.

    Args:
        before: What the answer is compared with, in the word that ends its metrics' names: "degraded".
    """
    return (
        MetricSpec("psnr", shown=1),
        MetricSpec("psnr_gain", shown=2),
        MetricSpec("ssim", shown=3),
        MetricSpec("mae", lower_is_better=True, shown=4),
        MetricSpec(f"psnr_{before}"),
        MetricSpec(f"ssim_{before}"),
        MetricSpec(f"mae_{before}", lower_is_better=True),
    )
