"""The coordinator's pages: who is let in, who sees and does what, what nobody can make a browser do."""

import json
import re

import httpx
import pytest

from server.runs.folder import RunFolder
from server.web import reports
from shared.audit.verify import entries
from shared.text.phrase import phrase
from tests.jobs import job_text, make_job
from tests.server.web.conftest import Visitor
from tests.server.web.place import HOSTILE, Place, open_place

PAGES = ("/", "/sites", "/people", "/submit", "/runs/heart-mri-20261120-091500")
FINISHED = "heart-mri-20261120-091500"


def test_nobody_sees_anything_before_a_log_in(visit, place: Place) -> None:
    visitor, before = visit(), list(place.asked)
    for path in (
        *PAGES,
        "/runs/nope",
        f"/runs/{FINISHED}/live",
        f"/runs/{FINISHED}/report",
        "/compare",
        "/compare/live",
    ):
        answer = visitor.client.get(path)
        assert answer.url.path == "/log-in", path
        assert "heart-mri" not in answer.text.replace("next", "").split("<main")[1].split("<form")[0]
    assert visitor.post("/runs/heart-mri-20261126-090000/stop").url.path == "/log-in"
    assert place.asked == before


def test_a_wrong_token_is_refused_counted_and_written(visit, place: Place) -> None:
    visitor = visit()
    answer = visitor.log_in("x" * 43)
    assert answer.status_code == 401
    assert "not valid" in answer.text
    assert "log-in-failed" in place.events()
    written = b"".join(file.read_bytes() for file in (place.folder / "audit").iterdir() if file.is_file())
    assert b"x" * 43 not in written
    assert place.tokens["vera"].encode() not in written


def test_who_guesses_is_slowed_down(tmp_path) -> None:
    with open_place(tmp_path / "coordinator") as place:
        visitor = Visitor(place, httpx.Client(verify=False, base_url=place.url))  # noqa: S501
        answers = [visitor.log_in(f"{number:043}").status_code for number in range(11)]
        assert answers == [401] * 11
        assert "log-in-blocked" in place.events()
        assert (
            visitor.log_in(place.tokens["vera"]).status_code == 303
        )  # who has a token is let in all the same


def test_a_log_in_is_written_and_leads_where_one_wanted_to_go(visit, place: Place) -> None:
    visitor = visit()
    answer = visitor.log_in(place.tokens["vera"], "/sites")
    assert (answer.status_code, answer.url.path) == (200, "/sites")
    assert "logged-in" in place.events()
    assert visitor.log_in(place.tokens["vera"], "https://elsewhere.test/").url.host == "127.0.0.1"
    assert visitor.log_in(place.tokens["vera"], "//elsewhere.test").url.host == "127.0.0.1"
    assert visitor.log_in(place.tokens["vera"], "/\\elsewhere.test").url.host == "127.0.0.1"
    for no_address in ("//[", "//[::1", "//a\u2100b/"):
        assert visitor.log_in(place.tokens["vera"], no_address).url.path == "/"
        assert visit().client.get("/log-in", params={"next": no_address}).status_code == 200


def test_a_log_in_ends_with_its_token(visit, place: Place) -> None:
    token = place.registry.add_person("bob", "viewer", projects=["default"])
    visitor = visit()
    visitor.log_in(token)
    assert visitor.client.get("/").url.path == "/"
    place.registry.remove_person("bob")
    assert visitor.client.get("/").url.path == "/log-in"


def test_a_cookie_does_nothing_at_the_api(visit) -> None:
    """A browser sends it whoever makes it call, and the API has no forms that say where they come from."""
    visitor = visit("olga")
    assert visitor.client.get("/").status_code == 200
    assert visitor.client.get("/v1/runs").status_code == 401
    assert visitor.client.post("/v1/runs/heart-mri-20261126-090000/stop").status_code == 401


def test_a_log_out_ends_it(visit, place: Place) -> None:
    visitor = visit("vera")
    cookies = dict(visitor.client.cookies)
    assert visitor.post("/log-out").url.path == "/log-in"
    visitor.client.cookies.update(cookies)
    assert visitor.client.get("/").url.path == "/log-in"
    assert "logged-out" in place.events()


def test_every_page_is_written_to_the_audit_log(visit, place: Place) -> None:
    visit("vera").client.get("/people")
    calls = [entry.fields for entry in entries(place.folder / "audit") if entry.event == "call"]
    assert any((call["person"], call["path"]) == ("vera", "/people") for call in calls)
    assert not any(call["path"].startswith("/static") for call in calls)


