"""How large an answer of a site can be: what the gateway takes of it."""

from shared.job.schema import JobSpec
from shared.job_parts import is_sent_whole
from shared.privacy.secagg.sum_hash import BLIND, BYTES

_HEAD = 64 * 2**10  # bytes around the numbers: metrics, an error's text, the heads of pieces
_KEYS = 2**10  # bytes of sealed shares or signed keys for each other site
_PIECES = 256  # bytes of content for each byte of the heads of pieces


def largest_answer(job: JobSpec, numbers: int, states: int, sites: int) -> int:
    """Return the bytes of the largest answer to any question of a run.

    Args:
        job: What is asked.
        numbers: In the model.
        states: Numbers of the metric states.
        sites: That are asked together.
    """
    plain = is_sent_whole(job) and not job.privacy.secure_aggregation
    content = max((4 if plain else 8) * numbers, 8 * states)
    keys = _KEYS * sites if job.privacy.secure_aggregation else 0
    if job.privacy.verifiable_sum:
        content += 8 * BLIND + BYTES
    return content + content // _PIECES + keys + _HEAD
