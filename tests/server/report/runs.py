"""Run folders written as the round loop writes them, of any size, without training anything."""

from pathlib import Path
from typing import Any

import numpy as np

from server.report.tables import shown_metrics
from server.runs.folder import RunFolder
from shared.job.schema import JobSpec
from shared.metrics.spec import metric_names
from shared.tasks import make_task


def write_run(
    out: Path, job: JobSpec, sites: list[str], rounds: int, name: str = "run-1", **entries: Any
) -> Path:
    """Write a finished run with random figures; returns its folder.

    Args:
        out: Folder of runs.
        job: What was asked.
        sites: Their names.
        rounds: Finished.
        name: Of the run.
        entries: For `run.json`, in place of those that it has otherwise.
    """
    run = RunFolder.create(out, job, name)
    generator, metrics = np.random.default_rng(7), metric_names(job)

    def scores() -> dict[str, float]:
        return {metric: float(generator.uniform(0.4, 0.9)) for metric in metrics}

    for round_ in range(1, rounds + 1):
        row = {"round": round_, "sites": len(sites), "train_loss": 1 / round_, "seconds": 2.5, "bytes": 10**6}
        run.add_rows("metrics.csv", [row | scores()])
        run.add_rows(
            "sites.csv",
            [
                {
                    "round": round_,
                    "site": site,
                    "phase": phase,
                    "examples": 40,
                    "seconds": 1.5,
                    "bytes": 50_000,
                }
                | ({"train_loss": 1 / round_} if phase == "train" else scores())
                for site in sites
                for phase in ("train", "val")
            ],
        )
        run.event("round_finished", round=round_, loss=0.5)
    tested = {site: scores() for site in sites}
    federation = scores()
    metrics_of = {
        metric: {"value": federation[metric], "low": 0.4, "high": 0.9} for metric in shown_metrics(job)
    }
    counts = {"train": 100, "val": 20, "test": 40}
    empty = make_task(job).metrics()
    run.keep_test({"edges": None, "federation": empty.pack().tolist(), "sites": {}})
    about = {
        "status": "finished",
        "finished": "2026-11-26T10:00:00+00:00",
        "sites": {site: {"patients": counts, "examples": counts} for site in sites},
        "only_judging": {},
        "left_out": {},
        "rounds": rounds,
        "tested_round": rounds,
        "test": {"federation": federation, "sites": tested, "examples": dict.fromkeys(sites, 40)},
        "comparison": {"patients": 40 * len(sites), "how": "counts", "metrics": metrics_of, "one_class": {}},
        "bytes_sent": dict.fromkeys(sites, 50_000 * rounds * 2),
        "late": {},
    }
    run.describe(**about | entries)
    return run.path
