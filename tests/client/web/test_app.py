"""The hospital's page without a browser: who gets in, what a decision is for, what is refused."""

import re
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from client.service.health import Health, socket_of
from client.service.state import StateFolder
from client.web.app import hospital_app
from client.web.entry import OneTimeLink
from shared.audit.verify import entries
from tests.cli import wardround
from tests.client.web.hospital import RUN, Hospital
from tests.jobs import make_job

URL = "http://127.0.0.1:8123"
HERE = {"origin": URL, "sec-fetch-site": "same-origin"}


class Browser(TestClient):
    """A browser that is at the page, with its link."""

    def __init__(self, hospital: Hospital, url: str = URL) -> None:
        self.hospital = hospital
        self.link = OneTimeLink()
        super().__init__(hospital_app(hospital.folder, self.link, "wardround-8123"), url)

    def enter(self) -> None:
        assert self.get(self.link.path).status_code == 200

    def fields(self, path: str) -> dict[str, str]:
        """Return the hidden fields of a page's forms."""
        found = self.get(path)
        assert found.status_code == 200, found.text
        return dict(re.findall(r'type="hidden" name="(\w+)" value="([\w-]+)"', found.text))

    def decide(self, job, decision: str, **fields: str):
        """Send a form as the page has it, from the page."""
        path = f"/jobs/{job.digest()}"
        data = {**self.fields(path), "read": "yes", **fields}
        return self.post(f"{path}/{decision}", data=data, headers=HERE)


@pytest.fixture
def browser(own_hospital: Hospital) -> Iterator[Browser]:
    with Browser(own_hospital) as browser:
        browser.enter()
        yield browser


def test_the_link_opens_the_page_once(own_hospital: Hospital) -> None:
    with Browser(own_hospital) as browser:
        path = browser.link.path
        assert browser.get("/").status_code == 401
        assert browser.head(path).status_code == 403  # somebody's preview of it
        answer = browser.get(path, follow_redirects=False)
        cookie = answer.headers["set-cookie"]
        assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Path=/"))
        assert path.rpartition("/")[2] not in cookie
        assert "Waiting for your decision" in browser.get("/").text
        browser.cookies.clear()
        assert browser.get(path).status_code == 403
        assert browser.get("/").status_code == 401
        assert browser.get("/enter/").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/jobs", "/data", "/data/discs", "/data/discs/contact-sheet.png", "/data/discs/live"),
        *("/budgets", "/sent", "/log", "/policy"),
    ],
)
def test_nothing_is_shown_without_the_link(own_hospital: Hospital, path: str) -> None:
    with Browser(own_hospital) as browser:
        answer = browser.get(path)
        assert answer.status_code == 401
        assert "jane" not in answer.text
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("127.0.0.1:8123", 200), ("localhost:9999", 200), ("[::1]:8123", 200)),
        *(("evil.example:8123", 421), ("127.0.0.1.evil.example", 421), ("localhost.evil.example", 421)),
        *(("", 421), ("10.0.0.5:8123", 421)),
    ],
)
def test_a_name_that_was_made_to_point_here_gets_nothing(browser: Browser, host: str, status: int) -> None:
    answer = browser.get("/jobs", headers={"host": host})
    assert answer.status_code == status
    assert ("disc-outline" in answer.text) == (status == 200)


def test_a_person_approves_the_job_that_they_read(browser: Browser) -> None:
    hospital, job = browser.hospital, browser.hospital.waiting
    page = browser.get(f"/jobs/{job.digest()}").text
    assert "jane asks to train a model on &#39;discs&#39;" in page
    assert "No image leaves." in page
    answer = browser.decide(job, "approve")
    assert "You have approved the job" in answer.text
    assert hospital.decision(job) == "approved"
    last = list(entries(hospital.folder / "audit"))[-1]
    assert (last.event, last.fields["job"]) == ("job-approved", job.digest())
    assert last.fields["user"] == hospital.book.find(job.digest()).decided_by
    assert "approved the job disc-outline" in browser.get("/log").text


