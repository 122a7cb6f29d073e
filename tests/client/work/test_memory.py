"""How often a site's worker holds a model at once: a large one leaves no room for copies."""

import gc
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from client.work.first_model import carried_by, check_first
from client.work.run_store import RunStore
from client.work.site_worker import serve_message
from client.workers.calls import Call
from client.workers.message_files import write_call
from client.workers.records import pack
from shared.flower.stored import take_out
from shared.networks.build import build_model
from shared.wire.messages import ARRAYS, VECTOR, array_bytes, vector_record
from shared.wire.packed_model import Layout
from shared.wire.sent import measure
from tests.jobs import make_job

NUMBERS = 1_000_000


def copies(work: Callable[[], object], size: int) -> float:
    """Return how often `size` numbers of float32 are in the memory of Python at once meanwhile."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        return (tracemalloc.get_traced_memory()[1] - before) / (4 * size)
    finally:
        tracemalloc.stop()


@pytest.fixture
def _no_collector() -> Iterator[None]:
    """Let nothing go that refers to itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_the_first_model_is_looked_at_in_pieces() -> None:
    job = make_job(model={"name": "unet", "channels": [8, 128, 256], "num_res_units": 0})
    network = build_model(job)
    first = Layout.of(network).pack(network)
    content = RecordDict({ARRAYS: vector_record(first)})
    assert copies(lambda: check_first(job, content, "here", {}), first.size) < 1


@pytest.mark.usefixtures("_no_collector")
def test_a_network_and_what_a_message_brings_go_as_soon_as_nobody_needs_them() -> None:
    network = build_model(make_job(model={"name": "unet", "channels": [8, 16], "num_res_units": 0}))
    parameters = [weakref.ref(parameter) for parameter in network.parameters()]
    del network
    assert not any(parameter() for parameter in parameters)

    content = RecordDict({ARRAYS: vector_record(np.zeros(9, np.float32))})
    known = weakref.ref(content[ARRAYS])
    assert (array_bytes(content), measure(content).bytes, carried_by(content).edges) == (36, 36, "")
    assert take_out(content, lambda _: "") is not content
    del content
    assert known() is None


def test_what_is_kept_is_written_as_it_lies_in_memory(tmp_path: Path) -> None:
    kept = {"control": np.ones(NUMBERS, np.float32)}
    assert copies(lambda: RunStore(tmp_path).keep("run", 1, "strategy", kept), NUMBERS) < 0.1
    call = Call(1, "here", "train", {}, kept)
    assert copies(lambda: write_call(tmp_path / "call", call), NUMBERS) < 0.1


def test_a_worker_lets_go_of_the_memory_that_a_message_came_in() -> None:
    payload, arrays = pack(RecordDict({ARRAYS: vector_record(np.zeros(9, np.float32))}))
    call = Call(1, "here", "train", {**payload, "type": "train", "id": "a"}, arrays)
    seen: list[dict[str, Any]] = []
    app = ClientApp()

    @app.train()  # type: ignore[untyped-decorator]
    def train(message: Message, _: Context) -> Message:
        seen.append(dict(call.arrays))
        return Message(message.content, reply_to=message)

    assert serve_message(app, call, 7)[1].keys() == {f"{ARRAYS}/{VECTOR}"}
    assert seen == [{}]
