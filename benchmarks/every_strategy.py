"""Every strategy on real hospitals: brain-lgg and skin-lesions, five seeds, with intervals.

    python benchmarks/every_strategy.py [--jobs brain-lgg] [--seeds 1 2 3 4 5] [--strategies fedavg fedbn]
                                        [--compile] [--quick]

The shipped job with each registered strategy, its defaults, and what it needs of the rest of the job;
beside it pooled training and each site alone. Where a strategy needs plain SGD it is compared with `fedavg,
SGD`. Of every row the job's figure on the test patients of all sites together, its mean over the sites
(each judged with its own model where the strategy keeps one) and the worst site's, with 95 % intervals over
the seeds, and by how much the mean of the sites is above FedAvg's, seed by seed. What is done is kept in
build/every-strategy, and a benchmark that was stopped goes on there. `--quick` is two rounds on synthetic
discs with three strategies: no figure is held.
"""

import argparse
import json
import math
import os
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

from common import DATA, conditions, finish, make_job, shipped, write_hospitals
from rich.console import Console
from rich.table import Table
from science import STUDIES, interval

from shared.job.schema import JobSpec
from shared.strategies import STRATEGIES
from simulate.session.session import Hospitals, execute, start
from tests.jobs import NEEDED_BY

KEPT = Path(__file__).parents[1] / "build" / "every-strategy"
JOBS = ("brain-lgg", "skin-lesions")
LEAST = {"brain-lgg": (0.97, 0.93), "skin-lesions": (0.95, 0.88)}
"""Of the best strategy beside pooled training: the mean, and the lower end of its interval."""

SGD = {"training.optimizer": "sgd", "training.momentum": 0.0, "training.learning_rate": 0.05}
NEEDS: dict[str, dict[str, Any]] = {
    "fedavg, SGD": {"strategy.name": "fedavg", **SGD},
    "scaffold": SGD,
    "feddyn": SGD,
    "fednova": SGD,
    "apfl": SGD,
    "cyclic": NEEDED_BY["cyclic"],
    "swarm": NEEDED_BY["swarm"],
    "fedbuff": {"strategy.buffer": 3},
}
"""What a row needs of the rest of the job."""

TRIAL = ("fedavg", "fedper", "fednova")  # of a quick run
Row = dict[str, float]


