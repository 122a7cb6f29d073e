"""A ServerApp that asks a site what it should not be asked, and writes down what it answers.

Flower's SuperLink runs it as it runs `server.rounds.server_app`: by its name, from PYTHONPATH.
"""

import json
import os
import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import ServerApp

from server.files import write_atomic
from server.folder.coordinator import COORDINATOR, MODELS
from server.gateway.model_files import Outbox
from server.gateway.notices import Rope
from shared.flower.inline import identity_of
from shared.flower.mailbox import HttpGrid, Mailbox
from shared.job.schema import JobSpec, parse_job
from shared.networks.build import build_model
from shared.wire import messages
from shared.wire.packed_model import Layout

app = ServerApp()


@app.main()
def main(grid: HttpGrid, context: Context) -> None:
    """Ask everything, one after the other."""
    job = parse_job(json.loads(str(context.run_config["job"])), "the job")
    [node] = grid.get_node_ids()
    answers = {}
    rope = Rope()
    with Outbox(Path(os.environ[COORDINATOR]) / MODELS) as outbox:
        for name, kind, content in questions(job, outbox):
            message = Message(content, node, kind)
            # The gateway takes what is waited for; in pieces a message has another identity.
            rope.expect(2**20, {"alpha": [identity_of(message), message.object_id]})
            reply = ask(grid, rope, message)
            answers[name] = reply.error.reason if reply.has_error() else "an answer"
    path = Path(os.environ[COORDINATOR]) / "runs" / f"{context.run_config['run']}.json"
    write_atomic(path, json.dumps(answers).encode())


def ask(grid: HttpGrid, rope: Rope, message: Message) -> Message:
    """Send a message, one in pieces as Flower would, and wait for what comes back."""
    mailbox = Mailbox(grid)
    send = grid.push_messages if "pieces" in message.content else mailbox.send
    [identity] = send([message])
    rope.pull()  # or the site looks for it only when it has waited for seconds
    while True:
        for reply in mailbox.collect([identity]):
            return reply
        time.sleep(0.05)


def questions(job: JobSpec, outbox: Outbox) -> list[tuple[str, str, RecordDict]]:
    """Return a name, the kind of message and its content for each question."""
    network = build_model(job)
    layout = Layout.of(network)
    vector = layout.pack(network)
    spoiled = np.where(np.arange(vector.size) == 3, np.nan, vector).astype(np.float32)
    changed = job.model_copy(update={"job": job.job.model_copy(update={"rounds": 99})})

    def train(
        asked: JobSpec = job, layout: str = layout.digest(), vector: np.ndarray = vector, round_: int = 1
    ) -> RecordDict:
        config = messages.request_config(asked.canonical(), layout, round_)
        return RecordDict({messages.ARRAYS: messages.vector_record(vector), messages.CONFIG: config})

    def named(digest: str, size: int) -> RecordDict:
        content = train()
        name = f"{digest} {size}".encode()
        content[messages.ARRAYS] = ArrayRecord({"vector": Array("float32", (604,), "wardround.sha256", name)})
        return content

    offered = outbox.put(messages.vector_record(vector)["vector"].data)
    noise = outbox.put(b"not an array")

    return [
        ("approved", "query.describe", messages.describe_request(job.canonical())),
        ("changed", "train", train(changed)),
        ("not canonical", "query.describe", messages.describe_request(job.canonical() + " ")),
        ("forged layout", "train", train(layout="0" * 64)),
        ("too short", "train", train(vector=vector[:-1])),
        ("NaN", "train", train(vector=spoiled)),
        ("in pieces", "train", RecordDict({"pieces": ConfigRecord({"some": 1})})),
        ("named with another size", "train", named(noise, 2544)),
        ("named, no array", "train", named(noise, 12)),
        ("named like a path", "train", named("../../keys/site.key", 100)),
        ("named, a terabyte", "train", named(offered, 10**12)),
        ("named", "train", named(offered, 2544)),
        ("once too often", "train", train()),
        ("in a round beyond the last", "train", train(round_=10**9)),
        ("the next round", "train", train(vector=vector + 1, round_=2)),
        ("the next round with another model", "train", train(vector=vector + 2, round_=2)),
        ("empty", "train", RecordDict()),
        ("in the end", "query.describe", messages.describe_request(job.canonical())),
    ]
