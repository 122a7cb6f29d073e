"""What patient-level privacy costs in accuracy: skin lesions at epsilon 8 and 3, beside plain training.

    python benchmarks/private_accuracy.py [--seeds 1 2 3] [--quick]

Jobs on the same hospitals, each judged on the test patients of all sites: the shipped plain job, the shipped
private job, the same at a smaller epsilon, and its settings without its privacy. The private models must
reach a balanced accuracy.

What was found is kept in build/private_accuracy.json until the table is whole: who stops this and begins
again goes on with the next job.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

from common import DATA, PROJECT, conditions, finish, need, shipped
from rich.console import Console
from rich.table import Table
from science import interval, shortened

from shared.job.schema import JobSpec
from shared.privacy.options import PrivacyTable
from simulate.session.session import Hospitals, execute, start

PACK, METRIC = "skin_ham_4sites", "balanced_accuracy"
AT_EPSILON_3 = {"privacy.epsilon": 3.0, "job.rounds": 30, "training.learning_rate": 75.0}
LEAST = {"private": 0.40, "private at epsilon 3": 0.35}
KEPT = PROJECT / "build" / "private_accuracy.json"


def main() -> None:
    """Run every job with every seed, print the table and the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--quick", action="store_true", help="one job, seed and round; no figure is held")
    options = parser.parse_args()
    console = Console()
    need("private_accuracy", PACK, quick=options.quick)
    seeds = [1] if options.quick else options.seeds
    scores: dict[str, list[float]] = {}
    for name in ["private"] if options.quick else jobs(1):  # what is held first, and what takes longest last
        for seed in seeds:
            job = jobs(seed)[name]
            found = score(small(job), console) if options.quick else score_once(job, console)
            console.print(f"{name}, seed {seed}: {found:.3f}")
            scores.setdefault(name, []).append(found)
    table = Table(title=f"{METRIC} on the test patients of all sites, seeds {seeds}")
    for column in ("job", "mean", "each seed"):
        table.add_column(column)
    figures = {}
    for name, values in scores.items():
        mean, half = sum(values) / len(values), interval(values)
        table.add_row(name, f"{mean:.3f} ± {half:.3f}", " ".join(f"{value:.3f}" for value in values))
        figures[name] = {"mean": round(mean, 4), "half_width_95": round(half, 4), "seeds": values}
    console.print(table)
    if not options.quick:
        KEPT.unlink()  # asked again, it measures again
    means = {name: figures[name]["mean"] for name in LEAST if name in figures}
    missed = [f"{name}: {mean} is below {LEAST[name]}" for name, mean in means.items() if mean < LEAST[name]]
    finish("private_accuracy", {**conditions(), **figures}, missed, quick=options.quick)


def jobs(seed: int) -> dict[str, JobSpec]:
    """Return the jobs by the name of their row."""
    private = "skin-lesions-private"
    own = shipped(private, {"job.seed": seed})
    return {
        "private": own,
        "private at epsilon 3": shipped(private, {"job.seed": seed, **AT_EPSILON_3}),
        "private settings without privacy": own.model_copy(update={"privacy": PrivacyTable()}),
        "plain": shipped("skin-lesions", {"job.seed": seed}),
    }


def small(job: JobSpec) -> JobSpec:
    """Return the job with one short round on small images."""
    return shortened(job).model_copy(update={"data": job.data.model_copy(update={"size": [32, 64]})})


def score_once(job: JobSpec, console: Console) -> float:
    """Return the metric of a job's model, as found before this was stopped where it was."""
    known: dict[str, float] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    if job.digest() not in known:
        known[job.digest()] = score(job, console)
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    return known[job.digest()]


def score(job: JobSpec, console: Console) -> float:
    """Return the metric of a job's model."""
    with tempfile.TemporaryDirectory(prefix="wardround-private-") as out:
        folder = start(job, Hospitals(data=DATA / PACK), Path(out), "auto", baselines=False)
        execute(folder, str(len(os.sched_getaffinity(0))), console)
        return float(folder.read_description()["test"]["federation"][METRIC])


if __name__ == "__main__":
    main()
