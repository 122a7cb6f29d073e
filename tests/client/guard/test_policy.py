"""What a hospital allows, what it answers to the rest, and what it writes down."""

import csv
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from flwr.app import Message, RecordDict
from PIL import Image

from client.guard.cohort import Cohort
from client.guard.gate import Gate
from client.guard.job_book import MOST_WAITING, JobBook
from client.guard.ledger import LEDGER, Ledger
from client.settings.policy import PolicyError
from client.settings.site import SiteConfig, load_site
from client.settings.states import check_moment
from client.work.client_app import make_app
from client.work.hospital import Site
from client.work.warm_networks import Workshop
from shared.audit import log_heads
from shared.audit.log import AuditLog, Entry
from shared.audit.verify import entries, verify
from shared.errors import SiteError
from shared.job.schema import JobSpec
from shared.networks.build import build_model
from shared.pki.certificates import load_key, new_key, save_key
from shared.privacy.secagg.identity import Identity
from shared.wire import messages
from shared.wire.packed_model import Layout
from shared.wire.site_states import SiteState
from tests.cli import wardround
from tests.jobs import marks_job as job_of
from tests.questions import context, question
from tests.work import Operators, calls_of

PROJECT = Path(__file__).parents[3]
PATIENTS = 9
PATIENT = "Mueller-Hans"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a site: nine patients, three of them for validation, one of them for testing."""
    generator = np.random.default_rng(0)
    rows = []
    for patient in range(PATIENTS):
        name = f"{PATIENT}-{patient}.png"
        Image.fromarray(generator.integers(0, 255, (16, 16), np.uint8)).save(tmp_path / name)
        side = "test" if patient == 0 else "val" if patient < 4 else "train"
        rows.append({"patient": name, "image": name, "label": ("no", "yes")[patient % 2], "split": side})
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "keys").mkdir()
    save_key(tmp_path / "keys" / "site.key", new_key())
    return tmp_path


class Hospital:
    """A site with its gate, and a coordinator that asks it."""

    def __init__(
        self,
        folder: Path,
        policy: str,
        clock: Callable[[], datetime] | None = None,
        *,
        rehearsal: bool = False,
    ) -> None:
        opened = {"min_group": 1, "min_patients_in_update": 1, "share_site_metrics": "true"}
        policy = "\n".join(
            [*(f"{key} = {value}" for key, value in opened.items() if key not in policy), policy]
        )
        text = f'[site]\nname = "st-mary"\n[datasets.marks]\nmanifest = "manifest.csv"\n[policy]\n{policy}\n'
        (folder / "site.toml").write_text(text)
        config = load_site(folder / "site.toml")
        self.folder = folder
        self.workshop = Workshop(torch.device("cpu"))
        gate: Gate | None = Gate.open(folder, config)
        if clock is not None:
            log = AuditLog.open(folder / "audit", load_key(folder / "keys" / "site.key"))
            ledger = Ledger(folder / LEDGER, log, clock)
            gate = Gate(
                config,
                JobBook(folder / "state.sqlite"),
                log,
                ledger,
                clock,
                cohort=Cohort.open(folder),
                identity=partial(Identity.load, "st-mary", folder / "keys"),
            )
        self._app = make_app(Site(config, self.workshop, gate=None if rehearsal else gate))

    def ask(self, kind: str, content: RecordDict) -> Message:
        return self._app(question(kind, content), context())

    def describe(self, job: JobSpec, researcher: str = "", project: str = "") -> Message:
        request = messages.describe_request(job.canonical(), researcher, project)
        return self.ask(f"query.{messages.DESCRIBE}", request)

    def send(self, kind: str, job: JobSpec, round_: int = 1, split: str = "val") -> Message:
        model = build_model(job)
        layout = Layout.of(model)
        config = messages.request_config(job.canonical(), layout.digest(), round_, split=split)
        vector = messages.vector_record(layout.pack(model))
        return self.ask(kind, RecordDict({messages.ARRAYS: vector, messages.CONFIG: config}))

    def log(self) -> list[Entry]:
        assert verify(self.folder / "audit", load_key(self.folder / "keys" / "site.key").public_key()) == []
        return list(entries(self.folder / "audit"))


AUTOMATIC = 'approval = "automatic"\n'


@pytest.mark.parametrize(
    ("policy", "rule", "changes"),
    [
        ('tasks = ["segmentation"]', "policy.tasks", {}),
        ('networks = ["unet"]', "policy.networks", {}),
        ("strategies = []", "policy.strategies", {}),
        ("max_rounds = 2", "policy.max_rounds", {}),
        ("min_sites = 3", "policy.min_sites", {}),
        ("max_model_mb = 50", "policy.max_model_mb", {"model_channels": [2048] * 3}),
        ('researchers = ["jane"]', "policy.researchers", {}),
        ('projects = ["lung"]', "policy.projects", {}),
        ("hours = []", "policy.hours", {}),
        ('approval = "manual"', "policy.approval", {}),
        ('[policy.update]\nparts = ["head"]', "policy.update.parts", {}),
        ('[policy.update]\nparts = ["head"]', "policy.update.parts", {"update_parts": ["head.1", "levels"]}),
        (
            '[policy.update]\nparts = ["head"]',
            "policy.update.parts",
            {"model_lora": {}, "update_parts": ["head"]},
        ),
        ("[policy.update]\nmax_bits = 16", "policy.update.max_bits", {}),
        ("[policy.update]\nmax_bits = 8", "policy.update.max_bits", {"update_precision": "bfloat16"}),
        ("[policy.update]\nmax_share = 0.1", "policy.update.max_share", {"update_compression": "int8"}),
        ("[policy.update]\nclip = 2.0", "policy.update.clip", {}),
        ("[policy.update]\nclip = 2.0", "policy.update.clip", {"update_clip": 2.5}),
    ],
)
def test_a_refusal_names_its_rule_at_once_and_loads_nothing(
    folder: Path, policy: str, rule: str, changes: dict[str, Any]
) -> None:
    approval = "" if "approval" in policy else AUTOMATIC
    hospital = Hospital(folder, approval + policy)
    (folder / "manifest.csv").unlink()  # whoever looked at the data would fail over this
    job, replies = job_of(**changes), []
    assert calls_of(lambda: replies.append(hospital.describe(job))) < 100_000  # a hundredth of a second
    (reply,) = replies
    assert reply.error.reason.startswith(f"st-mary: {rule}")
    assert len(hospital.workshop._benches) == 0
    (entry,) = [entry for entry in hospital.log() if entry.event == "request-refused"]
    assert entry.fields["rule"] == rule
    assert entry.fields["job"] == job_of(**changes).digest()
    with Operators() as operators:
        hospital.describe(job)
    assert operators.numbers < 10_000  # no model is made to know its size


def test_an_update_that_the_policy_allows_is_made(folder: Path) -> None:
    rules = '[policy.update]\nparts = ["head"]\nmax_bits = 16\nmax_share = 0.5\nclip = 2.0\n'
    hospital = Hospital(folder, AUTOMATIC + rules)
    changes = {"compression": "top-k", "keep": 0.4, "precision": "bfloat16", "clip": 1.5}
    job = job_of(update_parts=["head.1"], **{f"update_{key}": value for key, value in changes.items()})
    assert not hospital.describe(job).has_error()


def test_a_job_waits_for_its_approval_by_digest(folder: Path) -> None:
    hospital = Hospital(folder, "")
    job, changed = job_of(), job_of(job_seed=2)
    for kind in ("train", "evaluate"):
        assert f"wardround client approve {job.digest()}" in hospital.send(kind, job).error.reason
    JobBook(folder / "state.sqlite").decide(job.digest(), "approved", "it")
    assert not hospital.send("train", job).has_error()
    assert "policy.approval" in hospital.send("train", changed).error.reason
    JobBook(folder / "state.sqlite").decide(job.digest(), "denied", "it")
    assert "has denied this job" in hospital.send("train", job, 2).error.reason


def test_a_denied_job_stays_denied_where_approval_is_automatic(folder: Path) -> None:
    hospital = Hospital(folder, AUTOMATIC)
    assert not hospital.describe(job_of()).has_error()
    JobBook(folder / "state.sqlite").decide(job_of().digest(), "denied", "it")
    assert "has denied this job" in hospital.describe(job_of()).error.reason


def test_the_days_rounds_are_those_of_all_jobs(folder: Path) -> None:
    now = [datetime.fromisoformat("2026-03-01T12:00+01:00")]
    hospital = Hospital(folder, AUTOMATIC + "rounds_per_day = 2", lambda: now[0])
    assert not hospital.send("train", job_of(), 1).has_error()
    assert not hospital.send("train", job_of(job_seed=2), 1).has_error()
    assert "policy.rounds_per_day" in hospital.send("train", job_of(), 2).error.reason
    assert not hospital.send("evaluate", job_of(), 1).has_error()
    now[0] = datetime.fromisoformat("2026-03-02T00:01+01:00")
    assert not hospital.send("train", job_of(), 2).has_error()


@pytest.mark.parametrize(
    ("span", "clock", "open_"),
    [
        ("18:00-07:00", "18:00", True),
        ("18:00-07:00", "06:59", True),
        ("18:00-07:00", "07:00", False),
        ("08:00-12:30", "12:29", True),
        ("08:00-12:30", "07:59", False),
    ],
)
def test_hours_may_go_over_midnight(span: str, clock: str, open_: bool) -> None:
    policy = SiteConfig.model_validate({"site": {"name": "a"}, "policy": {"hours": [span]}}).policy
    now = datetime.fromisoformat(f"2026-03-01T{clock}")
    if open_:
        check_moment(policy, "", now, "a")
    else:
        with pytest.raises(PolicyError, match=r"policy\.hours"):
            check_moment(policy, "", now, "a")


def test_a_state_has_a_code_of_its_own_and_is_written_down_once(folder: Path) -> None:
    now = [datetime.fromisoformat("2026-03-01T12:00+01:00")]
    hospital = Hospital(folder, 'hours = ["10:00-13:00"]\nrounds_per_day = 1', lambda: now[0])
    job, book = job_of(), JobBook(folder / "state.sqlite")

    def looks() -> int:
        codes = {hospital.describe(job).error.code for _ in range(3)}
        return codes.pop() if len(codes) == 1 else 0

    assert looks() == SiteState.AWAITS_APPROVAL
    book.decide(job.digest(), "denied", "it")
    assert looks() == SiteState.DENIED
    book.decide(job.digest(), "approved", "it")
    now[0] = datetime.fromisoformat("2026-03-01T13:00+01:00")
    assert looks() == SiteState.OUTSIDE_HOURS
    now[0] = datetime.fromisoformat("2026-03-01T12:00+01:00")
    assert not hospital.describe(job).has_error()
    assert not hospital.send("train", job, 1).has_error()
    assert hospital.send("train", job, 2).error.code == SiteState.USED_UP
    rules = [entry.fields["rule"] for entry in hospital.log() if entry.event == "request-refused"]
    assert rules == ["policy.approval", "policy.approval", "policy.hours", "policy.rounds_per_day"]


def test_a_coordinator_learns_of_no_dataset_but_its_own(folder: Path) -> None:
    hospital = Hospital(folder, AUTOMATIC)
    replies = [hospital.describe(job_of(job_dataset="others")) for _ in range(2)]
    for reply in replies:
        assert reply.error.code == SiteState.NO_DATASET
        assert reply.error.reason == "st-mary: offers no dataset 'others'"
    [refused] = [entry for entry in hospital.log() if entry.event == "request-refused"]
    assert (refused.fields["rule"], refused.fields["phase"]) == ("job.dataset", "describe")


def test_a_researcher_on_the_list_may(folder: Path) -> None:
    hospital = Hospital(folder, AUTOMATIC + 'researchers = ["jane"]')
    assert not hospital.describe(job_of(), "jane").has_error()
    assert "does not allow 'joe'" in hospital.describe(job_of(), "joe").error.reason


def test_a_run_of_a_project_on_the_list_may(folder: Path) -> None:
    hospital = Hospital(folder, AUTOMATIC + 'projects = ["lung"]')
    assert not hospital.describe(job_of(), project="lung").has_error()
    assert "does not allow the project 'brain'" in hospital.describe(job_of(), project="brain").error.reason
    assert "a run without a project" in hospital.describe(job_of()).error.reason


def test_the_hospital_says_who_may_see_its_figures(folder: Path) -> None:
    for rule, allowed in (("", "nobody"), ('figures_for = "operators"', "operators")):
        answer = Hospital(folder, AUTOMATIC + rule).describe(job_of())
        assert messages.read_description(answer.content).figures_for == allowed


def test_a_rehearsal_checks_what_the_job_says_and_logs_nothing(folder: Path) -> None:
    people_and_clock = "hours = []\nresearchers = []\nprojects = []\n"
    rehearsal = Hospital(folder, people_and_clock, rehearsal=True)
    before = len(rehearsal.log())
    assert not rehearsal.send("train", job_of()).has_error()
    rehearsal = Hospital(folder, people_and_clock + "max_rounds = 2", rehearsal=True)
    assert "policy.max_rounds" in rehearsal.send("train", job_of()).error.reason
    assert len(rehearsal.log()) == before


def test_small_groups_do_not_show(folder: Path) -> None:
    hospital = Hospital(folder, AUTOMATIC + "min_group = 3")
    described = messages.read_description(hospital.describe(job_of()).content)
    assert described.patients == {"train": 10, "val": 10, "test": 0}  # rounded, or none
    assert messages.read_evaluation(hospital.send("evaluate", job_of()).content).examples == 10
    hidden = messages.read_evaluation(hospital.send("evaluate", job_of(), split="test").content)
    assert hidden.examples == 0
    assert not hidden.states.any()


def test_a_group_too_small_is_not_trained_on(folder: Path) -> None:
    hospital = Hospital(folder, AUTOMATIC + "min_group = 6")
    assert messages.read_description(hospital.describe(job_of()).content).patients["train"] == 0
    assert "policy.min_group" in hospital.send("train", job_of()).error.reason


def test_a_site_that_shares_no_metrics_sends_a_model_and_no_figure(folder: Path) -> None:
    hospital = Hospital(folder, AUTOMATIC + "share_site_metrics = false")
    update = hospital.send("train", job_of())
    assert np.isnan(update.content[messages.METRICS]["loss"])
    assert update.content[messages.METRICS]["num-examples"] == 10
    hidden = messages.read_evaluation(hospital.send("evaluate", job_of()).content)
    assert hidden.examples == 0
    assert not hidden.states.any()


@pytest.mark.parametrize(("least", "leaves"), [(1, True), (2, False)])
def test_the_training_loss_is_exact_and_leaves_with_figures_of_single_patients_alone(folder, least, leaves):
    hospital = Hospital(folder, AUTOMATIC + f"min_group = {least}")
    update = hospital.send("train", job_of())
    assert np.isfinite(update.content[messages.METRICS]["loss"]) == leaves


def test_what_leaves_is_in_the_log_before(folder: Path) -> None:
    import hashlib

    hospital = Hospital(folder, AUTOMATIC)
    reply = hospital.send("train", job_of(), 2)
    entry, model = hospital.log()[-1], build_model(job_of())
    vector = reply.content[messages.ARRAYS][messages.VECTOR].numpy()
    assert entry.event == "reply-sent"
    assert entry.fields == {
        "job": job_of().digest(),
        "phase": "train",
        "round": 2,
        "model": hashlib.sha256(Layout.of(model).pack(model).tobytes()).hexdigest(),
        "bytes": vector.nbytes,
        "sha256": hashlib.sha256(vector.tobytes()).hexdigest(),
        "examples": 10,
    }
    assert log_heads.read(reply.content).head == entry.head
    hospital.describe(job_of())
    assert hospital.log()[-1].fields["examples"] == 30  # three sides, rounded


def test_nothing_leaves_that_the_log_does_not_take(folder: Path) -> None:
    hospital = Hospital(folder, AUTOMATIC)
    hospital.describe(job_of())
    file = next((folder / "audit").glob("*.jsonl"))
    file.write_bytes(file.read_bytes() + b"garbage\n")
    reply = hospital.send("train", job_of())
    assert reply.error.reason == "the site's audit log can't be written"


@pytest.mark.parametrize("kind", ["describe", "train"])
def test_an_error_that_leaves_names_nobody(folder: Path, kind: str) -> None:
    hospital = Hospital(folder, AUTOMATIC)
    for image in folder.glob("*.png"):
        if kind == "describe":
            image.unlink()
        else:
            image.write_bytes(b"not an image")
    reply = hospital.describe(job_of()) if kind == "describe" else hospital.send("train", job_of())
    assert reply.error.reason.startswith("DataError: ")
    written = "".join(file.read_text() for file in (folder / "audit").glob("*.jsonl"))
    for secret in (PATIENT, "Mueller", str(folder), "manifest"):
        assert secret not in reply.error.reason
        assert secret not in written
    assert hospital.log()[-1].event == "request-failed"


def test_an_unexpected_error_is_an_answer_too(folder: Path) -> None:
    hospital = Hospital(folder, AUTOMATIC)
    reply = hospital.ask("train", RecordDict({messages.CONFIG: messages.request_config("{", "", 1)}))
    assert "not valid JSON" in reply.error.reason
    assert hospital.log()[-1].event == "request-failed"


def test_undecided_jobs_do_not_fill_the_disk(tmp_path: Path) -> None:
    book = JobBook(tmp_path / "state.sqlite")
    kept = job_of(job_seed=1)
    book.meet(kept, "")
    book.decide(kept.digest(), "denied", "it")
    with book._change() as db:
        db.executemany(
            "INSERT INTO job VALUES (?, 'x', '', '{}', '2026', 'waiting', NULL, NULL)",
            [(f"{number:064x}",) for number in range(MOST_WAITING + 5)],
        )
    book.meet(job_of(job_seed=2), "")
    assert len(book.jobs()) == MOST_WAITING + 1
    assert book.find(job_of(job_seed=2).digest()).decision == "waiting"
    assert book.find(kept.digest()).decision == "denied"
    with pytest.raises(SiteError, match="jobs have this digest"):
        book.find("0" * 20)
    with pytest.raises(SiteError, match="no job"):
        book.find("f" * 20)
    for short in ("", "f" * 19, "0" * 12, "g" * 20, "0" * 65, "%" * 20, kept.digest() + "\n"):
        with pytest.raises(SiteError, match="at least 20"):
            book.find(short)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ('networks = ["unett"]', "did you mean 'unet'"),
        ('hours = ["6pm-7am"]', "must look like"),
        ("min_group = 0", "at least 1"),
        ('approval = "none"', "approval"),
        ("max_roundz = 3", "did you mean 'max_rounds'"),
    ],
)
def test_a_policy_with_a_mistake_is_explained(tmp_path: Path, policy: str, message: str) -> None:
    file = tmp_path / "site.toml"
    file.write_text(f'[site]\nname = "a"\n[policy]\n{policy}\n')
    with pytest.raises(SiteError, match=message):
        load_site(file)


# The command line


def test_a_job_that_nobody_has_to_approve_does_not_wait(folder: Path) -> None:
    Hospital(folder, 'approval = "automatic"\n').describe(job_of(), "jane")
    said = wardround("client", "jobs", "--dir", str(folder)).stdout
    assert "automatic" in said
    assert "waiting" not in said


def test_hospital_it_decides_and_proves_on_the_command_line(folder: Path) -> None:
    hospital = Hospital(folder, "")
    assert "No job" in wardround("client", "jobs", "--dir", str(folder)).stdout
    hospital.describe(job_of(), "jane")
    prefix = job_of().digest()[:20]
    assert prefix in wardround("client", "jobs", "--dir", str(folder)).stdout

    declined = wardround("client", "approve", prefix, "--dir", str(folder), stdin="n\n")
    assert declined.returncode == 1
    for fact in (
        "jane",
        "classification of no, yes",
        "cnn",
        "3, each with 1 step of 4 images",
        "What leaves this site",
    ):
        assert fact in declined.stdout
    assert hospital.describe(job_of()).has_error()

    assert wardround("client", "approve", prefix, "--dir", str(folder), stdin="y\n").returncode == 0
    assert not hospital.describe(job_of()).has_error()
    assert wardround("client", "deny", prefix, "--dir", str(folder)).returncode == 0
    assert hospital.describe(job_of()).has_error()
    events = [entry.event for entry in hospital.log()]
    assert [event for event in events if event in {"job-approved", "job-denied"}] == [
        "job-approved",
        "job-denied",
    ]

    shown = wardround("client", "audit", "show", "--event", "request-refused", "--dir", str(folder)).stdout
    assert shown.count("rule=policy.approval") == 2  # as long as it waited, and once it was denied
    whole = wardround("client", "audit", "verify", "--dir", str(folder))
    assert whole.returncode == 0
    head = whole.stdout.partition("head: ")[2].split()[0]
    assert wardround("client", "audit", "verify", "--head", head, "--dir", str(folder)).returncode == 0

    file = next((folder / "audit").glob("*.jsonl"))
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    cut = wardround("client", "audit", "verify", "--head", head, "--dir", str(folder))
    assert cut.returncode == 2
    assert "cut off" in cut.stdout


PRIVATE = {"privacy_mechanism": "dp-sgd", "privacy_noise_multiplier": 1.0, "strategy_weight": "equal"}
CAPPED = AUTOMATIC + "[policy.privacy.marks]\nepsilon = 20\ndelta = 1e-5\n"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "policy.privacy demands differential privacy for 'marks'"),
        (
            {**PRIVATE, "privacy_unit": "image"},
            "policy.privacy counts by patient, the job protects each image",
        ),
    ],
)
@pytest.mark.parametrize("rehearsal", [False, True])
def test_a_dataset_with_a_cap_is_for_jobs_that_protect_its_patients(
    folder: Path, changes: dict[str, Any], words: str, rehearsal: bool
) -> None:
    hospital = Hospital(folder, CAPPED, rehearsal=rehearsal)
    for reply in (hospital.describe(job_of(**changes)), hospital.send("train", job_of(**changes))):
        assert words in reply.error.reason


def test_a_private_round_is_charged_before_it_begins_until_the_cap(folder: Path) -> None:
    hospital, job = Hospital(folder, CAPPED), job_of(**PRIVATE, job_rounds=100)
    ledger = Ledger(folder / LEDGER, AuditLog.open(folder / "audit", load_key(folder / "keys" / "site.key")))
    for round_ in range(1, 50):
        before = len(hospital.workshop._benches)
        reply = hospital.send("train", job, round_)
        if reply.has_error() and "is left" in reply.error.reason:
            break
    assert "st-mary: policy.privacy: 'marks' may lose epsilon 20 at delta 1e-05" in reply.error.reason
    assert len(hospital.workshop._benches) == before
    log = hospital.log()
    spent = [entry for entry in log if entry.event == "privacy-spent"]
    assert [entry.fields["round"] for entry in spent] == list(range(1, round_))
    assert spent[-1].fields["epsilon"] <= 20
    assert spent[-1].fields["epsilon"] + spent[-1].fields["left"] == pytest.approx(20)
    assert (log[-1].event, log[-1].fields["rule"]) == ("request-refused", "policy.privacy")
    first = next(number for number, entry in enumerate(log) if entry.event == "privacy-spent")
    assert not any(entry.event == "reply-sent" for entry in log[:first])
    assert [(account.job, account.rounds) for account in ledger.accounts()] == [(job.digest(), round_ - 1)]


def test_too_few_patients_cost_nothing(folder: Path) -> None:
    hospital = Hospital(folder, CAPPED.replace("[policy.", "min_group = 10\n[policy."))
    assert "policy.min_group" in hospital.send("train", job_of(**PRIVATE)).error.reason
    assert not any(entry.event == "privacy-spent" for entry in hospital.log())


def test_a_cap_for_a_dataset_that_does_not_exist_is_a_mistake(folder: Path) -> None:
    with pytest.raises(SiteError, match=r"\[policy\.privacy\.mark\] is for no dataset .* 'marks'"):
        Hospital(folder, CAPPED.replace("marks", "mark"))


def run(folder: Path, *arguments: str) -> CompletedProcess[str]:
    return wardround("client", "budget", "--dir", folder, *arguments, environment={"COLUMNS": "400"})


def test_the_budget_on_the_command_line(folder: Path) -> None:
    hospital, job = Hospital(folder, CAPPED), job_of(**PRIVATE)
    hospital.send("train", job)
    said = run(folder).stdout.splitlines()
    headings = ["dataset", "job", "counted by", "rounds", "epsilon", "if honest", "left", "cap"]
    assert said[0].split() == " ".join(headings).split()
    assert said[1].split()[:4] == ["marks", "all", "patient", "1"]
    assert said[1].endswith("20 at delta 1e-05, for ever")
    assert said[2].split()[:5] == ["marks", "tiny", f"({job.digest()[:12]})", "patient", "1"]
    assert "this site" in said[2]
    (folder / "job.toml").write_text(tomli_w.dumps(without_none(job.model_dump())), encoding="utf-8")
    planned = dict(
        line.split("  ", 1) for line in run(folder, "plan", str(folder / "job.toml")).stdout.splitlines()
    )
    facts = {name: fact.strip() for name, fact in planned.items()}
    assert facts["dataset"] == "marks, about 10 patients to train on"
    assert facts["a round"] == "1 steps, sample rate 0.4, noise multiplier 1"
    assert facts["rounds fit"] == "3 of 3"
    (folder / LEDGER).unlink()
    lost = run(folder)
    assert lost.returncode == 2
    assert "client budget repair" in lost.stderr
    assert "1 entries" in run(folder, "repair").stdout
    assert run(folder).stdout.splitlines() == said
    assert [entry.event for entry in hospital.log()][-1] == "ledger-repaired"


def without_none(table: dict[str, Any]) -> dict[str, Any]:
    return {
        key: without_none(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }
