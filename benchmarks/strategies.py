"""What strategies are worth where hospitals differ: Dice and rounds to a target on synthetic brain slices.

    python benchmarks/strategies.py [--rounds 12] [--seeds 1 2 3] [--quick]

Each run is `wardround simulate` of the quickstart job with batch norm, at four hospitals with other scanners.
SCAFFOLD needs plain SGD, so FedAvg is there with it too. `--quick` is two rounds on synthetic discs: no
figure is held.
"""

import argparse
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from common import conditions, finish, rows_of, shipped, write_hospitals
from rich.console import Console
from rich.table import Table

from server.runs.folder import RunFolder
from simulate.session.session import Hospitals, execute, start

TARGET = 0.7  # Dice of all validation patients together
SGD = {"training.optimizer": "sgd", "training.momentum": 0.0, "training.learning_rate": 0.1}
KINDS: dict[str, dict[str, Any]] = {
    "fedavg": {"strategy.name": "fedavg"},
    "fedprox, mu 0.01": {"strategy.name": "fedprox", "strategy.proximal_mu": 0.01},
    "fedbn": {"strategy.name": "fedbn"},
    "ditto, pull 0.1": {"strategy.name": "ditto", "strategy.pull": 0.1},
    "fedavg, SGD": {"strategy.name": "fedavg", **SGD},
    "scaffold, SGD": {"strategy.name": "scaffold", **SGD},
}


@dataclass(frozen=True)
class Outcome:
    """What one run brought.

    Attributes:
        dice: Of the test patients of all sites together.
        worst: Of the site with the lowest.
        reached: Round after which the validation patients were at the target; None where they never were.
    """

    dice: float
    worst: float
    reached: int | None


def main() -> None:
    """Run the job with each strategy and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--quick", action="store_true", help="seconds; held to no figure")
    options = parser.parse_args()
    seeds, rounds = ([1], 2) if options.quick else (options.seeds, options.rounds)
    figures: dict[str, Any] = conditions() | {"rounds": rounds, "seeds": seeds, "target": TARGET}
    with tempfile.TemporaryDirectory(prefix="wardround-strategies-") as name:
        folder = Path(name)
        hospitals = Hospitals(scanner_shift=True)
        if options.quick:
            hospitals = Hospitals(data=write_hospitals(folder / "data", 3, 9, 32, ("train", "val", "test")))
        found = {
            kind: [run(kind, seed, rounds, hospitals, folder, quick=options.quick) for seed in seeds]
            for kind in KINDS
        }
    missed = show(found, figures)
    finish("strategies", figures, missed, quick=options.quick)


def run(kind: str, seed: int, rounds: int, hospitals: Hospitals, out: Path, *, quick: bool) -> Outcome:
    """Run the job with one strategy."""
    overrides = {"job.seed": seed, "job.rounds": rounds, "model.norm": "batch", **KINDS[kind]}
    if quick:
        overrides |= {"data.size": [32, 32], "training.batch_size": 4}
    job = shipped("quickstart", overrides)
    with tempfile.TemporaryDirectory(dir=out) as folder:
        done = start(job, hospitals, Path(folder), "cpu", baselines=False)
        workers = "in-process" if quick else str(len(os.sched_getaffinity(0)))
        execute(done, workers, Console(quiet=True))
        tested = done.read_description()["test"]
        worst = min(scores["dice_global"] for scores in tested["sites"].values())
        return Outcome(tested["federation"]["dice_global"], worst, reached(done))


def reached(done: RunFolder) -> int | None:
    """Return the first round after which the validation patients were at the target."""
    rows = rows_of(done.path / "metrics.csv")
    return next((int(row["round"]) for row in rows if float(row["dice_global"]) >= TARGET), None)


def show(found: dict[str, list[Outcome]], figures: dict[str, Any]) -> list[str]:
    """Print the table, add its figures, return what was missed."""
    table = Table(title="quickstart with batch norm, a scanner of its own at each hospital")
    for column in ("strategy", "Dice", "from", "to", "worst site", f"rounds to {TARGET:g}"):
        table.add_column(column, justify="left" if column == "strategy" else "right")
    for kind, outcomes in found.items():
        dice = [outcome.dice for outcome in outcomes]
        worst = mean(outcome.worst for outcome in outcomes)
        rounds = [outcome.reached for outcome in outcomes]
        shown = " ".join("-" if number is None else str(number) for number in rounds)
        table.add_row(
            kind, f"{mean(dice):.3f}", f"{min(dice):.3f}", f"{max(dice):.3f}", f"{worst:.3f}", shown
        )
        figures[kind] = {"dice": dice, "worst_site": worst, "rounds_to_target": rounds}
    Console().print(table)
    missed = []
    if figures["scaffold, SGD"]["worst_site"] < figures["fedavg, SGD"]["worst_site"] - 0.05:
        missed.append("SCAFFOLD is worse than FedAvg at the worst site")
    return missed


if __name__ == "__main__":
    main()
