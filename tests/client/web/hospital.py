"""A hospital that has lived a little: jobs that wait, that trained and that were denied; a budget; a log."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from client.guard.decisions import decide
from client.guard.job_book import JobBook
from client.guard.ledger import Ledger
from client.guard.ledger_entry import Round
from client.settings.policy import Cap
from shared.audit.log import AuditLog
from shared.job.schema import JobSpec
from shared.pki.certificates import load_key
from shared.privacy.accounting import Steps
from tests.cli import wardround
from tests.conftest import write_dataset
from tests.jobs import make_job

RUN = "4711"
SITE = '[site]\nname = "st-mary"\ncoordinator = "fed.example.org:9443"\n'
POLICY = """
[policy]
approval = "manual"
min_sites = 3
max_rounds = 100
hours = ["00:00-23:59"]
figures_for = "operators"

[policy.update]
max_bits = 32

[policy.privacy.discs]
epsilon = {}
delta = 1e-5
required = false
"""
TASK = {"task_name": "classification", "task_classes": ["small", "large"], "training_batch_size": 4}


@dataclass
class Hospital:
    """A site's folder, and the jobs in its book."""

    folder: Path
    waiting: JobSpec
    private: JobSpec
    trained: JobSpec
    denied: JobSpec

    @property
    def book(self) -> JobBook:
        return JobBook(self.folder / "state.sqlite")

    @property
    def log(self) -> AuditLog:
        return AuditLog.open(self.folder / "audit", load_key(self.folder / "keys" / "site.key"))

    def meet(self, job: JobSpec, researcher: str = "jane") -> None:
        """Let a job arrive, as the gate does."""
        self.book.meet(job, researcher)
        self.log.append("job-seen", job=job.digest(), name=job.job.name, researcher=researcher)

    def decision(self, job: JobSpec) -> str:
        return self.book.find(job.digest()).decision


def make_hospital(place: Path, patients: int = 30, budget: float = 8.0) -> Hospital:
    """Let a hospital join a federation by files, and give it a past.

    Args:
        place: Gets the folders of both, and the data.
        patients: Of the hospital, a third of them to train on.
        budget: Epsilon that they may lose.
    """

    def run(line: str, stdin: str = "") -> str:
        ended = wardround(*shlex.split(line), stdin=stdin, cwd=place)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    run("server init fed --name lung --host fed.example.org --no-passphrase")
    join = run("server invite st-mary --dir fed").split()[-1]
    key = run("client enrol - --dir site --request-out site.csr", join).split("  ")[-1].strip()
    run(f"server sign site.csr --fingerprint {key} --dir fed")
    run("client enrol - --dir site --certificate site.csr.crt", join)
    write_dataset(place / "data", sites=("st-mary",), patients=patients, side=32)
    data = f'[datasets.discs]\nmanifest = "{place / "data"}"\n'
    (place / "site" / "site.toml").write_text(SITE + data + POLICY.format(budget))
    return _with_a_past(place / "site", Cap(epsilon=budget, delta=1e-5))


def _with_a_past(folder: Path, cap: Cap) -> Hospital:
    private = {"privacy_mechanism": "dp-sgd", "privacy_noise_multiplier": 1.1, "strategy_weight": "equal"}
    hospital = Hospital(
        folder,
        waiting=make_job(job_name="disc-outline", training_batch_size=8),
        private=make_job(job_name="disc-size-private", **TASK, **private),
        trained=make_job(job_name="disc-size", **TASK, **private, job_seed=6),
        denied=make_job(job_name="one-image-steps", training_local_epochs=None, training_local_steps=1),
    )
    for job, who in (
        (hospital.trained, "omar"),
        (hospital.denied, "jane"),
        (hospital.private, "omar"),
        (hospital.waiting, "jane"),
    ):
        hospital.meet(job, who)
    book, trained, denied = hospital.book, hospital.trained.digest(), hospital.denied.digest()
    decide(folder, book.find(denied), "denied", "Too few images behind each step.")
    decide(folder, book.find(trained), "approved")
    ledger = Ledger.of(folder)
    for round_ in (1, 2):
        asked = Round("discs", trained, RUN, round_, "patient", Steps(1.1, 0.2, 12))
        ledger.reserve(asked, cap, 1e-5)
        of = {"job": trained, "round": round_, "researcher": "omar", "run": RUN}
        log = hospital.log
        log.append("reply-sent", phase="train", bytes=151_732, examples=20, sha256="ab" * 32, **of)
        log.append("reply-sent", phase="evaluate", split="val", bytes=2_184, examples=10, **of)
    return hospital
