"""The jobs that tests and benchmarks run: every one of them is built here."""

import copy
from typing import Any

import tomli_w

from shared.job.schema import JobSpec, parse_job
from shared.networks import NETWORKS

Tables = dict[str, dict[str, Any]]

TASK_OF = {"vector": "classification", "map": "segmentation"}  # by what a network gives
IMAGE_NETWORKS = sorted(
    name
    for name, options in NETWORKS.items()
    if options.gives in TASK_OF and options.dimensions & {2, 3} and "one" in options.stacks
)
"""The networks that see images."""
IMAGE_NETWORKS_IN = [(name, axes) for name in IMAGE_NETWORKS for axes in sorted(NETWORKS[name].dimensions)]
"""Each of them with each number of axes that its images may have."""

# Small enough to be trained many times in a test; for the hospitals of `tests.conftest.write_dataset`.
TINY: Tables = {
    "job": {"name": "tiny", "dataset": "discs", "rounds": 3, "seed": 5},
    "data": {"size": [16, 16], "augment": ["flip"]},
    "training": {"local_epochs": 1, "batch_size": 2, "learning_rate": 0.01},
    "strategy": {"name": "fedavg", "min_sites": 3},
}
BY_TASK: dict[str, Tables] = {
    "segmentation": {
        "task": {"name": "segmentation", "classes": ["disc"], "loss": "dice-ce"},
        "model": {"name": "unet", "channels": [4, 8], "num_res_units": 0, "norm": "batch"},
        "evaluation": {"select_best": "dice_global"},
    },
    "classification": {
        "task": {"name": "classification", "classes": ["small", "large"], "loss": "cross-entropy"},
        "model": {"name": "cnn", "channels": [4, 8]},
    },
    "detection": {
        "task": {"name": "detection", "classes": ["disc"], "most_boxes": 10},
        "model": {"name": "unet", "channels": [4, 8], "num_res_units": 0, "norm": "instance"},
        "evaluation": {"select_best": "ap30"},
    },
    "registration": {
        "task": {"name": "registration", "partners": 1},
        "model": {"name": "unet", "channels": [4, 8], "num_res_units": 0, "norm": "instance"},
        "data": {"size": [16, 16], "intensity": "percentile"},
    },
    "instances": {
        "task": {"name": "instances", "classes": ["disc"]},
        "model": {"name": "unet", "channels": [4, 8], "num_res_units": 0, "norm": "instance"},
        "evaluation": {"select_best": "pq"},
    },
    "survival": {
        "task": {"name": "survival", "columns": ["age", "grade"], "intervals": [12.0, 36.0, 60.0]},
        "model": {"name": "mlp", "hidden": [4]},
        "data": {},
    },
    "restoration": {
        "task": {"name": "restoration", "degradations": [{"kind": "gaussian", "level": 0.1}]},
        "model": {"name": "unet", "channels": [4, 8], "num_res_units": 0, "norm": "instance"},
        "data": {"size": [16, 16], "intensity": "window", "window": [0.0, 255.0]},
    },
    "reconstruction": {
        "task": {"name": "reconstruction", "measurement": {"kind": "cartesian", "centre": 0.1}, "steps": 2},
        "model": {"name": "unet", "channels": [4, 8], "num_res_units": 0, "norm": "instance"},
        "data": {"size": [16, 16], "intensity": "window", "window": [0.0, 255.0]},
    },
    "synthesis": {
        "task": {"name": "synthesis", "reference": ["mask"]},
        "model": {"name": "unet", "channels": [4, 8], "num_res_units": 0, "norm": "instance"},
        "data": {"size": [16, 16], "intensity": "window", "window": [0.0, 255.0]},
    },
    "regression": {
        "task": {"name": "regression", "targets": ["age"]},
        "model": {"name": "cnn", "channels": [4, 8]},
        "evaluation": {"select_best": "r2"},
    },
    "vae": {
        "task": {"name": "vae", "latent": 8},
        "model": {
            "encoder": {"name": "discriminator", "channels": [8, 16]},
            "decoder": {"name": "generator", "channels": [8, 16]},
        },
        "data": {"size": [16, 16], "intensity": "window", "window": [0.0, 255.0]},
    },
    "vq-vae": {
        "task": {"name": "vq-vae", "book": 8},
        "model": {
            "autoencoder": {"name": "vqvae", "channels": [4, 8], "width": 4},
            "prior": {"name": "code-transformer", "width": 8, "layers": 1, "heads": 2},
        },
        "data": {"size": [8, 8], "intensity": "window", "window": [0.0, 255.0]},
    },
    "diffusion": {
        "task": {"name": "diffusion", "drawing_steps": 4},
        "model": {"name": "diffusion-unet", "channels": [8, 16]},
        "data": {"size": [16, 16], "intensity": "window", "window": [0.0, 255.0]},
    },
    "pretraining": {
        "task": {"name": "pretraining", "method": "mae", "block": 4},
        "model": {"name": "unet", "channels": [4, 8], "num_res_units": 0, "norm": "instance"},
    },
    "generation": {
        "task": {"name": "generation", "latent": 8},
        "model": {
            "generator": {"name": "generator", "channels": [8, 16]},
            "discriminator": {"name": "discriminator", "channels": [8, 16]},
        },
        "data": {"size": [16, 16], "intensity": "window", "window": [0.0, 255.0]},
    },
}
# What a strategy asks of the rest of a job, as dotted keys.
NEEDED_BY: dict[str, dict[str, Any]] = {
    "scaffold": {"training.optimizer": "sgd", "training.momentum": 0.0},
    "feddyn": {"training.optimizer": "sgd"},
    "cyclic": {"strategy.min_sites": 1},
    "fednova": {"training.optimizer": "sgd", "training.momentum": 0.0},
    "apfl": {"training.optimizer": "sgd", "training.momentum": 0.0},
    "swarm": {"strategy.min_sites": 1},
    "fedbuff": {"strategy.min_sites": 2},
}


