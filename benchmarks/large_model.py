"""A model of 400 MB over a real federation: does it get through, and what memory does it take?

Three sites with almost nothing to train, so that what is seen is the way of the model: from the ServerApp
through SuperLink and gateway to each node, and back. The resident memory of every process is read at its
peak (VmHWM), and four times a second without the pages of files, which the system takes back when it needs
them. The gateway and a node may hold three copies of the model at most, SuperLink and gateway together two,
and the ServerApp four that are not pages of files.

    python benchmarks/large_model.py [--quick] [--sites 1]
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])

from common import MB, conditions, finish, make_job, watched_memory, write_hospitals  # noqa: E402

from shared.job.schema import JobSpec  # noqa: E402
from shared.networks.build import build_model  # noqa: E402
from shared.wire.packed_model import Layout  # noqa: E402
from simulate.federation.processes import LocalFederation  # noqa: E402

SITES = 3
SIDE = 32
CHANNELS = (8, 384, 1024, 2048, 2048)
QUICK_CHANNELS = (8, 16, 384, 768)  # more than travels inside a message
QUICK_SITES = 1
COPIES = 3  # of the model, that the gateway and a node may hold
COORDINATOR_COPIES, RUN_COPIES = 2, 4  # SuperLink and gateway together; the process of a run
ROLES = {
    "flower-superlink": "SuperLink",
    "flwr-serverapp": "ServerApp",
    "spawn_main": "worker",
    "wardround server": "gateway",
    "wardround client": "node",
}


def job_of(channels: tuple[int, ...], sites: int, rounds: int) -> JobSpec:
    """Return a job with a wide U-Net and one step on one small image a round."""
    return make_job(
        job_name="large",
        job_rounds=rounds,
        model={"name": "unet", "channels": list(channels), "num_res_units": 0},
        data={"size": [SIDE, SIDE]},
        training={"local_steps": 1, "batch_size": 1, "optimizer": "sgd"},
        strategy={"name": "fedavg", "min_sites": sites, "round_timeout": 1800.0},
        evaluation=None,
    )


def main() -> None:
    """Measure, print, and exit with 1 when the figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small model, one site; held to no figure")
    parser.add_argument("--sites", type=int, help="where memory is short for three, which take 9 GB")
    options = parser.parse_args()
    quick = options.quick
    channels, sites, rounds = (QUICK_CHANNELS, QUICK_SITES, 1) if quick else (CHANNELS, SITES, 2)
    sites = options.sites or sites
    job = job_of(channels, sites, rounds)
    size = Layout.of(build_model(job)).size * 4 / MB
    result: dict[str, Any] = {**conditions(), "sites": sites, "model_mb": round(size, 1)}
    with tempfile.TemporaryDirectory() as scratch, LocalFederation(Path(scratch)) as federation:
        manifest = write_hospitals(Path(scratch) / "images", sites, 3, SIDE, ("train", "val", "test"))
        for site in range(sites):
            federation.enrol(f"site-{site:03d}", {"discs": manifest})
            federation.start(f"site-{site:03d}")
        federation.await_sites()
        runs = federation.runs()
        with watched_memory(ROLES) as peaks, watched_memory(ROLES, ("RssAnon", "RssShmem")) as own:
            start = time.monotonic()
            name = runs.submit(job)
            for event in runs.follow(name):
                told = f"{event.kind} {event.round or ''} {event.site} {event.data.get('reason', '')}"
                print(f"  {time.monotonic() - start:.1f} {told}", file=sys.stderr)
            seconds = time.monotonic() - start
        status = next(row.status for row in runs.list() if row.name == name)
    copies = {role: round(peak / size, 2) for role, peak in sorted(peaks.items())}
    table = Table(
        "process", title=f"a model of {size:.0f} MB ({sites} × site): {status} after {seconds:.0f} s"
    )
    for heading in ("peak MB", "copies of the model", "without files"):
        table.add_column(heading, justify="right")
    for role, count in copies.items():
        table.add_row(role, f"{peaks[role]:.0f}", f"{count:.1f}", f"{own[role] / size:.1f}")
    Console().print(table)
    missed = [] if status == "finished" else [f"the run {status}"]
    held = {
        "gateway": (copies["gateway"], COPIES),
        "node": (copies["node"], COPIES),
        "SuperLink with the gateway": (copies["SuperLink"] + copies["gateway"], COORDINATOR_COPIES),
        "ServerApp, without files,": (own["ServerApp"] / size, RUN_COPIES),
    }
    for role, (count, most) in held.items():
        if count > most:
            missed.append(f"the {role} holds {count:.1f} copies of the model, {most} are allowed")
    result |= {
        "status": status,
        "seconds": round(seconds, 1),
        "peak_mb": peaks,
        "copies": copies,
        "own_mb": own,
    }
    finish("large_model", result, missed, quick=quick)


if __name__ == "__main__":
    main()
