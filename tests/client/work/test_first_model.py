"""The first model of a job: a site takes no other, and knows weights of a file by the job's digest."""

from typing import Any

import numpy as np
import pytest
from flwr.app import RecordDict
from numpy.typing import NDArray

from client.settings.policy import PolicyError
from client.work.first_model import check_first
from shared.job.schema import JobSpec
from shared.networks.build import build_model
from shared.networks.start_weights import digest_of
from shared.strategies.wire import Wire
from shared.wire.messages import ARRAYS, vector_record
from shared.wire.packed_model import Layout
from tests.jobs import make_job


def job_of(start: dict[str, Any], **options: Any) -> JobSpec:
    model = {"name": "cnn", "channels": [4, 8], "norm": "group", **start}
    return make_job(task_name="classification", model=model, **options)


def carried(vector: NDArray[np.float32]) -> RecordDict:
    return RecordDict({ARRAYS: vector_record(vector)})


@pytest.mark.parametrize("strategy", ["fedavg", "scaffold"])
def test_weights_of_a_file_are_known_by_the_digest_of_the_job(strategy: str) -> None:
    source = build_model(job_of({}), seed=9)
    layout = Layout.of(source)
    tensors = {
        name: one for name, one in layout.state_dict(layout.pack(source)).items() if "head" not in name
    }
    start = {"start": "given", "start_sha256": digest_of(tensors), "fresh": ["head"]}
    job = job_of(start, strategy_name=strategy)
    model = build_model(job, files={digest_of(tensors): tensors})
    wire = Wire.of(model, job.strategy)
    first = wire.first(layout.pack(model))
    check_first(job, carried(first), "here", {})

    refused = {
        "has not the weights of": wire.first(layout.pack(build_model(job))),
        "not the one that the job's seed gives": first + 0,
    }
    head = layout.places(["head.1.bias"])
    refused["not the one that the job's seed gives"][head] += 0.5
    changed = first.copy()
    changed[layout.places(["levels.0.weight"])[:1]] *= np.float32(1.0001)
    for message, vector in [*refused.items(), ("has not the weights of", changed)]:
        with pytest.raises(PolicyError, match=message):
            check_first(job, carried(vector), "here", {})


def test_what_never_changes_is_at_the_site_and_the_rest_is_that_of_the_file() -> None:
    source = build_model(job_of({}), seed=9)
    tensors = {name: one for name, one in source.state_dict().items() if one.is_floating_point()}
    files = {digest_of(tensors): tensors}
    job = job_of({"start": "given", "start_sha256": digest_of(tensors)}, update={"parts": ["head"]})
    model = build_model(job, files=files)
    wire = Wire.of(model, job.strategy)
    assert {entry.name.partition(".")[0] for entry in wire.layout.entries} == {"head"}
    first = wire.first(wire.model.pack(model))
    check_first(job, carried(first), "here", files)
    with pytest.raises(PolicyError, match="has not the weights of"):
        check_first(job, carried(first * np.float32(1.0001)), "here", files)


def test_without_a_file_it_is_what_the_seed_draws() -> None:
    job = job_of({})
    layout = Layout.of(build_model(job))
    first = layout.pack(build_model(job))
    check_first(job, carried(first), "here", {})
    with pytest.raises(PolicyError, match="not the one that the job's seed gives"):
        check_first(job, carried(first * np.float32(1.01)), "here", {})
