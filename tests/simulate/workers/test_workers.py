import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray

from client.workers import pool
from client.workers.processes import ProcessPool
from client.workers.schedule import Job, Schedule
from shared.errors import DataError, RunError, WardroundError
from simulate.workers import Call, HostError, Outcome, Workers, open_workers

PROJECT = Path(__file__).parents[3]
RAY = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install wardround[ray]"),
]
POOLS = ["2", pytest.param("ray:2", marks=RAY)]

Reply = tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]


class SampleHost:
    """Does what the kind of a call says."""

    def __init__(self) -> None:
        self.sites: set[str] = set()

    def handle(self, call: Call) -> Reply:
        self.sites.add(call.site)
        method: Callable[[Call], Reply] = getattr(self, call.kind)
        return method(call)

    def echo(self, call: Call) -> Reply:
        return {**call.payload, "pid": os.getpid(), "loaded": len(self.sites)}, dict(call.arrays)

    def scale(self, call: Call) -> Reply:
        return {}, {"vector": call.arrays["vector"] * call.payload["factor"]}

    def train(self, call: Call) -> Reply:
        generator = torch.Generator().manual_seed(call.payload["seed"])
        weight = torch.tensor(call.arrays["weight"]).requires_grad_()
        for _ in range(3):
            images = torch.rand(4, 1, 24, 24, generator=generator)
            loss = torch.nn.functional.conv2d(images, weight).square().mean()
            (gradient,) = torch.autograd.grad(loss, weight)
            weight = (weight - 0.1 * gradient).detach().requires_grad_()
        return {"loss": loss.item()}, {"weight": weight.detach().numpy()}

    def threads(self, call: Call) -> Reply:
        return {"torch": torch.get_num_threads(), "omp": os.environ.get("OMP_NUM_THREADS")}, {}

    def die(self, call: Call) -> Reply:
        marker = Path(call.payload["marker"])
        if call.payload["always"] or not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"survived": True}, {}

    def refuse(self, call: Call) -> Reply:
        raise DataError("the mask has another size", where="manifest.csv: row 3", remedy="fix it")

    def crash(self, call: Call) -> Reply:
        return {}, {"x": call.arrays["no such array"]}

    def unpicklable(self, call: Call) -> Reply:
        return {"lock": threading.Lock()}, {}

    def read(self, call: Call) -> Reply:
        return {"text": Path(call.payload["fifo"]).read_text()}, {}

    def meet(self, call: Call) -> Reply:
        with Path(call.payload["fifo"]).open(call.payload["mode"]):  # once another worker has the other end
            return {"pid": os.getpid(), "loaded": len(self.sites)}, {}

    def hang(self, call: Call) -> Reply:
        print("hanging", flush=True)
        threading.Event().wait()
        return {}, {}


class BrokenHost(SampleHost):
    def __init__(self, error: BaseException | None) -> None:
        if error is None:
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            raise error


def call(number: int, kind: str, site: str | None = None, **payload: Any) -> Call:
    return Call(number, site or f"site-{number}", kind, payload, {})


def all_outcomes(workers: Workers, calls: list[Call]) -> list[Outcome]:
    """Submit the calls and return their outcomes in the calls' order."""
    workers.submit(calls)
    outcomes: dict[int, Outcome] = {}
    while arrived := workers.wait(None):
        outcomes |= {outcome.id: outcome for outcome in arrived}
    return [outcomes[item.id] for item in calls]


def echoed(workers: Workers, calls: list[Call]) -> list[Mapping[str, Any]]:
    return [outcome.payload for outcome in all_outcomes(workers, calls) if outcome.payload is not None]


