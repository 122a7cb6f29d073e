"""The job that has the data of a training job's sites described."""

import json
from pathlib import Path
from typing import Any

from shared.errors import RunError
from shared.files import write_new
from shared.job.evaluation_rules import OF_ROUNDS
from shared.job.schema import JobSpec, parse_job
from shared.job.toml_text import toml_text, without_none

_OF_WEIGHTS = ("start", "start_sha256", "fresh", "lora")


def describing_tables(job: JobSpec, name: str | None = None) -> dict[str, Any]:
    """Return the tables of the job that has the data described which a job trains on, as a file has them.

    Args:
        job: The job.
        name: Of the other; None keeps the job's.
    """
    tables = json.loads(job.canonical())
    tables["job"] |= {"name": name or job.job.name, "rounds": 0, "describes": True}
    tables["evaluation"] |= dict.fromkeys((*OF_ROUNDS, "groups"))
    tables["evaluation"].pop("test", None)  # of the rounds that there are not
    kept = ("min_sites", "min_patients", "wait", "round_timeout", "grace")
    tables["strategy"] = {"name": "fedavg", **{key: tables["strategy"].get(key) for key in kept}}
    tables["privacy"] = {"secure_aggregation": job.privacy.secure_aggregation}
    tables.pop("update", None)
    networks = tables["model"].values() if isinstance(job.model, dict) else [tables["model"]]
    for network in networks:
        network.update(dict.fromkeys(key for key in _OF_WEIGHTS if key in network))
    return without_none(tables)


def describing_job(job: JobSpec) -> JobSpec:
    """Return it as a job.

    Raises:
        JobError: The task has nothing that could be described.
    """
    return job if job.job.describes else parse_job(describing_tables(job), f"the data of '{job.job.name}'")


def write_describing_job(job: JobSpec, out: Path) -> JobSpec:
    """Write it into a file, and return it.

    Raises:
        JobError: As `describing_job`.
        RunError: The file exists, or can't be written.
    """
    tables = describing_tables(job, out.stem)
    found = parse_job(tables, out)
    try:
        write_new(out, toml_text(tables).encode(), 0o644)
    except FileExistsError:
        raise RunError("exists already", where=out, remedy="Name another file.") from None
    except OSError as error:
        raise RunError(f"can't be written ({error.strerror})", where=out) from None
    return found
