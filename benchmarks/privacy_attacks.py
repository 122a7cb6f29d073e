"""What a model gives away of who was trained on, and what an epsilon leaves of it.

    python benchmarks/privacy_attacks.py [--quick]

One hospital with 200 patients of the pack skin_ham_4sites trains a small network without privacy for so long
that it learns them by heart, which is the case that privacy is for; then with patient-level epsilons. Each
model is attacked as `wardround audit-privacy` does it, with as many patients held out, drawn at random.
Claimed: the plain model's leak is above chance beyond its interval; each private model's is below it; no
attack refutes TPR <= exp(epsilon) FPR + delta of what was promised.
"""

import argparse
import csv
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import DATA, conditions, finish, make_job, need, rows_of
from rich.console import Console
from rich.table import Table

from client.data.manifest.splits import CohortKey, Split, SplitTable
from client.data.samples.site_data import SiteData
from client.membership.attacks import image_losses
from client.membership.audit import RATIO, THRESHOLD, Audit, audit_model
from client.membership.figures import Leak
from client.membership.population import Population
from client.membership.shadows import train_model
from shared.job.schema import JobSpec
from simulate.data.phantom import make_phantom

PACK = "skin_ham_4sites"
SPLIT = Split(CohortKey.drawn(1), SplitTable(validation=0.0))
SKIN = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
PHANTOM = ["naevus", "melanoma", "keratosis"]
EPSILONS = (1.0, 8.0, 50.0)
PLAIN = "plain"
CPU = torch.device("cpu")


def main() -> None:
    """Train, attack, print the table and the figures; exit with 1 where a claim fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="synthetic images; held to no figure")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    console = Console(width=150)
    if not quick:
        need("privacy_attacks", PACK, quick=quick)
    before = conditions()
    patients, shadows, epsilons = (48, 4, EPSILONS[1:2]) if quick else (400, 8, EPSILONS)
    with tempfile.TemporaryDirectory(prefix="wardround-attacks-") as folder:
        source = make_phantom("phantom-lesions", Path(folder), 1) if quick else DATA / PACK / "manifest.csv"
        manifest = halved(source, Path(folder), patients)
        found = {}
        for epsilon in (None, *epsilons):
            name = PLAIN if epsilon is None else f"epsilon {epsilon:g}"
            found[name] = attacked(job_of(epsilon, quick=quick), manifest, shadows)
            console.print(f"{name}: done")
    console.print(table_of(found))
    finish("privacy_attacks", before | figures_of(found), missed(found), quick=quick)


def halved(source: Path, folder: Path, patients: int) -> Path:
    """Write the manifest of a hospital that trains on a random half of some patients, and return it."""
    rows = rows_of(source)
    drawn = np.random.default_rng(1).permutation(sorted({row["patient"] for row in rows}))[:patients]
    sides = {str(name): ("train", "test")[number % 2] for number, name in enumerate(drawn)}
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("patient", "image", "label", "split"))
        for row in rows:
            if row["patient"] in sides:
                image = source.parent.resolve() / row["image"]
                writer.writerow((row["patient"], image, row["label"], sides[row["patient"]]))
    return manifest


def job_of(epsilon: float | None, *, quick: bool) -> JobSpec:
    """Return the job without privacy, 1500 steps, or with it: 40 steps, as noise adds up with them."""
    plain = {"local_steps": 10, "batch_size": 32, "learning_rate": 3e-3}
    private = {"local_steps": 1, "batch_size": 100, "optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.5}
    rounds = 1 if quick else 150 if epsilon is None else 40
    promise = {"mechanism": "dp-sgd", "epsilon": epsilon, "unit": "patient"}
    return make_job(
        job={"name": "attacked", "dataset": "skin", "rounds": rounds, "seed": 1},
        task_name="classification",
        task_classes=PHANTOM if quick else SKIN,
        model={"name": "cnn", "channels": [16, 32], "norm": "group"},
        data={"channels": 3, "size": [24, 32]},
        training=plain if epsilon is None else private,
        strategy={"name": "fedavg", "weight": "equal", "min_sites": 1},
        privacy=None if epsilon is None else promise,
    )


def attacked(job: JobSpec, manifest: Path, shadows: int) -> tuple[Audit, float, float]:
    """Train a model, attack it; returns with the figures its mean loss on members and on the others."""
    population = Population.of(SiteData.load(manifest, job, site="hospital", split=SPLIT), job)
    settings: dict[str, Any] = {"rounds": job.job.rounds, "statistics": {}, "files": {}}
    model = train_model(job, population.chosen(population.members), name="target", device=CPU, **settings)
    audit = audit_model(model, job, population, shadows=shadows, **settings)
    losses = population.by_patient(image_losses(model, job, population))
    return audit, losses[population.members].mean(), losses[~population.members].mean()


def table_of(found: dict[str, tuple[Audit, float, float]]) -> Table:
    """Return a row a training."""
    first = next(iter(found.values()))[0]
    table = Table(title=f"{first.members} patients trained on, {first.others} held out; 95 % intervals")
    for heading in (
        "training",
        "loss: trained on",
        "held out",
        "AUC, loss threshold",
        "AUC, likelihood ratio",
        "TPR at 0.1 % FPR",
        "shows epsilon",
    ):
        table.add_column(heading, justify="left" if heading == "training" else "right")
    for name, (audit, inside, outside) in found.items():
        threshold, ratio = audit.leaks[THRESHOLD], audit.leaks[RATIO]
        low, high = ratio.tpr_interval
        table.add_row(
            name,
            f"{inside:.2f}",
            f"{outside:.2f}",
            _auc(threshold),
            _auc(ratio),
            f"{100 * ratio.tpr:.1f} % ({100 * low:.1f} to {100 * high:.1f})",
            f"{max(threshold.epsilon, ratio.epsilon):.2f}",
        )
    return table


def _auc(leak: Leak) -> str:
    return f"{leak.auc:.3f} ({leak.auc_interval[0]:.3f} to {leak.auc_interval[1]:.3f})"


def figures_of(found: dict[str, tuple[Audit, float, float]]) -> dict[str, Any]:
    """Return the figures of each training."""
    return {
        name: {"loss_members": round(inside, 4), "loss_others": round(outside, 4), **audit.as_json()}
        for name, (audit, inside, outside) in found.items()
    }


def missed(found: dict[str, tuple[Audit, float, float]]) -> list[str]:
    """Return what is claimed and does not hold."""
    plain = found[PLAIN][0].leaks[RATIO]
    problems = [] if plain.auc_interval[0] > 0.5 else ["the plain model leaks nothing that is above chance"]
    for name, (audit, _, _) in found.items():
        if name == PLAIN:
            continue
        promised = float(name.removeprefix("epsilon "))
        if not audit.leaks[RATIO].auc < plain.auc_interval[0]:
            problems.append(f"{name}: leaks no less than the plain model")
        problems += [
            f"{name}: the attack by {attack} shows epsilon {leak.epsilon:.2f}"
            for attack, leak in audit.leaks.items()
            if leak.epsilon > promised
        ]
    return problems


if __name__ == "__main__":
    main()
