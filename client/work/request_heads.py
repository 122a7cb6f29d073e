"""What a site decides about a message from its head, before the arrays that it names are asked for.

The service itself knows no job: it lets the worker look at the head of each message that names arrays, and
fetches no more than the worker says.
"""

from typing import Any

from flwr.app import RecordDict

from client.work.client_app import explained_to_strangers, read_visit
from client.work.hospital import Site
from shared.job.model_size import model_size

_BESIDE = 2**20  # bytes that may travel beside a model
_NAMES = 2**22  # bytes of the names and shapes in a file of weights
_STAGE = 16 * 2**20  # bytes of a stage of secure aggregation: the keys and shares of all sites


def look(site: Site, kind: str, head: RecordDict, run: int) -> dict[str, Any]:
    """Return what of a message's arrays may be fetched, or `error`, a code and a reason.

    `most` are the bytes of all of them, `at_hand` the SHA-256 of weights of a start that need not be fetched.

    Args:
        site: Decides.
        kind: The message's, as Flower names it.
        head: Its content without arrays.
        run: Flower's number of the run.
    """
    phase = kind.removeprefix("query.").replace("_", "-")
    visit = None
    try:
        visit = read_visit(head, phase, run)
        site.admit(visit)
        if phase not in ("train", "evaluate"):
            return {"most": _STAGE, "at_hand": []}
        edges, size = 8 * visit.job.task.edges_size(visit.job.evaluation.bins), model_size(visit.job)
        most = _BESIDE + edges + size.all + _NAMES * len(size.once)
        return {"most": most, "at_hand": site.starts_at_hand(visit.job)}
    except Exception as error:  # whatever it is, the coordinator gets an answer
        return {"error": explained_to_strangers(site, visit, phase, error)}
