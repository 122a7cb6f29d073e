"""Jobs that people submit: checked apart from the coordinator's process, within limits."""

import json

import pytest

from server.runs import submission
from server.runs.submission import LONGEST_BODY, Refused, validated
from shared.job.schema import JobSpec


def body(job: JobSpec, digest: str | None = None) -> bytes:
    return json.dumps({"job": json.loads(job.canonical()), "digest": digest or job.digest()}).encode()


def test_a_job_comes_out_as_it_went_in(tiny_job) -> None:
    job = tiny_job()
    assert validated(body(job)) == job


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not understood"),
        (b"\xff\xfe", "not understood"),
        (b"[" * LONGEST_BODY, "not understood"),
        (b'{"job": {}, "digest": "0"}', "not understood"),
        (b'{"job": {"job": {"seed": ' + b"9" * 200_000 + b'}}, "digest": "' + b"0" * 64 + b'"}', "not under"),
        (b'{"job": {"a": ' + b"[" * 100 + b"]" * 100 + b'}, "digest": "' + b"0" * 64 + b'"}', "levels deep"),
        (b'{"job": {"job": {"name": "\\ud800"}}, "digest": "' + b"0" * 64 + b'"}', "not understood"),
    ],
)
def test_what_is_no_job_is_refused_with_a_reason(content: bytes, reason: str) -> None:
    found = validated(content)
    assert isinstance(found, Refused)
    assert found.status == 400
    assert reason in found.error


def test_another_digest_is_refused(tiny_job) -> None:
    found = validated(body(tiny_job(), "0" * 64))
    assert isinstance(found, Refused)
    assert "another digest" in found.error


@pytest.mark.parametrize(("limit", "value"), [("_DEADLINE", 0.0), ("_PROCESSOR_S", 0), ("_MEMORY", 2**20)])
def test_a_validation_that_takes_too_much_is_given_up(
    monkeypatch, tiny_job, limit: str, value: float
) -> None:
    monkeypatch.setattr(submission, limit, value)
    found = validated(body(tiny_job()))
    assert found == Refused(400, "the job: takes too much to validate")
