"""A worker that is a job of a cluster: what becomes of a call, whatever the cluster does to its job."""

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from client.workers import batch_worker, batch_workers
from client.workers.batch_worker import Pulse, serve_files
from client.workers.batch_workers import BatchWorkers
from client.workers.calls import Call, HostError, Outcome
from client.workers.cluster import Standing
from client.workers.kubernetes import PYTHON, Kubernetes
from client.workers.message_files import read_outcome, write_outcome
from client.workers.questions import Answer
from client.workers.slurm import Slurm
from shared.errors import RunError, SiteError

PREEMPTED = Standing("PREEMPTED", is_over=True, is_bad_luck=True)
TIMEOUT = Standing("TIMEOUT", is_over=True, is_out_of_time=True)
KILLED = Standing("OUT_OF_MEMORY", is_over=True)


def nothing_asked() -> Answer:
    return lambda question: question


class Doubling:
    """A host that doubles an array, holds on, or fails."""

    def __init__(self, let_go: threading.Event) -> None:
        self._let_go = let_go

    def handle(self, call: Call):
        if call.kind == "hold":
            self._let_go.wait(20.0)
        if call.kind == "fail":
            raise SiteError("is no good", where="site.toml", remedy="Make it good.")
        if call.kind == "fault":
            raise ZeroDivisionError("by zero")
        return {**call.payload, "by": threading.get_ident()}, {"twice": 2 * call.arrays["model"]}


class Threads:
    """A cluster whose machines are threads of this process."""

    def __init__(self, build: Callable[[], Doubling]) -> None:
        self.build = build
        self.standings: dict[str, Standing] = {}
        self.ended: list[str] = []
        self.idle = 60.0

    def submit(self, command: Sequence[str], environment: dict[str, str], log: Path) -> str:
        assert environment["OMP_NUM_THREADS"] == "1"
        name = str(len(self.standings) + 1)
        self.standings[name] = Standing("RUNNING")
        threading.Thread(target=self._run, args=(name, Path(command[0])), daemon=True).start()
        return name

    def _run(self, name: str, folder: Path) -> None:
        serve_files(folder, Pulse(folder), self.build, self.idle)
        self.standings[name] = Standing("COMPLETED", is_over=True)

    def look(self, job: str) -> Standing:
        return self.standings[job]

    def end(self, job: str) -> None:
        self.ended.append(job)

    def check(self) -> str:
        return "yes"


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def cluster(let_go: threading.Event) -> Threads:
    return Threads(lambda: Doubling(let_go))


@pytest.fixture
def workers(cluster: Threads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchWorkers]:
    monkeypatch.setattr(batch_workers, "_ASK", 0.01)
    with BatchWorkers(cluster, tmp_path / "jobs", lambda folder: [str(folder)], {}, nothing_asked) as workers:
        workers.warm_up()
        yield workers


def call(number: int, kind: str = "train") -> Call:
    payload = {"records": {"r": ("config", {"key": b"\x00\xff", "rate": 0.1, "names": ["a"], "big": 2**60})}}
    return Call(
        number, "st-mary", kind, payload, {"model": np.arange(4, dtype=np.float32), "none": np.zeros(0)}
    )


def one(workers: BatchWorkers) -> Outcome:
    [outcome] = workers.wait(20.0)
    return outcome


def folders(path: Path) -> list[str]:
    return [entry.name for entry in (path / "jobs").iterdir() if entry.is_dir()]


def test_a_job_answers_calls_one_after_the_other_and_ends_with_its_service(
    workers, cluster, tmp_path
) -> None:
    assert cluster.standings == {}  # no GPU is held before there is work
    workers.submit([call(7), call(8)])
    for number in (7, 8):
        outcome = one(workers)
        assert (outcome.id, outcome.error) == (number, None)
        assert outcome.arrays["twice"].tolist() == [0, 2, 4, 6]
        _, values = outcome.payload["records"]["r"]
        assert values == {"key": b"\x00\xff", "rate": 0.1, "names": ["a"], "big": 2**60}
    assert workers.wait(0.0) == []
    assert len(cluster.standings) == 1
    assert (tmp_path / "jobs" / folders(tmp_path)[0]).stat().st_mode & 0o077 == 0
    workers.close()
    assert cluster.ended == ["1"]
    assert folders(tmp_path) == []


def test_errors_come_back_as_they_were(workers) -> None:
    workers.submit([call(1, "fail"), call(2, "fault")])
    error = one(workers).error
    assert isinstance(error, SiteError)
    assert (error.problem, error.where, error.remedy) == ("is no good", "site.toml", "Make it good.")
    error = one(workers).error
    assert isinstance(error, HostError)
    assert "ZeroDivisionError: by zero" in str(error)


def test_a_job_that_had_nothing_to_do_has_ended_and_the_next_call_gets_another(workers, cluster) -> None:
    cluster.idle = 0.0
    workers.submit([call(1)])
    while not cluster.look("1").is_over:  # it ended before it saw the call
        time.sleep(0.01)
    cluster.idle = 60.0
    assert one(workers).arrays["twice"].tolist() == [0, 2, 4, 6]
    assert len(cluster.standings) == 2