def main() -> None:
    """Run what is not there yet, print a table for each job, and fail where a figure is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*STRATEGIES, "fedavg, SGD"]
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--strategies", nargs="+", choices=names, default=names)
    parser.add_argument("--compile", action="store_true", help="compile the networks: faster after minutes")
    parser.add_argument("--quick", action="store_true", help="seconds; held to no figure")
    options = parser.parse_args()
    figures, missed = conditions(), []
    with tempfile.TemporaryDirectory(prefix="wardround-every-strategy-") as folder:
        out = Path(folder)
        if options.quick:
            options.seeds, options.strategies = [1], TRIAL
            discs = write_hospitals(out / "data", 3, 9, 16, ("train", "val", "test"))
            figures["discs"], _ = judged("discs", rows_of("discs", discs, options, out))
            finish("every_strategy", figures, [], quick=True)
        for name in options.jobs:
            pack = DATA / STUDIES[name].pack
            if not pack.is_dir():
                print(f"{name}: skipped, {pack} is not there; set WARDROUND_DATA", file=sys.stderr)
                continue
            figures[name], lacks = judged(name, rows_of(name, pack, options, out))
            missed += lacks
    finish("every_strategy", figures, missed, quick=False)


def rows_of(name: str, data: Path, options: argparse.Namespace, out: Path) -> dict[str, dict[int, Row]]:
    """Return the scores by strategy and seed; what has been found before is read."""
    found: dict[str, dict[int, Row]] = {}
    for seed in options.seeds:
        for strategy in options.strategies:
            job = job_of(name, strategy, seed, compiled=options.compile, quick=options.quick)
            kept = KEPT / name / f"{job.digest()[:16]}.json"
            if kept.exists() and not options.quick:
                scores = json.loads(kept.read_text(encoding="utf-8"))
            else:
                scores = scores_of(job, name, data, out, baselines=strategy == "fedavg", quick=options.quick)
                if not options.quick:
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    kept.write_text(json.dumps(scores), encoding="utf-8")
            for row, value in scores.items():
                found.setdefault(strategy if row == "federated" else row, {})[seed] = value
            print(name, strategy, seed, scores["federated"], file=sys.stderr, flush=True)
    return found


def job_of(name: str, strategy: str, seed: int, *, compiled: bool, quick: bool) -> JobSpec:
    """Return the job of a row."""
    changes = {"strategy.name": strategy, **NEEDS.get(strategy, {}), "job.seed": seed}
    if quick:
        told = {key.replace(".", "_", 1): value for key, value in changes.items()}
        return make_job(job_rounds=2, training_local_epochs=None, training_local_steps=1, **told)
    return shipped(name, changes | ({"training.compile": True} if compiled else {}))


def scores_of(
    job: JobSpec, name: str, data: Path, out: Path, *, baselines: bool, quick: bool
) -> dict[str, Row]:
    """Run a job, and return what the federation reached, and with baselines what pooling and none reach."""
    metric = "dice_global" if quick else STUDIES[name].metric
    with tempfile.TemporaryDirectory(dir=out) as folder:
        run = start(job, Hospitals(data=data), Path(folder), "cpu" if quick else "auto", baselines=baselines)
        workers = "in-process" if quick else str(len(os.sched_getaffinity(0)))
        execute(run, workers, Console(quiet=True))
        told = run.read_description()
    found = {"federated": row_of(told["test"], metric)}
    if baselines:
        alone = [row_of(one, metric) for one in told["baselines"]["alone"].values()]
        found["pooled"] = row_of(told["baselines"]["pooled"], metric)
        found["each alone"] = {key: mean(one[key] for one in alone) for key in alone[0]}
    return found


def row_of(result: dict[str, Any], metric: str) -> Row:
    """Return a figure of all test patients, its mean over the sites that have it, and the worst site's."""
    told = [scores.get(metric) for scores in result.get("sites", {}).values()]
    values = [value for value in told if value is not None and math.isfinite(value)]
    values = values or [result["federation"][metric]]
    return {"all": result["federation"][metric], "sites": mean(values), "worst": min(values)}


def judged(name: str, found: dict[str, dict[int, Row]]) -> tuple[dict[str, Any], list[str]]:
    """Print the table of a job; return its figures and what it misses."""
    table = Table(title=f"{name}: mean and 95 % interval over the seeds")
    columns = ("strategy", "all patients", "mean of the sites", "worst site", "above FedAvg", "of pooled")
    for column in columns:
        table.add_column(column, justify="left" if column == "strategy" else "right")
    figures: dict[str, Any] = {}
    for strategy, rows in sorted(found.items(), key=lambda one: -mean(row["all"] for row in one[1].values())):
        reference = found.get("fedavg, SGD" if NEEDS.get(strategy) == SGD else "fedavg", {})
        above = [rows[seed]["sites"] - reference[seed]["sites"] for seed in rows if seed in reference]
        pooled = found.get("pooled", {})
        shares = [rows[seed]["all"] / pooled[seed]["all"] for seed in rows if seed in pooled]
        shown = {key: [row[key] for row in rows.values()] for key in ("all", "sites", "worst")}
        figures[strategy] = shown | {"above_fedavg": above, "of_pooled": shares}
        lists = (*shown.values(), above, shares)
        table.add_row(strategy, *(f"{mean(one):.3f} ± {interval(one):.3f}" if one else "-" for one in lists))
    Console(width=140).print(table)
    return figures, lacking(name, figures)


def lacking(name: str, figures: dict[str, Any]) -> list[str]:
    """Say what the best strategy lacks beside pooled training."""
    ours = {key: row["of_pooled"] for key, row in figures.items() if key not in ("pooled", "each alone")}
    shares = max(ours.values(), key=lambda one: mean(one) if one else 0.0, default=[])
    if name not in LEAST or len(shares) < 2:
        return []
    least, lowest = LEAST[name]
    if mean(shares) >= least and mean(shares) - interval(shares) >= lowest:
        return []
    return [f"{name}: {mean(shares):.3f} ± {interval(shares):.3f} of pooled, not {least} (above {lowest})"]


if __name__ == "__main__":
    main()
