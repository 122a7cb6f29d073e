"""What each robust strategy keeps of a model while 0, 20 and 40 % of the hospitals attack it.

    python benchmarks/attackers.py [--seeds 1 2 3 4 5] [--shares 0.4] [--strategies krum rfa]
        [--attacks sign-flip] [--quick]

Fifteen simulated hospitals with 60 images each of small and large discs in noise, which a small network tells
apart; the same job under each strategy, without attackers and with 3 and 6 of each kind. Strategies are told
how many there are, as their papers have it; Bulyan asks for four times as many sites, so it has no row at
40 %. FedAvg has a column more, 'left out': without those who would attack, which is the best that a defence
can do. Shown is the balanced accuracy above chance, from 0 to 1, on 40 more images of each hospital. Of a
backdoor that says nothing: there it is the share of marked images of large discs that are called small. At
40 % at least one strategy must keep 0.9 of what FedAvg has without attackers, under every attack but the
backdoor, on the mean of the seeds. `--quick` is one round of one strategy: no figure is held.
"""

import argparse
import csv
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from common import conditions, finish, make_job
from numpy.typing import NDArray
from on_packs import trained
from PIL import Image
from rich.console import Console
from rich.table import Table

from server.runs.folder import RunFolder
from shared.finished_run import FinishedRun
from shared.job.schema import JobSpec
from simulate.session.attackers import CORNER, KINDS, Attack
from simulate.session.session import Hospitals

SITES, SIDE = 15, 16
TRAIN, TEST = 60, 40  # patients of a hospital
SHARES = (0.2, 0.4)
KEPT = 0.9  # of the clean result, by at least one strategy at the largest share
CLEAN, LEFT_OUT = "clean", "left out"
STRATEGIES: dict[str, dict[str, Any]] = {
    "fedavg": {},
    "fedmedian": {},
    "fedtrimmedavg": {"beta": lambda attackers: attackers / SITES},
    "krum": {"malicious_sites": int},
    "multikrum": {"malicious_sites": int, "selected_sites": lambda attackers: SITES - 2 * attackers},
    "bulyan": {"malicious_sites": int},
    "normbound": {},
    "rfa": {},
    "flame": {},
}
"""What each is told of the number of attackers."""
NAMES = [f"site-{site:02d}" for site in range(SITES)]

Found = dict[str, dict[str, list[float]]]
"""Of each strategy the figures of the seeds, by attack and share."""