def test_it_works_beside_the_service(browser: Browser) -> None:
    """What the service holds while it runs keeps nobody from deciding, and it hears of the decision."""
    hospital, state = browser.hospital, browser.hospital.folder / "state"
    folder = StateFolder(state)
    with folder.lock(), Health([socket_of(state)]) as health:
        folder.tell("online")
        health.serving(yes=True)
        assert "takes part" in browser.get("/").text
        browser.decide(hospital.waiting, "approve")
        assert hospital.book.meet(hospital.waiting, "jane") == ("approved", False)


def test_a_denial_has_a_reason_that_stays_here(browser: Browser) -> None:
    hospital, job = browser.hospital, browser.hospital.waiting
    reason = "Dr Meyer's ethics vote is missing."
    assert "because: Dr Meyer" in browser.decide(job, "deny", reason=reason, read="").text
    assert hospital.book.find(job.digest()).reason == reason
    assert hospital.decision(job) == "denied"
    assert "Meyer" not in str(list(entries(hospital.folder / "audit"))[-1].fields)


def test_an_approval_is_for_what_was_read(browser: Browser) -> None:
    """The policy or a colleague's decision may change what a page says while it is open."""
    hospital, job = browser.hospital, browser.hospital.waiting
    old = browser.fields(f"/jobs/{job.digest()}")
    site = hospital.folder / "site.toml"
    before = site.read_text()
    site.write_text(before.replace("[policy]\n", "[policy]\nshare_site_metrics = true\n"))
    answer = browser.decide(job, "approve", **old)
    assert answer.status_code == 409
    assert "has changed since: nothing was decided" in answer.text
    site.write_text(before)
    browser.decide(job, "deny")
    assert browser.decide(job, "approve", **old).status_code == 409
    assert hospital.decision(job) == "denied"
    assert browser.decide(job, "approve").status_code == 200


def test_an_approval_is_for_the_cost_that_was_read(browser: Browser) -> None:
    hospital, job = browser.hospital, browser.hospital.private
    old = browser.fields(f"/jobs/{job.digest()}")
    site = hospital.folder / "site.toml"
    site.write_text(re.sub(r"epsilon = [\d.]+", "epsilon = 80.0", site.read_text()))
    assert browser.decide(job, "approve", **old).status_code == 409  # all rounds would be trained now
    assert hospital.decision(job) == "waiting"
    assert browser.decide(job, "approve").status_code == 200


def test_a_changed_job_is_another_one(browser: Browser) -> None:
    hospital, job = browser.hospital, browser.hospital.waiting
    old = browser.fields(f"/jobs/{job.digest()}")
    changed = make_job(job_name="disc-outline", training_batch_size=8, job_seed=99)
    hospital.meet(changed)
    assert browser.decide(changed, "approve", **old).status_code == 409
    assert (hospital.decision(job), hospital.decision(changed)) == ("waiting", "waiting")


def test_a_decision_needs_a_form_of_ours_that_says_it_was_read(browser: Browser) -> None:
    job = browser.hospital.waiting
    path = f"/jobs/{job.digest()}"
    right = {**browser.fields(path), "read": "yes"}
    for wrong in ({**right, "csrf": "x" * 43}, {**right, "read": ""}, {}):
        assert browser.post(f"{path}/approve", data=wrong, headers=HERE).status_code in (400, 403)
    for headers in ({}, {"origin": "http://evil.example"}, {"origin": "http://127.0.0.1:9"}):
        assert browser.post(f"{path}/approve", data=right, headers=headers).status_code == 403
    assert browser.get(f"{path}/approve").status_code == 405
    browser.cookies.clear()
    assert browser.post(f"{path}/approve", data=right, headers=HERE).status_code == 401
    assert browser.hospital.decision(job) == "waiting"


def test_a_job_that_is_not_here_is_not_decided(browser: Browser) -> None:
    csrf = browser.fields("/data/discs")["csrf"]
    form = {"csrf": csrf, "read": "yes"}
    assert browser.post(f"/jobs/{'0' * 64}/approve", data=form, headers=HERE).status_code == 422
    assert browser.post("/jobs/..%2f..%2fetc/approve", data=form, headers=HERE).status_code == 404
    assert browser.get(f"/jobs/{browser.hospital.waiting.digest()[:20]}").status_code == 404


