"""The ClientApp of a site: what it answers to right, wrong and forbidden questions."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict

from client.settings.site import DatasetTable, PolicyTable, SiteConfig, SiteTable
from client.training.device import open_device
from client.work.client_app import make_app
from client.work.hospital import Site
from client.work.warm_networks import Workshop
from shared.flower import assign_id, become
from shared.networks.build import build_model
from shared.wire import messages
from shared.wire.packed_model import Layout
from simulate.session.setup import OPEN_POLICY


class Hospital:
    """A site with the tiny data of alpha, and a coordinator that may ask anything."""

    def __init__(self, manifest, job, *, policy=None) -> None:
        become(7)
        config = SiteConfig(
            site=SiteTable(name="alpha", coordinator=None),
            datasets={"discs": DatasetTable(manifest=manifest, site="alpha")},
            policy=policy or OPEN_POLICY,
        )
        self.job = job
        network = build_model(job)
        self.layout = Layout.of(network)
        self.vector = self.layout.pack(network)
        self._app = make_app(Site(config, Workshop(open_device("cpu")), gate=None))

    def content(self, *, split="", round_=1, vector=None, **changes) -> RecordDict:
        config = messages.request_config(self.job.canonical(), self.layout.digest(), round_, split=split)
        config = ConfigRecord(dict(config) | changes)
        arrays = messages.vector_record(self.vector if vector is None else vector)
        return RecordDict({messages.ARRAYS: arrays, messages.CONFIG: config})

    def ask(self, kind: str, content: RecordDict) -> Message:
        message = assign_id(Message(content, 7, kind), "1")
        context = Context(run_id=1, node_id=7, node_config={}, state=RecordDict(), run_config={})
        return self._app(message, context)

    def refusal(self, kind: str, content: RecordDict) -> str:
        answer = self.ask(kind, content)
        assert answer.has_error()
        assert answer.error.code == messages.SITE_ERROR
        return answer.error.reason


@pytest.fixture
def hospital(tiny_data, tiny_job) -> Hospital:
    return Hospital(tiny_data, tiny_job())


def test_it_describes_trains_and_evaluates(hospital):
    described = hospital.ask("query.describe", messages.describe_request(hospital.job.canonical()))
    description = messages.read_description(described.content)
    assert description.site == "alpha"
    assert description.patients == {"train": 10, "val": 10, "test": 10}  # rounded
    assert description.examples == {"train": 10, "val": 10, "test": 10}

    update = messages.read_update(hospital.ask("train", hospital.content()).content, hospital.layout.size)
    assert update.examples == 10
    assert not np.array_equal(update.vector, hospital.vector)

    found = messages.read_evaluation(hospital.ask("evaluate", hospital.content(split="val")).content)
    assert found.examples == 10


def test_the_same_question_has_the_same_answer(hospital, tiny_data, tiny_job):
    def train(site: Hospital, round_: int) -> np.ndarray:
        return messages.read_update(
            site.ask("train", site.content(round_=round_)).content, site.layout.size
        ).vector

    first = train(hospital, 1)
    second = train(hospital, 2)
    assert not np.array_equal(first, second)
    assert np.array_equal(train(hospital, 1), first)  # whatever was asked between
    assert np.array_equal(
        train(Hospital(tiny_data, tiny_job()), 2), second
    )  # by a site that has just started


def nan(vector: np.ndarray) -> np.ndarray:
    return np.where(np.arange(vector.size) == 5, np.nan, vector).astype(np.float32)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"job": "{}"}, "[job]"),
        ({"job": "not json"}, "JSON"),
        ({"job": "[1]"}, "JSON object"),
        ({"layout": "other"}, "layout"),
        ({"round": -1}, "round"),
        ({"round": 4}, "job.rounds: the job has rounds 1 to 3"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(hospital, changes, words):
    assert words in hospital.refusal("train", hospital.content(**changes))


def test_a_model_that_does_not_fit_is_refused(hospital):
    assert "numbers instead of" in hospital.refusal("train", hospital.content(vector=hospital.vector[:-1]))
    assert "not finite" in hospital.refusal("train", hospital.content(vector=nan(hospital.vector)))
    content = hospital.content()
    content[messages.ARRAYS] = ArrayRecord({messages.VECTOR: Array(hospital.vector.astype(np.float64))})
    assert "float64" in hospital.refusal("train", content)
    content.clear()
    assert "ConfigRecord" in hospital.refusal("train", content)


@pytest.mark.parametrize("split", ["", "everything", "../val"])
def test_an_evaluation_on_no_split_is_refused(hospital, split):
    assert "split" in hospital.refusal("evaluate", hospital.content(split=split))


def test_a_training_that_explodes_sends_no_update(tiny_data, tiny_job):
    # One step, whose loss is still a number; the weights after it are not.
    changes = {"training_optimizer": "sgd", "training_learning_rate": 1e38, "training_weight_decay": 1e6}
    hospital = Hospital(tiny_data, tiny_job(**changes))
    assert "no longer a number in round 1" in hospital.refusal("train", hospital.content())


def test_the_policy_is_asked_each_time(tiny_data, tiny_job):
    hospital = Hospital(tiny_data, tiny_job(), policy=PolicyTable(networks=["dynunet"]))
    for kind in ("query.describe", "train", "evaluate"):
        assert "policy.networks" in hospital.refusal(kind, hospital.content(split="val"))


def test_a_simulation_names_the_file_that_is_wrong(tiny_data, tiny_job, tmp_path):
    """What a hospital's answers must not name is in test_policy."""
    text = tiny_data.read_text().replace("alpha-0-0.png", "gone.png")
    (tmp_path / "manifest.csv").write_text(text)
    hospital = Hospital(tmp_path / "manifest.csv", tiny_job())
    assert "gone.png" in hospital.refusal("train", hospital.content())
