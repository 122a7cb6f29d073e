"""The job: its identity, and what a user reads who made a mistake."""

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import JobError
from shared.job.schema import JobSpec, load_job, parse_job

PROJECT = Path(__file__).parents[3]
JOBS = sorted((PROJECT / "configs" / "jobs").glob("*.toml"))
BASE: dict[str, Any] = tomllib.loads(
    (PROJECT / "configs" / "jobs" / "quickstart.toml").read_text(encoding="utf-8")
)
TABLES = sorted(BASE)


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """Return the quickstart job with `table.key` or `table` replaced; `...` removes it."""
    job = copy.deepcopy(BASE)
    for dotted, value in changes.items():
        table, _, key = dotted.partition(".")
        home, name = (job.setdefault(table, {}), key) if key else (job, table)
        if value is ...:
            del home[name]
        else:
            home[name] = value
    return job


def problem(changes: dict[str, Any]) -> str:
    with pytest.raises(JobError) as caught:
        parse_job(changed(changes), "job.toml")
    assert str(caught.value).startswith("job.toml: ")
    return caught.value.problem


def shuffled(table: dict[str, Any], draw: st.DrawFn) -> dict[str, Any]:
    keys = draw(st.permutations(list(table)))
    return {key: shuffled(table[key], draw) if isinstance(table[key], dict) else table[key] for key in keys}


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_every_job_that_is_shipped_is_valid(path: Path) -> None:
    assert load_job(path).job.name == path.stem


@given(st.data())
def test_digest_does_not_depend_on_the_order_of_keys(data: st.DataObject) -> None:
    assert parse_job(shuffled(BASE, data.draw), None).digest() == parse_job(BASE, None).digest()


