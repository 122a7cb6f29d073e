"""Groups of a test's patients: which of them a hospital tells of, and that what it tells adds up."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch

from client.data.manifest.rows import Record
from client.data.manifest.splits import CohortKey
from client.data.samples.patient_groups import patient_groups
from client.guard.bounds import Bounds
from client.guard.cohort import Cohort
from client.guard.cohort_book import BOOK, CohortBook
from client.guard.group_release import bound_and_withhold
from client.settings.policy import PolicyError, PolicyTable, check_job
from shared.batch import Batch
from shared.errors import JobError
from shared.metrics.curves import first_edges
from shared.metrics.grouped import GroupedMetrics
from shared.privacy.secagg.claims import Claims
from shared.privacy.secagg.metric_sum import decode_states, encode_states
from shared.tasks import make_task
from tests.jobs import make_job

SEX = {"column": "sex", "values": ["F", "M"]}
LEAST = 10


def job_of(*groups):
    return make_job(task_name="classification", evaluation={"groups": list(groups)})


def told(cohort, job, records):
    """Return the groups of which a hospital lets figures leave, after those of all its test patients."""
    everybody = frozenset(record.patient for record in records)
    cohort.tell("discs", "test", everybody, LEAST, "north")
    beside, found = [everybody], []
    for name, patients in patient_groups(job, records).items():
        if cohort.tell_beside("discs", f"test: {name}", patients, LEAST, beside):
            found.append(name)
            beside.append(patients)
    return found


def patients(*cells, column="sex"):
    return [Record(row, f"p{row}", (), cells={column: cell}) for row, cell in enumerate(cells)]


@pytest.fixture(params=["with a book", "in a rehearsal"])
def cohort(request, tmp_path: Path):
    key = CohortKey.drawn(1)
    return Cohort(key, CohortBook(tmp_path / BOOK)) if request.param == "with a book" else Cohort(key)


def test_a_small_group_is_not_told(cohort):
    assert told(cohort, job_of(SEX), patients(*"F" * 30, *"M" * 9)) == []  # the rest of F is M


def test_the_rest_of_a_column_is_not_told_by_the_others(cohort):
    """All but three are F or M: F, M and everybody together would tell of these three."""
    assert told(cohort, job_of(SEX), patients(*"F" * 30, *"M" * 30, *"???")) == ["sex: F"]


def test_where_many_are_in_no_group_the_others_are_told(cohort):
    assert told(cohort, job_of(SEX), patients(*"F" * 30, *"M" * 30, *"?" * 12)) == ["sex: F", "sex: M"]


def test_columns_that_hang_together_are_not_told_where_they_would_tell_of_few(cohort):
    """All M but two are from 50: who is M and below 50 is M less those from 50."""
    records = [
        Record(row, f"p{row}", (), cells={"sex": sex, "age": age})
        for row, (sex, age) in enumerate([("F", "30")] * 20 + [("M", "60")] * 20 + [("M", "30")] * 2)
    ]
    found = told(cohort, job_of(SEX, {"column": "age", "ends": [50.0]}), records)
    assert found == ["sex: F", "sex: M"]


def test_columns_that_disagree_about_few_do_not_tell_of_these_together(cohort):
    """Five patients of two scanners stand under another maker: A less both scanners is minus these five."""
    makers = [("1", "A")] * 17 + [("1", "B")] * 3 + [("2", "A")] * 18 + [("2", "B")] * 2
    makers += [("3", "B")] * 20 + [("4", "B")] * 20
    records = [
        Record(row, f"p{row}", (), cells={"scanner": scanner, "maker": maker})
        for row, (scanner, maker) in enumerate(makers)
    ]
    columns = [
        {"column": "scanner", "values": ["1", "2", "3", "4"]},
        {"column": "maker", "values": ["A", "B"]},
    ]
    assert told(cohort, job_of(*columns), records) == [f"scanner: {number}" for number in "1234"]


def test_other_ends_of_another_job_do_not_tell_of_those_between(tmp_path):
    cohort = Cohort(CohortKey.drawn(1), CohortBook(tmp_path / BOOK))
    records = patients(*(str(age) for age in range(20, 80)), column="age")
    assert len(told(cohort, job_of({"column": "age", "ends": [50.0]}), records)) == 2
    assert told(cohort, job_of({"column": "age", "ends": [53.0]}), records) == []
    assert len(told(cohort, job_of({"column": "age", "ends": [50.0]}), records)) == 2
    assert len(told(cohort, job_of({"column": "age", "ends": [35.0]}), records)) == 2


def test_who_is_in_which_group():
    job = job_of(SEX, {"column": "age", "ends": [40.0, 65.0]})
    rows = [
        ("a", "F", "40"),
        ("b", "f", "x"),
        ("c", "M", "64.9"),
        ("c", "M", "65"),
        ("d", "", "-3"),
        ("e", "M", "nan"),
        *((name, "", odd) for name, odd in zip("fghi", ("5_0", "१५", "inf", "41,5"), strict=True)),
    ]
    records = [
        Record(row, name, (), cells={"sex": sex, "age": age}) for row, (name, sex, age) in enumerate(rows)
    ]
    assert {name: sorted(own) for name, own in patient_groups(job, records).items()} == {
        "sex: F": ["a"],
        "sex: M": ["c", "e"],
        "age: below 40": ["d"],
        "age: 40 to below 65": ["a"],  # c has two ages that differ by group
        "age: from 65": [],
    }


def seed_of(digest):
    return int(sha256(digest.encode()).hexdigest()[:8], 16)


def judged(task, rng, number, *, masked, women=40):
    """Return the metrics of a hospital's test, as they leave it."""
    metrics = GroupedMetrics.of(task, first_edges(1, 20), "test")
    names = [f"{number}-{k}" for k in range(60)]
    targets = torch.from_numpy(rng.integers(0, 2, 60))
    logits = torch.stack([-targets, targets], dim=1) + torch.from_numpy(rng.normal(0, 1, (60, 2)))
    groups = {"sex: F": names[:women], "sex: M": names[women:]}
    groups = {name: own for name, own in groups.items() if own}
    for part, own in ((metrics.whole, names), *((metrics.groups[name], own) for name, own in groups.items())):
        places = [names.index(name) for name in own]
        batch = Batch({"label": targets[places]}, own)
        task.update(part, {"logits": logits[places]}, batch, torch.ones(len(own)))
    metrics.fold(20)
    bounds = Bounds(LEAST if masked is None else 1, seed_of)
    bound_and_withhold(metrics, groups, bounds, task.job, bins=20, masked=bool(masked))
    return metrics


