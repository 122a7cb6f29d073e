"""A round that goes on in its midst after a kill: same bits, and the steps before are not taken again."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
from flwr.app import RecordDict
from numpy.typing import NDArray

from client.data.samples.batches import Samples
from client.training import halfway
from shared.job.schema import JobSpec
from shared.networks.build import build_model
from shared.strategies.wire import Wire
from shared.wire import messages
from tests.client.conftest import GuardedSite

STEPS = 15  # of a pass: 20 images by 4, three times
LONG = {"training_local_steps": None, "training_local_epochs": 3, "data_augment": ["flip"]}


class KilledError(BaseException):
    """Ends a training as a kill does: nobody catches it."""


@contextmanager
def batches(monkeypatch: pytest.MonkeyPatch, last: int = 1000) -> Iterator[list[int]]:
    """Count the batches that are read; after so many comes the end."""
    read = []
    whole = Samples.batch

    def counted(self: Samples, *args: Any, **named: Any) -> Any:
        if len(read) == last:
            raise KilledError
        read.append(len(read))
        return whole(self, *args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Samples, "batch", counted)
        yield read


def request_of(job: JobSpec) -> messages.Request:
    network = build_model(job)
    wire = Wire.of(network, job.strategy)
    config = messages.request_config(job.canonical(), wire.layout.digest(), 1)
    config["run"] = "a-run"
    first = messages.vector_record(wire.first(wire.model.pack(network)))
    return messages.read_request(RecordDict({messages.ARRAYS: first, messages.CONFIG: config}))


def trained(site: GuardedSite, request: messages.Request) -> NDArray[np.float32]:
    site.restart()
    return site.site.train(request).vector


@pytest.mark.parametrize(
    ("options", "killed_after", "left"),
    [
        ({"training_keep_optimizer": True}, 6, STEPS - 6),
        ({"model_dropout": 0.3, "training_optimizer": "sgd", "training_momentum": 0.9}, STEPS, 0),
        ({"strategy_name": "ditto"}, STEPS + 4, STEPS - 4),
    ],
)
def test_a_round_goes_on_where_it_was_with_the_same_bits(
    make_site, job_of, monkeypatch, *, options, killed_after, left
) -> None:
    site, request = make_site(), request_of(job_of(**LONG, **options))
    expected = trained(site, request)
    assert not list((site.folder / "kept").rglob("midst*"))  # it was short
    shutil.rmtree(site.folder / "kept", ignore_errors=True)
    monkeypatch.setattr(halfway, "EVERY", 0.0)
    with batches(monkeypatch, killed_after), suppress(KilledError):
        trained(site, request)  # or all of it was, and the kill came over the sending
    for kept in (site.folder / "kept").rglob("midst*"):
        assert kept.stat().st_mode & 0o077 == 0
    with batches(monkeypatch) as read:
        assert trained(site, request).tobytes() == expected.tobytes()
    assert len(read) == left


def test_what_was_kept_of_another_round_or_of_other_patients_is_of_no_use(
    make_site, job_of, monkeypatch
) -> None:
    monkeypatch.setattr(halfway, "EVERY", 0.0)
    site, request = make_site(), request_of(job_of(**LONG))
    trained(site, request)
    other = request_of(job_of(**LONG, job_seed=8))
    with batches(monkeypatch) as read:
        trained(site, other)
    assert len(read) == STEPS
    site.rewrite([f"q{number}" for number in range(44)])
    with batches(monkeypatch) as read:
        trained(site, other)
    assert len(read) == STEPS
    for kept in (site.folder / "kept").rglob("midst*"):
        kept.write_bytes(kept.read_bytes()[:-1])
    with batches(monkeypatch) as read:  # a file that is damaged is no reason to fail
        trained(site, other)
    assert len(read) == STEPS
