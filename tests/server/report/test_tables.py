"""The table at the end: one row per site and the federation; what is undefined shows as a dash."""

import io

from rich.console import Console

from server.report.tables import results_table, shown_metrics


def printed(job, description) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(results_table(job, description))
    return console.file.getvalue()


SITE = {"patients": {"train": 3, "val": 1, "test": 2}, "examples": {"train": 6, "val": 2, "test": 4}}


def scores(job, value):
    return dict.fromkeys(shown_metrics(job), value)


def test_one_row_a_site_and_the_federation(tiny_job):
    job = tiny_job()
    text = printed(
        job,
        {
            "rounds": 3,
            "tested_round": 2,
            "sites": {"alpha": SITE, "beta": SITE},
            "left_out": {"gamma": "1 training patient, the job asks for 5"},
            "bytes_sent": {"alpha": 1_234_000, "beta": 20_000},
            "test": {
                "sites": {"alpha": scores(job, 0.25), "beta": scores(job, None)},
                "federation": scores(job, 0.5),
            },
        },
    )
    rows = {line.split("│")[1].strip(): line for line in text.splitlines() if line.count("│") > 2}
    assert "0.250" in rows["alpha"]
    assert "–" in rows["beta"]
    assert "0.500" in rows["federation"]
    assert [cell.strip() for cell in rows["federation"].split("│")[2:4]] == ["6", "12"]  # to train
    assert [rows[name].split("│")[4].strip() for name in ("alpha", "beta", "federation")] == [
        "1.23",
        "0.02",
        "1.25",
    ]
    assert "was left out: 1 training patient" in text
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

    text = printed(
        job,
        {
            "rounds": 3,
            "tested_round": 3,
            "sites": dict.fromkeys(both, SITE),
            "left_out": {},
            "test": result(0.7),
            "baselines": {"alone": {"alpha": result(0.2), "beta": result(0.4)}, "pooled": result(0.8)},
        },
    )
    rows = {line.split("│")[1].strip(): line for line in text.splitlines() if line.count("│") > 2}
    assert [cell.strip() for cell in rows["alpha"].split("│")[5:8]] == ["0.700", "0.200", "0.800"]
    assert [cell.strip() for cell in rows["all sites"].split("│")[5:8]] == ["0.700", "0.300", "0.800"]


def test_who_was_late_is_named_with_the_rounds_that_it_missed(tiny_job):
    job = tiny_job()
    description = {
        "rounds": 3,
        "tested_round": 3,
        "sites": {"alpha": SITE},
        "left_out": {},
        "late": {"alpha": 1, "beta": 3},
        "test": {"sites": {"alpha": scores(job, 0.25)}, "federation": scores(job, 0.5)},
    }
    text = printed(job, description)
    assert "alpha was late in 1 round." in text
    assert "beta was late in 3 rounds." in text
