"""The only package that touches what Flower keeps private (version 1.41).

Messages of Flower can be built only inside a "task", and only the SuperLink gives them an id. A simulation
has neither, so it says here who it is and numbers its own messages.
"""

import logging
import os

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # read by Flower when it is first imported

from flwr.app import Message, RecordDict
from flwr.supercore.run import Run
from flwr.supercore.run import RunNotRunningException as RunStopped
from flwr.supercore.task_identity import TaskIdentity

__all__ = [
    "COORDINATOR_NODE",
    "Run",
    "RunStopped",
    "assign_id",
    "become",
    "empty_run",
    "query_message",
]

COORDINATOR_NODE = 1
_log = logging.getLogger("flwr")
_log.handlers.clear()  # Flower prints its lines itself, in colours, besides handing them on


def become(node_id: int, run_id: int = 1) -> None:
    """Tell Flower which node of which run this process acts as; needed before a Message is built."""
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = node_id
    TaskIdentity.task_id = 1
    if _log.level != logging.WARNING:  # setting it makes Python forget what every logger would log
        _log.setLevel(logging.WARNING)


def assign_id(message: Message, message_id: str) -> Message:
    """Give a message its id, as the SuperLink does in a deployment."""
    message.metadata.__dict__["_message_id"] = message_id
    return message


def empty_run(run_id: int = 1) -> Run:
    """Return the description of a run that no SuperLink knows."""
    return Run.create_empty(run_id)


def query_message(action: str, content: RecordDict, node_id: int) -> Message:
    """Return a message that asks a node for something other than training or evaluation."""
    return Message(content=content, message_type=f"query.{action}", dst_node_id=node_id)
