"""Does a model of one's own help where hospitals differ? skin-lesions, each site with the model it would use.

    python benchmarks/personal_models.py [--images] [--seeds 1 2 3 4 5] [--rounds 20] [--methods fedavg ditto]
                                         [--quick]

Without `--images` a small network learns from what EfficientNet-Lite0 with ImageNet's weights sees of each
image, computed once (`skin_features.py`); with it the shipped job learns from the images. All methods have
as many rounds, whose last one is the result, so that no validation patients choose it. Beside FedAvg stand
the strategies that leave each site a model of its own, one model of the pooled data, and each site's training
alone, with as many steps as in the federation. Of each method balanced accuracy at every site (over the
classes that its test patients have), the mean over the sites, and by how much that is above FedAvg's: with
95 % intervals over the seeds (Student's t), and over the patients, drawn anew within their sites, the same
for both, the differences averaged over the seeds. `apfl` needs plain SGD, so it is compared with `fedavg,
SGD`; `fedbn` needs norms, which the small network has not.

At least one method must be above FedAvg with an interval over the seeds above zero, and be at no site worse
than training alone. What is done is kept in build/personal-models, and a benchmark that was stopped goes on
there.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import safetensors.torch
from common import DATA, PROJECT, conditions, finish, need, shipped
from every_strategy import SGD
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from science import interval, shortened
from skin_features import COLUMNS, as_table

from server.runs.folder import RunFolder
from shared.job.schema import JobSpec
from shared.metrics.replicates import Tables, patients_in
from shared.run_folder import PATIENTS, REHEARSAL
from shared.tasks import make_task
from simulate.session.session import Hospitals, execute, start

PACK, METRIC = "skin_ham_4sites", "balanced_accuracy"
KEPT = PROJECT / "build" / "personal-models"
METHODS: dict[str, dict[str, Any]] = {
    "fedavg": {},
    "finetune": {"strategy.name": "finetune", "strategy.own_rounds": 5},
    "fedper": {"strategy.name": "fedper"},
    "fedbn": {"strategy.name": "fedbn"},
    "ditto": {"strategy.name": "ditto"},
    "fedavg, SGD": SGD,
    "apfl": {"strategy.name": "apfl", **SGD},
}
"""What each changes in the job."""

OF_FEATURES: dict[str, Any] = {
    "task.columns": list(COLUMNS),
    "task.image": False,
    "model.name": "mlp",
    "model.hidden": [64],
    "model.dropout": 0.3,
    "model.channels": None,
    "model.norm": None,
    "data.channels": None,
    "data.size": None,
    "data.intensity": None,
    "data.augment": None,
    "training.learning_rate": 1e-3,
    "training.weight_decay": 0.01,
}
"""What is changed to learn from features of the images."""

ALONE = "alone"
_DRAWS = 1000

Sites = dict[str, list[float]]
"""By site: the figure on its test patients, and then in each draw of them."""


def main() -> None:
    """Run what is not there yet, print the table, and fail where no method helps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--images", action="store_true", help="the shipped job; hours in place of minutes")
    parser.add_argument("--quick", action="store_true", help="one seed, two steps; held to no figure")
    options = parser.parse_args()
    need("personal_models", PACK, quick=options.quick)
    if options.quick:
        options.seeds, options.rounds, options.methods, options.images = [1], 2, ["fedavg", "fedper"], True
    if not options.images:
        options.methods = [name for name in options.methods if name != "fedbn"]
    found: dict[str, list[Sites]] = {}
    for seed in options.seeds:
        for method in options.methods:
            for name, sites in of_run(
                method, seed, options.rounds, images=options.images, quick=options.quick
            ).items():
                found.setdefault(name, []).append(sites)
                shown = {site: round(values[0], 3) for site, values in sites.items()}
                print(seed, name, shown, file=sys.stderr, flush=True)
    figures = {name: summary(name, found) for name in found}
    show(figures)
    finish("personal_models", conditions() | figures, missed(figures), quick=options.quick)


def of_run(method: str, seed: int, rounds: int, *, images: bool, quick: bool) -> dict[str, Sites]:
    """Return what a method reaches at each site, and with FedAvg what training alone does; may be kept."""
    job = job_of(method, seed, rounds, images=images)
    kept = KEPT / f"{job.digest()[:16]}.json"
    if kept.exists() and not quick:
        return dict(json.loads(kept.read_text(encoding="utf-8")))
    alone = method == "fedavg"
    with tempfile.TemporaryDirectory(prefix="wardround-personal-") as folder:
        hospitals = Hospitals(data=DATA / PACK if images else as_table(KEPT))
        run = start(shortened(job) if quick else job, hospitals, Path(folder), "cpu", baselines=alone)
        execute(run, "in-process", Console(quiet=True))
        found = {method: redrawn(run, job)}
        if alone:
            told = run.read_description()["baselines"]
            found["pooled"] = {name: [told["pooled"]["sites"][name][METRIC]] for name in found[method]}
            found[ALONE] = {name: [told["alone"][name]["sites"][name][METRIC]] for name in found[method]}
    if not quick:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found), encoding="utf-8")
    return found


