"""What a hostile job costs: validation is counted in calls of Python, not in seconds."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import JobError
from shared.job.bounds import DEEPEST, LONGEST_JOB, MOST_TEXT, MOST_VALUES
from shared.job.errors import LONGEST_LINE, MOST_PROBLEMS
from shared.job.schema import JobSpec, load_job, parse_job
from shared.text.names import suggestion
from tests.jobs import job_tables
from tests.work import calls_of

MOST_CALLS = 1_000_000  # a tenth of a second or so
VALID = job_tables(task_name="classification")
WORDS = ("a", "ab", "0", "é", "auroc", "sensitivity/", "unet", " ", "\n", "classes", "fedavg")


def calls(table: dict[str, Any]) -> tuple[int, str]:
    """Return the calls that validation takes, and what it says."""
    problem = ""

    def validate() -> None:
        nonlocal problem
        try:
            parse_job(table, "job")
        except JobError as error:
            problem = error.problem

    return calls_of(validate), problem


def text(dice: random.Random) -> str:
    return "".join(dice.choices(WORDS, k=dice.choice((1, 3, 20, 400))))


def value(dice: random.Random, depth: int = 0) -> object:
    kind = dice.randrange(8 if depth < 3 else 5)
    if kind == 5:
        return [text(dice) for _ in range(dice.choice((1, 30, 5000)))]
    if kind == 6:
        return [value(dice, depth + 1) for _ in range(dice.randrange(5))]
    if kind == 7:
        return {text(dice): value(dice, depth + 1) for _ in range(dice.randrange(5))}
    return (text(dice), dice.random() * 1e6, dice.randrange(-5, 10**9), True, None)[kind]


def hostile(seed: int) -> dict[str, Any]:
    """Return a valid job with keys of the whole schema, and others, set to what comes."""
    dice = random.Random(seed)  # noqa: S311
    table: dict[str, Any] = json.loads(json.dumps(VALID))
    for _ in range(dice.randrange(1, 12)):
        name = dice.choice([*JobSpec.model_fields, text(dice)])
        inner = table.setdefault(name, {})
        if dice.random() < 0.1 or not isinstance(inner, dict):
            table[name] = value(dice)
            continue
        field = JobSpec.model_fields.get(name)
        known = list(getattr(field.annotation, "model_fields", ())) if field else []
        key = dice.choice([*known, "name", "channels", text(dice)])
        inner[key] = value(dice)
    return table


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_no_job_takes_long_to_validate(seed: int) -> None:
    count, problem = calls(hostile(seed))
    assert count < MOST_CALLS
    assert len(problem) < (MOST_PROBLEMS + 2) * (LONGEST_LINE + 10)


def shuffled(length: int) -> str:
    letters = list("ab" * (length // 2))
    DICE.shuffle(letters)
    return "".join(letters)


DICE = random.Random(1)  # noqa: S311


@pytest.mark.parametrize(("length", "count"), [(180, 1300), (26, 7000), (38, 5000), (12, 900)])
def test_a_metric_that_is_not_there_among_thousands_of_like_ones(length: int, count: int) -> None:
    classes = sorted({shuffled(length) for _ in range(count)})
    metric = "auroc/" + shuffled(length)[1:]
    taken, problem = calls(
        job_tables(task_name="classification", task_classes=classes, evaluation_select_best=metric)
    )
    assert taken < MOST_CALLS
    assert 0 < len(problem) < 1000


@pytest.mark.parametrize(
    "table",
    [
        {"job": {f"k{number}": number for number in range(4900)}},
        {f"k{number}": number for number in range(4900)},
        {f"k{number}": {} for number in range(4900)},
        VALID | {"model": {"name": "unet", **{f"k{number}": 0 for number in range(4900)}}},
        job_tables(task_name="classification", task_classes=[0] * 250, data_size=["x"] * 3),
    ],
    ids=["keys", "strays", "tables", "options", "entries"],
)
def test_of_thousands_of_problems_the_first_are_described(table: dict[str, Any]) -> None:
    taken, problem = calls(table)
    assert taken < MOST_CALLS
    assert len(problem.splitlines()) == MOST_PROBLEMS + 2
    assert problem.splitlines()[-1].endswith("more")


def nested(depth: int) -> dict[str, Any]:
    return {"a": nested(depth - 1)} if depth else {}


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (nested(DEEPEST + 1), "levels deep"),
        ({"data": {"classes": [""] * MOST_VALUES}}, "keys and values"),
        ({"data": {"classes": ["x" * (MOST_TEXT // 2 + 1)] * 2}}, "characters of text"),
        ({"x" * (MOST_TEXT + 1): 1}, "characters of text"),
    ],
    ids=["deep", "many", "long", "long key"],
)
def test_a_job_too_large_to_look_at_is_refused_at_once(table: dict[str, Any], problem: str) -> None:
    taken, said = calls(table)
    assert problem in said
    assert taken < 5 * MOST_VALUES


def test_the_shipped_jobs_are_far_below_the_bounds() -> None:
    files = list((Path(__file__).parents[3] / "configs" / "jobs").glob("*.toml"))
    assert files
    assert all(len(load_job(file).canonical()) < LONGEST_JOB / 20 for file in files)


def test_a_suggestion_is_found_among_many_and_shown_short() -> None:
    names = [f"class-{number}" for number in range(3000)]
    said = suggestion("clas-17", names)
    assert said.startswith("did you mean 'class-17")
    assert said.endswith("and 2960 more)")
    assert len(suggestion("x" * 10**6, ["y" * 10**6] * 100)) < 4000