def test_what_others_wrote_is_text(visit) -> None:
    olga = visit("olga")
    for path in ("/", "/sites", "/runs/heart-mri-20261126-090000", "/runs/heart-mri-20261122-101010"):
        answer = olga.client.get(path)
        assert "&lt;script&gt;document" in answer.text, path
        assert HOSTILE not in answer.text
        assert not re.search(r"<style|\sstyle=|\son\w+=", answer.text.replace("xml:space", "")), path


@pytest.mark.parametrize("path", ["/runs/nope", "/runs/..%2f..%2fregistry.sqlite", "/runs/nope/report"])
def test_a_run_that_is_not_there(visit, place: Place, path: str) -> None:
    answer = visit("olga").client.get(path)
    assert answer.status_code == 404
    assert str(place.folder) not in answer.text


def test_runs_of_other_projects_are_not_there(visit, place: Place) -> None:
    place.registry.add_project("secret")
    token = place.registry.add_person("eve", "researcher", projects=["secret"])
    visitor = visit()
    assert "heart-mri" not in visitor.log_in(token).text
    for path in (f"/runs/{FINISHED}", f"/runs/{FINISHED}/report", f"/runs/{FINISHED}/live"):
        assert visitor.client.get(path).status_code == 404
    for path in ("/compare", "/compare/live"):
        both = visitor.client.get(f"{path}?run={FINISHED}&run=heart-mri-20261121-091500")
        assert both.status_code == 404
    assert "charite" not in visitor.client.get("/sites").text
    assert "ada" not in visitor.client.get("/people").text
    place.registry.remove_person("eve")


def test_who_may_not_stop_has_no_button_and_no_way(visit, place: Place, going: RunFolder) -> None:
    vera, before = visit("vera"), list(place.asked)
    assert "Stop" not in vera.client.get("/runs/heart-mri-20261126-090000").text
    assert vera.post("/runs/heart-mri-20261126-090000/stop").status_code == 403
    assert vera.client.get("/submit").status_code == 403
    token = place.registry.add_person("rob", "researcher", projects=["default"])
    rob = visit()
    rob.log_in(token)
    assert "Stop" not in rob.client.get("/runs/heart-mri-20261126-090000").text
    assert rob.post("/runs/heart-mri-20261126-090000/stop").status_code == 403
    place.registry.remove_person("rob")
    assert place.asked == before


def test_a_form_of_another_site_does_nothing(visit, place: Place) -> None:
    ada = visit("ada")
    before = list(place.asked)
    url = "/runs/heart-mri-20261122-101010/resume"
    for headers in (
        {},
        {"origin": "https://elsewhere.test"},
        {"origin": place.url, "sec-fetch-site": "cross-site"},
    ):
        assert ada.client.post(url, data={"csrf": ada.csrf}, headers=headers).status_code == 403
    assert ada.client.post(url, data={"csrf": "x"}, headers={"origin": place.url}).status_code == 403
    assert place.asked == before


def test_figures_of_a_hospital_are_for_whom_it_allows(visit, place: Place) -> None:
    run = RunFolder.read(place.runs / FINISHED)
    vera = visit("vera")
    assert "0.492" in vera.client.get(f"/runs/{FINISHED}").text  # of one hospital
    run.describe(figures=dict.fromkeys(("charite", "st-mary", "boston", "lyon"), "operators"))
    try:
        for path in (f"/runs/{FINISHED}", f"/runs/{FINISHED}/report"):
            seen = vera.report(path)
            assert "What came out" in seen.text
            assert "0.492" not in seen.text
            assert "0.492" in visit("olga").report(path).text
    finally:
        run.describe(figures=dict.fromkeys(("charite", "st-mary", "boston", "lyon"), "project"))


