"""Simulations that start from the weights of a package: what travels, and what is saved."""

from pathlib import Path
from typing import Any

import pytest
import torch

from shared.finished_run import FinishedRun
from shared.networks.build import build_model
from shared.run_folder import RunRecord
from shared.strategies.wire import Wire
from tests.jobs import job_text

MODEL = {"name": "efficientnet-lite0", "start": "imagenet", "norm": "frozen"}
PRIVATE = {
    "privacy": {"mechanism": "dp-sgd", "noise_multiplier": 1.0, "delta": 1e-3, "mean_over": "patients"},
    "strategy_weight": "equal",
}
WAYS: dict[str, dict[str, Any]] = {
    "the last layer": {"update": {"parts": ["head"]}},
    "the last layer, privately": {"update": {"parts": ["head"]}, **PRIVATE},
    "the last layer by rates": {"training_rates": {"encoder": 0.0}},
    "adapters": {"model": {**MODEL, "lora": {"rank": 2}}},
    "adapters, masked": {
        "model": {**MODEL, "lora": {"rank": 2}},
        "privacy": {"secure_aggregation": True},
        "update": {"parts": ["head"]},
    },
}


def pretrained_job(folder: Path, **options: Any) -> Path:
    given = {
        "task_name": "classification",
        "model": MODEL,
        "job_rounds": 2,
        "data_size": [64, 64],
        "data_channels": 3,
        "data_colour": "rgb",
        "data_augment": [],
    }
    job = folder / "job.toml"
    job.write_text(job_text(**given | options))
    return job


@pytest.mark.parametrize("way", WAYS)
def test_what_the_package_has_does_not_travel_and_is_in_what_is_saved(
    simulate, tmp_path: Path, way: str
) -> None:
    run = simulate(job=pretrained_job(tmp_path, **WAYS[way])).run
    finished = FinishedRun.read(run)
    built = build_model(finished.job)
    wire = Wire.of(built, finished.job.strategy)
    adapted = "adapters" in way
    assert wire.layout.size < (700_000 if adapted else 3_000)
    most = 8 * wire.layout.size + 20_000  # bytes: masked numbers have 8; and metric states
    evaluations = 3
    for site, sent in RunRecord.read(run).bytes_sent().items():
        assert sent < 2 * most + evaluations * 20_000, site

    model = finished.model(torch.device("cpu"))
    plain = build_model(finished.job, adapted=False)
    differ = {
        name
        for (name, tensor), begun in zip(model.state_dict().items(), plain.state_dict().values(), strict=True)
        if not torch.equal(tensor, begun)
    }
    assert differ
    assert adapted or all(name.startswith("head") for name in differ)
    assert not any("running" in name for name in differ)
