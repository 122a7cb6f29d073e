"""A process that prepares samples: a row a line comes in, an entry a line goes out, until the input ends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from client.data.cache.cache import DiskCache
from client.data.cache.preparing import Preparation, read_record, told_entry
from client.data.kinds import kinds_of
from client.data.line_processes import serve
from shared.job.schema import parse_job


def main() -> None:
    """Answer until the process that asks closes the pipe, or is gone."""
    torch.set_num_threads(1)
    serve(_prepare)


def _prepare(told: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    job = parse_job(json.loads(told["job"]), "the job")
    known = kinds_of(job)
    kinds = {name: known[name] for name in told["fields"]}
    preparation = Preparation(job, kinds, told["source"], DiskCache(Path(told["folder"])))
    return lambda row: told_entry(preparation.entry(read_record(row)))


if __name__ == "__main__":
    main()
