"""Counts before a job: what 500 questions tell of few patients, and what the same patients are told of."""

# ruff: noqa: S311 (made patients)

import itertools
import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from client.data.manifest.splits import CohortKey
from client.guard.counts import Counts, tables_of
from client.settings.counts_rules import CountsRules
from client.settings.policy import PolicyError, PolicyTable
from client.settings.site import SiteConfig
from shared.wire.counts import OTHER, ToldCounts

RULES = CountsRules(columns={"sex": ["f", "m"], "label": ["tumour", "none"]}, bands={"age": [40.0, 60.0]})
POLICY = PolicyTable()
LEAST = POLICY.min_group
HOSPITALS = 200
CHANCE = 2.6 * (0.25 / HOSPITALS) ** 0.5  # 99 % of guessing


def patient(sex: str, label: str, age: float) -> dict[str, set[str]]:
    return {"sex": {sex}, "label": {label}, "age": {f"{age:g}"}}


def people(count: int, seed: int = 0) -> dict[str, dict[str, set[str]]]:
    draw = random.Random(seed)
    return {
        f"p{number}": patient(draw.choice("fm"), draw.choice(("tumour", "none")), draw.uniform(20, 80))
        for number in range(count)
    }


def told(patients: dict, hospital: int = 0, rules: CountsRules = RULES) -> ToldCounts:
    return ToldCounts(
        dataset="brain",
        told="2026-01-01",
        least=LEAST,
        step=POLICY.round_counts_to,
        deviation=1.0,
        columns=rules.values,
        tables=tuple(tables_of(rules, patients, POLICY, CohortKey.drawn(hospital).seed)),
    )


# An attacker who knows everybody else


def cells(counts: ToldCounts, place: dict[str, str]) -> list[int]:
    """Return what is told of the cells in which somebody would be: of each table one."""
    names = list(counts.columns)
    chosen = itertools.chain.from_iterable(itertools.combinations(names, size) for size in range(4))
    return [counts.about({name: {place[name]} for name in choice}).patients for choice in chosen]


def likelihood(said: int, exact: int, deviation: float) -> float:
    """Return the probability with which a cell of so many patients is told as this."""

    def below(value: float) -> float:
        return 0.5 * (1 + math.erf((value - exact) / deviation / 2**0.5))

    fewest = LEAST + 2 * deviation
    if not said:
        return below(fewest)
    low, high = max(said - 5.5, fewest), said + 5.5
    return max(below(high) - below(low), 1e-12)


def accuracy(group: int) -> float:
    """Return how often the attacker is right about whether a group is among the patients, all alike."""
    place = {"sex": "f", "label": "tumour", "age": "60-"}
    others, deviation, right = people(240), LEAST * 8**0.5, 0
    alike = {f"target{number}": patient("f", "tumour", 70) for number in range(group)}
    names = list(RULES.values)
    chosen = list(itertools.chain.from_iterable(itertools.combinations(names, size) for size in range(4)))
    exact = [
        sum(
            all(RULES.values[name][RULES.place(name, one[name])] == place[name] for name in choice)
            for one in others.values()
        )
        for choice in chosen
    ]
    for hospital in range(HOSPITALS):
        is_there = bool(hospital % 2)
        said = cells(told({**others, **(alike if is_there else {})}, hospital), place)
        odds = sum(
            math.log(likelihood(one, count + group, deviation) / likelihood(one, count, deviation))
            for one, count in zip(said, exact, strict=True)
        )
        right += (odds > 0) == is_there
    return right / HOSPITALS


@pytest.mark.parametrize(("group", "at_best"), [(1, 0.52), (LEAST - 1, 0.674)])
def test_who_knows_all_others_tells_no_group_below_the_threshold(group: int, at_best: float) -> None:
    found = accuracy(group)
    assert found <= at_best + CHANCE, found


def test_five_hundred_questions_tell_no_more_than_the_tables() -> None:
    counts, draw = told(people(400)), random.Random(1)
    alone = {
        table.columns: dict(
            zip(
                itertools.product(*(counts.columns[name] for name in table.columns)),
                table.cells,
                strict=True,
            )
        )
        for table in counts.tables
    }
    fewest = LEAST + 2 * LEAST * 8**0.5 - 5
    for _ in range(500):
        asked = tuple(name for name in counts.columns if draw.random() < 0.6)
        where = {
            name: set(draw.sample(counts.columns[name], draw.randint(1, len(counts.columns[name]))))
            for name in asked
        }
        found = counts.about(where)
        parts = [
            count
            for values, count in alone[asked].items()
            if all(value in where[name] for name, value in zip(asked, values, strict=True))
        ]
        assert found.patients == sum(parts)
        assert all(part == 0 or part >= fewest for part in parts)
        assert found.untold == parts.count(0)


