"""Jobs of a package in a federation, where it is installed: `tests/test_plugin.py` starts these tests."""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from shared.job.schema import load_job
from simulate.federation.processes import LocalFederation
from simulate.session.session import Hospitals, execute, start
from tests.simulate.federation.held_sites import Sites
from tests.test_plugin import write_pair, write_toy

SITES = ("alpha", "beta")


@pytest.fixture(scope="module")
def federation(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFederation]:
    with LocalFederation(tmp_path_factory.mktemp("f")) as running, Sites(running) as sites:
        for site in SITES:
            running.enrol(site, {"discs": tiny_data})
            sites.start(site)
        yield running


@pytest.mark.parametrize(
    ("write", "name", "least"),  # a metric that no part of Wardround has, and the least that it can be
    [(write_toy, "toy-sureness", 0.25), (write_pair, "fooled", 0.0)],
)
def test_simulated_and_deployed_it_gives_the_same_model(
    federation: LocalFederation, tmp_path: Path, write: Callable[[Path], Path], name: str, least: float
) -> None:
    job, runs = load_job(write(tmp_path)), federation.runs()
    submitted = runs.submit(job)
    assert [event.kind for event in runs.follow(submitted)][-1] == "run_finished"
    deployed = runs.fetch(submitted, tmp_path)

    hospitals = Hospitals(files=[federation.folder / site / "site.toml" for site in SITES])
    simulated = start(job, hospitals, tmp_path / "simulated", "cpu", baselines=False)
    execute(simulated, "in-process", Console(file=io.StringIO()))
    models = [(run / "model.safetensors").read_bytes() for run in (deployed, simulated.path)]
    assert models[0] == models[1]
    with (simulated.path / "metrics.csv").open(newline="") as file:
        assert all(least <= float(row[name]) <= 1 for row in csv.DictReader(file))
