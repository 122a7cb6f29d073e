"""A hospital with its gate, and a coordinator that may ask it anything."""

import csv
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Message, RecordDict
from numpy.typing import NDArray
from PIL import Image

from client.guard.gate import Gate
from client.guard.job_book import JobBook
from client.settings.site import load_site
from client.work.client_app import make_app
from client.work.hospital import Site
from client.work.run_store import RunStore
from client.work.start_store import StartStore
from client.work.warm_networks import Workshop
from shared.job.schema import JobSpec
from shared.networks.build import build_model
from shared.pki.certificates import new_key, save_key, write_file
from shared.strategies.wire import Wire
from shared.wire import messages
from tests.jobs import marks_job
from tests.questions import context, question

SIDES = ["train"] * 20 + ["val"] * 12 + ["test"] * 12
OPEN = "min_group = 1\nmin_patients_in_update = 1\nshare_site_metrics = true\n"


class GuardedSite:
    """A real site in a folder; `restart` takes up what is on its disk."""

    def __init__(self, folder: Path, policy: str) -> None:
        self.folder = folder
        text = f'[site]\nname = "st-mary"\n[datasets.marks]\nmanifest = "manifest.csv"\n[policy]\n{policy}\n'
        (folder / "site.toml").write_text(text)
        self.restart()

    def restart(self) -> None:
        config = load_site(self.folder / "site.toml")
        workshop = Workshop(torch.device("cpu"), starts=StartStore(self.folder / "starts"))
        gate, store = Gate.open(self.folder, config), RunStore(self.folder / "kept")
        self.site = Site(config, workshop, gate=gate, store=store)
        self._app = make_app(self.site)

    def rewrite(self, patients: Sequence[str]) -> None:
        """Let the hospital have these patients from now on."""
        path = self.folder / "manifest.csv"
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows[n % len(rows)] | {"patient": name} for n, name in enumerate(patients))
        self.restart()

    @property
    def book(self) -> JobBook:
        return JobBook(self.folder / "state.sqlite")

    def approve(self, job: JobSpec) -> None:
        self.book.meet(job, "")
        self.book.decide(job.digest(), "approved", "it")

    def ask(self, kind: str, content: RecordDict) -> Message:
        return self._app(question(kind, content), context())

    def describe(self, job: JobSpec) -> str:
        """Ask for a description; returns the refusal, or nothing."""
        return refusal(self.ask(f"query.{messages.DESCRIBE}", messages.describe_request(job.canonical())))

    def send(
        self,
        kind: str,
        job: JobSpec,
        round_: int = 1,
        split: str = "",
        *,
        vector: NDArray[np.float32] | None = None,
        edges: NDArray[np.float64] | None = None,
        **config: Any,
    ) -> Message:
        """Ask for a training or an evaluation, of the job's first model if no other is given."""
        network = build_model(job)
        wire = Wire.of(network, job.strategy)
        first = wire.first(wire.model.pack(network))
        asked = messages.request_config(job.canonical(), wire.layout.digest(), round_, split=split)
        for key, value in config.items():
            asked[key.replace("_", "-")] = value
        model = messages.evaluation_record(first if vector is None else vector, edges)
        return self.ask(kind, RecordDict({messages.ARRAYS: model, messages.CONFIG: asked}))

    def train(self, job: JobSpec, round_: int = 1, **more: Any) -> str:
        """Ask for a training; returns the refusal, or nothing."""
        return refusal(self.send("train", job, round_, **more))

    def evaluate(self, job: JobSpec, round_: int = 1, split: str = "val", **more: Any) -> str:
        """Ask for an evaluation; returns the refusal, or nothing."""
        return refusal(self.send("evaluate", job, round_, split, **more))


def refusal(reply: Message) -> str:
    return reply.error.reason if reply.has_error() else ""


@pytest.fixture
def make_site(tmp_path: Path) -> Callable[..., GuardedSite]:
    """Return a function that makes a site of 44 patients: 20 to train on, 12 each for the other splits.

    Its policy is open, unless `opened` is false; with `patients` there is no column that splits them.
    """

    def make(
        policy: str = 'approval = "automatic"\n',
        sides: Sequence[str] = SIDES,
        *,
        opened: bool = True,
        patients: Sequence[str] = (),
    ) -> GuardedSite:
        folder = tmp_path / "site"
        folder.mkdir()
        generator = np.random.default_rng(0)
        rows = []
        named = [(patient, {}) for patient in patients]
        named = named or [(f"p{number}", {"split": side}) for number, side in enumerate(sides)]
        for number, (patient, split) in enumerate(named):
            name = f"{number}.png"
            Image.fromarray(generator.integers(0, 255, (16, 16), np.uint8)).save(folder / name)
            label = ("no", "yes")[number % 2]
            rows.append({"patient": patient, "image": name, "label": label, **split})
        with (folder / "manifest.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        (folder / "keys").mkdir()
        save_key(folder / "keys" / "site.key", new_key())
        # Always the same: which patients are on which side is then no matter of luck.
        write_file(folder / "keys" / "cohort.key", hashlib.sha256(b"the hospital's").digest())
        return GuardedSite(folder, OPEN * opened + policy)

    return make


@pytest.fixture
def job_of() -> Callable[..., JobSpec]:
    """Return a function that makes a small job for that site; see `tests.jobs.job_tables` for its options."""
    return marks_job
