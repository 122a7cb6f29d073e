"""One hostile site of four, over a real gateway and SuperLink: what it takes, holds, sends and puts back."""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from client.guard.gate import Gate
from client.service.state import told
from client.settings.site import load_site
from client.training.device import open_device
from client.work.client_app import make_app
from client.work.hospital import Site
from client.work.warm_networks import Workshop
from server.runs.events import Event
from shared.audit.log import AuditLog
from shared.audit.verify import entries
from shared.flower.connection import RefusedError
from shared.flower.fleet import Fleet
from shared.pki.certificates import load_key
from shared.wire.messages import VECTOR
from simulate.federation.light_nodes import LightHost, LightNode
from simulate.federation.processes import LocalFederation

pytestmark = pytest.mark.slow

HONEST = ("alpha", "beta")
MIB = 2**20
options = {"workshop": Workshop(open_device("cpu")), "turn": threading.Lock()}
make_host = partial(LightHost, **options)


@pytest.fixture(scope="module")
def federation(tiny_data: Path, tmp_path_factory) -> Iterator[LocalFederation]:
    """Give a federation with two honest sites; 'gamma' and 'delta' have joined, and are not there."""
    with ExitStack() as stack:
        running = stack.enter_context(LocalFederation(tmp_path_factory.mktemp("federation")))
        for site in HONEST:
            stack.enter_context(LightNode(running.enrol(site, {"discs": tiny_data}), make_host))
        for site in ("gamma", "delta"):
            running.enrol(site, {"discs": tiny_data})
        running.await_online(set(HONEST))
        yield running


@pytest.fixture
def run(federation, tiny_job) -> Callable[..., tuple[str, list[Event], dict]]:
    """Return a function that runs a job to its end; it returns name, events and description.

    The function takes what is told of each event, and changes of the job.
    """

    def start(look=lambda event: None, **changes):
        runs = federation.runs()
        changes = {"job_rounds": 2, "strategy_min_sites": 2, "strategy_grace": 2.0} | changes
        name = runs.submit(tiny_job(**changes))
        events = []
        for event in runs.follow(name):
            look(event)
            events.append(event)
        about = json.loads((federation.folder / "coordinator" / "runs" / name / "run.json").read_text())
        return name, events, about

    return start


class Twisting(LightHost):
    """Does all that a site does, then changes the answer to one kind of question."""

    def __init__(self, config, kind: str, twist, name: str | None = None, alone: bool = False) -> None:
        if name is not None:
            config = config.model_copy(update={"site": config.site.model_copy(update={"name": name})})
        own = {"workshop": Workshop(open_device("cpu")), "turn": threading.Lock()}
        super().__init__(config, **(own if alone else options))
        self._kind, self._twist = kind, twist

    def handle(self, call):
        payload, arrays = super().handle(call)
        if call.kind == self._kind:
            return self._twist(dict(payload), dict(arrays))
        return payload, arrays


# 'delta' does not keep a log until it says that it does, and 'gamma' neither until the last test: whoever has
# shown one once must go on.


def hostile(kind: str, twist, name: str | None = None):
    return lambda config: Twisting(config, kind, twist, name)


def with_heads(*heads: str):
    """Return a twist that says something of a log that does not exist."""
    given = iter([*heads, *[heads[-1]] * 99])

    def twist(payload, arrays):
        payload["records"]["audit"] = ("config", {"head": next(given)})
        return payload, arrays

    return twist


def of(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event.kind == kind]


def noted(federation: LocalFederation, event: str) -> list[dict]:
    folder = federation.folder / "coordinator" / "audit"
    return [entry.fields for entry in entries(folder) if entry.event == event]