@given(st.floats(1e-9, 1e3), st.sampled_from(["{!r}", "{:.17e}", "{:.30f}", "+{!r}"]))
def test_digest_does_not_depend_on_how_a_number_is_spelt(rate: float, spelling: str) -> None:
    text = tomli_w.dumps(changed({"training.learning_rate": 123.0}))
    spelt = tomllib.loads(text.replace("123.0", spelling.format(rate)) + "# a comment\n")
    if spelt["training"]["learning_rate"] != rate:  # 30 decimals are not enough for the smallest
        return
    assert (
        parse_job(spelt, None).digest() == parse_job(changed({"training.learning_rate": rate}), None).digest()
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"training.learning_rate": 1}, {"training.learning_rate": 1.0}),
        ({"job.rounds": 20}, {"job.rounds": ...}),
        ({"evaluation": {}}, {"evaluation": ...}),
        ({"data.dimensions": 2}, {"data.dimensions": 2.0}),
    ],
)
def test_same_meaning_same_digest(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert parse_job(changed(one), None).digest() == parse_job(changed(other), None).digest()


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_another_job_has_another_digest(rounds: int, others: int) -> None:
    one, other = (parse_job(changed({"job.rounds": count}), None).digest() for count in (rounds, others))
    assert (one == other) == (rounds == others)


def test_canonical_json_is_the_job() -> None:
    job = parse_job(BASE, None)
    assert JobSpec.model_validate_json(job.canonical()) == job


@given(st.sampled_from(TABLES), st.text("abcdefghijklmnopqrstuvwxyz_", min_size=3, max_size=12))
def test_an_unknown_key_is_refused_in_every_table(table: str, key: str) -> None:
    assert f"[{table}] zz{key}: unknown key" in problem({f"{table}.zz{key}": 1})


@given(
    st.sampled_from(TABLES),
    st.one_of(st.integers(), st.text(max_size=5), st.booleans(), st.lists(st.integers())),
)
def test_a_table_that_is_none_is_refused(table: str, value: object) -> None:
    assert problem({table: value}).startswith(f"[{table}]: must be a table, got ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": ...}, "[training]: the table is missing"),
        ({"model": ...}, "[model]: the table is missing"),
        ({"trainng": {}}, "[trainng]: unknown table; did you mean 'training'?"),
        ({"rounds": 3}, "rounds: stands outside any table; it belongs under [job]"),
        ({"training.rounds": 3}, "[training] rounds: unknown key; it belongs under [job]"),
        ({"training.batchsize": 8}, "[training] batchsize: unknown key; did you mean 'batch_size'?"),
        ({"strategy.min_site": 3}, "[strategy] min_site: unknown key; did you mean 'min_sites'?"),
        ({"strategy.proximal_mu": 0.1}, "[strategy] proximal_mu: is for fedprox only"),
        ({"model.chanels": [8, 16]}, "[model] chanels: unknown key; did you mean 'channels'?"),
        ({"task.name": ...}, "[task] name: is missing (one of: classification, "),
        ({"job.task": "segmentation"}, "[job] task is now [task] name"),
        ({"training.loss": "dice", "data.classes": ["a"]}, "[training] loss is now [task] loss"),
        ({"job.name": ...}, "[job] name: is missing (Name of the job"),
        ({"model.name": ...}, "[model] name: is missing (one of: "),
        ({"model.name": "unett"}, "[model] name: unknown name \"unett\"; did you mean 'unet'?"),
        ({"strategy.name": "fedavgg"}, "[strategy] name: unknown name \"fedavgg\"; did you mean 'fedavg'?"),
        ({"training.optimizer": "adamv"}, '[training] optimizer: unknown name "adamv"; did you mean \'adam'),
        (
            {"data.augment": ["flip", "rot"]},
            "[data] augment, entry 2: unknown name \"rot\"; did you mean 'rotate'?",
        ),
        ({"data.augment": "flip"}, '[data] augment: must be a list in [ ], got "flip"'),
        ({"task.classes": []}, "[task] classes: needs 1 or more entries, got []"),
        ({"task.classes": ["a", "a"]}, "[task] classes: a name appears twice"),
        ({"data.size": [96]}, "[data] size: needs 2 or more entries, got [96]"),
        ({"data.size": [96, -1]}, "[data] size: every number must be above 0"),
        ({"data.size": [96, "x"]}, '[data] size, entry 2: must be a whole number, got "x"'),
        ({"data.size": 96}, "[data] size: must be a list in [ ], got 96"),
        ({"data.size": ...}, "[data] size: is missing"),
        ({"data.dimensions": 4}, "[data] dimensions: must be 2 or 3, got 4"),
        ({"task.distances": 1}, "[task] distances: must be true or false, got 1"),
        ({"data.window": [0.0, 1.0]}, "[data] window: is needed with intensity = 'window'"),
        ({"job.rounds": "20"}, '[job] rounds: must be a whole number, got "20"'),
        ({"job.rounds": 2.5}, "[job] rounds: must be a whole number, got 2.5"),
        ({"job.rounds": True}, "[job] rounds: must be a whole number, got true"),
        ({"job.rounds": -1}, "[job] rounds: must be at least 0, got -1"),
        ({"job.seed": -1}, "[job] seed: must be at least 0, got -1"),
        ({"job.name": "../../etc"}, "[job] name: must be a name"),
        ({"job.dataset": 3}, "[job] dataset: must be a text in quotes, got 3"),
        ({"training.learning_rate": -1e-3}, "[training] learning_rate: must be above 0.0, got -0.001"),
        ({"training.learning_rate": "1e-3"}, '[training] learning_rate: must be a number, got "1e-3"'),
        ({"training.gradient_clip": float("nan")}, "[training] gradient_clip: must be "),
        ({"training.weight_decay": float("inf")}, "[training] weight_decay: must be a finite number"),
        ({"training.local_steps": 5}, "[training] local_epochs: give either local_epochs or local_steps"),
        (
            {"task": {"name": "detection", "classes": ["cell"], "boxes": ["../boxes.csv"]}},
            "[task]: the table '../boxes.csv' lies beside the manifest; name no folder",
        ),
        (
            {"task.loss": "balanced-softmax"},
            '[task] loss: unknown name "balanced-softmax"; one of: batch-dice-ce, boundary, ',
        ),
        (
            {"evaluation.select_best": "dice_globl"},
            "unknown metric 'dice_globl'; did you mean 'dice_global'?",
        ),
        (
            {"evaluation.test": False, "evaluation.groups": [{"column": "sex", "values": ["F", "M"]}]},
            "[evaluation] groups: is of the test, which stays closed (test = false)",
        ),
        (
            {"strategy": {"name": "krum", "malicious_sites": 1}},
            "[strategy] min_sites: krum with 1 malicious sites",
        ),
    ],
    ids=str,
)
def test_a_mistake_is_named_with_its_place_and_the_remedy(changes: dict[str, Any], message: str) -> None:
    said = problem(changes)
    assert message in said
    assert "\n" not in said


def test_all_problems_are_named_at_once() -> None:
    said = problem({"job.rounds": -1, "task.name": "segment", "training.batchsize": 8})
    assert said.startswith("3 problems\n")
    assert all(place in said for place in ("[job] rounds:", "[task] name:", "[training] batchsize:"))


def test_a_long_value_is_cut_in_the_message() -> None:
    assert len(problem({"job.rounds": "x" * 10_000})) < 200


def test_secure_aggregation_is_refused_where_it_can_not_be_with_the_reason() -> None:
    secure = {"secure_aggregation": True}
    assert not parse_job(BASE, "job.toml").privacy.secure_aggregation
    three = {**BASE, "strategy": {**BASE["strategy"], "min_sites": 3}}
    assert parse_job({**three, "privacy": secure}, "job.toml").privacy.secure_aggregation
    with pytest.raises(JobError, match="of a sum of two, each site would know"):
        parse_job({**BASE, "privacy": secure}, "job.toml")
    for name in ("krum", "multikrum", "fedmedian", "fedtrimmedavg"):
        table = {**BASE, "strategy": {"name": name, "min_sites": 3}, "privacy": secure}
        with pytest.raises(JobError, match=f"'{name}' compares single updates"):
            parse_job(table, "job.toml")