def job_tables(**options: Any) -> Tables:
    """Return the tables of a small job, as its file has them; nothing is checked.

    Args:
        options: `training_batch_size=4` sets `[training] batch_size`, None removes it; `model={...}` replaces
            a table, None removes it. What belongs to the task is always `task_KEY`, and `task_name` brings
            the classes, the loss and the network that stand in `BY_TASK`. `strategy_name` brings what it
            needs by `NEEDED_BY`.
    """
    tables = copy.deepcopy(TINY | BY_TASK[options.get("task_name", "segmentation")])
    options = _needed(options) | options
    for option, value in options.items():
        table, _, key = option.partition("_")
        _set(tables.setdefault(table, {}) if key else tables, key or table, copy.deepcopy(value))
    return tables


def make_job(**options: Any) -> JobSpec:
    """Return a small job, with the options of `job_tables`."""
    return parse_job(job_tables(**options), "tiny")


def marks_job(**options: Any) -> JobSpec:
    """Return a small job of one step for the site of `tests/client/conftest.py`; see `job_tables`."""
    marks = {
        "job_dataset": "marks",
        "task_name": "classification",
        "task_classes": ["no", "yes"],
        "data_augment": None,
        "training_local_epochs": None,
        "training_local_steps": 1,
        "training_batch_size": 4,
        "strategy_min_sites": 2,
    }
    return make_job(**marks | _needed(options) | options)


def job_text(**options: Any) -> str:
    """Return the text of a small job's file, with the options of `job_tables`."""
    return tomli_w.dumps(job_tables(**options))


def _needed(options: dict[str, Any]) -> dict[str, Any]:
    """Return what the strategy among some options needs, as such options."""
    needed = NEEDED_BY.get(options.get("strategy_name", ""), {})
    return {key.replace(".", "_"): value for key, value in needed.items()}


def _set(table: dict[str, Any], key: str, value: Any) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
