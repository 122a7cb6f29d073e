"""Messages as a site gets them from its coordinator."""

from flwr.app import Context, Message, Metadata, RecordDict

from shared.flower import COORDINATOR_NODE, become

NODE = 7


def question(kind: str, content: RecordDict) -> Message:
    """Return a message of the coordinator's to this process, which is the site's node from now on."""
    become(NODE)
    metadata = Metadata(
        run_id=1,
        message_id="m",
        src_node_id=COORDINATOR_NODE,
        dst_node_id=NODE,
        reply_to_message_id="",
        group_id="",
        created_at=0.0,
        ttl=600.0,
        message_type=kind,
        src_task_id=1,
        dst_task_id=1,
    )
    return Message(content=content, metadata=metadata)


def context() -> Context:
    """Return what Flower hands a ClientApp beside such a message."""
    return Context(run_id=1, node_id=NODE, node_config={}, state=RecordDict(), run_config={})
