"""What strategies refuse of the rest of a job, and what is derived from the list of them."""

from typing import Literal

import pytest

from client.settings.policy import PolicyTable
from shared.errors import JobError
from shared.job.template import job_tables as tables_of_the_page
from shared.strategies import STRATEGIES, flower_halves
from shared.strategies.adaptive import FedAdam
from shared.strategies.options import FlowerOptions
from shared.wire.packed_model import Entry, Layout
from tests.jobs import make_job

PRIVATE = {"privacy_mechanism": "dp-sgd", "privacy_noise_multiplier": 1.0, "strategy_weight": "equal"}


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("scaffold", {"training_momentum": 0.9}, "[training] optimizer: must be 'sgd' with momentum = 0.0"),
        ("scaffold", {"training_optimizer": "adamw"}, "[training] optimizer: must be 'sgd'"),
        (
            "scaffold",
            {"training_gradient_clip": 1.0},
            "[training] gradient_clip: can't be used",
        ),
        ("scaffold", {"training_precision": "float16"}, "[training] precision: 'scaffold' counts every step"),
        ("scaffold", {"update_compression": "int8"}, "[update] compression: under 'scaffold'"),
        ("scaffold", {"update_precision": "bfloat16"}, "[update] precision: under 'scaffold'"),
        ("scaffold", {"update_clip": 1.0}, "[update] clip: under 'scaffold'"),
        (
            "scaffold",
            PRIVATE | {"privacy_mechanism": "site-level"},
            "'site-level' cuts down what a site",
        ),
        ("feddyn", {"training_optimizer": "adamw"}, "[training] optimizer: must be 'sgd' under 'feddyn'"),
        ("feddyn", {"update_compression": "int8"}, "[update] compression: under 'feddyn'"),
        ("feddyn", PRIVATE | {"privacy_mechanism": "site-level"}, "'site-level' cuts down what a site"),
        ("ditto", PRIVATE, "'ditto' trains a second time on the same patients"),
        ("fednova", {"training_momentum": 0.9}, "must be 'sgd' with momentum = 0.0 under 'fednova'"),
        ("fednova", {"training_precision": "float16"}, "[training] precision: 'fednova' counts every step"),
        ("fednova", {"update_clip": 1.0}, "under 'fednova' the coordinator multiplies what each site sends"),
        ("fednova", PRIVATE, "[training] local_steps: must be set under 'fednova' with 'dp-sgd'"),
        ("qfedavg", PRIVATE, "'qfedavg' weighs sites by their training loss"),
        ("afl", {"update_precision": "bfloat16"}, "under 'afl' the coordinator divides what each site sends"),
        ("cyclic", {"strategy_min_sites": 2}, "[strategy] min_sites: must be 1 under 'cyclic'"),
        ("cyclic", {"strategy_fraction": 0.5}, "[strategy] fraction: can't be used with 'cyclic'"),
        ("cyclic", PRIVATE | {"privacy_mechanism": "site-level"}, "under 'cyclic' a round has one site"),
        ("swarm", {"strategy_min_sites": 2}, "[strategy] min_sites: must be 1 under 'swarm'"),
        ("swarm", PRIVATE | {"privacy_mechanism": "site-level"}, "under 'swarm' a round has one site"),
        ("fedbuff", {"strategy_min_sites": 3}, "[strategy] min_sites: must be at most buffer, here 2"),
        ("fedbuff", {"strategy_fraction": 0.5}, "[strategy] fraction: can't be used with 'fedbuff'"),
        ("apfl", PRIVATE, "'apfl' asks the same patients for a second gradient"),
        ("apfl", {"training_momentum": 0.9}, "must be 'sgd' with momentum = 0.0 under 'apfl'"),
        ("apfl", {"training_rates": {"model": 0.5}}, "[training] rates: can't be used with 'apfl'"),
        ("apfl", {"training_precision": "float16"}, "[training] precision: can't be 'float16' with 'apfl'"),
        ("apfl", {"task_name": "generation"}, "'apfl' needs a task of one phase, and 'generation' has 2"),
        ("coral", PRIVATE, "'coral' can't be used with 'dp-sgd'"),
        ("coral", {"training_compile": True}, "[training] compile: can't be used with 'coral'"),
        ("moon", PRIVATE, "'moon' can't be used with 'dp-sgd'"),
        ("moon", {"training_compile": True}, "[training] compile: can't be used with 'moon'"),
        ("moon", {"task_name": "classification", "task_mixup": 0.4}, "can't be used with 'moon'"),
        ("moon", {"task_name": "generation"}, "'moon' needs a task of one phase"),
        ("moon", {"task_name": "diffusion"}, "'diffusion-unet' gives no class, number or map of one"),
        ("fedrep", PRIVATE, "'fedrep' trains a second time on the same patients"),
        ("fedsam", PRIVATE, "'fedsam' asks the same patients for a second gradient"),
        ("fedsam", {"training_precision": "float16"}, "[training] precision: can't be 'float16'"),
        ("finetune", {"strategy_own_rounds": 3}, "[strategy] own_rounds: must be below [job] rounds"),
        ("finetune", {"evaluation_patience": 2}, "[evaluation] patience: would end the run"),
        ("bulyan", {"strategy_malicious_sites": 1}, "bulyan with 1 malicious sites needs at least 7 sites"),
        ("krum", {"strategy_malicious_sites": 1}, "krum with 1 malicious sites needs at least 4 sites"),
    ],
)
def test_what_a_strategy_can_not_work_with_is_refused_with_the_reason(name, changes, words):
    with pytest.raises(JobError) as caught:
        make_job(strategy_name=name, **changes)
    assert words in caught.value.problem


@pytest.mark.parametrize("name", ["scaffold", "feddyn", "fedbn", "fednova", "fedper", "finetune"])
def test_a_private_job_may_have_state_at_the_sites(name):
    steps = {"training_local_epochs": None, "training_local_steps": 2}
    assert make_job(strategy_name=name, **PRIVATE, **steps).strategy.name == name


def test_every_strategy_is_known_to_policies_and_to_the_page():
    page = tables_of_the_page()
    for name in STRATEGIES:
        assert PolicyTable(strategies=[name]).strategies == [name]
        assert f"### [strategy] name = `{name}`" in page


def test_every_strategy_names_its_paper():
    for options in STRATEGIES.values():
        assert " et al. 20" in (options.__doc__ or ""), options


def test_a_strategy_of_a_package_names_its_central_half_itself():
    """Its class is not one of Wardround's, and may be called like one."""

    class Slower(FlowerOptions):
        name: Literal["slower"] = "slower"

        def half(self):
            return flower_halves.FedAvgM

        def flower_options(self):
            return {"server_momentum": 0.5}

    class Krum(FedAdam):
        name: Literal["further"] = "further"

    layout = Layout((Entry("w", (3,)),), 3)
    assert Slower().centre(layout).server_momentum == 0.5
    assert isinstance(Krum().centre(layout), flower_halves.FedAdam)
