"""A process that prepares samples: a row a line comes in, an entry a line goes out, until the input ends."""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from client.data.cache.cache import DiskCache
from client.data.cache.preparing import Preparation, read_record, told_entry
from client.data.kinds import kinds_of
from shared.errors import DataError
from shared.job.schema import parse_job


def main() -> None:
    """Answer until the process that asks closes the pipe, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks ends this
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is not an answer
    preparation = _preparation(json.loads(sys.stdin.readline()))
    with contextlib.suppress(BrokenPipeError):
        for line in sys.stdin:
            answers.write(json.dumps(_answer(preparation, line)) + "\n")
            answers.flush()


def _preparation(told: dict[str, Any]) -> Preparation:
    job = parse_job(json.loads(told["job"]), "the job")
    known = kinds_of(job)
    kinds = {name: known[name] for name in told["fields"]}
    return Preparation(job, kinds, told["source"], DiskCache(Path(told["folder"])))


def _answer(preparation: Preparation, line: str) -> dict[str, Any]:
    try:
        return told_entry(preparation.entry(read_record(json.loads(line))))
    except DataError as error:
        return {"error": [error.problem, error.where and str(error.where), error.remedy]}


if __name__ == "__main__":
    main()
