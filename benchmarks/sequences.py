"""Does the order of a series help? Networks that know it beside the same encoder frame by frame, paired.

    python benchmarks/sequences.py [phantom-cine] [phantom-rhythm] [brain-series] [--seeds 1 2 3] [--quick]

Each run is the shipped job, federated, and the same job with `mean-pooling` in place of its aggregator: the
mean of what each frame says by itself. Both are asked about the same test patients of all hospitals; the
difference of their balanced accuracies has an interval by a bootstrap over patients, of all seeds together.
"""

import argparse
import io
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from brains import series_of_brains
from common import PROJECT, conditions, finish, rows_of
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from client.predict.run_model import predict_with
from shared.job.schema import JobSpec, parse_job
from simulate.session.session import Hospitals, execute, start

JOBS, BRAINS = ("phantom-rhythm", "phantom-cine"), "brain-series"
DRAWS = 2000
Answers = dict[tuple[int, str], tuple[str, str]]
"""(seed, patient) -> true class, predicted class"""


def main() -> None:
    """Run the jobs asked for, print one table, and fail where the order does not help."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("jobs", nargs="*", choices=[*JOBS, BRAINS, []], help="both phantoms by default")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--networks", nargs="+", default=[], help="besides the job's own: names of networks")
    parser.add_argument("--quick", action="store_true", help="one job, seed and round; no figure is held")
    options = parser.parse_args()
    figures: dict[str, Any] = {**conditions()}
    missed: list[str] = []
    table = Table(title="balanced accuracy on the test patients of all hospitals, all seeds together")
    for column in ("job", "network", "in order", "frame by frame", "difference, 95 %", "patients"):
        table.add_column(column)
    for name in options.jobs or JOBS[: 1 if options.quick else None]:
        pooled = answers(name, "mean-pooling", options)
        for network in [None, *options.networks]:
            own = answers(name, network, options)
            row = paired(own, pooled, same_patients=name == BRAINS)
            figures[f"{name}, {network or 'its own'}"] = row
            low, high = row["interval"]
            table.add_row(
                name,
                network or "its own",
                f"{row['in order']:.3f}",
                f"{row['frame by frame']:.3f}",
                f"{row['difference']:+.3f} ({low:+.3f} to {high:+.3f})",
                str(row["patients"]),
            )
            if network is None and not low > 0:
                missed.append(f"{name}: the interval of the difference is not above 0")
    Console().print(table)
    finish("sequences", figures, missed, quick=options.quick)


def answers(name: str, network: str | None, options: argparse.Namespace) -> Answers:
    """Return what the models of all seeds say of the test patients."""
    found: Answers = {}
    for seed in options.seeds[: 1 if options.quick else None]:
        with tempfile.TemporaryDirectory(prefix="wardround-series-") as place:
            folder, job = Path(place), job_of(name, network, seed, quick=options.quick)
            data = series_of_brains(folder) if name == BRAINS else None
            run = start(job, Hospitals(data=data), folder, "cpu", baselines=False)
            execute(run, "in-process", Console(file=io.StringIO()))
            data = data or next(folder.glob(".phantoms/*/*/manifest.csv"))
            predict_with(run.path, data, folder / "said", device="cpu")
            testing = {row["patient"] for row in rows_of(data) if row["split"] == "test"}
            for row in rows_of(folder / "said" / "predictions.csv"):
                if row["patient"] in testing:
                    found[seed, row["patient"]] = row["true"], row["predicted"]
        right = [true == said for (one, _), (true, said) in found.items() if one == seed]
        print(name, network or "its own", f"seed {seed}: {np.mean(right):.3f} right", flush=True)
    return found


def job_of(name: str, network: str | None, seed: int, *, quick: bool) -> JobSpec:
    """Return a job, with another aggregator where one is named."""
    path = PROJECT / "configs" / "jobs" / f"{name}.toml"
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    table["job"]["seed"] = seed
    if quick:
        table["job"]["rounds"] = 1
    if network is not None:
        whole = table["model"]
        of = whole.get("aggregator", whole)
        hidden = of.get("hidden") or [32]  # as many layers as another network has for each frame
        new = {"name": network, "hidden": hidden if network == "mean-pooling" else of.get("hidden", [])}
        table["model"] = {**whole, "aggregator": new} if "aggregator" in whole else new
    return parse_job(table, path)


def paired(own: Answers, other: Answers, *, same_patients: bool) -> dict[str, Any]:
    """Return both balanced accuracies and their difference, with an interval over patients.

    Args:
        own: Of the network that knows the order.
        other: Of the one that does not.
        same_patients: Whether those of all seeds are the same people: another seed of a synthetic dataset has
            others of the same names.
    """
    seeds = sorted({seed for seed, _ in own})
    keys = sorted(own, key=lambda key: (key[1], key[0]))
    names = [key[1] if same_patients else f"{key[1]} of {key[0]}" for key in keys]
    places = [np.flatnonzero(np.array(names) == name) for name in dict.fromkeys(names)]
    true = np.array([own[key][0] for key in keys])
    right = np.array([[own[key][0] == own[key][1], other[key][0] == other[key][1]] for key in keys])
    classes = np.unique(true)
    rng = np.random.default_rng(0)
    drawn = [
        balanced(right, true, classes, np.concatenate([places[one] for one in chosen]))
        for chosen in rng.integers(0, len(places), (DRAWS, len(places)))
    ]
    whole = balanced(right, true, classes, np.arange(len(keys)))
    low, high = np.nanpercentile([first - second for first, second in drawn], (2.5, 97.5))
    return {
        "seeds": seeds,
        "patients": len(places),
        "in order": round(float(whole[0]), 4),
        "frame by frame": round(float(whole[1]), 4),
        "difference": round(float(whole[0] - whole[1]), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
    }


def balanced(
    right: NDArray[np.bool_], true: NDArray[np.str_], classes: Sequence[str], chosen: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean over the classes of the share that is right, of both (2,)."""
    right, true = right[chosen], true[chosen]
    shares = [right[true == name].mean(axis=0) for name in classes if (true == name).any()]
    found: NDArray[np.float64] = np.mean(shares, axis=0)
    return found


if __name__ == "__main__":
    main()