def until_taken(tmp_path: Path, jobs: int) -> None:
    while len(list((tmp_path / "jobs").glob("*/taken-*"))) < jobs:
        time.sleep(0.01)


def test_a_job_that_gave_way_to_others_is_asked_for_again_once(workers, cluster, let_go, tmp_path) -> None:
    workers.submit([call(1, "hold")])
    until_taken(tmp_path, 1)
    cluster.standings["1"] = PREEMPTED
    assert workers.wait(0.1) == []
    until_taken(tmp_path, 1)
    assert list(cluster.standings) == ["1", "2"]
    cluster.standings["2"] = PREEMPTED
    error = one(workers).error
    assert isinstance(error, RunError)
    assert error.problem == "site 'st-mary': the job on its cluster ended during 'hold' (PREEMPTED)"
    workers.submit([call(2)])  # the site goes on
    assert one(workers).error is None


@pytest.mark.parametrize("standing", [TIMEOUT, KILLED], ids=lambda standing: standing.words)
def test_what_would_end_in_the_same_way_is_not_tried_again(workers, cluster, tmp_path, standing) -> None:
    workers.submit([call(1, "hold")])
    until_taken(tmp_path, 1)
    cluster.standings["1"] = standing
    assert f"({standing.words})" in str(one(workers).error)
    assert list(cluster.standings) == ["1"]


def test_a_job_whose_time_is_up_after_other_calls_is_followed_by_a_new_one(
    workers, cluster, let_go, tmp_path
) -> None:
    workers.submit([call(1)])
    one(workers)
    workers.submit([call(2, "hold")])
    until_taken(tmp_path, 1)
    cluster.standings["1"] = TIMEOUT
    while len(cluster.standings) == 1:
        assert workers.wait(0.05) == []
    let_go.set()
    assert one(workers).id == 2


def test_a_worker_that_can_t_be_made_says_why_and_so_does_one_that_never_began(
    workers, cluster, let_go
) -> None:
    def refuse() -> Doubling:
        raise SiteError("GPU 3 is not there")

    build, cluster.build = cluster.build, refuse
    workers.submit([call(1)])
    with pytest.raises(SiteError, match="GPU 3 is not there"):
        workers.wait(20.0)
    cluster.build = lambda: 1 / 0
    workers.submit([call(1)])
    with pytest.raises(RunError, match=r"worker\.log tells why"):  # whatever it was: the service goes on
        workers.wait(20.0)
    cluster.build = lambda: time.sleep(60.0)
    workers.submit([call(2)])
    cluster.standings["3"] = Standing("FAILED, NonZeroExitCode", is_over=True)
    assert "before its worker was ready (FAILED, NonZeroExitCode)" in str(one(workers).error)
    cluster.build = build


def test_what_nobody_waits_for_is_ended_and_a_killed_service_leaves_no_job(
    workers, cluster, tmp_path
) -> None:
    workers.submit([call(1, "hold"), call(2)])
    workers.cancel()
    assert workers.wait(0.0) == []
    assert cluster.ended == ["1"]
    workers.submit([call(3, "hold")])
    [left] = folders(tmp_path)
    BatchWorkers(cluster, tmp_path / "jobs", lambda folder: [str(folder)], {}, nothing_asked).close()
    assert cluster.ended == ["1", "2"]
    assert left not in folders(tmp_path)


def test_a_job_ends_without_its_service(tmp_path, monkeypatch) -> None:
    pulse = Pulse(tmp_path, lost=0.0)
    assert not pulse.is_beating
    ends: list[int] = []
    monkeypatch.setattr(batch_worker.os, "_exit", ends.append)
    pulse.end_without()
    assert ends == [1]


def test_a_message_that_is_none_is_refused_and_nothing_of_it_unpickled(tmp_path) -> None:
    write_outcome(tmp_path / "answer", Outcome(1, {"a": 1}, {"x": np.ones((2, 3), np.uint64)}))
    content = (tmp_path / "answer").read_bytes()
    assert read_outcome(tmp_path / "answer").arrays["x"].shape == (2, 3)
    for wrong in (
        b"",
        content[:-1],
        b"cos\nsystem\n(S'true'\ntR.",
        re.sub(b"wardround", b"waterwind", content),
    ):
        (tmp_path / "answer").write_bytes(wrong)
        with pytest.raises(ValueError, match="answer is not a message"):
            read_outcome(tmp_path / "answer")


COMMANDS = {
    "sbatch": 'cat >"$0.script"; printf "%s\\n" "$@" >"$0.words"; env >"$0.env"; echo "42;heart"',
    "squeue": 'cat "$0.says"',
    "scancel": 'printf "%s\\n" "$@" >"$0.words"',
}


