"""A coordinator that asks many approved jobs whatever it may, to learn who is in a hospital's cohort.

Every request is valid and every job approved: what must hold is what the answers tell together.
"""

import csv
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from client.data.manifest.rows import Record
from client.data.manifest.splits import CohortKey, Split
from client.training.sample_order import SampleOrder, batches_per_pass, steps_of
from shared.errors import JobError
from shared.wire import messages
from shared.wire.statistics_message import read_statistics

ASKED, MEMBERS = 200, 100  # identifiers, of which the hospital has the first
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "secure": {"privacy_secure_aggregation": True, "strategy_min_sites": 3},
    "private": {
        "privacy_mechanism": "dp-sgd",
        "privacy_epsilon": 1.0,
        "strategy_weight": "equal",
        "training_batch_size": 8,
    },
}


@pytest.fixture
def identifiers() -> list[str]:
    generator = np.random.default_rng(5)
    return [f"{number:06d}" for number in generator.choice(10**6, ASKED, replace=False)]


@pytest.fixture
def hospital(make_site, identifiers):
    """A hospital with the policy that a site begins with, but that nobody is asked to approve."""
    return make_site(opened=False, patients=identifiers[:MEMBERS])


def described(site, job) -> messages.Description:
    reply = site.ask(f"query.{messages.DESCRIBE}", messages.describe_request(job.canonical()))
    assert not reply.has_error(), reply.error.reason
    return messages.read_description(reply.content)


def jobs(job_of: Callable[..., Any], kind: str, count: int, **more: Any):
    """Jobs that differ in whatever may bear on the patients: folds, seeds, lengths, batches, classes."""
    for number in range(count):
        yield job_of(
            **KINDS[kind]
            | more
            | {"data_fold": number % 6 or None, "job_seed": number, "training_local_steps": 3 + number}
            | {"task_classes": [["no", "yes"], ["yes", "no"]][number % 2]}
        )


@pytest.mark.parametrize("kind", KINDS)
def test_no_count_below_the_threshold_and_no_exact_one_leaves(hospital, job_of, kind):
    answers = [described(hospital, job) for job in jobs(job_of, kind, 24)]
    counts = {value for one in answers for told in (one.patients, one.examples) for value in told.values()}
    if kind == "private":
        assert counts == {0, 1}  # it takes part, and no count
    else:
        assert all(value % 10 == 0 for value in counts)
        assert max(counts) < MEMBERS


@pytest.mark.parametrize("kind", KINDS)
def test_membership_is_guessed_no_better_than_by_chance(hospital, job_of, kind, identifiers):
    """The best that is left: whoever has the code, but not the key, looks where a patient would be."""
    answers = {job.data.fold: described(hospital, job) for job in jobs(job_of, kind, 12)}
    folds = {fold: one.examples["val"] for fold, one in answers.items() if fold is not None}
    for key in (CohortKey(bytes(32)), CohortKey.drawn(0), CohortKey.drawn(1)):
        sides = [
            Split(key).sides([Record(n, name, ()) for n, name in enumerate(identifiers)], fold)
            for fold in range(1, 6)
        ]
        suspected = [
            sum(folds[fold] for fold in range(1, 6) if sides[fold - 1][at] == "val") for at in range(ASKED)
        ]
        guesses = np.array(suspected) > np.median(suspected)
        right = (guesses == (np.arange(ASKED) < MEMBERS)).sum()
        assert abs(right - ASKED / 2) < 2.6 * (ASKED / 4) ** 0.5  # 99 % of guessing


def class_counts(site, job) -> np.ndarray:
    """Return what a site says of its classes before the first round."""
    reply = site.ask(f"query.{messages.STATISTICS}", messages.describe_request(job.canonical()))
    assert not reply.has_error(), reply.error.reason
    return read_statistics(reply.content)


def test_no_class_is_counted_exactly_or_for_a_few_patients(hospital, job_of, identifiers):
    """Nine patients have the class 'yes': whatever job asks, there is none."""
    path = hospital.folder / "manifest.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(row | {"label": "yes" if n < 9 else "no"} for n, row in enumerate(rows))
    hospital.restart()
    weighed = {"task_class_weights": "federation"}
    answers = [class_counts(hospital, job) for job in jobs(job_of, "plain", 12, **weighed)]
    told = {tuple(sorted(answer)) for answer in answers}
    assert all(few == 0 and many % 10 == 0 and 10 <= many < MEMBERS for few, many in told)


def test_two_jobs_around_a_new_patient_count_the_same_classes(hospital, job_of, identifiers):
    weighed = {"task_class_weights": "federation"}
    before = class_counts(hospital, job_of(**weighed))
    hospital.rewrite(identifiers[: MEMBERS + 1])
    assert (class_counts(hospital, job_of(**weighed, job_seed=2)) == before).all()


