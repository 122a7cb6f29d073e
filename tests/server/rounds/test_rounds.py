"""The round loop, with real sites in one process."""

import csv
import json

import numpy as np
import pytest

from server.runs.folder import RunFolder
from shared.errors import JobError, RunError
from shared.metrics.spec import is_better
from shared.wire import messages


def rows(federated, name: str) -> list[dict[str, str]]:
    with (federated.run.path / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_evaluating_less_often_leaves_cells_empty(tiny_job, federate):
    federated = federate(tiny_job(evaluation_every=2))
    federated.loop.execute()
    assert [bool(row["dice_global"]) for row in rows(federated, "metrics.csv")] == [False, True, True]


def test_without_a_criterion_the_last_model_is_tested(tiny_job, federate):
    federated = federate(tiny_job(job_rounds=2, evaluation_select_best=None))
    result = federated.loop.execute()
    assert result.round == 2
    assert not (federated.run.path / "best.safetensors").exists()
    assert federated.run.load().best is None


def test_a_private_run_whose_sites_keep_their_scores_ends_with_the_last_round(tiny_job, federate):
    job = tiny_job(
        strategy_weight="equal",
        evaluation_patience=1,  # no score, no reason to stop
        privacy_mechanism="dp-sgd",
        privacy_noise_multiplier=1.0,
    )
    federated = federate(job)
    assert federated.loop.execute().round == 3
    assert federated.failures() == []
    assert [row["train_loss"] for row in rows(federated, "metrics.csv")] == [""] * 3
    assert {row["examples"] for row in rows(federated, "sites.csv") if row["phase"] == "train"} == {"1"}


def test_a_criterion_that_is_not_defined_stops_no_run(tiny_job, federate, tiny_data, tmp_path):
    """Nobody has a 'large' one, so no order of scores is right or wrong."""
    header, *lines = tiny_data.read_text().replace("large", "small").splitlines()
    manifest = tmp_path / "manifest.csv"
    images = (line.replace("images/", f"{tiny_data.parent}/images/") for line in lines)
    manifest.write_text("\n".join([header, *images]))
    job = tiny_job(
        task_name="classification",
        evaluation_select_best="auroc",
        evaluation_patience=1,
    )
    federated = federate(job, manifest=manifest)
    assert federated.loop.execute().round == 3
    assert [row["auroc"] for row in rows(federated, "metrics.csv")] == [""] * 3
    told = [event for event in federated.events if event.kind == "not_evaluated"]
    assert [event.round for event in told] == [1, 2, 3]
    assert all("'auroc'" in str(event.data["reason"]) for event in told)


def test_sites_count_by_their_images_or_as_one(tiny_job, federate, tiny_data, tmp_path):
    text = tiny_data.read_text().splitlines()
    folder = tiny_data.parent
    lines = [line.replace("images/", f"{folder}/images/") for line in text[1:]]
    lines += [line for line in lines if line.startswith("alpha,alpha-0,")] * 7  # 16 images; others have two
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join([text[0], *lines]))
    losses = {}
    for weight in ("examples", "equal"):
        federated = federate(tiny_job(job_rounds=1, strategy_weight=weight), manifest=manifest)
        federated.loop.execute()
        train = [row for row in rows(federated, "sites.csv") if row["phase"] == "train"]
        by = [int(row["examples"]) if weight == "examples" else 1 for row in train]
        assert sorted(int(row["examples"]) for row in train) == [10, 10, 10, 20]  # rounded
        losses[weight] = float(rows(federated, "metrics.csv")[0]["train_loss"])
        assert losses[weight] == pytest.approx(
            np.average([float(row["train_loss"]) for row in train], weights=by)
        )
    assert losses["examples"] != losses["equal"]


