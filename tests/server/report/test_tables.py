"""The tables at the end: whole at any width, with intervals and test patients, and a dash without meaning."""

import io

import pytest
from rich.console import Console

from server.report.tables import print_results, shown_metrics


def printed(job, description, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_results(console, job, description)
    return console.file.getvalue()


def cells(text: str, name: str) -> list[str]:
    """Return the cells of a row, of all tables one after the other, without the name."""
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split("│")[1:-1]]
        if parts and parts[0] == name:
            found += parts[1:]
    return found


SITE = {"patients": {"train": 3, "val": 1, "test": 2}, "examples": {"train": 6, "val": 2, "test": 4}}


def scores(job, value):
    return dict.fromkeys(shown_metrics(job), value)


def described(job, **entries):
    return {
        "rounds": 3,
        "tested_round": 2,
        "sites": {"alpha": SITE, "beta": SITE},
        "left_out": {},
        "test": {
            "sites": {"alpha": scores(job, 0.25), "beta": scores(job, None)},
            "federation": scores(job, 0.5),
        },
        **entries,
    }


def test_one_row_a_site_and_the_federation(tiny_job):
    job = tiny_job()
    text = printed(
        job,
        described(
            job,
            left_out={"gamma": "1 training patient, the job asks for 5"},
            bytes_sent={"alpha": 1_234_000, "beta": 20_000},
        ),
    )
    assert cells(text, "alpha") == ["2", *["0.250"] * 4, "3", "6", "1.23"]
    assert cells(text, "beta") == ["2", *["–"] * 4, "3", "6", "0.02"]
    assert cells(text, "gamma") == ["–"] * 8
    assert cells(text, "federation") == ["4", *["0.500"] * 4, "6", "12", "1.25"]
    assert "was left out: 1 training patient" in text
    assert "training patients and images are rounded" in text
    assert "model of round 2 of 3" in text


def test_a_job_of_tables_trains_on_rows(tiny_job):
    description = {
        "rounds": 1,
        "tested_round": 1,
        "sites": {"alpha": SITE},
        "left_out": {},
        "test": {"sites": {"alpha": {}}, "federation": {"concordance": 0.5, "integrated_brier": 0.2}},
    }
    assert "images" in printed(
        tiny_job(), description | {"test": {"sites": {}, "federation": scores(tiny_job(), 0)}}
    )
    text = printed(tiny_job(task_name="survival"), description)
    assert "rows" in text
    assert "images" not in text


def test_the_comparison_shows_what_each_gets(tiny_job):
    job = tiny_job()
    both = ("alpha", "beta")

    def result(value):
        return {"federation": scores(job, value), "sites": {name: scores(job, value) for name in both}}

    baselines = {"alone": {"alpha": result(0.2), "beta": result(0.4)}, "pooled": result(0.8)}
    text = printed(job, described(job, test=result(0.7), baselines=baselines))
    assert cells(text, "alpha")[1:4] == ["0.700", "0.200", "0.800"]
    assert cells(text, "all sites")[1:4] == ["0.700", "0.300", "0.800"]


def test_who_was_late_is_named_with_the_rounds_that_it_missed(tiny_job):
    job = tiny_job()
    text = printed(job, described(job, late={"alpha": 1, "beta": 3}))
    assert "alpha was late in 1 round." in text
    assert "beta was late in 3 rounds." in text


def test_who_signed_nothing_for_the_passport_is_named(tiny_job):
    job = tiny_job()
    passport = {"signed": ["alpha"], "without": {"beta": "no answer within 60 s"}}
    assert "beta signed nothing for the passport: no answer within 60 s." in printed(
        job, described(job, passport=passport)
    )
    said = printed(job, described(job, passport={"problem": "the key can't be read"}))
    assert "The models have no passport: the key can't be read." in said


def test_a_figure_has_its_interval_and_the_patients_behind_it(tiny_job):
    job = tiny_job()
    metric = shown_metrics(job)[0]
    one = {"value": 0.5, "low": 0.4, "high": 0.6}
    own = {"patients": 12, "metrics": {metric: {"value": 0.25, "low": 0.125, "high": 0.375}}}
    comparison = {"patients": 40, "how": "bootstrap", "metrics": {metric: one}, "sites": {"alpha": own}}
    text = printed(job, described(job, comparison=comparison))
    assert cells(text, "alpha")[0] == "12"
    assert cells(text, "federation")[0] == "40"
    assert "0.12–0.38" in text
    assert "0.40–0.60" in text


def test_a_constant_answer_is_not_perfect_where_there_is_one_class_only(tiny_job):
    job = tiny_job(task_name="classification")
    test = {"sites": {name: scores(job, 1.0) for name in ("alpha", "beta")}, "federation": scores(job, 0.5)}
    text = printed(job, described(job, test=test, comparison={"one_class": {"beta": "large"}}))
    assert "1.000" in cells(text, "alpha")
    assert "1.000" not in cells(text, "beta")
    assert "one class only at beta ('large')" in text


LONG = "university-hospital-of-the-northern-provinces-and-islands"


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_nothing_is_cut_at_any_width(tiny_job, width):
    job = tiny_job()
    metrics = {name: {"value": 0.5, "low": 0.25, "high": 0.75} for name in shown_metrics(job)}
    test = {"sites": {LONG: scores(job, 0.125)}, "federation": scores(job, 0.5)}
    comparison = {"patients": 1234, "how": "bootstrap", "metrics": metrics}
    sites = {LONG: {"patients": {"train": 123_456, "test": 1234}, "examples": {"train": 7_654_321}}}
    text = printed(job, described(job, sites=sites, test=test, comparison=comparison), width)
    assert "…" not in text
    assert cells(text, LONG)[:5] == ["1234", *["0.125"] * 4]
    assert {"123456", "7654321"} <= set(cells(text, LONG))
    assert text.count("0.25–0.75") >= 4
