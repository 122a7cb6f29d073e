"""What it costs that times of events are told with noise: intervals beside those of exact counts.

    python benchmarks/statistics_noise.py [--least 10] [--quick]

Every site of a data pack tells a histogram of its events as it does before round 1
(`client/guard/statistics.py`), with `min_group` and `round_counts_to` of `--least`; the ends of four
intervals are found from the sum, for 20 keys of the sites. Printed are, for each end, how far it is from that
of exact counts, and which shares of the events the intervals hold.
"""

import argparse
import hashlib
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, conditions, finish, need, rows_of
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from client.guard.bounds import Bounds
from client.guard.release import Release
from client.guard.statistics import histogram_of
from shared.metrics.statistic_spec import StatisticSpec
from shared.metrics.statistics import quantiles

PACKS = {"tabular_tcga_brca6": 3650.0, "survival_rotterdam_gbsg": 120.0}  # with the horizon
_KEYS = 20
_BINS = 256
_INTERVALS = 4

Events = dict[str, NDArray[np.float64]]
"""The times of the events of each site."""


def main() -> None:
    """Find the intervals from exact and from told counts, and print how they differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--least", type=int, default=10, help="min_group and round_counts_to of every site")
    parser.add_argument("--quick", action="store_true", help="one pack, two keys; held to no figure")
    options = parser.parse_args()
    need("statistics_noise", *PACKS, quick=options.quick)
    names, keys = (list(PACKS)[:1], 2) if options.quick else (list(PACKS), _KEYS)
    figures = {name: measured(name, options.least, keys) for name in names}
    finish("statistics_noise", {**conditions(), **figures}, [], quick=options.quick)


def measured(name: str, least: int, keys: int) -> dict[str, Any]:
    """Print and return how the intervals of a pack differ from exact ones."""
    events = _events(DATA / name / "manifest.csv")
    spec = StatisticSpec.histogram("times", "time", _BINS, 0.0, PACKS[name])
    counts = np.histogram(np.concatenate([*events.values()]), _BINS, (spec.low, spec.high))[0]
    exact = quantiles(counts.astype(np.float64), _INTERVALS, spec.low, spec.high)
    told = np.stack([_ends(events, spec, least, key) for key in range(keys)])
    shares = np.stack([_shares(events, ends) for ends in told])
    errors = np.abs(told - exact) / exact
    table = Table("end of interval", "exact", "mean error", "largest error", "share of events", title=name)
    for place, end in enumerate(exact):
        table.add_row(
            str(place + 1),
            f"{end:.4g}",
            f"{errors[:, place].mean():.1%}",
            f"{errors[:, place].max():.1%}",
            f"{shares[:, place].min():.2f}, {shares[:, place].max():.2f}",
        )
    Console().print(table)
    sizes = {site: len(times) for site, times in events.items()}
    return {"events": sizes, "exact": exact.tolist(), "error": errors.mean(axis=0).tolist()}


def _events(manifest: Path) -> Events:
    times: dict[str, list[float]] = defaultdict(list)
    for row in rows_of(manifest):
        if float(row["event"]):
            times[row["site"]].append(float(row["time"]))
    return {site: np.array(values) for site, values in sorted(times.items())}


def _ends(events: Events, spec: StatisticSpec, least: int, key: int) -> NDArray[np.float64]:
    release = Release(True, True, True, True, least, least)
    total = np.zeros(spec.shape)
    for site, times in events.items():
        total += histogram_of(spec, times, release, Bounds(least, partial(_seed, f"{key} {site}")))
    return quantiles(total, _INTERVALS, spec.low, spec.high)


def _seed(key: str, digest: str) -> int:
    return int(hashlib.sha256(f"{key} {digest}".encode()).hexdigest()[:16], 16)


def _shares(events: Events, ends: NDArray[np.float64]) -> NDArray[np.float64]:
    times = np.concatenate([own[own <= ends[-1]] for own in events.values()])
    return np.histogram(times, [0.0, *ends])[0] / len(times)


if __name__ == "__main__":
    main()