def test_masked_sums_of_groups_are_those_of_all_hospitals():
    task, rng = make_task(job_of(SEX)), np.random.default_rng(0)
    sites = [judged(task, rng, number, masked=True) for number in range(3)]
    empty, roster = sites[0], [Claims(60, 60)] * 3
    total = GroupedMetrics.of(task, first_edges(1, 20), "test")
    masked = sum(encode_states(own.pack(), empty, roster) for own in sites)
    decode_states(masked, total, roster)
    for name in ("sex: F", "sex: M"):
        tally = total.groups[name].tally()
        assert (tally == sum(own.groups[name].tally() for own in sites)).all()
        assert tally.sum() == 2 * 3 * (40 if name == "sex: F" else 20)
    assert total.whole.compute()["accuracy"] == pytest.approx(
        np.mean([own.whole.compute()["accuracy"] for own in sites])
    )
    assert 0.5 < total.groups["sex: F"].compute()["auroc"] < 1
    with pytest.raises(ValueError, match="expected"):
        total.merge(total.whole.pack())


def test_a_group_of_few_bins_has_no_curve_in_place_of_a_wrong_one():
    """Two bins in the middle of which all scores would lie make an AUROC of 0.5, whatever the model."""
    task = make_task(job_of(SEX))
    metrics = GroupedMetrics.of(task, first_edges(1, 20), "test")
    batch = Batch({"label": torch.tensor([0, 1])}, ["a", "b"])
    for part in metrics.parts():
        task.update(part, {"logits": torch.tensor([[3.0, -3.0], [-3.0, 3.0]])}, batch, torch.ones(2))
    metrics.fold(8)
    assert np.isnan(metrics.groups["sex: F"].compute()["auroc"])
    assert metrics.whole.compute()["auroc"] == 1
    assert metrics.groups["sex: F"].compute()["accuracy"] == 1


def test_unmasked_figures_of_groups_have_the_noise_of_one_more_look():
    """Two groups of one column: each count's noise is the root of 2 times that of the test."""
    assert Bounds(9, lambda _: 0, beside=2).deviation(np.ones(5, np.int64)) == pytest.approx(3 * 2**0.5)
    task = make_task(job_of(SEX))
    exact, told = (judged(task, np.random.default_rng(0), 0, masked=how) for how in (True, None))
    assert told.groups["sex: F"].compute()["accuracy"] != exact.groups["sex: F"].compute()["accuracy"]
    assert told.groups["sex: M"].tally() is None  # 20 patients: some cell of its decisions has too few


def test_a_group_that_is_the_whole_test_has_noise_of_its_own():
    """The same noise twice, once the root of 2 larger, would tell the figure without any."""
    task = make_task(job_of(SEX))
    exact, told = (judged(task, np.random.default_rng(0), 0, masked=how, women=60) for how in (True, None))
    right = [own.whole.compute()["accuracy"] for own in (exact, told)]
    of_group = told.groups["sex: F"].compute()["accuracy"]
    assert of_group - right[0] != pytest.approx(2**0.5 * (right[1] - right[0]), abs=0.02)


def test_the_validation_has_no_groups():
    task = make_task(job_of(SEX))
    assert GroupedMetrics.of(task, None, "val").groups == {}


def test_a_column_that_the_hospital_does_not_name_is_refused():
    with pytest.raises(PolicyError, match="group_columns does not allow 'sex'"):
        check_job(PolicyTable(group_columns=["age"]), job_of(SEX), "north")
    check_job(PolicyTable(group_columns=["sex"]), job_of(SEX), "north")


@pytest.mark.parametrize(
    ("groups", "why"),
    [
        ([{"column": "sex"}], "either values or ends"),
        ([{"column": "age", "ends": [50.0, 40.0]}], "must ascend"),
        ([{"column": f"c{k}", "values": list("abcdefg")} for k in range(4)], "24 is the most"),
        ([SEX, SEX], "appears twice"),
    ],
)
def test_groups_that_make_no_sense_are_refused(groups, why):
    with pytest.raises(JobError, match=why):
        job_of(*groups)
