"""`make federation`: a coordinator and three hospitals as processes of their own run the quickstart job."""

import sys
import tempfile
from pathlib import Path

from server.report.show_run import show_run
from shared.job.schema import load_job
from simulate.data.phantom import make_phantom
from simulate.federation.processes import LocalFederation

SITES = ("north", "south", "east")


def main(job_file: Path) -> None:
    """Start everything, run the job, show it live, end everything; `runs/` gets a copy of the run."""
    job = load_job(job_file)
    with tempfile.TemporaryDirectory(prefix="wardround-") as scratch:
        folder = Path(scratch)
        manifest = make_phantom(job.job.dataset, folder / "images", job.job.seed)
        print("starting a coordinator ...", flush=True)
        with LocalFederation(folder) as federation:
            for site in SITES:
                print(f"starting the hospital '{site}' ...", flush=True)
                federation.enrol(site, {job.job.dataset: manifest})
                federation.start(site)
            federation.await_sites()
            print(f"all are online; submitting {job_file}", flush=True)
            runs = federation.runs()
            name = runs.submit(job)
            show_run(runs, name)
            print(f"Run folder: {runs.fetch(name, Path('runs'))}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
