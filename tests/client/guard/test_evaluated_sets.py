"""Over which sites metrics were summed: no two sums differ by one or two of them, unless people allow it."""

import pytest

from client.guard.job_book import JobBook
from client.guard.sum_book import SumBook
from shared.privacy.secagg.errors import SecureAggregationError

ABCD = ("alpha", "beta", "gamma", "delta")


@pytest.mark.parametrize(
    ("sites", "others"),
    [
        (ABCD, None),
        (ABCD[:3], "delta"),
        (ABCD[:2], "delta, gamma"),
        ((*ABCD, "eta"), "eta"),
        ((*ABCD[:3], "eta"), "delta, eta"),
        ((*ABCD, "eta", "theta", "zeta"), None),
        ((*ABCD[:2], "eta"), None),  # of three sites it tells no single one
    ],
)
def test_a_sum_that_differs_by_one_or_two_sites_is_refused(tmp_path, sites, others):
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