def test_an_answer_far_larger_than_the_model_is_not_taken(federation, run):
    def bomb(payload, arrays):
        arrays[f"arrays/{VECTOR}"] = np.random.default_rng(0).random(100 * MIB // 4, np.float32)
        return payload, arrays

    superlink = next(
        child
        for child in psutil.Process(federation.processes["coordinator"].pid).children(recursive=True)
        if "flower-superlink" in " ".join(child.cmdline())
    )
    peak, over = [superlink.memory_info().rss], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            peak.append(superlink.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with LightNode(federation.folder / "delta", hostile("train", bomb)):
            federation.await_online({"delta"})
            _, events, about = run(job_rounds=1)
    finally:
        over.set()
        watcher.join()
    assert about["status"] == "finished"
    assert {event.site for event in of(events, "site_done")} >= set(HONEST)
    assert "delta" not in {event.site for event in of(events, "site_done") if event.phase == "train"}
    assert max(peak) - peak[0] < 20 * MIB


class OfBefore(Fleet):
    """Brings a large answer as Flower does, as sites whose coordinator takes no files."""

    def _bring_array(self, question, data) -> str:
        raise RefusedError(404, "no such path")


class Withholding(OfBefore):
    """Announces an answer in pieces, and brings none of them."""

    def _push_object(self, run_id, session, identity, content) -> None:
        pass


class Forgetful(Fleet):
    """Names the arrays of its answers, and brings none of them."""

    def _bring_array(self, question, data) -> str:
        return hashlib.sha256(data).hexdigest()


def test_an_answer_whose_pieces_or_files_do_not_come_holds_up_no_other(federation, run):
    def large(payload, arrays):
        arrays[f"arrays/{VECTOR}"] = np.random.default_rng(0).random(8 * MIB // 4, np.float32)
        return payload, arrays

    with (
        LightNode(federation.folder / "gamma", hostile("train", large), Forgetful),
        LightNode(federation.folder / "delta", hostile("train", large), Withholding),
    ):
        federation.await_online({"gamma", "delta"})
        _, events, about = run(strategy_round_timeout=600.0)
    assert about["status"] == "finished"
    assert about["late"] == {"delta": 2}
    reasons = [event.data["reason"] for event in of(events, "site_failed") if event.site == "gamma"]
    assert reasons == ["names an array that has not come"] * 2
    trained = [event.site for event in of(events, "site_done") if event.phase == "train"]
    assert sorted(trained) == sorted(HONEST * 2)


class InPieces(OfBefore):
    """Brings an answer slowly."""

    def _push_object(self, run_id, session, identity, content) -> None:
        time.sleep(0.2)  # the coordinator looks meanwhile
        super()._push_object(run_id, session, identity, content)


def test_an_answer_in_pieces_or_files_counts_once_it_is_whole(federation, run, monkeypatch):
    monkeypatch.setattr("shared.flower.fleet.LARGEST", 0)  # of nodes in this process: no answer is small
    monkeypatch.setattr("shared.flower.stored.SMALLEST", 0)
    with (
        LightNode(federation.folder / "gamma", make_host),
        LightNode(federation.folder / "delta", make_host, InPieces),
    ):
        federation.await_online({"gamma", "delta"})
        name, events, about = run(strategy_grace=None, strategy_min_sites=4)
    assert of(events, "site_failed") == []
    assert about["late"] == {}
    rows = (federation.folder / "coordinator" / "runs" / name / "sites.csv").read_text().splitlines()
    for site in ("gamma", "delta"):
        assert [row.split(",")[0] for row in rows if row.split(",")[1:3] == [site, "train"]] == ["1", "2"]
    assert list((federation.folder / "coordinator" / "answers").iterdir()) == []


def test_who_lives_and_does_not_answer_holds_a_round_for_the_grace_only(federation, run):
    wake, back = threading.Event(), threading.Event()

    def hold(payload, arrays):
        wake.wait()
        return payload, arrays

    def look(event: Event) -> None:
        if (event.kind, event.round) == ("round_started", 3):
            wake.set()
        if (event.kind, event.site, event.round, event.phase) == ("site_done", "delta", 3, "train"):
            back.set()

    with (
        LightNode(federation.folder / "gamma", lambda config: WaitingInRound3(config, back)),
        LightNode(federation.folder / "delta", hostile_alone("train", hold)),
    ):
        federation.await_online({"gamma", "delta"})
        # Three of four are the quorum: in round 3 that takes 'gamma', who waits for 'delta'.
        name, events, about = run(look, strategy_min_sites=3, job_rounds=3, strategy_round_timeout=600.0)
    assert about["status"] == "finished"
    late = [event for event in of(events, "site_late") if event.round < 3]
    assert {event.site for event in late} == {"delta"}
    assert {event.round for event in late if event.phase == "train"} == {1, 2}
    assert about["late"]["delta"] >= 2
    # Once it is free again it does not work on the rounds that went on without it.
    rows = (federation.folder / "coordinator" / "runs" / name / "sites.csv").read_text().splitlines()
    rounds = [row.split(",")[0] for row in rows if row.split(",")[1:3] == ["delta", "train"]]
    assert rounds == ["3"]


class WaitingInRound3(LightHost):
    """A site whose training of round 3 waits."""

    def __init__(self, config, until: threading.Event) -> None:
        super().__init__(config, **options)
        self._until = until

    def handle(self, call):
        if call.kind == "train" and call.payload["records"]["config"][1]["round"] == 3:
            self._until.wait()
        return super().handle(call)


def hostile_alone(kind: str, twist):
    """Return what makes a host that holds up nobody else in this process."""
    return lambda config: Twisting(config, kind, twist, alone=True)


def test_nobody_takes_the_name_the_place_or_the_blame_of_another(federation, run):
    gamma, delta = (federation.folder / site for site in ("gamma", "delta"))
    twist = with_heads("900:" + "a" * 64, "3:" + "b" * 64)
    with LightNode(delta, hostile("query.describe", twist, "gamma")):
        federation.await_online({"delta"})
        with LightNode(gamma, make_host):
            federation.await_online({"gamma"})
            _, events, about = run(job_rounds=1)
            assert sorted(about["sites"]) == ["alpha", "beta", "gamma"]
            [failure] = of(events, "site_failed")
            assert failure.site == "delta"
            assert "says that it is the site 'gamma'" in failure.data["reason"]
        _, events, about = run(job_rounds=1)  # gamma has left
        assert sorted(about["sites"]) == ["alpha", "beta"]
    assert {entry["site"] for entry in noted(federation, "site-log-cut")} <= {"delta"}
    assert "gamma" not in {entry["site"] for entry in noted(federation, "site-head")}


class Gated(LightHost):
    """A site with its gate: audit log, job book and ledger."""

    def __init__(self, config, folder: Path) -> None:
        super().__init__(config, **options)
        gate = Gate.open(folder, config)
        self._app = make_app(Site(config, options["workshop"], gate=gate))


def test_ledger_and_log_that_were_put_back_and_padded_are_noticed_on_both_sides(federation, run):
    folder = federation.folder / "gamma"
    kept = ("audit", "state.sqlite", "ledger.sqlite")

    def gated():
        return LightNode(folder, lambda config: Gated(config, folder))

    with gated():
        federation.await_online({"gamma"})
        _, events, about = run(job_rounds=1)
        assert of(events, "site_failed") == []
        assert "gamma" in about["sites"]
    old = folder.with_name("old")
    old.mkdir()
    for name in kept:
        (shutil.copytree if (folder / name).is_dir() else shutil.copy)(folder / name, old / name)
    with gated():
        federation.await_online({"gamma"})
        _, events, _ = run(job_rounds=2, job_seed=7)
        assert of(events, "site_failed") == []
    assert "gamma" not in {entry["site"] for entry in noted(federation, "site-log-cut")}

    shutil.rmtree(folder / "audit")
    for name in kept:
        (shutil.copytree if (old / name).is_dir() else shutil.copy)(old / name, folder / name)
    log = AuditLog.open(folder / "audit", load_key(folder / "keys" / "site.key"))
    for _ in range(100):
        log.append("service-started", version="1.0")
    with gated():
        federation.await_online({"gamma"})
        _, events, about = run(job_rounds=1, job_seed=8)
        status = told(folder / "state")
    [failure] = of(events, "site_failed")
    assert (failure.site, failure.phase) == ("gamma", "describe")
    assert "gamma" not in about["sites"]
    assert [entry["site"] for entry in noted(federation, "site-log-cut")][-1] == "gamma"
    assert status["status"] == "refusing"
    assert "audit log" in status["detail"]
    assert load_site(folder / "site.toml").name == "gamma"
