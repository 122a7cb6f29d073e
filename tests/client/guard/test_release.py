"""What leaves a site under a private job, asked as a coordinator asks."""

import math

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict

from client.settings.policy import PolicyTable
from client.settings.site import DatasetTable, SiteConfig, SiteTable
from client.training.device import open_device
from client.work.client_app import make_app
from client.work.hospital import Site
from client.work.warm_networks import Workshop
from shared.flower import assign_id, become
from shared.networks.build import build_model
from shared.wire import messages
from shared.wire.packed_model import Layout

SMALL = {"min_group": 1, "min_patients_in_update": 1}
CLOSED = PolicyTable(**SMALL)
OPEN = PolicyTable(share_site_metrics=True, share_private_counts=True, share_private_metrics=True, **SMALL)


@pytest.fixture
def ask(tiny_data, tiny_job):
    """Return a function that asks a site of two training images about a private job."""

    def run(kind: str, policy: PolicyTable, *, split: str = "", **changes) -> Message:
        become(7)
        private = {
            "model_norm": "instance",
            "task_loss": "dice-ce",
            "strategy_weight": "equal",
            "privacy_mechanism": "dp-sgd",
            "privacy_noise_multiplier": 1.0,
        }
        job = tiny_job(**(private | changes))
        data = {"discs": DatasetTable(manifest=tiny_data, site="alpha")}
        config = SiteConfig(site=SiteTable(name="alpha", coordinator=None), datasets=data, policy=policy)
        app = make_app(Site(config, Workshop(open_device("cpu")), gate=None))
        model = build_model(job)
        layout = Layout.of(model)
        request = messages.request_config(job.canonical(), layout.digest(), 1, split=split)
        content = RecordDict(
            {
                messages.ARRAYS: messages.vector_record(layout.pack(model)),
                messages.CONFIG: ConfigRecord(dict(request)),
            }
        )
        if kind == "query.describe":
            content = messages.describe_request(job.canonical())
        context = Context(run_id=1, node_id=7, node_config={}, state=RecordDict(), run_config={})
        answer = app(assign_id(Message(content, 7, kind), "1"), context)
        assert not answer.has_error(), answer.error.reason
        if kind != "train":
            return answer
        update = messages.read_update(answer.content, layout.size)
        assert np.any(update.vector != layout.pack(model))
        return update

    return run


def described(answer: Message) -> messages.Description:
    return messages.read_description(answer.content)


def test_by_default_a_private_job_learns_the_model_and_nothing_else(ask):
    description = described(ask("query.describe", CLOSED))
    assert description.patients == {"train": 1, "val": 0, "test": 0}  # it takes part
    assert description.examples == {"train": 1, "val": 0, "test": 0}
    update = ask("train", CLOSED)
    assert update.examples == 1
    assert math.isnan(update.loss)
    evaluation = messages.read_evaluation(ask("evaluate", CLOSED, split="val").content)
    assert evaluation.examples == 0
    assert not evaluation.states.any()


def test_a_policy_may_say_that_counts_and_scores_are_public_but_not_the_loss(ask):
    assert described(ask("query.describe", OPEN)).examples == {"train": 10, "val": 10, "test": 10}
    update = ask("train", OPEN, strategy_weight="examples")
    assert update.examples == 10
    assert math.isnan(update.loss)
    evaluation = messages.read_evaluation(ask("evaluate", OPEN, split="val").content)
    assert evaluation.examples == 10
    assert evaluation.states.any()


def test_scores_of_a_small_group_stay_whatever_is_public(ask):
    few = OPEN.model_copy(update={"min_group": 2})
    evaluation = messages.read_evaluation(ask("evaluate", few, split="val").content)
    assert evaluation.examples == 0
    assert not evaluation.states.any()


def test_a_site_with_too_few_patients_says_only_that(ask):
    description = described(ask("query.describe", PolicyTable()))
    assert description.patients == {"train": 0, "val": 0, "test": 0}


def test_a_job_that_weighs_sites_by_a_count_that_stays_is_refused(ask):
    with pytest.raises(AssertionError, match=r"(?s)policy.share_private_counts keeps.*weight = 'equal'"):
        ask("query.describe", CLOSED, strategy_weight="examples")


def test_a_rehearsal_repeats_itself(ask):
    one, again = ask("train", OPEN), ask("train", OPEN)
    assert np.array_equal(one.vector, again.vector)
