"""What federating is compared with: each site alone, and one model on the pooled data."""

import json
from pathlib import Path

import pytest

import client.training.loop
from simulate.session.hospitals import BASELINE, SimulationHost
from tests.jobs import job_text


@pytest.fixture
def trainings(monkeypatch) -> list[str]:
    """Return the names of the baselines that are trained from now on."""
    names: list[str] = []
    handle = SimulationHost.handle

    def note(self, call):
        if call.kind == BASELINE:
            names.append("+".join(call.payload["members"]))
        return handle(self, call)

    monkeypatch.setattr(SimulationHost, "handle", note)
    return names


def description(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def test_the_table_compares_federated_alone_and_pooled(simulate, trainings):
    said = simulate("--baselines")
    for word in ("federated", "alone", "pooled", "all sites", "alpha"):
        assert word in said.out
    told = description(said.run)["baselines"]
    sites = {"alpha", "beta", "gamma", "delta"}
    assert told["alone"].keys() == sites
    assert told["pooled"]["sites"].keys() == sites
    assert all(result["sites"].keys() == sites for result in told["alone"].values())
    assert sorted(trainings) == ["alpha", "alpha+beta+delta+gamma", "beta", "delta", "gamma"]


def test_those_that_are_done_are_not_trained_again(cli, simulate, tiny_job_file, tiny_data, trainings):
    expected = description(simulate("--baselines").run)["baselines"]
    trainings.clear()
    handle = SimulationHost.handle

    def interrupted(self, call):
        if len(trainings) == 2:
            raise KeyboardInterrupt
        return handle(self, call)

    arguments = ["simulate", tiny_job_file, "--data", tiny_data, "--workers", "in-process", "--out", "other"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimulationHost, "handle", interrupted)
        assert cli(*arguments, "--baselines").code == 130
    assert len(trainings) == 2
    run = next(Path("other").glob("tiny-*"))
    simulate("--resume", run)
    assert len(trainings) == len(set(trainings)) == 5
    assert description(run)["baselines"] == expected


def test_they_make_as_many_optimiser_steps_as_the_federation(simulate, monkeypatch):
    steps: dict[str, int] = {}
    step = client.training.loop.LocalTraining._step

    def count(self, *arguments):
        steps[self._site] = steps.get(self._site, 0) + 1
        return step(self, *arguments)

    monkeypatch.setattr(client.training.loop.LocalTraining, "_step", count)
    simulate()
    federated = dict(steps)
    assert set(federated) == {"alpha", "beta", "gamma", "delta"}
    steps.clear()
    simulate("--baselines")
    pooled = steps.pop("pooled")
    assert pooled == sum(federated.values())
    assert steps == {name: 2 * number for name, number in federated.items()}  # in the federation, and alone


def test_a_site_may_be_called_pooled(simulate, tiny_data, tmp_path):
    options = []
    for name, value in {"pooled": "alpha", "beta": "beta", "gamma": "gamma"}.items():
        path = tmp_path / f"{name}.toml"
        path.write_text(
            f'[site]\nname = "{name}"\n[datasets.discs]\nmanifest = "{tiny_data}"\nsite = "{value}"\n'
            "[policy]\nmin_group = 1\nmin_patients_in_update = 1\nshare_site_metrics = true\n"
        )
        options += ["--site", path]
    told = description(simulate(*options, "--baselines", "--rounds", "1").run)["baselines"]
    assert told["alone"].keys() == {"pooled", "beta", "gamma"}
    assert told["alone"]["pooled"] != told["pooled"]


def test_a_job_that_samples_by_class_and_mixes_images_repeats_and_has_baselines(simulate, tmp_path):
    job = tmp_path / "balanced.toml"
    job.write_text(
        job_text(task_name="classification", task_mixup=0.4, training_sampling="class-balanced", job_rounds=1)
    )
    first = simulate("--baselines", job=job).run
    again = simulate("--baselines", job=job).run
    assert (first / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
    assert description(first)["baselines"] == description(again)["baselines"]
    assert description(first)["baselines"]["alone"].keys() == {"alpha", "beta", "gamma", "delta"}
