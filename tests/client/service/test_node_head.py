"""The service fetches nothing for a message before its site has said yes to the head, and no more."""

import threading
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from types import SimpleNamespace

import httpx
import pytest
import safetensors.torch
from flwr.app import Array, ArrayRecord, Message, RecordDict

from client.service.node import Node
from client.service.presence import Presence
from client.work.site_worker import look_at, serve_message
from client.workers.calls import HEAD, Outcome
from shared.audit.verify import entries
from shared.flower.connection import LARGEST_ANSWER, PIECE, ArrayPiece, Connection, RunOverError
from shared.flower.fleet import Fleet
from shared.flower.stored import take_out
from shared.networks.build import build_model
from shared.networks.start_weights import digest_of
from shared.pki.certificates import new_key
from shared.strategies.wire import Wire
from shared.wire import messages
from shared.wire.packed_model import Layout
from shared.wire.starts_message import STARTS, starts_record
from simulate.workers import open_workers
from tests.questions import question

HUGE = 1200 * 2**20


class Host:
    """What a worker process holds, for a site that is given."""

    def __init__(self, site) -> None:
        self._guarded = site

    def handle(self, call):
        if call.kind == HEAD:
            return look_at(self._guarded.site, call), {}
        return serve_message(self._guarded._app, call, call.payload["node"])


class Coordinator:
    """Stands for the connection: gives pieces of what it has, or of zeros as long as it is asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.pieces = 0

    def put(self, data: bytes) -> str:
        self.files[sha256(data).hexdigest()] = data
        return sha256(data).hexdigest()

    def call(self, method: Callable[..., object], request: ArrayPiece, *, of_run: bool = False) -> bytes:
        self.pieces += 1
        if request.sha256 in self.files:
            return self.files[request.sha256][request.first :][:PIECE]
        return bytes(min(PIECE, HUGE - request.first))

    def call_once(self, method: Callable[..., object], request: object) -> bool:
        return True  # a run waits for every answer


class Asking:
    """A site's service without its connection: gets a content, returns what it would bring."""

    def __init__(self, site) -> None:
        self.coordinator = Coordinator()
        fleet = Fleet("https://localhost:1", new_key(), False, threading.Event())
        fleet._connection = self.coordinator
        state = SimpleNamespace(tell=lambda *_: None)
        workers = partial(open_workers, "in-process", lambda: Host(site), 1)
        self._node = Node(
            "st-mary",
            fleet,
            workers,
            state=state,
            presence=Presence(state, None),
            stop=threading.Event(),
        )

    def __call__(self, kind: str, content: RecordDict) -> Message:
        head = question(kind, content)
        return self._node._reply(SimpleNamespace(is_enclosed=True, head=head, run_id=1))


def request(job, name: str) -> RecordDict:
    network = build_model(job)
    config = messages.request_config(job.canonical(), Layout.of(network).digest(), 1, split="val")
    array = Array("float32", (3,), "wardround.sha256", name.encode())
    return RecordDict({messages.ARRAYS: ArrayRecord({"vector": array}), messages.CONFIG: config})


@pytest.mark.parametrize("kind", ["train", "evaluate", "query.describe", "query.secagg_keys"])
@pytest.mark.parametrize(
    ("approval", "reason"),
    [
        ("manual", "policy.approval"),
        ('automatic"\nnetworks = ["unet"]#', "policy.networks"),
        ("automatic", "bytes, and its job has use for"),
    ],
)
def test_an_array_is_not_asked_for_that_no_job_needs(make_site, job_of, kind, approval, reason):
    asking = Asking(make_site(f'approval = "{approval}"\n'))
    reply = asking(kind, request(job_of(), f"{'0' * 64} {HUGE}"))
    assert reason in reply.error.reason
    assert asking.coordinator.pieces == 0


def test_many_arrays_are_not_asked_for_either(make_site, job_of):
    asking = Asking(make_site())
    content = request(job_of(), f"{'0' * 64} 1000")
    for number in range(5000):
        name = f"{number:064} 1000".encode()
        content[messages.ARRAYS][f"more-{number}"] = Array("float32", (250,), "wardround.sha256", name)
    assert "use for" in asking("train", content).error.reason
    assert asking.coordinator.pieces == 0


def test_what_a_job_needs_is_asked_for_and_trained_on(make_site, job_of):
    job = job_of(model_channels=[64, 128])
    asking = Asking(make_site())
    network = build_model(job)
    layout = Layout.of(network)
    config = messages.request_config(job.canonical(), layout.digest(), 1)
    vector = messages.vector_record(layout.pack(network))
    whole = RecordDict({messages.ARRAYS: vector, messages.CONFIG: config})
    reply = asking("train", take_out(whole, asking.coordinator.put))
    assert asking.coordinator.pieces == 1
    assert messages.read_update(reply.content, layout.size).examples > 0


