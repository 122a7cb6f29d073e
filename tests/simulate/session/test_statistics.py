"""Counts of classes over all hospitals, added up before round 1 where nothing is masked."""

from pathlib import Path
from typing import Any

import pytest

from server.runs.folder import RunFolder
from simulate.session.session import Hospitals, start
from tests.simulate.session.test_resume import run_to_the_end


def test_classes_are_weighed_by_the_counts_of_all_hospitals(
    tiny_job: Any, tiny_data: Path, tmp_path: Path
) -> None:
    found = {}
    for weights in ("federation", "site"):
        job = tiny_job(job_rounds=1, task_class_weights=weights, task_loss="cross-entropy")
        run = start(job, Hospitals(data=tiny_data), tmp_path / weights, "cpu", baselines=True)
        run_to_the_end(run.path, job, resume=False, moment=None)
        found[weights] = run.path
    about = RunFolder.read(found["federation"]).read_description()
    background, disc = about["statistics"]["class_counts"]
    assert background + disc == pytest.approx(4 * 2 * 16 * 16, rel=0.05)  # rounded by each of four sites
    assert background > disc > 0
    assert "statistics" not in RunFolder.read(found["site"]).read_description()
    models = [(path / "model.safetensors").read_bytes() for path in found.values()]
    assert models[0] != models[1]
    # A site that is alone has its own counts either way.
    alone = [(path / "baselines" / "alone-alpha.safetensors").read_bytes() for path in found.values()]
    assert len(alone[0]) == len(alone[1])
