"""Rounds whose sites filter what they send, with real sites in one process."""

import csv

import numpy as np
import pytest
from flwr.app import ArrayRecord

from server.runs.folder import RunFolder
from shared.errors import RunError
from shared.networks.build import build_model
from shared.wire import messages
from shared.wire.flat_array import to_array
from tests.every_task import NEWER, write_for_every_task
from tests.server.conftest import make_sites, mean_update

FILTERS = {
    "bfloat16": {"update_precision": "bfloat16"},
    "int8": {"update_compression": "int8"},
    "top-k": {"update_compression": "top-k", "update_keep": 0.1},
    "clip": {"update_clip": 0.05},
    "parts": {"update_parts": ["model.2"]},
}


def rows(run: RunFolder, name: str) -> list[dict[str, str]]:
    with (run.path / name).open(newline="") as file:
        return list(csv.DictReader(file))


def train_bytes(run: RunFolder) -> set[int]:
    return {int(row["bytes"]) for row in rows(run, "sites.csv") if row["phase"] == "train"}


@pytest.mark.parametrize("name", FILTERS)
def test_the_tables_have_the_bytes_that_were_sent(name, tiny_job, federate):
    federated = federate(tiny_job(**FILTERS[name]))
    arrived = []

    def note(question, answer):
        if question.metadata.message_type == "train":
            arrived.append(sum(len(a.data) for a in answer.content[messages.ARRAYS].values()))
        return [answer]

    for node in federated.grid.get_node_ids():
        federated.grid.changes[node] = note
    result = federated.loop.execute()
    assert federated.failures() == []
    [size] = train_bytes(federated.run)
    assert len(arrived) == 4 * 3
    assert {length - size for length in arrived} == {128}  # NumPy's header
    layout = federated.loop.layout
    plain = 4 * layout.size
    assert size < plain or name == "clip"
    assert int(rows(federated.run, "metrics.csv")[0]["bytes"]) == 4 * (plain + size)
    sent = federated.run.read_description()["bytes_sent"]
    assert sent == {
        site: sum(int(row["bytes"]) for row in rows(federated.run, "sites.csv") if row["site"] == site)
        for site in ("alpha", "beta", "gamma", "delta")
    }
    first = layout.pack(build_model(federated.loop.job))
    changed = result.vector != first
    assert changed[: layout.parameters].any()
    if name == "parts":
        assert size == 4 * federated.loop._filter.size
        assert np.count_nonzero(changed) <= federated.loop._filter.size
        frozen = [e.name for e in layout.entries if "running" not in e.name and "model.2" not in e.name]
        tensors = layout.state_dict(result.vector), layout.state_dict(first)
        assert frozen
        assert all((tensors[0][name] == tensors[1][name]).all() for name in frozen)


def test_clipping_bounds_what_a_round_changes(tiny_job, federate, tmp_path):
    for clip in (0.05, 1e6):
        job = tiny_job(job_rounds=1, update_clip=clip, evaluation_select_best=None)
        federated = federate(job, run=RunFolder.create(tmp_path / str(clip), job))
        result = federated.loop.execute()
        first = federated.loop.layout.pack(build_model(job))
        moved = float(np.linalg.norm(result.vector - first))
        assert (moved <= clip * 1.001) is True
        assert (moved > 0.05) is (clip > 1)


@pytest.mark.parametrize("name", ["int8", "top-k"])
def test_a_round_that_is_done_again_ends_as_if_nothing_had_happened(name, tiny_job, federate, tmp_path):
    job = tiny_job(**FILTERS[name])
    expected = federate(job, run=RunFolder.create(tmp_path / "whole", job)).loop.execute()
    (tmp_path / "kept").rename(tmp_path / "kept in the other run")

    federated = federate(job)
    for node in (10, 11):  # they train for round 2, and what they say of it never arrives
        federated.grid.changes[node] = lambda question, answer: (
            [answer]
            if question.content[messages.CONFIG].get("round") != 2
            or question.metadata.message_type != "train"
            else []
        )
    with pytest.raises(RunError, match="round 2: 2 sites returned"):
        federated.loop.execute()
    resumed = federate(job, run=RunFolder.open(federated.run.path))
    assert np.array_equal(resumed.loop.execute(resume=True).vector, expected.vector)


def test_error_feedback_is_part_of_the_result(tiny_job, federate, tmp_path):
    job = tiny_job(**FILTERS["top-k"])
    whole = federate(job).loop.execute()
    files = sorted((tmp_path / "kept").rglob("*.safetensors"))
    assert [file.name for file in files] == [f"residual-{round_}.safetensors" for round_ in (1, 2, 3)] * 4
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}

    other = federate(job, run=RunFolder.create(tmp_path / "other", job))
    for node in other.grid.get_node_ids():

        def forget(question, answer):
            for file in (tmp_path / "kept").rglob("*.safetensors"):
                file.unlink()
            return [answer]

        other.grid.changes[node] = forget
    assert not np.array_equal(other.loop.execute().vector, whole.vector)