@pytest.fixture(scope="module", autouse=True)
def _importable_hosts() -> Iterator[None]:
    """Let the workers import this module, however pytest was started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PROJECT)
        yield


@pytest.fixture(scope="module")
def pair(_importable_hosts: None) -> Iterator[Workers]:
    """Two warm processes, for the tests that leave them well."""
    with open_workers("2", SampleHost, torch.get_num_threads()) as workers:
        workers.warm_up()
        yield workers


@pytest.fixture(scope="module")
def ray_running(_importable_hosts: None) -> Iterator[None]:
    """One Ray for all tests here; `test_same_result.py` has one that is started for a simulation."""
    from simulate.workers.ray_actors import ray

    with ray.init(num_cpus=16, include_dashboard=False, log_to_driver=False):
        yield


@pytest.fixture
def spec(request: pytest.FixtureRequest) -> str:
    """Return what says which workers are opened."""
    if request.param.startswith("ray"):
        request.getfixturevalue("ray_running")
    return str(request.param)


@pytest.fixture(scope="module", params=["in-process", "2", pytest.param("ray:2", marks=RAY)])
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    """Every kind of workers, for the tests that leave them well."""
    if request.param == "2":
        yield request.getfixturevalue("pair")
    elif request.param == "in-process":
        with open_workers(request.param, SampleHost, torch.get_num_threads()) as opened:
            yield opened
    else:
        request.getfixturevalue("ray_running")
        with open_workers(request.param, SampleHost, torch.get_num_threads()) as opened:
            with pytest.raises(RunError, match="room for"):
                open_workers("ray:99", SampleHost, threads=1)
            yield opened


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """What a `read` call waits for."""
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


@pytest.mark.parametrize("wrong", ["0", "-1", "two", "", ":", ":2", "ray", "ray:", "ray:0", "2:2", "²"])
def test_wrong_specifications_are_refused_with_the_valid_forms(wrong: str) -> None:
    with pytest.raises(RunError, match=r"in-process.*'2'.*ray:auto.*ray:4"):
        open_workers(wrong, SampleHost, threads=1)


def test_training_gives_the_same_bits_on_every_kind_of_worker(workers: Workers) -> None:
    weight = np.linspace(-1, 1, 9, dtype=np.float32).reshape(1, 1, 3, 3)
    calls = [Call(i, f"site-{i}", "train", {"seed": i}, {"weight": weight}) for i in range(4)]
    host = SampleHost()
    expected = [host.handle(item) for item in calls]
    for outcome, (payload, arrays) in zip(all_outcomes(workers, calls), expected, strict=True):
        assert outcome.payload == payload
        assert np.array_equal(outcome.arrays["weight"], arrays["weight"])
        assert outcome.error is None
        assert outcome.seconds > 0


def test_arrays_of_any_shape_and_type_come_back_as_they_were(workers: Workers) -> None:
    arrays = {
        "scalar": np.array(2.5),
        "empty": np.empty((0, 3), np.int64),
        "cut out": np.arange(24, dtype=np.float32).reshape(4, 6)[:, 1:3],
        "counts": np.array([2**60, -1]),
        "flags": np.array([True, False]),
    }
    (outcome,) = all_outcomes(workers, [Call(7, "a", "echo", {"round": 3}, arrays)])
    assert outcome.payload is not None
    assert outcome.payload["round"] == 3
    assert list(outcome.arrays) == list(arrays)
    for name, array in arrays.items():
        assert outcome.arrays[name].dtype == array.dtype
        assert np.array_equal(outcome.arrays[name], array)


@pytest.mark.parametrize("spec", ["in-process", "1", pytest.param("ray:1", marks=RAY)], indirect=True)
def test_workers_run_with_the_threads_asked_for(spec: str) -> None:
    before = torch.get_num_threads()
    threads = before + 1
    with open_workers(spec, SampleHost, threads) as workers:
        (outcome,) = all_outcomes(workers, [call(0, "threads")])
    assert outcome.payload is not None
    assert outcome.payload["torch"] == threads
    assert torch.get_num_threads() == before
    if spec != "in-process":
        assert outcome.payload["omp"] == str(threads)


def test_errors_of_a_host_arrive_and_the_worker_lives_on(workers: Workers) -> None:
    workers.warm_up()  # one call after the other, so all of them go to the first of the idle workers
    (before,) = echoed(workers, [call(0, "echo")])
    (refused,) = all_outcomes(workers, [call(0, "refuse")])
    assert isinstance(refused.error, DataError)
    assert (refused.error.where, refused.error.remedy) == ("manifest.csv: row 3", "fix it")
    assert refused.payload is None
    (crashed,) = all_outcomes(workers, [call(0, "crash")])
    assert isinstance(crashed.error, HostError)
    assert "in crash" in str(crashed.error)
    assert "KeyError: 'no such array'" in str(crashed.error)
    (after,) = echoed(workers, [call(0, "echo")])
    assert after["pid"] == before["pid"]


def test_a_reply_that_cannot_be_sent_is_an_error_of_that_call(pair: Workers) -> None:
    bad, good = all_outcomes(pair, [call(0, "unpicklable"), call(1, "echo")])
    assert isinstance(bad.error, HostError)
    assert "lock" in str(bad.error)
    assert good.error is None


@pytest.mark.parametrize("spec", POOLS, indirect=True)
def test_a_call_whose_worker_died_is_tried_once_more(spec: str, tmp_path: Path) -> None:
    with open_workers(spec, SampleHost, threads=1) as workers:
        once = call(0, "die", "st-mary", marker=str(tmp_path / "once"), always=False)
        twice = call(1, "die", "st-john", marker=str(tmp_path / "twice"), always=True)
        first, second, other = all_outcomes(workers, [once, twice, call(2, "echo")])
        assert first.payload == {"survived": True}
        assert isinstance(second.error, WardroundError)
        assert "'st-john'" in str(second.error)
        assert "twice" in str(second.error)
        assert other.error is None
        (later,) = all_outcomes(workers, [call(3, "echo")])
        assert later.error is None


@pytest.mark.parametrize("spec", ["in-process", "2", pytest.param("ray:1", marks=RAY)], indirect=True)
def test_a_host_that_cannot_be_built_is_one_error(spec: str) -> None:
    factory = partial(BrokenHost, DataError("no manifest", where="manifest.csv"))
    with pytest.raises(DataError, match="no manifest"), open_workers(spec, factory, threads=1) as workers:
        all_outcomes(workers, [call(0, "echo")])


def test_a_worker_that_dies_while_it_starts_is_one_error_and_is_not_replaced() -> None:
    with open_workers("2", partial(BrokenHost, None), threads=1) as workers:
        with pytest.raises(RunError, match="SIGKILL while it started"):
            workers.warm_up()
        assert workers.wait(None) == []
        with pytest.raises(RunError, match="closed"):
            workers.submit([call(0, "echo")])
    assert not [child for child in psutil.Process().children() if child.name() == "wardround-worker"]


class SilentLink(pool.Link):
    """A worker's end that says nothing of its own."""

    def send(self, call: Call, shared: Mapping[str, Any]) -> None:
        """Take it."""

    def kill(self) -> None:
        """End."""