PRIVATE = {"privacy.mechanism": "dp-sgd", "privacy.epsilon": 8.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"privacy.epsilon": 3.0}, "[privacy] epsilon: needs mechanism = 'dp-sgd'"),
        ({"privacy.delta": 1e-5}, "[privacy] delta: needs mechanism = 'dp-sgd'"),
        ({"privacy.mechanism": "none", "privacy.max_grad_norm": 2.0}, "[privacy] max_grad_norm: needs"),
        ({"privacy.mechanism": "dp-sgd"}, "[privacy] epsilon: give either epsilon or noise_multiplier"),
        ({**PRIVATE, "privacy.noise_multiplier": 1.0}, "[privacy] epsilon: give either"),
        (
            {**PRIVATE, "privacy.unit": "image", "privacy.images_per_patient": 2},
            "[privacy] images_per_patient",
        ),
        ({**PRIVATE, "privacy.epsilon": 0}, "[privacy] epsilon: must be above 0"),
        ({**PRIVATE, "privacy.mechanism": "dpsgd"}, "did you mean 'dp-sgd'?"),
        ({**PRIVATE, "training.gradient_clip": 1.0}, "[training] gradient_clip: with 'dp-sgd'"),
        ({**PRIVATE, "task.loss": "batch-dice-ce"}, "[task] loss: 'batch-dice-ce' mixes the images"),
        ({**PRIVATE, "task.class_weights": "site"}, "[task] class_weights: 'site' needs the exact"),
        ({**PRIVATE, "model": {"name": "swin-unetr"}}, "[model] name: 'swin-unetr' can't be trained with"),
    ],
)
def test_a_promise_that_could_not_be_kept_is_refused(changes: dict[str, Any], words: str) -> None:
    assert words in problem(changes)


def test_a_private_job_comes_back_from_its_canonical_json() -> None:
    job = parse_job(changed(PRIVATE), None)
    assert job.privacy.epsilon == 8.0
    assert parse_job(json.loads(job.canonical()), None) == job
    plain = parse_job(BASE, None)
    assert parse_job(json.loads(plain.canonical()), None) == plain


def test_overrides_replace_and_add_keys(quickstart: Path) -> None:
    job = load_job(
        quickstart, {"training.learning_rate": 3e-4, "evaluation.every": 2, "strategy.min_sites": 3}
    )
    assert (job.training.learning_rate, job.evaluation.every, job.strategy.min_sites) == (3e-4, 2, 3)


def test_a_key_that_is_taken_out_has_its_default(quickstart: Path) -> None:
    job = load_job(quickstart, {"training.schedule": None, "training.learning_rate": None})
    assert (job.training.schedule, job.training.learning_rate) == ("constant", 1e-3)
    with pytest.raises(JobError, match=r"\[training\] batchsize: unknown key"):
        load_job(quickstart, {"training.batchsize": None})


@pytest.mark.parametrize("dotted", ["rounds", "training.generator.optimizer.name", "training.", ""])
def test_an_override_names_table_and_key(quickstart: Path, dotted: str) -> None:
    with pytest.raises(JobError, match="names no key of the job"):
        load_job(quickstart, {dotted: 1})


def test_an_override_is_checked_like_the_file(quickstart: Path) -> None:
    with pytest.raises(JobError, match=r"\[training\] batchsize: unknown key"):
        load_job(quickstart, {"training.batchsize": 1})


@pytest.mark.parametrize(
    ("update", "strategy", "secure", "words"),
    [
        ({"compression": "top-k"}, "fedavg", False, "[update] keep: is needed with compression = 'top-k'"),
        ({"keep": 0.1}, "fedavg", False, "[update] keep: is needed with compression = 'top-k', and only"),
        (
            {"compression": "int8", "precision": "float16"},
            "fedavg",
            False,
            "[update] precision: with compression = 'int8' each number has 8 bits",
        ),
        ({"compression": "top-k", "keep": 0.1}, "fedmedian", False, "compares the updates number by number"),
        ({"compression": "int8"}, "fedavg", True, "[update] compression: must be 'none' with secure_agg"),
        ({"precision": "bfloat16"}, "fedavg", True, "[update] precision: must be 'float32' with secure_agg"),
        ({"parts": ["../head"]}, "fedavg", False, "[update] parts, entry 1: must match"),
        ({"clip": 0.0}, "fedavg", False, "[update] clip: must be above 0"),
    ],
)
def test_a_filter_that_can_not_work_is_refused_with_the_reason(
    update: dict[str, Any], strategy: str, secure: bool, words: str
) -> None:
    changes: dict[str, Any] = {"strategy.name": strategy, "strategy.min_sites": 3}
    changes |= {f"update.{key}": value for key, value in update.items()}
    if secure:
        changes["privacy.secure_aggregation"] = True
    assert words in problem(changes)