@pytest.mark.parametrize("share", ["validation", "test"])
def test_a_job_says_no_more_where_the_cut_is(job_of, share):
    with pytest.raises(JobError, match=rf"\[data\] {share}: is not the job's to say.*site\.toml.*fold = 1"):
        job_of(**{f"data_{share}": 0.2})


def test_under_differential_privacy_a_job_names_no_least_number(job_of):
    with pytest.raises(JobError, match=r"\[strategy\] min_patients: must be 1 with 'dp-sgd'"):
        job_of(**KINDS["private"], strategy_min_patients=2)


@pytest.mark.parametrize("kind", ["plain", "secure"])
def test_two_jobs_around_a_new_patient_tell_nothing_of_them(hospital, job_of, kind, identifiers):
    before = described(hospital, job_of(**KINDS[kind]))
    hospital.rewrite(identifiers[: MEMBERS + 1])
    assert described(hospital, job_of(**KINDS[kind], job_seed=2)) == before


def test_two_jobs_around_a_patient_who_left_need_a_persons_word(hospital, job_of, identifiers):
    job = job_of(training_batch_size=16)
    assert hospital.train(job) == ""
    left = min(hospital.site.data(job).group("train"))
    hospital.rewrite([name for name in identifiers[:MEMBERS] if name != left])
    refusals = {
        hospital.describe(job_of(job_seed=2)),
        hospital.train(job_of(job_seed=3, training_batch_size=16)),
    }
    assert all("policy.min_group: the patients behind this answer differ" in text for text in refusals)
    assert all("client cohort accept marks" in text for text in refusals)


def test_the_noise_of_a_private_update_tells_the_rounded_number_alone(make_site, job_of, identifiers):
    job = job_of(**KINDS["private"])
    site = make_site(opened=False, patients=identifiers)
    told = {}
    for count in range(100, 130):
        site.rewrite(identifiers[:count])
        data = site.site.data(job)
        steps = site.site._cohort.private_steps(job, data)
        told.setdefault((data.patients["train"] + 5) // 10, set()).add(steps)
    assert len(told) > 2
    assert all(len(steps) == 1 for steps in told.values())


def test_the_steps_of_an_update_tell_the_rounded_number_alone():
    for batch in (1, 2, 7, 16):
        for low in range(15, 300, 10):
            assert len({batches_per_pass(count, batch, 10) for count in range(low, low + 10)}) == 1


def test_two_jobs_that_differ_by_a_step_share_no_steps(job_of):
    """Otherwise the difference of their updates would be that step's."""
    key = CohortKey(bytes(32))
    orders = [
        SampleOrder.of(job, 50, seed=1, key=key, site="a", round_to=10, least=10)
        for job in (job_of(training_local_steps=5), job_of(training_local_steps=6))
    ]
    assert list(orders[0].batches(1)) != list(orders[1].batches(1))[:5]
    assert list(orders[0].batches(1)) == list(orders[0].batches(1))
    assert list(orders[0].batches(1)) != list(SampleOrder.public(job_of(), 50, "a").batches(1))


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_no_update_is_a_few_images_away_from_whole_passes(job_of, batch):
    """The sum of the gradients of all images is known from whole passes, and would leave those between."""
    for images in range(40, 160, 7):
        whole = batches_per_pass(images, batch, 10)
        for asked in range(1, 3 * whole):
            training = job_of(training_local_steps=asked, training_batch_size=batch).training
            steps = steps_of(training, images, 10, 10)
            taken = steps % whole * images / whole
            assert steps < whole or taken == 0 or taken >= 15
            assert taken == 0 or images - taken >= 15
            assert abs(steps - asked) * images / whole <= 25


# Who is behind an update


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"training_batch_size": 1}, True),
        ({"training_batch_size": 9}, True),
        ({"training_batch_size": 1, "training_local_steps": 4}, True),
        ({"training_batch_size": 10}, False),
        ({"training_batch_size": 1, "training_local_steps": 10}, False),
        ({"training_batch_size": 1, "training_local_steps": None, "training_local_epochs": 1}, False),
        (KINDS["private"] | {"training_batch_size": 4}, True),
        (KINDS["private"] | {"training_batch_size": 30}, False),
    ],
)
def test_an_update_of_a_few_patients_does_not_leave(hospital, job_of, changes, refused):
    said = hospital.train(job_of(**changes))
    assert ("policy.min_patients_in_update asks for images of 10 patients" in said) == refused
    assert refused or not said


def test_it_is_patients_that_count_not_images(make_site, job_of, identifiers):
    site = make_site(opened=False, patients=[identifiers[n // 8] for n in range(160)])
    data = site.site.data(job_of())
    assert data.examples["train"] == 8 * data.patients["train"] >= 80
    short = {"training_local_steps": 1, "training_batch_size": 9}
    assert "policy.min_patients_in_update" in site.train(job_of(**short))
    assert site.train(job_of(training_local_steps=None, training_local_epochs=1)) == ""