def test_a_job_is_explained_and_then_submitted(visit, place: Place) -> None:
    ada, job, before = visit("ada"), make_job(job_name="knee"), list(place.asked)
    rehearsal = {"digest": job.digest(), "test": {"federation": {"dice_global": 0.8125}}, "comparison": {}}
    answer = ada.post(
        "/submit",
        job=("knee.toml", job_text(job_name="knee").encode()),
        rehearsal=("run.json", json.dumps(rehearsal).encode()),
        project="default",
    )
    assert answer.status_code == 200
    assert job.digest() in answer.text
    assert phrase(job.digest()) in answer.text
    assert "segmentation of disc" in answer.text
    assert "0.812" in answer.text
    assert place.asked == before
    done = ada.post("/submit/start", job=job.canonical(), digest=job.digest(), project="default")
    assert re.fullmatch(r"/runs/knee-[\d-]+", done.url.path), done.text
    assert "is submitted" in done.text
    assert "Take it out of the queue" in done.text
    place.begin_runs()
    assert [asked for asked in place.asked if asked.startswith("start knee-")]
    assert "run-submitted" in place.events()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[job\n", "is not valid TOML"),
        (b"\xff\xfe[", "is not in UTF-8"),
        (b'[job]\nname = "x"\nrounds = -1\n', "must be at least 0"),
        (b"a = " + b"[" * 5000, "the job"),
        (b"", "Choose a job file"),
        (b"# " + b"x" * 270_000, "too long"),
    ],
)
def test_a_file_that_is_no_job_is_explained(visit, content: bytes, said: str) -> None:
    answer = visit("ada").post("/submit", job=("job.toml", content), project="default")
    assert said in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'{"digest": 1}',
        b'{"digest": "0"}',
        b"[" * 9000,
        b'{"digest": "DIGEST", "comparison": {"patients": Infinity}}',
        b'{"digest": "DIGEST", "sites": {"a": {"patients": {"test": 1e999}}}}',
    ],
)
def test_a_rehearsal_that_is_none_does_no_harm(visit, content: bytes) -> None:
    content = content.replace(b"DIGEST", make_job(job_name="knee").digest().encode())
    job = ("job.toml", job_text(job_name="knee").encode())
    answer = visit("ada").post("/submit", job=job, rehearsal=("run.json", content), project="default")
    assert answer.status_code == 200
    assert "The rehearsal is" in answer.text


def test_a_run_of_ones_own_goes_on(visit, place: Place) -> None:
    answer = visit("ada").post("/runs/heart-mri-20261122-101010/resume")
    assert "goes on" in answer.text
    place.begin_runs()
    assert "resume heart-mri-20261122-101010" in place.asked
    failed = RunFolder.read(place.runs / "heart-mri-20261122-101010")
    failed.describe(status="failed", reason=f"round 3: 1 site answered {HOSTILE}")


def test_a_report_is_a_page_and_a_file(visit, monkeypatch) -> None:
    vera = visit("vera")
    monkeypatch.setattr(reports, "_SOON_S", 0.0)
    waits = vera.client.get(f"/runs/{FINISHED}/report")
    assert "shows the report by itself once it is made" in waits.text
    assert "What came out" not in waits.text
    page = vera.report(f"/runs/{FINISHED}/report")
    assert "What came out" in page.text
    assert "<style" not in page.text
    file = vera.client.get(f"/runs/{FINISHED}/report.html")
    assert file.headers["content-disposition"] == f'attachment; filename="{FINISHED}.html"'
    assert "<style>" in file.text
    both = vera.report(f"/compare?run={FINISHED}&run=heart-mri-20261121-091500")
    assert "2 runs side by side" in both.text
    assert vera.client.get(f"/compare?run={FINISHED}").status_code == 400


def test_no_site_is_at_work_in_a_run_that_is_over(visit, place: Place) -> None:
    name = "heart-mri-20261122-101010"
    run = RunFolder.read(place.runs / name)
    run.event("round_started", round=1)
    run.event("site_joined", site="charite")
    assert "at work" not in visit("ada").client.get(f"/runs/{name}").text


def test_a_score_says_of_whom_it_is(visit, going: RunFolder) -> None:
    """The newest round's score on validation patients stood above that of the test, under one name."""
    vera = visit("vera")
    assert "Dice (all voxels), test" in vera.client.get(f"/runs/{FINISHED}").text
    live = vera.client.get(f"/runs/{going.path.name}").text
    assert "Dice (all voxels), validation" in live
    assert "Dice (all voxels), test" not in live


def test_what_is_live_comes_as_it_happens(visit, going: RunFolder) -> None:
    vera = visit("vera")
    with vera.client.stream("GET", f"/runs/{going.path.name}/live") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        parts: dict[str, str] = {}
        lines = answer.iter_lines()
        for line in lines:
            if line.startswith("data: "):
                parts |= json.loads(line[6:])
                if "curves" in parts:
                    break
        assert "<svg" in parts["curves"]
        assert "running" in parts["status"]
        going.event("site_done", round=6, site="lyon", phase="train", loss=0.4567, seconds=3.0)
        for line in lines:
            if line.startswith("data: ") and "0.457" in json.loads(line[6:]).get("sites", ""):
                return
    pytest.fail("the stream ended")
