"""What a site decides about a message from its head, before the arrays that it names are asked for.

The service itself knows no job: it lets the worker look at the head of each message that names arrays, and
fetches no more than the worker says.
"""

from typing import Any

from flwr.app import RecordDict

from client.work.client_app import explained_to_strangers, read_visit
from client.work.hospital import Site
from shared.job.model_size import model_bytes

_BESIDE = 2**20  # bytes that may travel beside a model
_STAGE = 16 * 2**20  # bytes of a stage of secure aggregation: the keys and shares of all sites


def look(site: Site, kind: str, head: RecordDict, run: int) -> dict[str, Any]:
    """Return `most`, the bytes of arrays that may be fetched for a message, or `error`, a code and a reason.

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
            return {"most": _STAGE}
        edges = 8 * visit.job.task.edges_size(visit.job.evaluation.bins)
        return {"most": _BESIDE + edges + model_bytes(visit.job)}
    except Exception as error:  # whatever it is, the coordinator gets an answer
        return {"error": explained_to_strangers(site, visit, phase, error)}