class ToldPool(pool.Pool[Any]):
    """A pool whose workers say what the test tells them to say, in turn."""

    def __init__(self, *told: pool.Event) -> None:
        self.told = list(told)
        super().__init__(1, SampleHost, 1)

    def _start(self) -> Any:
        return SilentLink()

    def _share(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def _events(self, links: Sequence[Any], timeout: float | None) -> list[tuple[Any, pool.Event]]:
        return [(links[0], self.told.pop(0))] if self.told else []


def test_a_worker_that_takes_another_s_place_may_be_killed_while_it_starts_but_not_for_ever() -> None:
    """As where memory runs out once: the hospital's service goes on."""
    ready, died = pool.Ready(), pool.Died("was killed by SIGKILL")
    workers = ToldPool(ready, died, died, died, ready, Outcome(1, {"survived": True}))
    workers.warm_up()
    workers.submit([Call(1, "alpha", "echo", {}, {})])
    assert [outcome.payload for outcome in workers.wait(None)] == [{"survived": True}]
    workers.told = [died, died, died, died]
    workers.submit([Call(2, "alpha", "echo", {}, {})])
    with pytest.raises(RunError, match="was killed by SIGKILL while it started"):
        workers.wait(None)


def test_a_worker_that_hangs_while_it_loads_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers = ToldPool(pool.Ready(), pool.Died("was killed by SIGKILL"))
    workers.warm_up()
    monkeypatch.setattr(pool, "LONGEST_START", 0.0)
    workers.submit([Call(1, "alpha", "echo", {}, {})])
    with pytest.raises(RunError, match="did not get ready within 0 s while it started"):
        workers.wait(None)


def test_waiting_ends_at_the_timeout_and_when_nothing_is_under_way(pair: Workers, fifo: Path) -> None:
    assert pair.wait(None) == []
    pair.submit([call(0, "read", fifo=str(fifo))])
    assert pair.wait(0.05) == []
    fifo.write_text("go on")
    (outcome,) = pair.wait(None)
    assert outcome.payload == {"text": "go on"}


def test_outcomes_arrive_in_the_order_in_which_calls_finish(pair: Workers, fifo: Path) -> None:
    pair.submit([call(0, "read", fifo=str(fifo)), call(1, "echo"), call(2, "echo")])
    arrived: set[int] = set()
    while len(arrived) < 2:
        arrived |= {outcome.id for outcome in pair.wait(None)}
    assert arrived == {1, 2}
    fifo.write_text("")
    assert [outcome.id for outcome in pair.wait(None)] == [0]


def test_the_late_outcome_of_a_cancelled_call_is_dropped(
    pair: Workers, fifo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "CANCEL_GRACE", 600.0)  # however slow the machine is
    calls = [call(0, "echo"), call(1, "echo")]
    before = {reply["pid"] for reply in echoed(pair, calls)}
    pair.submit([call(2, "read", fifo=str(fifo)), call(3, "echo"), call(4, "echo")])
    pair.cancel()
    assert pair.wait(None) == []
    fifo.write_text("too late")
    assert {reply["pid"] for reply in echoed(pair, calls)} <= before


@pytest.mark.parametrize("spec", ["1", pytest.param("ray:1", marks=RAY)], indirect=True)
def test_a_worker_that_stays_stuck_after_cancelling_is_replaced(
    spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "CANCEL_GRACE", 0.1)
    with open_workers(spec, SampleHost, threads=1) as workers:
        workers.warm_up()
        workers.submit([call(0, "hang"), call(1, "echo")])
        workers.cancel()
        workers.submit([call(2, "echo")])
        assert [outcome.id for outcome in workers.wait(None)] == [2]


def test_a_worker_that_finished_a_cancelled_call_unheard_is_kept(fifo: Path) -> None:
    """The caller did something else for longer than the grace, as a coordinator that writes its report."""
    with ProcessPool(1, SampleHost, threads=1) as workers:
        (before,) = echoed(workers, [call(0, "echo")])
        workers.submit([call(1, "read", fifo=str(fifo))])
        workers.cancel()
        fifo.write_text("done")
        (worker,) = workers._workers
        assert worker.link.channel.connection.poll(None)
        worker.replace_at = 0.0
        (after,) = echoed(workers, [call(0, "echo")])
    assert after["pid"] == before["pid"]


def test_a_site_goes_back_to_the_worker_where_it_is_warm(pair: Workers, fifo: Path) -> None:
    first = echoed(pair, [call(i, "meet", f"home-{i}", fifo=str(fifo), mode="wr"[i]) for i in range(2)])
    calls = [call(i, "echo", f"home-{i}") for i in range(2)]
    assert first[0]["pid"] != first[1]["pid"]
    for _ in range(3):
        assert echoed(pair, calls[::-1])[::-1] == first  # the same process, no site loaded anew


def test_the_schedule_prefers_warm_then_new_then_other_sites_and_long_calls() -> None:
    schedule = Schedule()
    ours, theirs = object(), object()

    def serve(site: str, worker: object, seconds: float) -> None:
        schedule.add([Job(call(0, "train", site), {})])
        schedule.finished(schedule.take(worker).call, seconds)

    serve("short", ours, 1.0)
    serve("long", ours, 9.0)
    serve("other", theirs, 20.0)
    schedule.add(Job(call(0, "train", site), {}) for site in ("new", "other", "short", "long"))
    assert [schedule.take(ours).call.site for _ in range(4)] == ["long", "short", "new", "other"]


def test_the_same_few_sites_move_between_workers() -> None:
    schedule = Schedule()
    quick, slow = object(), object()
    served: dict[object, set[str]] = {quick: set(), slow: set()}
    for _ in range(20):  # rounds in which one worker serves three sites while the other serves one
        schedule.add(Job(call(0, "train", f"site-{number}"), {}) for number in range(12))
        while schedule.pending:
            for worker in (quick, quick, slow, quick)[: len(schedule.pending)]:
                job = schedule.take(worker)
                served[worker].add(job.call.site)
                schedule.finished(job.call, 1.0)
        quick, slow = slow, quick  # and changes its speed
    assert len(served[quick] & served[slow]) <= 6


def test_a_broadcast_array_is_shared_once_and_freed_with_its_last_call(pair: Workers) -> None:
    files = psutil.Process().num_fds()
    vector = np.arange(1000, dtype=np.float32)
    for step in range(3):
        pair.submit([Call(i, f"s{i}", "scale", {"factor": i}, {"vector": vector}) for i in range(6)])
        assert psutil.Process().num_fds() == files + 1
        while arrived := pair.wait(None):
            for outcome in arrived:
                assert np.array_equal(outcome.arrays["vector"], vector * outcome.id)
        del arrived
        assert psutil.Process().num_fds() == files
        vector += step  # in place: the next round must not see the old values


def test_thousands_of_calls_leave_nothing_behind(pair: ProcessPool) -> None:
    family = [psutil.Process(), *(psutil.Process(worker.link.process.pid) for worker in pair._workers)]
    assert len(family) == 3

    def run(calls: int) -> tuple[int, int]:
        for start in range(0, calls, 50):
            array = np.ones(2000, np.float32)
            batch = [Call(start + i, f"s{i % 8}", "echo", {}, {"v": array}) for i in range(50)]
            assert all(outcome.error is None for outcome in all_outcomes(pair, batch))
        return sum(item.memory_info().rss for item in family), sum(item.num_fds() for item in family)

    memory, files = run(500)
    more_memory, more_files = run(3000)
    assert more_memory - memory < 4e6  # keeping each call's 8 kB would be 24 MB
    assert more_files < files + 20  # some are on their way; one left by each call would be 2500


def hang_in_two_workers() -> None:
    """Run in a process that the next tests kill."""
    with open_workers("2", SampleHost, threads=1) as workers:
        vector = np.ones(100_000)
        workers.submit([Call(i, f"s{i}", "hang", {}, {"v": vector}) for i in range(2)])
        workers.wait(None)


@pytest.fixture
def hanging() -> Iterator[subprocess.Popen[str]]:
    """A process whose two workers are in the middle of a call."""
    code = (
        f"import sys; sys.path.insert(0, {str(PROJECT)!r}); from {__name__} import *; hang_in_two_workers()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["hanging\n"] * 2
    yield process
    process.kill()
    process.communicate()


def test_workers_end_when_their_parent_is_killed(hanging: subprocess.Popen[str]) -> None:
    family = psutil.Process(hanging.pid).children(recursive=True)
    assert len(family) >= 2
    hanging.kill()
    psutil.wait_procs(family)
    pids = {str(hanging.pid), *(str(item.pid) for item in family)}
    assert not [file for file in Path("/dev/shm").iterdir() if pids & set(file.name.split("_"))]  # noqa: S108


def test_ctrl_c_ends_all_processes_with_the_parents_traceback_alone(hanging: subprocess.Popen[str]) -> None:
    os.killpg(hanging.pid, signal.SIGINT)
    _, errors = hanging.communicate()
    assert errors.count("Traceback") == 1
    assert errors.rstrip().endswith("KeyboardInterrupt")
