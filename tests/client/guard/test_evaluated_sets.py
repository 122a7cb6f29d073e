"""Over which sites metrics were summed: always the same ones, unless people allow others."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest

from client.guard.gate import Visit
from client.guard.job_book import JobBook
from client.guard.sum_book import SumBook
from client.work.secure_aggregation import _remember
from shared.privacy.secagg.errors import SecureAggregationError

MODEL = np.ones(100, np.float32)
ABCD = ("alpha", "beta", "gamma", "delta")


@pytest.mark.parametrize(
    ("sites", "others"),
    [
        (ABCD, None),
        (ABCD[:3], "delta"),
        (ABCD[:2], "delta, gamma"),
        ((*ABCD, "eta"), "eta"),
        ((*ABCD[:3], "eta"), "delta, eta"),
    ],
)
def test_a_sum_over_other_sites_is_refused_and_names_whom_it_tells_of(tmp_path, sites, others):
    path = tmp_path / "state.sqlite"
    SumBook(path).sets.take("patients", ABCD, "a" * 64)
    SumBook(path).sets.take("other patients", sites, "b" * 64)
    if others is None:
        SumBook(path).sets.take("patients", sites, "b" * 64)
        return
    with pytest.raises(SecureAggregationError, match=f"would be that of {others}$|that of {others}\n"):
        SumBook(path).sets.take("patients", sites, "b" * 64)
    SumBook(path).sets.take("patients", ABCD[::-1], "b" * 64)


def test_a_person_who_approves_the_job_again_allows_what_was_refused_to_it(tmp_path, tiny_job):
    path = tmp_path / "state.sqlite"
    book, job = JobBook(path), tiny_job()
    book.meet(job, "")
    book.decide(job.digest(), "approved", "it")
    book.sets.take("patients", ABCD, "a" * 64)
    for _ in range(2):  # that it was approved before it was refused allows nothing
        with pytest.raises(SecureAggregationError, match=f"wardround client approve {job.digest()}"):
            book.sets.take("patients", ABCD[:3], job.digest())
    book.decide(job.digest(), "approved", "it")
    JobBook(path).sets.take("patients", ABCD[:3], job.digest())
    with pytest.raises(SecureAggregationError):
        book.sets.take("patients", ABCD[1:], job.digest())
    with pytest.raises(SecureAggregationError):
        book.sets.take("patients", ABCD[1:], "c" * 64)


FANO = [(0, 1, 2), (0, 3, 4), (0, 5, 6), (1, 3, 5), (1, 4, 6), (2, 3, 6), (2, 4, 5)]
NESTED = [(0, 1, 2), (3, 4, 5), (0, 1, 2, 3, 4, 5, 6)]


@pytest.mark.parametrize("asked", [FANO, NESTED, NESTED[::-1], [*NESTED[1:], NESTED[0]]])
def test_no_site_is_solved_for_from_sums_of_which_each_site_knows_a_few(tmp_path, asked):
    """Any two differ by four sites or more, and all together are as many equations as make out each site."""
    assert told(asked)
    books = [SumBook(tmp_path / f"{site}.sqlite") for site in range(7)]
    done = []
    for number, sites in enumerate(asked):
        with contextlib.suppress(SecureAggregationError):
            for site in sites:
                books[site].sets.take("patients", [f"site-{one}" for one in sites], f"{number:064x}")
            done.append(sites)
    assert done
    assert not told(done)


def told(sums: list[tuple[int, ...]]) -> list[int]:
    """Return the sites whose own figure is a combination of sums over these."""
    rows = np.array([[site in sites for site in range(7)] for sites in sums], float)
    spanned = np.diag(np.linalg.pinv(rows) @ rows)
    return np.flatnonzero(spanned > 1 - 1e-9).tolist()


@pytest.mark.parametrize("fold", [2, None])
def test_who_trains_and_who_validates_in_a_fold_are_summed_over_the_same_sites(tmp_path, tiny_job, fold):
    """Together they are all who don't test: two folds over other sites would tell a site's counts."""
    book = SumBook(tmp_path / "state.sqlite")
    dataset = SimpleNamespace(collection="discs.csv")
    site = SimpleNamespace(
        config=SimpleNamespace(dataset=lambda _: dataset), group=lambda job, side: f"{side}/{job.data.fold}"
    )

    def remember(fold: int | None, split: str, sites: tuple[str, ...]) -> None:
        job = tiny_job(privacy_secure_aggregation=True, data_fold=fold)
        weights = dict.fromkeys(sites, 1)
        part = SimpleNamespace(
            client=SimpleNamespace(survivors=sites), weights=lambda _: weights, sketch=book.sketch(MODEL)
        )
        _remember(site, book, Visit(job, "secagg-reveal", bool(split), split, "", 1), part)

    remember(1, "", ABCD)  # statistics of its training patients
    if fold is None:  # the patients by whom it validates then are others
        remember(fold, "val", ABCD[:3])
        return
    with pytest.raises(SecureAggregationError, match="would be that of delta"):
        remember(fold, "val", ABCD[:3])
    remember(fold, "val", ABCD)


def test_one_approval_allows_the_last_of_the_sums_that_were_refused(tmp_path, tiny_job):
    """A coordinator that tries set after set, and says of one alone why it is needed."""
    book, job = JobBook(tmp_path / "state.sqlite"), tiny_job()
    book.meet(job, "")
    book.sets.take("patients", ABCD, "a" * 64)
    for sites in (ABCD[:3], ABCD[1:]):
        with pytest.raises(SecureAggregationError):
            book.sets.take("patients", sites, job.digest())
    assert book.sets.refused(job.digest()) == [tuple(sorted(ABCD[1:]))]
    book.decide(job.digest(), "approved", "it")
    book.sets.take("patients", ABCD[1:], job.digest())
    with pytest.raises(SecureAggregationError):
        book.sets.take("patients", ABCD[:3], job.digest())


def test_what_an_earlier_version_remembered_still_counts(tmp_path):
    path = tmp_path / "state.sqlite"
    SumBook(path).sets.take("group of patients", ABCD, "a" * 64)  # as it named them
    with pytest.raises(SecureAggregationError):
        SumBook(path).sets.take("discs.csv: val", ABCD[:3], "b" * 64, group="group of patients")
