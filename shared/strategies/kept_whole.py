"""What can't be used where the whole of what a site sends is needed as it is."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.job.schema import JobSpec


def cut_down(job: "JobSpec", reason: str = "a site keeps the whole of what it sends") -> Iterator[str]:
    """Yield what of a job would make the coordinator get something else than what its sites computed.

    Args:
        job: With a strategy that can't work with that.
        reason: Why.
    """
    name, update = job.strategy.name, job.update
    whole = f"under '{name}' {reason}"
    for key in ("compression", "precision", "clip"):
        if getattr(update, key) != type(update).model_fields[key].default:
            yield f"[update] {key}: {whole}, so it must be sent as it is"
    if job.privacy.mechanism == "site-level":
        yield f"[privacy] mechanism: 'site-level' cuts down what a site sends, and {whole}"
    if job.privacy.noise == "distributed":
        yield (
            f"[privacy] noise: can't be 'distributed' with '{name}': what a site sends or keeps for its next "
            "round has only a share of the noise"
        )
