"""Strategies that keep something at the sites, in rounds with real sites in one process."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
import torch

from server.runs.folder import RunFolder
from shared.errors import JobError, RunError
from shared.finished_run import FinishedRun
from shared.strategies.ditto import Beside
from shared.strategies.feddyn import FedDyn
from shared.strategies.vectors import MODEL
from shared.wire import messages
from simulate.session.judging import judge
from tests.jobs import make_job
from tests.server.conftest import Federated

KEEPING = ("scaffold", "feddyn", "fedbn", "ditto")


def kept(folder, site: str, round_: int) -> dict[str, np.ndarray]:
    [path] = (folder / "kept" / site).glob(f"*/strategy-{round_}.safetensors")
    return safetensors.numpy.load_file(path)


def lose(federated: Federated, node: int, round_: int) -> None:
    """Let what a site says of its training in a round never arrive."""

    def change(question, answer):
        config = question.content[messages.CONFIG]
        lost = question.metadata.message_type == "train" and config["round"] == round_
        return [] if lost else [answer]

    federated.grid.changes[node] = change


def test_the_control_variate_is_the_mean_of_the_sites(federate, tmp_path):
    federated = federate(make_job(strategy_name="scaffold", strategy_weight="equal"))
    result = federated.loop.execute()
    assert federated.failures() == []
    control = federated.loop.wire.split(result.vector)["control"]
    own = [kept(tmp_path, site, result.round)["control"] for site in ("alpha", "beta", "gamma", "delta")]
    assert np.abs(control).max() > 0
    np.testing.assert_allclose(control, np.mean(own, axis=0), rtol=1e-3, atol=1e-4)
    tensors = safetensors.numpy.load_file(federated.run.path / "model.safetensors")
    assert sum(tensor.size for tensor in tensors.values()) == federated.loop.wire.model.size


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_what_the_coordinator_keeps_is_the_mean_of_what_the_sites_keep(federate, tmp_path, fraction):
    """Of all of them: one that was not drawn yet keeps nothing. It stays at the coordinator."""
    drawn = {"strategy_fraction": fraction, "strategy_min_sites": 2, "strategy_weight": "equal"}
    federated = federate(make_job(strategy_name="feddyn", **drawn))
    federated.loop.execute()
    assert federated.failures() == []
    own = []
    for site in ("alpha", "beta", "gamma", "delta"):
        files = sorted((tmp_path / "kept" / site).rglob("strategy-*.safetensors"))
        own += [safetensors.numpy.load_file(files[-1])["slope"]] if files else []
    h = federated.run.load().strategy["kept.h"]
    assert np.abs(h).max() > 0
    np.testing.assert_allclose(h, np.sum(own, axis=0) / 4, rtol=1e-3, atol=1e-5)
    assert federated.loop.layout.size == federated.loop.wire.model.size


def test_a_strategy_that_forgets_what_it_remembers_is_stopped(federate, monkeypatch):
    monkeypatch.setattr(FedDyn, "conclude", lambda self, mean, before, kept, share: (mean, {}))
    federated = federate(make_job(strategy_name="feddyn"))
    with pytest.raises(RunError, match="'feddyn' concludes otherwise than it said: 'h' is missing"):
        federated.loop.execute()


@pytest.mark.parametrize(
    ("round_", "reason"),
    [
        (lambda self, train, received, kept: (received, {"own": received[MODEL]}), "it has not trained"),
        (lambda self, train, received, kept: ({MODEL: train(received[MODEL]).model}, {}), "'own' is missing"),
        (
            lambda self, train, received, kept: (
                {MODEL: train(received[MODEL]).model[1:]},
                {"own": received[MODEL]},
            ),
            "'model' has the shape",
        ),
    ],
)
def test_a_strategy_that_does_not_as_it_said_is_named_in_the_round_itself(
    federate, monkeypatch, round_, reason
):
    monkeypatch.setattr(Beside, "round", round_)
    federated = federate(make_job(strategy_name="ditto"))
    with pytest.raises(RunError, match="round 1: 0 sites returned"):
        federated.loop.execute()
    for _, _, said in federated.failures():
        assert f"the strategy 'ditto' does otherwise than it said: {reason}" in said


def test_where_a_part_is_trained_the_control_variate_is_of_that_part(federate):
    federated = federate(make_job(strategy_name="scaffold", update_parts=["model.2"]))
    result = federated.loop.execute()
    assert federated.failures() == []
    control = federated.loop.wire.split(result.vector)["control"]
    assert control.size == federated.loop.layout.parameters < 250
    assert np.abs(control).max() > 0


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_normalisation_layers_never_leave(federate, tmp_path, norm):
    federated = federate(make_job(strategy_name="fedbn", model_norm=norm))
    carried = set()

    def look(question, answer):
        for content in (question.content, answer.content):
            if messages.ARRAYS in content:
                carried.add(len(messages.view(content[messages.ARRAYS][messages.VECTOR])))
        return [answer]

    for node in federated.grid.get_node_ids():
        federated.grid.changes[node] = look
    federated.loop.execute()
    assert federated.failures() == []
    wire = federated.loop.wire
    assert carried == {wire.model.size - wire.own.size}
    assert {name.rpartition(".")[0] for name in wire.personal}  # `weight` of ...
    tensors = safetensors.numpy.load_file(federated.run.path / "model.safetensors")
    assert not wire.personal & tensors.keys()
    with pytest.raises(RunError, match="a part of it stays at each site"):
        FinishedRun.read(federated.run.path).model(torch.device("cpu"))
    own = [kept(tmp_path, site, 3)["own"] for site in ("alpha", "beta")]
    assert own[0].size == wire.own.size
    assert not np.array_equal(*own)


def test_the_shared_model_of_ditto_is_that_of_fedavg(federate, tmp_path):
    """The sites' own models change nothing of it, and are what is judged."""
    # Each step takes all images: in which order, which differs from job to job, does not matter.
    whole = {"training_batch_size": 100, "training_optimizer": "sgd", "data_augment": []}
    vectors, scores = {}, {}
    for name in ("fedavg", "ditto"):
        job = make_job(strategy_name=name, training_learning_rate=0.3, **whole)
        federated = federate(job, run=RunFolder.create(tmp_path / name, job))
        vectors[name] = federated.loop.execute().vector
        scores[name] = federated.run.read_description()["test"]["federation"]
    np.testing.assert_allclose(vectors["ditto"], vectors["fedavg"], rtol=1e-4, atol=1e-5)
    assert scores["fedavg"]["loss"] != pytest.approx(scores["ditto"]["loss"], rel=1e-3)