def test_strict_stops_at_the_first_failure_and_names_the_site(tiny_job, federate):
    federated = federate(tiny_job(), strict=True)
    federated.grid.changes[12] = lambda question, answer: (
        [] if question.metadata.message_type == "train" else [answer]
    )
    with pytest.raises(RunError, match="gamma: no answer"):
        federated.loop.execute()


def test_too_few_sites_begin_nothing(tiny_job, federate):
    federated = federate(tiny_job(strategy_min_patients=11))
    with pytest.raises(
        RunError, match="0 sites can train, the job needs 3; alpha: about 10 training patients"
    ):
        federated.loop.execute()
    assert not federated.run.has_begun()


def test_a_resumed_run_tells_that_it_goes_on(tiny_job, federate):
    job = tiny_job(job_rounds=2)
    federated = federate(job)
    expected = federated.loop.execute()
    state = federated.run.load()
    resumed = federate(job, run=RunFolder.open(federated.run.path))
    assert np.array_equal(resumed.loop.execute(resume=True).vector, expected.vector)
    events = [json.loads(line) for line in (federated.run.path / "events.jsonl").read_text().splitlines()]
    started = [event for event in events if event["event"] == "run_started"]
    assert [event.get("round") for event in started] == [None, state.round]


class EndedError(Exception):
    """The coordinator's process ends."""


def test_nobody_is_asked_for_a_model_that_no_site_could_hold(tiny_job, federate):
    large = {"name": "segresnet", "features": 170, "dropout": 0.0, "norm": "group"}  # by an estimate it fits
    job = tiny_job(model=large, data_dimensions=3, data_size=[32, 32, 32])
    with pytest.raises(JobError, match="2000 MB is the most"):
        federate(job)


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_no_site_ever_sees_two_models_of_one_round(tiny_job, federate, kind, every):
    """Sites believe one model per round, and no training with secret noise is ever the same twice."""
    noise = np.random.default_rng(0)
    seen: dict[tuple[int, int], set[bytes]] = {}
    asked = 0

    def note(question, answer):
        nonlocal asked
        phase = question.metadata.message_type
        if phase in ("train", "evaluate"):
            after = question.content["config"]["round"] - (phase == "train")
            model = bytes(question.content["arrays"]["vector"].data)
            seen.setdefault((question.metadata.dst_node_id, after), set()).add(model)
            asked += phase == kind
            if phase == kind and asked in (2, 7, 12, 17):
                raise EndedError
        if phase == "train":
            update = messages.read_update(answer.content, federated.loop.layout.size).vector
            noisy = update + noise.normal(size=update.size).astype(np.float32) * 1e-3
            answer.content[messages.ARRAYS] = messages.vector_record(noisy)
        return [answer]

    job = tiny_job(job_rounds=4, evaluation_every=every)
    run, ends = None, 0
    while True:
        federated = federate(job, run=run, rehearsal=False)
        for node in federated.grid.get_node_ids():
            federated.grid.changes[node] = note
        try:
            federated.loop.execute(resume=run is not None)
            break
        except EndedError:
            run, ends = RunFolder.open(federated.run.path), ends + 1
    assert ends >= 2
    assert {round_ for _, round_ in seen} == {0, 1, 2, 3, 4}
    assert all(len(models) == 1 for models in seen.values())
    assert [row["round"] for row in rows(federated, "metrics.csv")] == ["1", "2", "3", "4"]
    assert [bool(row["dice_global"]) for row in rows(federated, "metrics.csv")] == [
        round_ % every == 0 for round_ in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize(
    ("metric", "value", "best", "better"),
    [
        ("dice_global", 0.5, None, True),
        ("dice_global", 0.5, 0.4, True),
        ("dice_global", 0.5, 0.5, False),
        ("loss", 0.5, 0.4, False),
        ("loss", 0.3, 0.4, True),
        ("loss", float("nan"), None, False),
    ],
)
def test_which_of_two_is_better(tiny_job, metric, value, best, better):
    job = tiny_job(task_distances=True)
    assert is_better(job, metric, value, best) == better
