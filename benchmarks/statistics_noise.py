"""What it costs that times of events are told with noise: intervals beside those of exact counts.

    python benchmarks/statistics_noise.py MANIFEST [--horizon 2000] [--time time --event event] [--least 10]

The manifest has the columns `site`, `event` and the time. Every site tells a histogram of its events as it
does before round 1 (`client/guard/statistics.py`), with `min_group` and `round_counts_to` of `--least`; the
intervals are found from the sum, for 20 keys of the sites. Printed are, for each end, how far it is from that
of exact counts, and which shares of the events the intervals hold.
"""

import argparse
import csv
import hashlib
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
from common import conditions, finish
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from client.guard.bounds import Bounds
from client.guard.release import Release
from client.guard.statistics import histogram_of
from shared.metrics.statistic_spec import StatisticSpec
from shared.metrics.statistics import quantiles

_KEYS = 20
_BINS = 256


def main() -> None:
    """Find the intervals from exact and from told counts, and print how they differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--horizon", type=float, default=2000.0)
    parser.add_argument("--intervals", type=int, default=4)
    parser.add_argument("--time", default="time")
    parser.add_argument("--event", default="event")
    parser.add_argument("--least", type=int, default=10, help="min_group and round_counts_to of every site")
    options = parser.parse_args()
    events = _events(options.manifest, options.time, options.event)
    spec = StatisticSpec.histogram("times", options.time, _BINS, 0.0, options.horizon)
    found = partial(_ends, events, spec, options.intervals)
    counts = np.histogram(np.concatenate([*events.values()]), _BINS, (0.0, options.horizon))[0]
    exact = quantiles(counts.astype(np.float64), options.intervals, 0.0, options.horizon)
    told = np.stack([found(options.least, key) for key in range(_KEYS)])
    shares = np.stack([_shares(events, ends) for ends in told])
    table = Table("end of interval", "exact", "mean error", "largest error", "share of events")
    errors = np.abs(told - exact) / exact
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
    figures = {"events": sizes, "exact": exact.tolist(), "error": errors.mean(axis=0).tolist()}
    finish("statistics_noise", {"conditions": conditions(), **figures}, [], quick=False)


def _events(manifest: Path, time: str, event: str) -> dict[str, NDArray[np.float64]]:
    times: dict[str, list[float]] = defaultdict(list)
    with manifest.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if float(row[event]):
                times[row["site"]].append(float(row[time]))
    return {site: np.array(values) for site, values in sorted(times.items())}


def _ends(
    events: dict[str, NDArray[np.float64]], spec: StatisticSpec, number: int, least: int, key: int
) -> NDArray[np.float64]:
    release = Release(True, True, True, True, least, least)
    total = np.zeros(spec.shape)
    for site, times in events.items():

        def seed(digest: str, site: str = site) -> int:
            return int(hashlib.sha256(f"{key} {site} {digest}".encode()).hexdigest()[:16], 16)

        total += histogram_of(spec, times, release, Bounds(least, seed))
    return quantiles(total, number, spec.low, spec.high)


def _shares(events: dict[str, NDArray[np.float64]], ends: NDArray[np.float64]) -> NDArray[np.float64]:
    times = np.concatenate([own[own <= ends[-1]] for own in events.values()])
    return np.histogram(times, [0.0, *ends])[0] / len(times)


if __name__ == "__main__":
    main()
