"""Many sites that share a manifest: their start costs by the row, not by the row of every other site."""

import csv
from pathlib import Path

from client.data.manifest.splits import SplitTable
from shared.job.schema import JobSpec
from simulate.session.hospitals import Setup, SimulationHost
from simulate.session.setup import check_sites, sites_of_manifest
from tests.jobs import make_job
from tests.work import calls_of

COLUMNS = ("site", "patient", "age", "grade", "time", "event")


def manifest_of(folder: Path, sites: int) -> Path:
    path = folder / f"{sites}.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number in range(6 * sites):
            site = f"site-{number // 6:03d}"
            writer.writerow((site, f"p{number}", 40 + number % 40, number % 3, 1 + number % 60, number % 2))
    return path


def begin(job: JobSpec, manifest: Path) -> dict[str, int]:
    """Do what a simulation does of its hospitals before round 1; return who trains at each."""
    sites = sites_of_manifest(job, manifest, SplitTable())
    check_sites(job, sites, {})
    host = SimulationHost(Setup(sites=sites, device="cpu"))
    return {site.name: host._site(site.name).data(job).patients["train"] for site in sites}


def test_twice_the_sites_are_twice_the_work_before_the_first_round(tmp_path) -> None:
    job = make_job(task_name="survival")
    few, many = manifest_of(tmp_path, 10), manifest_of(tmp_path, 20)
    begin(job, few)  # what is loaded once
    assert calls_of(lambda: begin(job, many)) < 2.2 * calls_of(lambda: begin(job, few))


def test_a_site_of_many_has_the_rows_that_it_has_by_itself(tmp_path) -> None:
    job = make_job(task_name="survival")
    together = begin(job, manifest_of(tmp_path, 8))
    lines = (tmp_path / "8.csv").read_text().splitlines()
    for name in together:
        (tmp_path / "alone.csv").write_text(
            "\n".join([lines[0], *(row for row in lines if f"{name}," in row)])
        )
        assert begin(job, tmp_path / "alone.csv") == {name: together[name]}
