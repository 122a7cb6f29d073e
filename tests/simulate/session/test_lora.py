"""Simulations in which adapters alone are trained and sent."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from server.rounds.loop import RoundLoop
from shared.finished_run import FinishedRun
from shared.networks.build import build_model
from shared.run_folder import RunRecord
from tests.jobs import job_text

LORA = {"model_lora": {"rank": 2, "alpha": 4.0}, "model_norm": "instance"}
DP = {
    "privacy": {"mechanism": "dp-sgd", "noise_multiplier": 1.0, "delta": 1e-3},
    "strategy_weight": "equal",
    "training_batch_size": 2,
    "evaluation_select_best": None,
}
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "masked": {"privacy": {"secure_aggregation": True}},
    "top-k": {"update": {"compression": "top-k", "keep": 0.2}},
    "int8 and a part": {"update": {"compression": "int8", "parts": ["model.2"]}},
    "private": DP,
    "scaffold": {"strategy_name": "scaffold"},
}


def adapted_job(folder: Path, **options: Any) -> Path:
    job = folder / "job.toml"
    job.write_text(job_text(**LORA | options))
    return job


@pytest.mark.parametrize("way", WAYS)
def test_the_model_is_saved_as_if_there_were_no_adapters(simulate, tmp_path: Path, way: str) -> None:
    run = simulate(job=adapted_job(tmp_path, **WAYS[way])).run
    finished = FinishedRun.read(run)
    model = finished.model(torch.device("cpu"))
    drawn = build_model(finished.job, adapted=False).state_dict()
    saved = safetensors.torch.load_file(run / "model.safetensors")
    assert saved.keys() == dict(model.named_parameters()).keys()
    assert any(not torch.equal(drawn[name], tensor) for name, tensor in saved.items())
    assert all(tensor.isfinite().all() for tensor in saved.values())
    if way in ("plain", "masked", "private"):  # norms and biases have no adapters
        assert all(torch.equal(drawn[name], tensor) for name, tensor in saved.items() if tensor.dim() == 1)


def test_sites_send_the_adapters_alone(simulate, tmp_path: Path) -> None:
    whole, adapted = (
        sum(RunRecord.read(simulate(job=adapted_job(tmp_path, **options)).run).bytes_sent().values())
        for options in ({"model_lora": None}, {"model_lora": {"rank": 1}})
    )
    assert adapted < 0.7 * whole


def test_a_run_that_was_stopped_ends_with_the_same_bits(cli, simulate, tmp_path: Path, tiny_data) -> None:
    job = adapted_job(tmp_path)
    expected = (simulate(job=job).run / "model.safetensors").read_bytes()
    save = RoundLoop._round

    def interrupted(self: RoundLoop, state: Any, disk: Any) -> Any:
        if state.round == 2:
            raise KeyboardInterrupt
        return save(self, state, disk)

    where = ("--data", tiny_data.parent, "--workers", "in-process", "--out", tmp_path / "cut")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RoundLoop, "_round", interrupted)
        assert cli("simulate", job, *where).code == 130
    [run] = (tmp_path / "cut").glob("tiny-*")
    simulate("--resume", run)
    assert (run / "model.safetensors").read_bytes() == expected