class SlowWorkers:
    """Workers that have an outcome when the test lets them."""

    def __init__(self) -> None:
        self.looks, self.cancelled = 0, False
        self.ready = 0  # at which look

    def submit(self, calls) -> None:
        self.looks = 0

    def wait(self, timeout: float) -> list[Outcome]:
        self.looks += 1
        return [Outcome(1, {"records": {}})] if self.ready and self.looks >= self.ready else []

    def cancel(self) -> None:
        self.cancelled = True


@pytest.mark.parametrize(
    ("kind", "prepared"), [("query.describe", True), ("train", False)], ids=["describes", "trains"]
)
def test_data_are_made_ready_for_the_next_question_though_nobody_waits_any_more(
    make_site, job_of, kind: str, prepared: bool
):
    asking, workers = Asking(make_site()), SlowWorkers()
    asking._node._pool = workers
    workers.ready = 3
    head = question(kind, messages.describe_request(job_of().canonical()))
    head.metadata.ttl = 0.0
    with pytest.raises(RunOverError):
        asking._node._reply(SimpleNamespace(is_enclosed=True, head=head, run_id=1))
    assert workers.cancelled is not prepared
    assert workers.looks == (3 if prepared else 1)


def started(job_of, **options):
    """Return a job that starts from a file and trains the head alone, and that file."""
    source = build_model(job_of(**options), seed=9)
    tensors = {name: one for name, one in source.state_dict().items() if one.is_floating_point()}
    start = {"model_start": "given", "model_start_sha256": digest_of(tensors), "update_parts": ["head"]}
    return job_of(**start, **options), safetensors.torch.save(tensors)


def asked(job, file: bytes, round_: int, put) -> RecordDict:
    digest = job.model.start_sha256
    model = build_model(job, files={digest: safetensors.torch.load(file)})
    wire = Wire.of(model, job.strategy)
    first = wire.first(wire.model.pack(model))
    config = messages.request_config(job.canonical(), wire.layout.digest(), round_)
    starts = starts_record({digest: file})
    whole = {messages.ARRAYS: messages.vector_record(first), messages.CONFIG: config, STARTS: starts}
    return take_out(RecordDict(whole), put)


def test_weights_that_never_change_are_fetched_once_and_again_where_they_are_lost(make_site, job_of):
    site = make_site()
    job, file = started(job_of, model_channels=[64, 128])
    fetched = []
    for round_ in (1, 2, 3):
        asking = Asking(site)  # each with nothing in its memory
        reply = asking("train", asked(job, file, round_, asking.coordinator.put))
        assert messages.UPDATE in reply.content[messages.ARRAYS]
        fetched.append(asking.coordinator.pieces)
        site.restart()
        if round_ == 2:
            [kept] = (site.folder / "starts").iterdir()
            content = kept.read_bytes()
            kept.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert fetched == [1, 0, 1]
    assert [kept.read_bytes() for kept in (site.folder / "starts").iterdir()] == [file]


def test_other_weights_than_those_of_the_job_are_refused_and_not_kept(make_site, job_of):
    site = make_site()
    asking = Asking(site)
    job, file = started(job_of, model_channels=[64, 128])
    weights = safetensors.torch.load(file)
    wrong = safetensors.torch.save({name: tensor + 1 for name, tensor in weights.items()})
    content = asked(job, file, 1, asking.coordinator.put)
    content[STARTS] = starts_record({job.model.start_sha256: wrong})
    reply = asking("train", content)
    assert "job.model: the weights that came are not those of start_sha256" in reply.error.reason
    assert not list((site.folder / "starts").glob("*"))
    del content[STARTS]
    assert "brings none of the weights" in asking("train", content).error.reason


def test_a_refused_head_is_in_the_audit_log(make_site, job_of):
    site = make_site('approval = "manual"\n')
    asking = Asking(site)
    asking("train", request(job_of(), f"{'0' * 64} {HUGE}"))
    assert [entry.event for entry in entries(site.folder / "audit")][-2:] == ["job-seen", "request-refused"]


@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_takes_no_more_memory_than_an_honest_one(packed):
    sent = 0

    def endless():
        nonlocal sent
        while True:
            sent += 2**16
            yield bytes(2**16)

    def answer(request):
        headers = {"content-encoding": "gzip"} if packed else {}
        return httpx.Response(200, headers=headers, content=endless())

    connection = Connection("https://localhost:1", new_key(), False, threading.Event())
    client = connection._client
    client._client = httpx.Client(
        transport=httpx.MockTransport(answer), event_hooks=client._client.event_hooks
    )
    with pytest.raises(httpx.RemoteProtocolError, match="packed" if packed else "more than"):
        connection.call_once(lambda client, request: client._client.post("https://localhost:1/"), None)
    assert sent <= LARGEST_ANSWER + 2**17