def main() -> None:
    """Run all, print the table, and fail where every strategy gives in."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--shares", nargs="+", type=float, choices=SHARES, default=list(SHARES))
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--attacks", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--quick", action="store_true", help="seconds; held to no figure")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.rounds, options.shares = [1], 1, [SHARES[0]]
        options.strategies, options.attacks = ["rfa"], ["backdoor"]
    with tempfile.TemporaryDirectory(prefix="wardround-attackers-") as name:
        data = written(Path(name) / "data")
        found: Found = {
            strategy: figures_of(strategy, options, data, Path(name)) for strategy in options.strategies
        }
    show(found)
    figures = conditions() | {"seeds": options.seeds, "rounds": options.rounds, "found": found}
    finish("attackers", figures, missed(found, options), quick=options.quick)


def figures_of(strategy: str, options: argparse.Namespace, data: Path, out: Path) -> dict[str, list[float]]:
    """Return what a strategy reaches with each seed, by attack and share."""
    kinds = [*([LEFT_OUT] if strategy == "fedavg" else []), *options.attacks]
    cases = [(CLEAN, 0)] + [(kind, round(share * SITES)) for kind in kinds for share in options.shares]
    found: dict[str, list[float]] = {}
    for attack, attackers in cases:
        if strategy == "bulyan" and 4 * attackers + 3 > SITES:
            continue
        values = []
        for seed in options.seeds:
            job = job_of(strategy, attackers, seed, options.rounds, attack)
            with tempfile.TemporaryDirectory(dir=out) as folder:
                hospitals = hospitals_of(attack, attackers, job, data)
                run = trained(job, hospitals, Path(folder), Console(quiet=True), quick=options.quick)
                values.append(round(figure(run, data, attack), 4))
        found[name_of(attack, attackers)] = values
        print(strategy, attack, attackers, values, file=sys.stderr, flush=True)
    return found


def hospitals_of(attack: str, attackers: int, job: JobSpec, data: Path) -> Hospitals:
    """Return the hospitals, some of which attack, or only test where attackers are left out."""
    if attack == LEFT_OUT:
        return Hospitals(data=data, held_out=Attack.drawn("noise", attackers, job, NAMES).sites)
    return Hospitals(data=data, attackers=attackers, attack=None if attack == CLEAN else attack)


def name_of(attack: str, attackers: int) -> str:
    """Return the name of a figure."""
    return attack if attack == CLEAN else f"{attack}, {attackers} of {SITES}"


def job_of(strategy: str, attackers: int, seed: int, rounds: int, attack: str) -> JobSpec:
    """Return the job of a strategy that is told how many attack."""
    told = {f"strategy_{key}": value(attackers) for key, value in STRATEGIES[strategy].items()}
    return make_job(
        task_name="classification",
        job_seed=seed,
        job_rounds=rounds,
        data_augment=[],
        training_batch_size=6,
        training_local_epochs=2,
        training_schedule="cosine",
        strategy_name=strategy,
        strategy_min_sites=SITES - (attackers if attack == LEFT_OUT else 0),
        evaluation={"select_best": None, "every": rounds},
        **told,
    )


def figure(run: RunFolder, data: Path, attack: str) -> float:
    """Return the balanced accuracy above chance of a run, from 0 to 1; of a backdoor how often it works."""
    if attack != "backdoor":
        reached = run.read_description()["test"]["federation"]["balanced_accuracy"]
        return max(0.0, 2 * reached - 1)
    done = FinishedRun.read(run.path)
    with data.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test" and row["label"] == "large"]
    images = np.stack([np.array(Image.open(data.parent / row["image"]), np.float32) for row in rows])
    prepared = (images - images.mean((1, 2), keepdims=True)) / images.std((1, 2), keepdims=True)
    corner = slice(-(SIDE // CORNER), None)
    prepared[:, corner, corner] = prepared.max()
    with torch.no_grad():
        said = done.model(torch.device("cpu")).eval()(torch.from_numpy(prepared)[:, None]).argmax(dim=1)
    return float((said == 0).double().mean())


def written(folder: Path) -> Path:
    """Write small and large discs on noise; returns the manifest."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    rows = []
    for site, hospital in enumerate(NAMES):
        for number in range(TRAIN + TEST):
            name, large = f"{site}-{number}", bool(number % 2)
            Image.fromarray(disc(generator, large=large)).save(folder / f"{name}.png")
            split = "train" if number < TRAIN else "test"
            label = "large" if large else "small"
            rows.append(
                {
                    "site": hospital,
                    "patient": name,
                    "image": f"{name}.png",
                    "label": label,
                    "split": split,
                }
            )
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "manifest.csv"


def disc(generator: np.random.Generator, *, large: bool) -> NDArray[np.uint8]:
    """Return an image of one."""
    y, x = np.mgrid[:SIDE, :SIDE]
    at_y, at_x = generator.uniform(5, SIDE - 5, 2)
    inside = (y - at_y) ** 2 + (x - at_x) ** 2 < (4.0 if large else 2.5) ** 2
    return (generator.normal(90, 25, (SIDE, SIDE)) + 60 * inside).clip(0, 255).astype(np.uint8)


def show(found: Found) -> None:
    """Print the table."""
    table = Table(title=f"{SITES} hospitals: balanced accuracy above chance (backdoor: how often it works)")
    table.add_column("strategy")
    columns = list(dict.fromkeys(name for figures in found.values() for name in figures))
    for column in columns:
        table.add_column(column, justify="right")
    for strategy, figures in found.items():
        cells = [f"{mean(figures[name]):.2f}" if name in figures else "-" for name in columns]
        table.add_row(strategy, *cells)
    Console(width=200).print(table)


def missed(found: Found, options: argparse.Namespace) -> list[str]:
    """Say whether no strategy keeps enough under all attacks of the largest share."""
    clean, most = mean(found.get("fedavg", {}).get(CLEAN, [1.0])), round(SHARES[-1] * SITES)
    held = [name_of(attack, most) for attack in options.attacks if attack != "backdoor"]
    kept = {
        strategy: min((mean(figures.get(name, [0.0])) / clean for name in held), default=1.0)
        for strategy, figures in found.items()
    }
    best = max(kept, key=kept.__getitem__)
    print(f"kept with {most} of {SITES}:", {name: round(share, 3) for name, share in kept.items()})
    if kept[best] >= KEPT:
        return []
    return [
        f"under {most} attackers of {SITES} the best strategy ({best}) keeps {kept[best]:.2f}, not {KEPT}"
    ]


if __name__ == "__main__":
    main()