def test_slurm_is_asked_by_its_commands(tmp_path, monkeypatch) -> None:
    """What the commands get and how their answers are read; `.ci/slurm` runs real ones."""
    for name, script in COMMANDS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SBATCH_PARTITION", "everybody")
    slurm = Slurm(["--gres=gpu:1"])
    job = slurm.submit(["python", "-m", "it's"], {"OMP_NUM_THREADS": "1", "A": "b c"}, tmp_path / "50%.log")
    assert job == "42"
    script = (tmp_path / "sbatch.script").read_text()
    assert script.splitlines()[-2:] == ["export A='b c'", "exec python -m 'it'\"'\"'s'"]
    words = (tmp_path / "sbatch.words").read_text().split("\n")
    assert f"--output={tmp_path}/50%%.log" in words
    assert {"--no-requeue", "--gres=gpu:1", "--export=PATH"} <= set(words)
    assert "SBATCH_PARTITION" not in (tmp_path / "sbatch.env").read_text()
    slurm.end(job)
    assert (tmp_path / "scancel.words").read_text().split() == ["--quiet", "42"]
    for said, standing in {
        "PENDING|Resources": Standing("PENDING, Resources"),
        "RUNNING|None": Standing("RUNNING"),
        "TIMEOUT|TimeLimit": Standing("TIMEOUT, TimeLimit", is_over=True, is_out_of_time=True),
        "PREEMPTED|None": Standing("PREEMPTED", is_over=True, is_bad_luck=True),
        "": Standing("Slurm knows nothing of it any more", is_over=True),
    }.items():
        (tmp_path / "squeue.says").write_text(said + "\n")
        assert slurm.look(job) == standing
    (tmp_path / "squeue").write_text(
        "#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact' >&2; exit 1\n"
    )
    assert not slurm.look(job).is_over  # of the job that says nothing
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'Invalid account heart-42' >&2; exit 1\n")
    with pytest.raises(SiteError) as refused:
        slurm.check()
    assert "heart-42" not in json.dumps(str(refused.value))  # accounts are the hospital's own


KUBECTL = """#!/bin/sh
printf '%s\\n' "$@" >>"$0.words"
case " $* " in
    *" kustomize "*) for last; do :; done; cat "$last/kustomization.yaml" ;;
    *" create "*) cat >"$0.created" ;;
    *" get job "*) cat "$0.job" ;;
    *" get pods "*) cat "$0.pods" ;;
esac
"""


def test_kubernetes_is_asked_by_kubectl(tmp_path, monkeypatch) -> None:
    """What kubectl gets and how its answers are read; `.ci/kubernetes` holds the job against the schema."""
    kubectl, manifest = tmp_path / "kubectl", tmp_path / "training.yaml"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    manifest.write_text("kind: Job\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    cluster = Kubernetes(manifest, ["--namespace=heart"])
    job = cluster.submit(
        ["/venv/python", "-m", "it's"], {"A": "b c", "PYTHONPATH": "/here"}, tmp_path / "log"
    )
    [change] = json.loads((tmp_path / "kubectl.created").read_text())["patches"]
    made = {one["path"]: one["value"] for one in json.loads(change["patch"])}
    command = made["/spec/template/spec/containers/0/command"]
    assert command[3:] == [str(tmp_path / "log"), "env", "A=b c", PYTHON, "-m", "it's"]
    assert made["/metadata/name"] == job
    assert (made["/spec/backoffLimit"], made["/spec/template/spec/restartPolicy"]) == (0, "Never")
    assert "--namespace=heart" in (tmp_path / "kubectl.words").read_text().split("\n")
    pods = {"items": [{"status": {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}}]}
    killed = {"terminated": {"reason": "OOMKilled"}}
    tired = {"items": [{"status": {"containerStatuses": [{"state": killed}]}}]}
    for status, of_pods, standing in (
        ({"active": 1, "ready": 1}, {}, Standing("running")),
        ({}, {}, Standing("waiting")),
        (over("Complete", ""), {}, Standing("Complete", is_over=True)),
        (
            over("Failed", "BackoffLimitExceeded"),
            tired,
            Standing("BackoffLimitExceeded, OOMKilled", is_over=True),
        ),
        (
            over("Failed", "BackoffLimitExceeded"),
            pods,
            Standing("BackoffLimitExceeded, DisruptionTarget", is_over=True, is_bad_luck=True),
        ),
        (
            over("Failed", "DeadlineExceeded"),
            {},
            Standing("DeadlineExceeded", is_over=True, is_out_of_time=True),
        ),
    ):
        (tmp_path / "kubectl.job").write_text(json.dumps({"status": status}))
        (tmp_path / "kubectl.pods").write_text(json.dumps(of_pods))
        assert cluster.look(job) == standing
    kubectl.write_text("#!/bin/sh\necho 'Error from server (NotFound): no such job' >&2; exit 1\n")
    assert cluster.look(job).is_over
    kubectl.write_text("#!/bin/sh\necho 'namespace heart: connection refused' >&2; exit 1\n")
    assert not cluster.look(job).is_over  # of the job that says nothing
    with pytest.raises(SiteError) as refused:
        cluster.check()
    assert "heart" not in str(refused.value)


def over(kind: str, reason: str) -> dict[str, object]:
    return {"conditions": [{"type": kind, "status": "True", "reason": reason}]}