def test_logging_out_ends_what_a_copied_cookie_opens(browser: Browser) -> None:
    copied = dict(browser.cookies)
    fields = browser.fields(f"/jobs/{browser.hospital.waiting.digest()}")
    browser.post("/leave", data={"csrf": fields["csrf"]}, headers=HERE)
    browser.cookies.update(copied)
    assert browser.get("/").status_code == 401


def test_what_others_wrote_is_text(browser: Browser) -> None:
    job = make_job(job_name="a-job")
    browser.hospital.book.meet(job, "<script>alert(1)</script>\u202e")
    for path in ("/", "/jobs", f"/jobs/{job.digest()}"):
        text = browser.get(path).text
        assert "<script>alert" not in text
        assert "\u202e" not in text


def test_what_was_sent_is_told_by_run_and_round(browser: Browser) -> None:
    hospital = browser.hospital
    text = browser.get(f"/sent?job={hospital.trained.digest()}&run={RUN}").text
    assert "307.8 kB" in text
    assert text.count("the update") == 2
    assert "fed.example.org:9443" in text


def test_the_log_is_filtered_and_checked(browser: Browser) -> None:
    hospital = browser.hospital
    assert "every entry follows from the one before" in browser.get("/log").text
    assert 'download="audit-log.csv"' in browser.get("/log").text
    denied = browser.get(f"/log?job={hospital.denied.digest()}&event=job-denied").text
    assert denied.count("denied the job") == 1
    assert "There is no such entry" in browser.get("/log?day=1999-01-01").text
    file = next((hospital.folder / "audit").glob("*.jsonl"))
    file.write_bytes(file.read_bytes().replace(b'"bytes":151732', b'"bytes":151733', 1))
    text = browser.get("/log").text
    assert "Not whole" in text
    assert "was changed: its hash is another one" in text


def test_a_page_whose_files_can_not_be_used_says_why(browser: Browser) -> None:
    (browser.hospital.folder / "site.toml").write_text("[site]\n")
    answer = browser.get("/policy")
    assert answer.status_code == 422
    assert "name" in answer.text


def test_a_private_job_says_what_it_costs_of_the_budget(browser: Browser) -> None:
    text = browser.get(f"/jobs/{browser.hospital.private.digest()}").text
    assert "Not enough is left" in text
    assert "None of 3 rounds would be trained" in text
    top = text.partition("Is it the researcher")[0]
    assert "No round of it would be trained</strong> whatever is decided here: not enough is left" in top
    digest = browser.hospital.private.digest()
    said = wardround("client", "approve", digest, "--dir", browser.hospital.folder, stdin="n\n")
    assert "NO ROUND OF IT WOULD BE TRAINED, whatever is decided here: not enough is left" in said.stdout
    assert "Near its end" in browser.get("/budgets").text
    assert "is in no budget" in browser.get(f"/jobs/{browser.hospital.waiting.digest()}").text


def test_pictures_are_for_the_log_in_alone_and_kept_nowhere(browser: Browser) -> None:
    before = sorted(browser.hospital.folder.rglob("*"))
    assert browser.get("/data/discs/contact-sheet.png").status_code == 404
    csrf = browser.fields("/data/discs")["csrf"]
    browser.post("/data/discs/look", data={"csrf": csrf}, headers=HERE)
    assert '"over"' in browser.get("/data/discs/live").text  # a stream that ends when all is drawn
    picture = browser.get("/data/discs/contact-sheet.png")
    assert picture.headers["content-type"] == "image/png"
    assert picture.headers["cache-control"] == "no-store"
    assert "Training is possible" in browser.get("/data/discs").text
    assert sorted(browser.hospital.folder.rglob("*")) == before
    browser.cookies.clear()
    assert browser.get("/data/discs/contact-sheet.png").status_code == 401


def test_a_job_is_told_in_plain_words(browser: Browser) -> None:
    """A person reads the page without its command line beside them."""
    text = browser.get(f"/jobs/{browser.hospital.private.digest()}").text
    assert "every round is refused" in text  # 7 patients, and the policy wants 10
    assert "Epsilon bounds what anybody can learn of one patient" in text
    assert "`" not in text