def test_a_damaged_residual_says_which_file_to_remove(tiny_job, federate, tmp_path):
    federated = federate(tiny_job(job_rounds=2, **FILTERS["int8"]))

    def damage(question, answer):
        if question.metadata.message_type == "train":
            for file in (tmp_path / "kept" / "gamma").rglob("*.safetensors"):
                file.write_bytes(b"half")
        return [answer]

    federated.grid.changes[12] = damage
    federated.loop.execute()
    [(site, phase, reason)] = federated.failures()
    assert (site, phase) == ("gamma", "train")
    assert "residual-1.safetensors: can't be used" in reason


@pytest.mark.parametrize(
    "record",
    [
        ArrayRecord({messages.UPDATE: to_array(np.zeros(10**6, np.uint8))}),
        ArrayRecord({messages.UPDATE: to_array(np.zeros(3, np.float32))}),
        ArrayRecord({messages.UPDATE: to_array(np.zeros((3, 3), np.uint8))}),
        messages.vector_record(np.zeros(1000, np.float32)),
    ],
    ids=["too long", "floats", "a matrix", "a whole model"],
)
def test_an_update_that_is_none_costs_the_site_the_round_and_nobody_else(record, tiny_job, federate):
    federated = federate(tiny_job(job_rounds=1, **FILTERS["int8"]))

    def change(question, answer):
        if question.metadata.message_type == "train":
            answer.content[messages.ARRAYS] = record
        return [answer]

    federated.grid.changes[12] = change
    federated.loop.execute()
    [(site, phase, reason)] = federated.failures()
    assert (site, phase) == ("gamma", "train")
    assert "update" in reason or "array" in reason
    assert {row["site"] for row in rows(federated.run, "sites.csv") if row["phase"] == "train"} == {
        "alpha",
        "beta",
        "delta",
    }


def test_private_updates_can_be_filtered_as_well(tiny_job, federate):
    private = {"privacy_mechanism": "dp-sgd", "privacy_noise_multiplier": 1.0, "strategy_weight": "equal"}
    everything = {"update_parts": ["model.2"], "update_compression": "int8", "update_clip": 0.5}
    federated = federate(tiny_job(job_rounds=2, **private, **everything))
    federated.loop.execute()
    assert federated.failures() == []
    numbers = federated.loop._filter.trained
    assert train_bytes(federated.run) == {numbers + 4 * -(-numbers // 256)}


OF_TASK = {
    "survival": {"data_augment": None, "task_intervals": None, "task_horizon": 60.0},
    "detection": {},
    "instances": {},
    "generation": {"training_keep_optimizer": True},
    "restoration": {},
    "registration": {"data_augment": None, "task_pairs": "rows", "task_moving": ["image"]},
    "regression": {"training_optimizer": "sgd"},  # Adam's first steps, of opposite signs, cancel out
}
PARTS = {
    "survival": "3",
    "detection": "model.2",
    "instances": "model.2",
    "restoration": "model.2",
    "registration": "model.2",
    "generation": "generator",
    "regression": "head",
}


@pytest.mark.parametrize("task", NEWER)
@pytest.mark.parametrize("name", FILTERS)
def test_every_task_learns_by_what_the_filters_leave(name, task, tiny_job, federate, for_every_task):
    filters = {"update_parts": [PARTS[task]]} if name == "parts" else FILTERS[name]
    job = tiny_job(task_name=task, job_rounds=2, **OF_TASK[task] | filters)
    federated = federate(job, manifest=for_every_task)
    vector = federated.loop.execute().vector
    assert federated.failures() == []
    layout = federated.loop.layout
    assert max(train_bytes(federated.run)) < 4 * layout.size or name == "clip"
    changed = vector != layout.pack(build_model(job))
    names = [entry.name for entry in layout.entries]
    moved = {role for role in names if (layout.state_dict(changed.astype(np.float32))[role] != 0).any()}
    assert moved
    if name == "parts":
        assert {entry for entry in moved if "running" not in entry} == {
            entry for entry in names if entry.startswith(f"{PARTS[task]}.")
        }


@pytest.fixture(scope="module")
def for_every_task(tmp_path_factory):
    """Return the manifest of four tiny hospitals that every task can learn from."""
    return write_for_every_task(tmp_path_factory.mktemp("every") / "data")


@pytest.mark.parametrize("changes", [FILTERS["parts"], FILTERS["clip"]], ids=["parts", "clip"])
def test_masked_sums_hold_the_parts_and_are_clipped(changes, tiny_job, federate, tiny_data, tmp_path):
    secure = federate(tiny_job(job_rounds=1, privacy_secure_aggregation=True, **changes))
    names = ("alpha", "beta", "gamma", "delta")
    plain = mean_update(secure, make_sites(tiny_data, names, tmp_path / "alone"))
    assert np.allclose(secure.loop.execute().vector, plain, rtol=0, atol=1e-6)
    assert secure.failures() == []
    masked = 8 * secure.loop._filter.size
    assert masked < min(train_bytes(secure.run)) <= max(train_bytes(secure.run)) < masked + 3000  # keys
