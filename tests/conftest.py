"""What tests of all parts share."""

import csv
import gc
import os
import random
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import settings
from PIL import Image

from shared.job.schema import JobSpec
from shared.loading import loading
from tests.jobs import job_text, make_job

PROJECT = Path(__file__).parents[1]
# A shell that starts this in the background lets it ignore Ctrl-C; what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is not a failure: what must be fast has a test of its own. CI takes the same examples again.
settings.register_profile("wardround", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("wardround")


# Workers take whole files (see the Makefile); so that they end together, these come first, the longest ahead.
LONGEST = (
    "simulate/federation/test_federation.py",
    "benchmarks/test_of_the_rest.py",
    "benchmarks/test_of_federations.py",
    "benchmarks/test_of_simulations.py",
    "simulate/session/test_compiled.py",
    "simulate/federation/test_waiting.py",
    "simulate/session/test_resume.py",
    "simulate/session/test_same_result.py",
    "simulate/workers/test_workers.py",
    "test_plugin.py",
    "test_notebooks.py",
    "simulate/session/test_simulate.py",
    "simulate/cli/test_export.py",
    "simulate/cli/test_predict.py",
    "server/web/test_pages.py",
    "client/guard/test_bounded_sums.py",
    "client/service/test_node.py",
    "server/runs/test_remote_runs.py",
    "test_site.py",
    "shared/networks/test_models.py",
    "simulate/data/test_phantom.py",
    "server/web/test_browser.py",
    "simulate/session/test_report.py",
    "client/training/test_private_training.py",
    "wardround/test_python.py",
    "simulate/federation/test_hostile_nodes.py",
    "simulate/federation/test_secure_hospitals.py",
    "simulate/cli/test_dicom_results.py",
    "simulate/session/test_generation.py",
    "shared/privacy/test_accounting.py",
    "simulate/series/test_series.py",
    "simulate/forgetting/test_forgetting.py",
    "shared/networks/test_lora.py",
    "server/track/test_track.py",
    "client/guard/test_ledger.py",
    "client/membership/test_membership.py",
    "simulate/federation/test_restore_drill.py",
    "simulate/federation/test_light_nodes.py",
    "client/data/check/test_copies_and_text.py",
    "client/web/test_in_chromium.py",
    "server/service/test_project_federation.py",
    "server/service/test_watches.py",
    "simulate/session/test_detection.py",
    "simulate/session/test_survival.py",
    "simulate/session/test_side_by_side.py",
    "server/rounds/test_joining.py",
    "server/rounds/test_secure_evaluation.py",
    "shared/privacy/secagg/test_protocol.py",
    "simulate/session/test_instances.py",
    "simulate/session/test_on_a_gpu.py",
    "simulate/session/test_pretrained.py",
    "server/gateway/test_people.py",
    "test_readme.py",
)

FOUND_BY_MONAI = {"mlflow", "optuna", "pandas", "tensorboard"}
"""Libraries that take a third of the time in which MONAI loads, and that few tests use."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    places = {PROJECT / "tests" / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import all tests without a search for garbage, and keep what was imported out of each later one.

    Each of several workers imports every test, and MONAI with them: not what MONAI loads only as it finds it.
    """
    with loading(for_good=True):
        if "PYTEST_XDIST_WORKER" in os.environ:
            with pytest.MonkeyPatch.context() as patch:
                for name in FOUND_BY_MONAI - sys.modules.keys():
                    patch.setitem(sys.modules, name, None)
                import monai  # noqa: F401 (tests that need those libraries load them afterwards)
        return (yield)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After each file, keep what was loaded out of each later search for garbage.

    Flower looks for garbage whenever it unpacks a model, which takes a third of a second beside MLflow.
    """
    if nextitem is not None and nextitem.path != item.path:
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _processes_as_at_a_hospital() -> Iterator[None]:
    """Let processes that tests start find no more than a hospital has installed."""
    folder = str(PROJECT / "tests" / "as_at_a_hospital")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH", "")])))
        patch.setattr(sys, "path", [folder, *sys.path])  # which a coordinator's page hands to its processes
        yield


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """Let a test draw the same numbers whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_pack() -> Callable[[str], Path]:
    """Return a function that finds a pack of real data, or skips the test."""
    root = Path(os.environ.get("WARDROUND_DATA", PROJECT.parent / "shared" / "data"))

    def find(name: str) -> Path:
        if not (root / name).is_dir():
            pytest.skip(f"needs the data pack {name}; set WARDROUND_DATA to the folder that holds it")
        return root / name

    return find


@pytest.fixture
def quickstart() -> Path:
    """Return the path of the quickstart job."""
    return PROJECT / "configs" / "jobs" / "quickstart.toml"


# A federation small enough to be run many times in a test.
SITES = ("alpha", "beta", "gamma", "delta")


def write_dataset(folder: Path, sites: tuple[str, ...] = SITES, patients: int = 3, side: int = 16) -> Path:
    """Write discs on noise, two slices a patient, with a label and a mask; returns the manifest."""
    generator = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    rows = []
    for site in sites:
        for patient in range(patients):
            for index in range(2):
                name = f"{site}-{patient}-{index}.png"
                y, x = np.mgrid[:side, :side]
                cy, cx = generator.uniform(4, side - 4, 2)
                mask = (y - cy) ** 2 + (x - cx) ** 2 < generator.uniform(6, 16)
                image = generator.normal(80, 10, (side, side)) + 90 * mask
                Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / "images" / name)
                Image.fromarray((mask * 255).astype(np.uint8)).save(folder / "images" / f"mask-{name}")
                rows.append(
                    {
                        "site": site,
                        "patient": f"{site}-{patient}",
                        "image": f"images/{name}",
                        "mask": f"images/mask-{name}",
                        "label": "large" if mask.sum() > 30 else "small",
                        "split": ("train", "val", "test")[patient % 3] if patients > 1 else "train",
                    }
                )
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return folder / "manifest.csv"


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
    """Return the manifest of four tiny hospitals."""
    return write_dataset(tmp_path_factory.mktemp("tiny") / "data")