@pytest.mark.parametrize(
    "options",
    [*({"strategy_name": name} for name in KEEPING), {"training_keep_optimizer": True}],
    ids=[*KEEPING, "moments"],
)
def test_a_round_that_is_done_again_ends_as_if_nothing_had_happened(options, federate, tmp_path):
    job = make_job(**options)
    whole = federate(job, run=RunFolder.create(tmp_path / "whole", job))
    expected = whole.loop.execute()
    (tmp_path / "kept").rename(tmp_path / "kept in the other run")

    federated = federate(job)
    lose(federated, 10, 2)
    lose(federated, 11, 2)
    with pytest.raises(RunError, match="round 2: 2 sites returned"):
        federated.loop.execute()
    resumed = federate(job, run=RunFolder.open(federated.run.path))
    assert np.array_equal(resumed.loop.execute(resume=True).vector, expected.vector)
    tests = [run.read_description()["test"] for run in (whole.run, resumed.run)]
    assert tests[0] == tests[1]


@pytest.mark.parametrize("name", KEEPING)
def test_masked_sums_hold_what_a_strategy_sends(name, federate):
    federated = federate(make_job(job_rounds=2, strategy_name=name, privacy_secure_aggregation=True))
    result = federated.loop.execute()
    assert federated.failures() == []
    assert np.isfinite(result.vector).all()
    if name == "scaffold":
        assert np.abs(federated.loop.wire.split(result.vector)["control"]).max() > 0


def test_the_test_is_made_with_what_a_site_kept_in_the_best_round(federate, tmp_path, monkeypatch):
    """However long ago that was."""
    job = make_job(job_rounds=6, strategy_name="ditto")
    federated = federate(job)
    compare = federated.loop._compare
    monkeypatch.setattr(
        federated.loop,
        "_compare",
        lambda state, judged: compare(state, judged) if state.round == 1 else state,
    )
    result = federated.loop.execute()
    assert result.round == 1
    files = {path.name for path in (tmp_path / "kept" / "alpha").rglob("*.safetensors")}
    assert files == {f"strategy-{round_}.safetensors" for round_ in (1, 4, 5, 6)}


