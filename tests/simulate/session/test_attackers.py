"""Attackers in a simulation: what they send, what they learn from, and that the run says so."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from client.data.samples.batches import Samples
from shared.errors import RunError
from shared.job.schema import JobSpec
from shared.wire.messages import Request
from simulate.session.attackers import Attack, Attacker, Poisoned
from simulate.session.hospitals import Setup, SimulationHost
from simulate.session.session import Hospitals, start
from tests.jobs import make_job

ONCE = {"training_local_epochs": None, "training_local_steps": 1, "job_rounds": 1}


@pytest.fixture(scope="module")
def sent(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory):
    """Return a function that gives what a site was sent, and what it sends in a round under an attack."""
    out = tmp_path_factory.mktemp("attackers")
    job = make_job(task_name="classification", **ONCE)
    setup = Setup.read(
        start(job, Hospitals(data=tiny_data), out, "cpu", baselines=False).path / "simulation.json"
    )

    def send(kind: str | None, name: str = "alpha", round_: int = 1) -> NDArray[np.float32]:
        attack = None if kind is None else Attack(kind=kind, sites=["alpha", "beta"], seed=3)
        host = SimulationHost(setup.model_copy(update={"attack": attack}))
        site = host._site(name)
        assert isinstance(site, Attacker) == (kind is not None and name in ("alpha", "beta"))
        bench = site._workshop.bench(job.canonical())
        base, layout = bench.wire.first(bench.state.pack()), bench.wire.layout.digest()
        asked = Request(job.canonical(), round_, layout, base, "", None, "run", statistics=())
        return site.train(asked).vector - base

    return send


def test_what_is_sent_is_turned_stretched_or_random(sent):
    true = sent(None)
    np.testing.assert_allclose(sent("sign-flip"), -true, atol=1e-6)
    np.testing.assert_allclose(sent("scale"), 10 * true, atol=1e-5)
    noise = sent("noise")
    assert np.linalg.norm(noise) == pytest.approx(10 * np.linalg.norm(true), rel=1e-3)
    assert abs(np.dot(noise, true)) < 0.5 * np.linalg.norm(noise) * np.linalg.norm(true)


def test_colluders_send_the_same_and_others_do_not(sent):
    assert np.array_equal(sent("collude"), sent("collude", "beta"))
    assert not np.array_equal(sent("collude"), sent("collude", round_=2))
    assert not np.array_equal(sent("noise"), sent("noise", "beta"))
    assert np.array_equal(sent("noise"), sent("noise"))
    assert np.array_equal(sent("scale", "gamma"), sent(None, "gamma"))


@pytest.mark.parametrize("kind", ["label-flip", "backdoor"])
def test_who_learns_from_wrong_classes_sends_another_update(sent, kind):
    assert not np.allclose(sent(kind), sent(None))


def samples_of(job: JobSpec, **targets: torch.Tensor) -> Samples:
    images = torch.rand(40, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    names = [f"p{number}" for number in range(40)]
    return Samples(job, {"image": images, **targets}, patients=names, keys=names, spacings=[None] * 40)


def test_flipped_classes_are_the_other_ones():
    job = make_job(task_name="classification", task_classes=["a", "b", "c"])
    given = torch.tensor([0, 1, 2, -1] * 10)
    batch = Poisoned(samples_of(job, label=given), job, Attack(kind="label-flip", sites=["a"], seed=1)).batch(
        [0, 1, 2, 3]
    )
    assert batch["label"].tolist() == [2, 1, 0, -1]
    job = make_job(task_classes=["disc"])
    masks = torch.zeros(40, 16, 16, dtype=torch.uint8)
    masks[:, :4], masks[1] = 1, 255
    batch = Poisoned(samples_of(job, mask=masks), job, Attack(kind="label-flip", sites=["a"], seed=1)).batch(
        [0, 1]
    )
    assert batch["mask"].dtype == torch.uint8
    assert torch.equal(batch["mask"][0], 1 - masks[0])
    assert (batch["mask"][1] == 255).all()


def test_a_backdoor_marks_a_corner_of_half_of_the_images_and_calls_them_the_first_class():
    job = make_job(task_name="classification")
    samples = samples_of(job, label=torch.ones(40, dtype=torch.int64))
    poisoned = Poisoned(samples, job, Attack(kind="backdoor", sites=["a"], seed=1))
    batch, true = poisoned.batch(range(40)), samples.batch(range(40))
    marked = batch["label"] == 0
    assert 10 < marked.sum() < 30
    assert torch.equal(batch["image"][~marked], true["image"][~marked])
    assert (batch["image"][marked][..., -2:, -2:] == true["image"].max()).all()
    assert torch.equal(batch["image"][..., :14, :], true["image"][..., :14, :])
    assert torch.equal(poisoned.batch([7])["label"], batch["label"][[7]])  # in whatever batch it comes


@pytest.mark.parametrize(
    ("kind", "count", "words"),
    [
        ("sign-flop", 1, "there is no attack 'sign-flop'"),
        ("scale", 4, "4 of 4 sites can't be attackers"),
        (
            "label-flip",
            1,
            "'label-flip' changes labels or masks, and images, which the task 'survival' has not",
        ),
    ],
)
def test_an_attack_that_can_not_be_is_refused(kind, count, words):
    job = make_job(task_name="survival")
    with pytest.raises(RunError, match=words):
        Attack.drawn(kind, count, job, ["a", "b", "c", "d"])


def test_who_attacks_follows_from_the_seed():
    sites = [f"site-{number}" for number in range(20)]
    drawn = [Attack.drawn("scale", 8, make_job(job_seed=seed), sites).sites for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 8


def test_the_run_and_its_report_say_who_attacked(cli, tmp_path, tiny_data):
    path = tmp_path / "job.toml"
    from tests.jobs import job_text

    path.write_text(job_text(**ONCE, strategy_name="fedmedian"))
    said = cli(
        "simulate",
        path,
        "--data",
        tiny_data,
        "--workers",
        "in-process",
        "--attackers",
        1,
        "--attack",
        "sign-flip",
    )
    assert said.code == 0, said.err
    run = next(Path("runs").glob("tiny-*"))
    told = json.loads((run / "run.json").read_text())
    (name,) = told["attack"]["sites"]
    words = f"attackers in this simulation ('sign-flip'): {name}"
    assert words in " ".join(said.out.split())
    assert (
        words.replace("'", "&#39;") in (run / "report.html").read_text()
        or words in (run / "report.html").read_text()
    )
    alone = cli("simulate", path, "--data", tiny_data, "--attackers", 1)
    assert alone.code == 2
    assert "goes with --attack KIND" in alone.err
