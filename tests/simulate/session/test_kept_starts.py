"""Simulations that start from a file of which something never changes: it travels once."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from server.rounds.loop import RoundLoop
from shared.finished_run import FinishedRun
from shared.networks.build import build_model
from shared.networks.lora import without_adapters
from shared.networks.start_weights import digest_of, match
from shared.run_folder import ROUNDS, RunRecord
from shared.start_files import start_path, write_start
from shared.strategies.wire import Wire
from tests.jobs import job_text, make_job

NETWORK = {"model_norm": "frozen"}
WAYS: dict[str, dict[str, Any]] = {
    "a part": {"update": {"parts": ["model.2"]}},
    "adapters": {"model_lora": {"rank": 1}},
    "adapters and a part, masked": {
        "model_lora": {"rank": 1},
        "update": {"parts": ["model.2"]},
        "privacy": {"secure_aggregation": True},
    },
    "rates, with something drawn": {"training_rates": {"model.0": 0.0}, "model_fresh": ["model.2"]},
}


def started_job(folder: Path, **options: Any) -> Path:
    """Write a job and the file that it starts from; returns the job's."""
    source = build_model(make_job(), seed=9)
    fresh = options.get("model_fresh", ())
    weights = {
        name: tensor for name, tensor in source.state_dict().items() if not name.startswith(tuple(fresh))
    }
    digest = digest_of(match(source, weights).taken)
    write_start(folder / "given.safetensors", weights)
    start = {"model_start": "given", "model_start_sha256": digest}
    job = folder / "job.toml"
    job.write_text(job_text(**NETWORK | start | options))
    return job


@pytest.mark.parametrize("way", WAYS)
def test_it_travels_once_and_is_in_what_is_saved(simulate, tmp_path: Path, way: str) -> None:
    run = simulate(job=started_job(tmp_path, **WAYS[way])).run
    finished = FinishedRun.read(run)
    job, digest = finished.job, finished.job.model.start_sha256
    file = start_path(run, digest)
    moved = [int(row["bytes"]) for row in RunRecord.read(run).table(ROUNDS)]
    sites = len(finished.sites)
    assert moved[0] == pytest.approx(moved[1] + sites * file.stat().st_size, abs=200 * sites)
    assert moved[1] == pytest.approx(moved[2], abs=200 * sites)
    begun = build_model(job, files={digest: safetensors.torch.load_file(file)})
    wire = Wire.of(begun, job.strategy)
    assert wire.layout.size < (1 if "rates" in way else 0.7) * wire.model.size
    saved = finished.model(torch.device("cpu")).state_dict()
    plain = without_adapters(job, begun.state_dict())
    merged = {name.removesuffix(".up.weight") for name in begun.state_dict() if name.endswith(".up.weight")}
    changed = {name for name in saved if not torch.equal(saved[name], plain[name])}
    trained = {entry.name for entry in wire.layout.entries} | {f"{layer}.weight" for layer in merged}
    assert changed
    assert changed <= trained


def test_a_run_that_was_stopped_ends_with_the_same_bits(cli, simulate, tmp_path: Path, tiny_data) -> None:
    job = started_job(tmp_path, **WAYS["adapters"])
    expected = simulate(job=job).run
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
    for name in ("model.safetensors", "best.safetensors"):
        assert (run / name).read_bytes() == (expected / name).read_bytes()
    both = [[row["bytes"] for row in RunRecord.read(folder).table(ROUNDS)] for folder in (run, expected)]
    assert both[0] == both[1]