def test_a_damaged_file_costs_the_site_the_round_and_says_what_to_do(federate, tmp_path):
    federated = federate(make_job(job_rounds=2, strategy_name="ditto", evaluation_every=2))

    def damage(question, answer):
        if question.metadata.message_type == "train":
            for path in (tmp_path / "kept" / "gamma").rglob("*.safetensors"):
                content = bytearray(path.read_bytes())
                content[-1] ^= 1  # a bit of the last number
                path.write_bytes(content)
        return [answer]

    federated.grid.changes[12] = damage
    federated.loop.execute()
    failures = federated.failures()
    assert {site for site, _, _ in failures} == {"gamma"}
    assert "strategy-1.safetensors: can't be used: it is damaged" in failures[0][2]


STEPS = ("0.train.0.step", "1.train.0.step")  # of both trainings of a round


def test_moments_that_are_kept_change_the_model(federate, tmp_path):
    """Each step takes all images: the two jobs differ in nothing else."""
    whole = {"training_batch_size": 100, "data_augment": None, "strategy_name": "ditto"}
    models = []
    for keep in (False, True):
        job = make_job(training_keep_optimizer=keep, **whole)
        federated = federate(job, run=RunFolder.create(tmp_path / str(keep), job))
        models.append(federated.loop.execute().vector)
    assert np.abs(models[0] - models[1]).max() > 1e-3
    [path] = (tmp_path / "kept" / "alpha").rglob("optimizer-3.safetensors")
    moments = safetensors.numpy.load_file(path)
    assert {name: moments[name].tolist() for name in STEPS} == {name: [3] for name in STEPS}


def test_a_site_that_lost_what_it_kept_says_so(federate, tmp_path):
    """A coordinator that was restored from an old backup asks for a round before those that are kept."""
    job = make_job(job_rounds=6, strategy_name="ditto")
    federated = federate(job)
    federated.loop.execute()
    federated.run.save(replace(federated.run.load(), round=1, best=None))
    again = federate(job, run=RunFolder.open(federated.run.path))
    with pytest.raises(RunError, match="0 sites returned"):
        again.loop.execute(resume=True)
    assert "kept something" in again.failures()[0][2]
    shutil.rmtree(tmp_path / "kept")
    newcomers = federate(job, run=RunFolder.open(federated.run.path))
    newcomers.loop.execute(resume=True)
    assert newcomers.failures() == []


def test_a_network_without_normalisation_has_nothing_to_keep(federate):
    with pytest.raises(JobError, match="this job trains none"):
        federate(make_job(strategy_name="fedbn", update_parts=["model.2"]))


def test_the_control_variate_is_the_mean_of_all_sites_where_some_are_drawn(federate, tmp_path):
    """A site that was not drawn yet has a control variate of zero."""
    drawn = {"strategy_fraction": 0.5, "strategy_min_sites": 2, "strategy_weight": "equal"}
    federated = federate(make_job(job_rounds=4, strategy_name="scaffold", **drawn))
    result = federated.loop.execute()
    assert federated.failures() == []
    own = []
    for site in ("alpha", "beta", "gamma", "delta"):
        files = sorted((tmp_path / "kept" / site).rglob("strategy-*.safetensors"))
        own += [safetensors.numpy.load_file(files[-1])["control"]] if files else []
    control = federated.loop.wire.split(result.vector)["control"]
    np.testing.assert_allclose(control, np.sum(own, axis=0) / 4, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "mechanism"),
    [
        ("scaffold", "dp-sgd"),
        ("feddyn", "dp-sgd"),
        ("fedbn", "dp-sgd"),
        ("fedbn", "site-level"),
        ("ditto", "site-level"),
    ],
)
def test_private_jobs_may_keep_something_at_the_sites(federate, name, mechanism):
    private = {"privacy_mechanism": mechanism, "privacy_noise_multiplier": 1.0, "strategy_weight": "equal"}
    federated = federate(make_job(job_rounds=2, strategy_name=name, **private))
    assert np.isfinite(federated.loop.execute().vector).all()
    assert federated.failures() == []


@pytest.mark.parametrize("name", KEEPING)
def test_a_rehearsal_looks_at_the_models_that_the_sites_judge(federate, name):
    federated = federate(make_job(strategy_name=name, training_learning_rate=0.1))
    job, loop, result = federated.loop.job, federated.loop, federated.loop.execute()
    request = messages.Request(
        job.canonical(),
        result.round,
        loop.layout.digest(),
        result.vector,
        "test",
        None,
        federated.run.path.name,
    )
    voxels = torch.cat([judge(site, request)[1]["voxels"] for site in federated.grid.sites])
    found, wrong, missed = voxels.double().sum(dim=0).squeeze()
    dice = federated.run.read_description()["test"]["federation"]["dice_global"]
    assert dice > 0
    assert float(2 * found / (2 * found + wrong + missed)) == pytest.approx(dice, abs=1e-6)
