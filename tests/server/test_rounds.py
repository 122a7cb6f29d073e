"""The round loop, with real sites in one process."""

import csv
import json

import numpy as np
import pytest

from server.runs import RunFolder
from shared.errors import RunError
from shared.metric_names import is_better


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


def test_sites_count_by_their_images_or_as_one(tiny_job, federate, tiny_data, tmp_path):
    text = tiny_data.read_text().splitlines()
    folder = tiny_data.parent
    lines = [text[0]] + [line.replace("images/", f"{folder}/images/") for line in text[1:]]
    short = [
        line for line in lines if "images/alpha-0-1" not in line
    ]  # alpha trains on one image, others on two
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(short))
    losses = {}
    for weight in ("examples", "equal"):
        federated = federate(tiny_job(job_rounds=1, strategy_weight=weight), manifest=manifest)
        federated.loop.execute()
        train = [row for row in rows(federated, "sites.csv") if row["phase"] == "train"]
        by = [int(row["examples"]) if weight == "examples" else 1 for row in train]
        assert sorted(int(row["examples"]) for row in train) == [1, 2, 2, 2]
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
    federated = federate(tiny_job(strategy_min_patients=2))
    with pytest.raises(RunError, match="0 sites can take part, the job needs 3; alpha: 1 training patient"):
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
def test_which_of_two_is_better(metric, value, best, better):
    assert is_better(metric, value, best) == better
