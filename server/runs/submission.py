"""A job that somebody submits: read in a process of its own, which may take little and not for long.

What validation costs is bounded by `shared/job/bounds.py`. Should something cost more after all, it holds up
nobody but who submits it: the process has limits of processor time and memory, and a deadline.
"""

import json
import os
import resource
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import Field, ValidationError

from shared.errors import JobError
from shared.job.bounds import LONGEST_JOB
from shared.job.schema import JobSpec, parse_job
from shared.table import Table

LONGEST_BODY = LONGEST_JOB + 1024  # bytes
_DEADLINE = 30.0  # seconds in all: the machine may be busy
_PROCESSOR_S = 10
_MEMORY = 2**30  # bytes of address space
_WHAT = "the job"


class Submission(Table):
    """What a researcher sends: the job, and its digest as the researcher's machine computes it."""

    job: dict[str, Any]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class Refused:
    """A submission that is not taken.

    Attributes:
        status: Of the answer.
        error: What is wrong.
        remedy: What to do about it.
    """

    status: HTTPStatus
    error: str
    remedy: str | None = None


def validated(body: bytes) -> JobSpec | Refused:
    """Validate a submission; blocks for as long as that takes, at most `_DEADLINE` seconds."""
    return _read("submission", body)


def checked(content: bytes) -> JobSpec | Refused:
    """Validate the content of a job file (TOML), as `validated` does a submission."""
    return _read("file", content)


def _read(kind: str, content: bytes) -> JobSpec | Refused:
    try:
        process = subprocess.run(  # noqa: S603  (this module)
            [sys.executable, "-P", "-m", __name__, kind, str(_PROCESSOR_S), str(_MEMORY)],
            input=content,
            capture_output=True,
            timeout=_DEADLINE,
            check=False,
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PATH": os.environ.get("PATH", "")},
        )
    except subprocess.TimeoutExpired:
        process = None
    if process is None or process.returncode:
        return Refused(HTTPStatus.BAD_REQUEST, "the job: takes too much to validate")
    answer = json.loads(process.stdout)
    if "error" in answer:
        return Refused(HTTPStatus(answer["status"]), answer["error"], answer["remedy"])
    return parse_job(answer["job"], _WHAT)


def _validate(body: bytes) -> dict[str, Any]:
    try:
        asked = Submission.model_validate_json(body)
    except ValidationError:
        return _refused("the request is not understood")
    try:
        job = parse_job(asked.job, _WHAT)
        if job.digest() == asked.digest:
            return {"job": json.loads(job.canonical())}
    except JobError as error:
        return _refused(f"the job: {error.problem}", error.remedy)
    except UnicodeEncodeError:
        return _refused("the job: has a text that is not Unicode")
    return _refused(
        "the job has another digest here than at the submitter's",
        "Coordinator and researcher must run the same version of Wardround.",
    )


def _check(content: bytes) -> dict[str, Any]:
    if len(content) > LONGEST_JOB:
        return _refused("the job: is too long")
    try:
        job = parse_job(tomllib.loads(content.decode("utf-8-sig")), _WHAT)
        return {"job": json.loads(job.canonical())}
    except UnicodeDecodeError:
        return _refused("the job: is not in UTF-8", "Save it as UTF-8.")
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return _refused(f"the job: is not valid TOML: {error}")
    except JobError as error:
        return _refused(f"the job: {error.problem}", error.remedy)


def _refused(error: str, remedy: str | None = None) -> dict[str, Any]:
    return {"status": int(HTTPStatus.BAD_REQUEST), "error": error, "remedy": remedy}


def _main(kind: str, processor_s: int, memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (processor_s, processor_s))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    read = {"submission": _validate, "file": _check}[kind]
    print(json.dumps(read(sys.stdin.buffer.read())))


if __name__ == "__main__":
    _main(sys.argv[1], *map(int, sys.argv[2:]))