class HeldFile:
    """A file of which a reader gets nothing until the test lets it go on: a named pipe lies in its place.

    So a process is met in the middle of its work, however fast the machine is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._real = self.path.with_name(f"{path.name}.real")
        self._ends: list[int] = []
        self.path.rename(self._real)
        os.mkfifo(self.path)

    def meet(self, family: int) -> psutil.Process:
        """Wait until a process reads the file, and return it.

        Args:
            family: The reader is a descendant of this process.
        """
        self._ends.append(os.open(self.path, os.O_WRONLY))  # blocks until somebody opens it for reading
        while True:
            for process in psutil.Process(family).children(recursive=True):
                if str(self.path) in _open_files(process.pid):
                    return process

    def let_go(self) -> None:
        """Give its content to whoever waits, and to all who come."""
        if not self._real.exists():
            return
        self._real.replace(self.path)
        try:
            for end in self._ends[-1:]:
                os.write(end, self.path.read_bytes())
        except BrokenPipeError:
            pass  # it was killed
        finally:
            for end in self._ends:
                os.close(end)


def _open_files(pid: int) -> list[str]:
    try:
        return [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:  # it has closed one, or has ended
        return []


@pytest.fixture
def hold() -> Iterator[Callable[[Path], HeldFile]]:
    """Return a function that holds whoever reads a file, until the end of the test at most."""
    held = []

    def hold_file(path: Path) -> HeldFile:
        held.append(HeldFile(path))
        return held[-1]

    yield hold_file
    for file in held:
        file.let_go()


def images_of(manifest: Path, site: str, side: str) -> list[Path]:
    """Return the images of a tiny hospital on a side of the split."""
    with manifest.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["site"], row["split"]) == (site, side)]
    return [manifest.parent / row["image"] for row in rows]


@pytest.fixture
def hold_images(hold, tiny_data) -> Callable[[str, str], HeldFile]:
    """Return a function that holds whoever reads the images of a site on a side of the split."""
    return lambda site, side: hold(images_of(tiny_data, site, side)[0])


@pytest.fixture(scope="session")
def tiny_job() -> Callable[..., JobSpec]:
    """Return a function that makes the job of the tiny hospitals; its options: `tests.jobs.job_tables`."""
    return make_job


@pytest.fixture
def tiny_job_file(tmp_path) -> Path:
    """Return the tiny job as a file."""
    path = tmp_path / "tiny.toml"
    path.write_text(job_text())
    return path