def test_counts_are_near_the_truth() -> None:
    patients, errors = people(4000), []
    exact = sum(one["sex"] == {"f"} for one in patients.values())
    for hospital in range(40):
        counts = told(patients, hospital)
        errors.append(counts.about({"sex": {"f"}}).patients - exact)
    assert abs(float(np.mean(errors))) < 3 * LEAST * 8**0.5 / 40**0.5
    assert float(np.std(errors)) < 2 * LEAST * 8**0.5


def test_values_that_are_not_listed_are_others() -> None:
    rules = CountsRules(columns={"sex": ["f", "m"]}, bands={"age": [40.0, 60.0]})
    assert rules.values == {"sex": ("f", "m", OTHER), "age": ("-40", "40-60", "60-", OTHER)}
    assert [rules.place("age", {text}) for text in ("39.9", "40", "59", "60", "x", "", "nan")] == [
        *(0, 1, 1, 2),
        *(3, 3, 3),
    ]
    assert rules.place("age", {"30", "50"}) == 3  # of several studies
    assert [rules.place("sex", {text}) for text in ("f", "m", "d")] == [0, 1, 2]


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ({}, "names 0 columns"),
        ({"columns": {name: ["a"] for name in "abcde"}}, "names 5 columns"),
        ({"bands": {"age": [60.0, 40.0]}}, "must ascend"),
        ({"columns": {"age": ["a"]}, "bands": {"age": [1.0]}}, "in columns and in bands"),
        ({"columns": {"sex": ["f", "other"]}}, "has a value twice"),
        ({"bands": {"a": [float(n) for n in range(30)], "b": [float(n) for n in range(30)]}}, "cells"),
    ],
)
def test_what_can_not_be_told(rules: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        CountsRules.model_validate(rules)


# What a site remembers


@pytest.fixture
def counts(tmp_path: Path) -> Callable[..., Counts]:
    (tmp_path / "data").mkdir()

    def make(name: str = "brain", rules: CountsRules = RULES, **policy: object) -> Counts:
        settings = {"counts": {name: rules.model_dump()}, **policy}
        datasets = {"brain": {"manifest": tmp_path / "data"}, "again": {"manifest": tmp_path / "data"}}
        site = SiteConfig.model_validate(
            {"site": {"name": "st-mary"}, "datasets": datasets, "policy": settings}
        )
        return Counts(site, name, CohortKey.drawn(0), tmp_path)

    return make


def test_the_same_patients_are_told_of_once(counts: Callable[..., Counts]) -> None:
    patients = people(100)
    first = counts().tell(patients)
    changed = {**patients, "p7": patient("m", "none", 33)}
    assert counts().tell(changed).tables == first.tables  # and not with noise of its own
    finer = CountsRules(columns=RULES.columns, bands={"age": [41.0, 60.0]})
    with pytest.raises(PolicyError, match="other counts were told"):
        counts(rules=finer).tell(patients)
    with pytest.raises(PolicyError, match="other counts were told"):
        counts("again", finer).tell(patients)
    assert counts("again").tell(patients).tables == first.tables
    wider = RULES.model_copy(update={"projects": ["lung"]})
    assert counts(rules=wider).tell(patients).projects == ("lung",)


def test_groups_that_differ_by_few_are_told_of_once(counts: Callable[..., Counts]) -> None:
    patients = people(100)
    counts().tell(patients)
    without_one = {name: found for name, found in patients.items() if name != "p7"}
    with pytest.raises(PolicyError, match=r"policy\.min_group"):
        counts().tell(without_one)
    with pytest.raises(PolicyError, match=r"policy\.min_group"):
        counts("again").tell({**patients, "new": patient("f", "none", 50)})
    assert counts().tell({**patients, **{f"new{n}": patient("f", "none", 50) for n in range(LEAST)}})


def test_what_a_policy_keeps(counts: Callable[..., Counts]) -> None:
    with pytest.raises(PolicyError, match="fewer than 10 patients"):
        counts().tell(people(LEAST - 1))
    cap = {"privacy": {"brain": {"epsilon": 3.0, "delta": 1e-5}}}
    with pytest.raises(PolicyError, match="has a cap"):
        counts(**cap).tell(people(100))
    assert counts(**cap, share_private_counts=True).tell(people(100))
    untold = Counts(counts().site, "again", counts().key, counts().folder)
    with pytest.raises(PolicyError, match="no counts of 'again' leave"):
        untold.tell(people(100))
