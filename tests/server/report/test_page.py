"""The report as a page: whole, small, readable by everybody, and without a word of anybody's that acts."""

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from server.report.content import words
from server.report.terminal import print_run
from server.report.write import report_on, write_csv, write_page
from shared.errors import RunError
from shared.metrics.spec import metric_names
from shared.web.tables import Estimate, Table
from tests.server.report.runs import write_run

MEGABYTE = 2**20
HOSTILE = '<script>alert(1)</script>"onload="x\u202e{{ 7 * 7 }}'
_VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """What a browser finds: elements with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        assert self.open == [], "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(run: Path) -> tuple[str, Page]:
    text = write_page(run).read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    from tests.jobs import make_job

    job = make_job(task_name="classification", job_rounds=100)
    sites = [f"hospital-{number:02}" for number in range(1, 21)]
    return write_run(tmp_path_factory.mktemp("large"), job, sites, 100)


def test_a_large_run_is_one_small_file(large: Path) -> None:
    text, page = page_of(large)
    assert len(text.encode()) < 5 * MEGABYTE
    assert {"script", "link", "iframe", "object", "form"}.isdisjoint(name for name, _ in page.elements)
    outside = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in {"src", "href", "xlink:href", "action"} and not (value or "").startswith(("#", "data:"))
    ]
    assert outside == []
    assert not re.search(r"https?:", re.sub(r'xmlns(:xlink)?="[^"]*"', "", text))
    assert "url(" not in re.sub(r"url\(#[^)]*\)", "", text)
    [policy] = [one for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in str(policy["content"])


def test_who_does_not_see_it_can_read_it(large: Path) -> None:
    text, page = page_of(large)
    assert page.all("html")[0]["lang"] == "en"
    assert [name for name, _ in page.elements].count("h1") == 1
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch(r"h[1-6]", name)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(one.get("alt") for one in page.all("img"))
    charts = [one for one in page.all("div") if one.get("class") == "chart"]
    assert charts
    assert all(one["role"] == "img" and one["aria-label"] for one in charts)
    assert text.count("<details ") == len(charts)  # every chart as a table
    assert len({one["id"] for _, one in page.elements if "id" in one}) == text.count(' id="')
    assert all(one.get("scope") for one in page.all("th"))


def test_the_numbers_are_those_of_the_run(large: Path) -> None:
    about = json.loads((large / "run.json").read_text())
    content = report_on([large]).as_json()
    tables = {table["name"]: table for section in content["sections"] for table in section["tables"]}
    rows = {row[0]: row[1] for row in tables["results"]["rows"]}
    for name, value in about["test"]["federation"].items():
        assert rows[words(name)]["value"] == value
    page = page_of(large)[1]
    assert f"{about['test']['federation']['auroc']:.3f}" in page.text
    assert "800" in page.text  # test patients
    assert "audit-privacy RUN --site site.toml --json > RUN/audit-SITE.json" in page.text
    assert "Images are rounded by the hospitals" in page.text


def test_scores_that_stay_at_the_hospitals_are_said_to(tmp_path: Path, tiny_job) -> None:
    """A table of dashes, 'an unknown number of patients' and 'no round has been finished' stood there."""
    nothing = {"federation": dict.fromkeys(metric_names(tiny_job())), "sites": {}, "examples": {}}
    run = write_run(tmp_path, tiny_job(), ["alpha", "beta"], 3, test=nothing, comparison={})
    for name in ("metrics.csv", "sites.csv"):
        with (run / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        kept = {"round", "site", "sites", "phase", "seconds", "bytes"}
        blank = [{key: value if key in kept else "" for key, value in row.items()} for row in rows]
        with (run / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(blank)
    text = page_of(run)[1].text
    assert "nobody here knows" in text
    assert "hospitals let no scores of their own leave" in text
    assert "There is no curve: the hospitals keep their scores" in text
    assert "No round has been finished" not in text
    assert "unknown number" not in text


def test_a_run_that_no_patient_tested_says_so(tmp_path: Path, tiny_job) -> None:
    nothing = {"federation": dict.fromkeys(metric_names(tiny_job())), "sites": {}, "examples": {"alpha": 0}}
    run = write_run(tmp_path, tiny_job(), ["alpha"], 3, test=nothing, comparison={})
    about = json.loads((run / "run.json").read_text())
    about["sites"]["alpha"]["examples"]["test"] = 0
    (run / "run.json").write_text(json.dumps(about))
    (run / "participation.jsonl").write_text(
        '{"round": 3, "test": true, "judges": ["alpha"], "judged": []}\n'
    )
    text = page_of(run)[1].text
    assert "no hospital has a test patient" in text
    assert "never opened" in text
    assert "opened once" not in text
    assert "let no scores of their own leave" not in text


def test_every_table_is_a_csv(large: Path, tmp_path: Path) -> None:
    text, page = page_of(large)
    links = [one for one in page.all("a") if "download" in one]
    assert len(links) == text.count("<table>")
    for link in links:
        content = base64.b64decode(str(link["href"]).partition("base64,")[2]).decode()
        rows = list(csv.reader(io.StringIO(content)))
        assert len({len(row) for row in rows}) == 1
    files = write_csv(report_on([large]), tmp_path / "csv")
    results = next(file for file in files if file.name == "results-results.csv")
    assert results.read_text().splitlines()[0].startswith("metric,the model,the model low,the model high")


def test_what_others_wrote_does_nothing(tmp_path: Path, tiny_job) -> None:
    run = write_run(
        tmp_path,
        tiny_job(),
        ["alpha", HOSTILE],
        2,
        left_out={"beta": HOSTILE},
        warnings=[HOSTILE],
        versions={"wardround": HOSTILE},
        late={HOSTILE: 1},
    )
    with (run / "events.jsonl").open("a") as log:
        log.write(json.dumps({"event": "site_failed", "site": HOSTILE, "round": 1, "reason": HOSTILE}) + "\n")
    text, page = page_of(run)
    assert page.all("script") == []
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert "\u202e" not in text
    assert "{{ 7 * 7 }}" in page.text
    assert "<script" not in text


def test_a_cell_is_no_formula() -> None:
    table = Table("t", "t", ("site", "figure"), [("=1+1", Estimate(0.5, 0.25, 0.75)), ("@x", Estimate(None))])
    assert table.as_csv().splitlines() == [
        "site,figure,figure low,figure high",
        "'=1+1,0.5,0.25,0.75",
        "'@x,,,",
    ]
    texts = ["-2+3+cmd", "-1", "-0.5 to 0.5", "-", "+1", "\n=1", "a-b"]
    [shown] = csv.reader(io.StringIO(Table("t", "t", texts, []).as_csv()))
    assert shown == ["'-2+3+cmd", "-1", "-0.5 to 0.5", "-", "'+1", "'\n=1", "a-b"]


@pytest.mark.parametrize("status", ["failed", "stopped"])
def test_a_run_without_an_end_has_a_report(tmp_path: Path, tiny_job, status: str) -> None:
    run = write_run(tmp_path, tiny_job(), ["alpha"], 1, status=status, reason="the disk is full", test={})
    page = page_of(run)[1]
    assert f"The run is {status}: the disk is full" in page.text
    assert "has not been tested" in page.text


def test_a_run_that_never_began_has_a_report(tmp_path: Path, tiny_job) -> None:
    from server.runs.folder import RunFolder

    run = RunFolder.create(tmp_path, tiny_job(), "run-1")
    page = page_of(run.path)[1]
    assert "No hospital has joined" in page.text


@pytest.mark.parametrize("content", ["{", '{"federation": [1.0]}', '{"federation": ["x"]}'])
def test_states_of_another_test_are_said(tmp_path: Path, tiny_job, content: str) -> None:
    run = write_run(tmp_path, tiny_job(), ["alpha"], 1)
    (run / "test.json").write_text(content)
    with pytest.raises(RunError, match=r"test\.json"):
        report_on([run])


def test_a_terminal_shows_the_same(large: Path) -> None:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=80)
    print_run(console, large)
    text = console.file.getvalue()
    assert "hospital-20" in text
    assert "▁" in text
    assert "…" not in text.replace(" … ", "")
