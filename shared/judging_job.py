"""The job that judges a finished run's model at all sites, and the weights that it names."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.errors import RunError
from shared.files import write_new
from shared.finished_run import FinishedRun, Which
from shared.job.evaluation_rules import OF_ROUNDS
from shared.job.schema import JobSpec, parse_job
from shared.job.toml_text import toml_text, without_none
from shared.job_parts import networks_of
from shared.metrics.statistics import Statistics, means_and_deviations, quantiles
from shared.networks.build import models_of
from shared.networks.start_weights import digest_of, match
from shared.start_files import write_start
from shared.tasks.options import TaskOptions


@dataclass(frozen=True)
class JudgingJob:
    """What to submit.

    Attributes:
        job: Of no rounds.
        tables: It, as a file has it.
        starts: The tensors of each file of weights, by the name that the job gives it.
    """

    job: JobSpec
    tables: dict[str, Any]
    starts: Mapping[str, Mapping[str, Tensor]]


def judging_job(run: FinishedRun, name: str, which: Which, dataset: str | None = None) -> JudgingJob:
    """Return the job that judges a run's model.

    Args:
        run: The run.
        name: Of the job.
        which: The model.
        dataset: On which it is judged; that of the run for None.

    Raises:
        JobError: The run's task can't be judged without a training.
        RunError: The run has no whole model.
    """
    tables = json.loads(run.job.canonical())
    tables["job"] |= {"name": name, "dataset": dataset or run.job.job.dataset, "rounds": 0}
    tables["evaluation"] |= dict.fromkeys(OF_ROUNDS)
    tables["evaluation"].pop("test", None)  # of the rounds that there are not
    tables["strategy"] = {"name": "fedavg", "min_sites": run.job.strategy.min_sites}
    tables["privacy"] = {"secure_aggregation": run.job.privacy.secure_aggregation}
    tables.pop("update", None)
    tables["task"] |= stated(run.job.task, run.statistics)
    models = models_of(run.model(torch.device("cpu"), which))
    starts = {}
    for network in networks_of(run.job):
        model = models[network.role]
        tensors = match(model, model.state_dict()).taken
        start = name if network.table == "model" else f"{name}-{network.role}"
        starts[start] = tensors
        own = tables["model"] if network.table == "model" else tables["model"][network.role]
        own |= {"start": start, "start_sha256": digest_of(tensors), "fresh": None, "lora": None}
    tables = without_none(tables)
    return JudgingJob(parse_job(tables, run.path), tables, starts)


def stated(options: TaskOptions, sums: Statistics) -> dict[str, Any]:
    """Return the keys of `[task]` that state what was summed before a training, as the model rests on it.

    Args:
        options: The task's.
        sums: Of all sites, by the names of the statistics.
    """
    found: dict[str, Any] = {}
    for spec in options.statistics():
        numbers = sums.get(spec.name)
        if spec.kind == "counts":
            found |= {"class_weights": "none"}  # of the loss in training alone
        elif numbers is None:
            continue
        elif spec.kind == "histogram":
            ends = quantiles(numbers, getattr(options, "outputs", 1), spec.low, spec.high)
            found |= {"intervals": ends.tolist(), "horizon": None}
        elif "scaling" in type(options).model_fields:
            pairs = np.stack(means_and_deviations(numbers), axis=1).tolist()
            found["scaling"] = found.get("scaling", {}) | dict(zip(spec.of, pairs, strict=True))
    return found


def write_judging_job(found: JudgingJob, out: Path) -> list[Path]:
    """Write a job's file, and beside it those of its weights; return them.

    Raises:
        JobError: One is there already, or can't be written.
        RunError: The folder is not there.
    """
    if not out.parent.is_dir():
        raise RunError("is in a folder that is not there", where=out)
    files = [out.parent / f"{start}.safetensors" for start in found.starts]
    for path, tensors in zip(files, found.starts.values(), strict=True):
        write_start(path, tensors)
    try:
        write_new(out, toml_text(found.tables).encode(), 0o644)
    except FileExistsError:
        raise RunError("exists already", where=out, remedy="Name another file with --out.") from None
    except OSError as error:
        raise RunError(f"can't be written ({error.strerror})", where=out) from None
    return [out, *files]