def job_of(method: str, seed: int, rounds: int, *, images: bool) -> JobSpec:
    """Return the job of a method."""
    last = {
        "job.seed": seed,
        "job.rounds": rounds,
        "evaluation.select_best": None,
        "evaluation.every": rounds,
    }
    return shipped("skin-lesions", ({} if images else OF_FEATURES) | last | METHODS[method])


def redrawn(run: RunFolder, job: JobSpec) -> Sites:
    """Return the figure of each site on its test patients, and with these drawn anew; for all runs alike."""
    tables: dict[str, dict[str, Any]] = {}
    for name, values in safetensors.torch.load_file(run.path / REHEARSAL / PATIENTS).items():
        site, _, table = name.partition("/")
        tables.setdefault(site, {})[table] = values
    task = make_task(job)
    metrics = task.metrics(task.fine_edges())
    return {
        site: metrics.resampled([own], draws_of(own, place))[METRIC].tolist()
        for place, (site, own) in enumerate(sorted(tables.items()))
    }


def draws_of(tables: Tables, place: int) -> NDArray[np.int64]:
    """Return how often each patient of a site counts: each once, and then as they are drawn."""
    patients = patients_in(tables)
    drawn = np.random.default_rng(place).multinomial(patients, np.full(patients, 1 / patients), _DRAWS)
    return np.vstack([np.ones(patients, np.int64), drawn])


def summary(name: str, found: Mapping[str, list[Sites]]) -> dict[str, Any]:
    """Return the figures of a method: at the sites, their mean, and above FedAvg and training alone."""
    runs = found[name]
    beside = found.get("fedavg, SGD" if name == "apfl" else "fedavg", [])
    at_sites = {site: mean(run[site][0] for run in runs) for site in runs[0]}
    figures: dict[str, Any] = {"sites": at_sites, "mean": [_mean(run)[0] for run in runs]}
    if name in (ALONE, "pooled", "fedavg", "fedavg, SGD") or len(beside) != len(runs):
        return figures | {"above": [], "over patients": []} | _least(at_sites, found)
    gains = np.array([_mean(run) - _mean(other) for run, other in zip(runs, beside, strict=True)])
    over = np.nanpercentile(gains.mean(0)[1:], (2.5, 97.5)).tolist()
    return figures | {"above": gains[:, 0].tolist(), "over patients": over} | _least(at_sites, found)


def _mean(run: Sites) -> NDArray[np.float64]:
    """Return the mean over the sites: of the test, and in each draw."""
    mean_: NDArray[np.float64] = np.array(list(run.values())).mean(0)
    return mean_


def _least(at_sites: Mapping[str, float], found: Mapping[str, list[Sites]]) -> dict[str, float]:
    """Return by how much the site that gains least is above its training alone."""
    alone = {site: mean(run[site][0] for run in found.get(ALONE, [])) for site in at_sites if ALONE in found}
    return {"least above alone": min(at_sites[site] - alone[site] for site in alone)} if alone else {}


def show(figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the table."""
    sites = list(next(iter(figures.values()))["sites"])
    table = Table(title="balanced accuracy at each site; ± is over the seeds")
    for column in (
        "method",
        *sites,
        "mean of the sites",
        "above FedAvg",
        "over patients",
        "least above alone",
    ):
        table.add_column(column, justify="left" if column == "method" else "right")
    for name, own in figures.items():
        above = f"{mean(own['above']):.3f} ± {interval(own['above']):.3f}" if own["above"] else "-"
        over = "{:.3f} to {:.3f}".format(*own["over patients"]) if own["over patients"] else "-"
        reached = f"{mean(own['mean']):.3f} ± {interval(own['mean']):.3f}"
        least = f"{own.get('least above alone', float('nan')):.3f}"
        table.add_row(name, *(f"{own['sites'][site]:.3f}" for site in sites), reached, above, over, least)
    Console(width=170).print(table)


def missed(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say whether no method helps on the mean with certainty, and each site at least as training alone."""
    for own in figures.values():
        above = own["above"]
        if len(above) > 1 and mean(above) > interval(above) and own.get("least above alone", -1.0) >= 0:
            return []
    return ["no method is above FedAvg with certainty and at no site worse than training alone"]


if __name__ == "__main__":
    main()
