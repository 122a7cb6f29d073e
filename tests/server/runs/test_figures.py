"""What people are shown of single hospitals, through the real people's listener."""

import csv
import io
import json
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from server.report.tables import results_tables
from server.runs.folder import RunFolder
from server.runs.lone_sites import lone_sites
from server.runs.remote import RemoteCoordinator
from server.runs.visibility import Figures
from shared.wire.https import CoordinatorError
from tests.server.gateway.test_runs_api import Desk

NAME = "tiny-1"
# Numbers of single sites, each of a kind of its own: wherever one turns up, it has leaked.
SECRET = {"alpha": "71717171", "beta": "72727272", "gamma": "73737373", "delta": "74747474"}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    made = Desk(tmp_path / "coordinator")
    with closing(made.trail), closing(made.people):
        yield made
        made.cut()


def make_run(desk: Desk, tiny_job, **figures_for: str) -> RunFolder:
    """Write a run as the round loop does, with a distinctive number wherever there is one of a site."""
    made = RunFolder.create(desk.folder / "runs", tiny_job(), NAME, "default")
    members = list(figures_for)
    split = {site: {"train": int(SECRET[site] + "001")} for site in members}
    for site in members:
        made.event("site_joined", site=site, patients=int(SECRET[site] + "002"))
        made.event("site_done", round=1, site=site, phase="train", examples=int(SECRET[site] + "003"))
    made.event("site_failed", round=1, site="beta", phase="train", reason="counts 72727272004 images of beta")
    made.event("not_evaluated", round=1, reason="beta has 72727272014 images")
    made.event("round_finished", round=1, loss=0.5)
    with (made.path / "events.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"event": "site_done", "site": "beta", "examples": 72727272015\n')  # cut by a crash
    made.add_rows(
        "sites.csv",
        [
            {"round": round_, "site": site, "phase": "train", "examples": int(SECRET[site] + "005")}
            for round_ in (1, 2)
            for site in (members if round_ == 1 else members[:2])
        ],
    )
    states = {site: [float(SECRET[site] + "016")] for site in members}
    made.keep_test({"edges": None, "federation": [0.5], "sites": states})
    checkpoint = b"72727272006 of beta"
    (made.path / "checkpoint.safetensors").write_bytes(checkpoint)
    made.describe(
        status="finished",
        flower_run=1,
        researcher="ada",
        reason="delta: 74747474007 training patients",
        models={"checkpoint.safetensors": sha256(checkpoint).hexdigest()},
        sites={site: {"patients": split[site], "examples": split[site]} for site in members},
        left_out={"delta": "74747474007 training patients, the job asks for 80000"},
        figures={**figures_for, "delta": "nobody"},
        rounds=2,
        tested_round=2,
        test={
            "federation": dict.fromkeys(("dice_global", "dice_patient", "dice_image", "iou"), 0.5),
            "sites": {site: {"dice_global": int(SECRET[site] + "008")} for site in members},
            "examples": {site: int(SECRET[site] + "009") for site in members},
        },
        bytes_sent={site: int(SECRET[site] + "010") for site in members},
        late={site: int(SECRET[site] + "011") for site in members},
        guarantee={
            "note": "n",
            "sites": {site: {"words": f"epsilon {SECRET[site]}012"} for site in members},
        },
        something_new={site: int(SECRET[site] + "013") for site in members},
    )
    return made


def everything(desk: Desk, remote: RemoteCoordinator, out: Path) -> str:
    """Return all that the API tells of the run."""
    copy = remote.fetch(NAME, out)
    client, url = remote._client, f"{desk.url}/v1/runs"
    texts = [client.get(url).text, client.get(f"{url}/{NAME}").text, client.get(f"{url}/{NAME}/events").text]
    return "\n".join([*texts, *(file.read_bytes().decode("utf-8", "replace") for file in copy.iterdir())])


def seen(text: str) -> set[str]:
    return {site for site, number in SECRET.items() if number + "0" in text}


def rows_of(out: Path) -> list[tuple[str, str, str]]:
    with (out / NAME / "sites.csv").open(newline="") as file:
        return [(row["round"], row["site"], row["examples"]) for row in csv.DictReader(file)]


def test_by_default_nobody_sees_what_is_a_hospitals_alone(desk: Desk, tiny_job, tmp_path: Path) -> None:
    make_run(desk, tiny_job, alpha="nobody", beta="nobody", gamma="nobody")
    for name, role in (("vera", "viewer"), ("ada", "researcher"), ("otto", "operator")):
        remote = desk.log_in(name, role)
        told = everything(desk, remote, tmp_path / name)
        assert seen(told) == set(), name
        assert "alpha" in told  # that it takes part is no secret in its project
        assert json.loads((tmp_path / name / NAME / "run.json").read_text())["test"]["federation"]
        found = remote.look(NAME)
        results_tables(found.job, found.description, 80)  # and can be shown as it is
        assert [event.kind for event in remote.follow(NAME)].count("site_done") == 3
        with pytest.raises(CoordinatorError, match="no file"):
            list(remote._content(NAME, "checkpoint.safetensors"))


def test_each_hospital_is_shown_to_whom_it_allows(desk: Desk, tiny_job, tmp_path: Path) -> None:
    make_run(desk, tiny_job, alpha="project", beta="operators", gamma="nobody")
    assert seen(everything(desk, desk.log_in("vera", "viewer"), tmp_path / "vera")) == {"alpha"}
    # gamma alone would stay hidden, and be what is left of the sums: then the operator sees nobody in them.
    everything(desk, desk.log_in("otto", "operator"), tmp_path / "otto")
    assert seen((tmp_path / "otto" / NAME / "run.json").read_text()) == set()
    assert rows_of(tmp_path / "otto") == [
        *(("1", "alpha", ""), ("1", "beta", ""), ("1", "gamma", "")),
        *(("2", "alpha", "71717171005"), ("2", "beta", "72727272005")),  # a sum without gamma
    ]


def test_operators_see_more_where_enough_stay_hidden(desk: Desk, tiny_job, tmp_path: Path) -> None:
    run = make_run(desk, tiny_job, alpha="operators", beta="nobody", gamma="nobody")
    assert seen(everything(desk, desk.log_in("vera", "viewer"), tmp_path / "vera")) == set()
    assert seen(everything(desk, desk.log_in("otto", "operator"), tmp_path / "otto")) == {"alpha"}
    assert rows_of(tmp_path / "otto") == [
        *(("1", "alpha", "71717171005"), ("1", "beta", ""), ("1", "gamma", "")),
        *(("2", "alpha", ""), ("2", "beta", "")),  # of two, the other would follow
    ]
    assert seen((run.path / "sites.csv").read_text()) == {"alpha", "beta", "gamma"}  # the folder has it all


def test_where_all_allow_it_everything_is_shown(desk: Desk, tiny_job, tmp_path: Path) -> None:
    run = make_run(desk, tiny_job, alpha="project", beta="project", gamma="project")
    run.describe(left_out={}, reason=None)
    vera = desk.log_in("vera", "viewer")
    assert {"alpha", "beta", "gamma"} <= seen(everything(desk, vera, tmp_path / "vera"))
    for file in run.path.iterdir():
        if not file.name.startswith("."):
            assert (tmp_path / "vera" / NAME / file.name).read_bytes() == file.read_bytes()


def test_the_sum_of_one_hospital_alone_is_not_shown() -> None:
    kept = {"edges": None, "federation": [71.0], "sites": {"alpha": [71.0]}}
    figures = Figures({"sites": {"alpha": {}}}, "operator")
    assert b"71" not in b"".join(figures.file("test.json", io.BytesIO(json.dumps(kept).encode())))


@pytest.mark.parametrize("choice", ["nobody", "project"])
def test_of_a_round_that_one_hospital_judged_no_file_tells_more_than_it_shows(choice: str) -> None:
    rows = [
        *({"round": "1", "site": site, "phase": "train", "train_loss": "0.2"} for site in ("alpha", "beta")),
        {"round": "1", "site": "alpha", "phase": "evaluate", "loss": "0.71", "iou": "0.72"},
        {"round": "1", "site": "beta", "phase": "evaluate", "loss": "", "iou": ""},  # keeps its own
        {"round": "2", "site": "alpha", "phase": "train", "train_loss": "0.73"},
    ]
    test = {"federation": {"iou": 0.74}, "sites": {"alpha": {"iou": 0.74}, "beta": {"iou": None}}}
    about = {
        "sites": {"alpha": {}, "beta": {}},
        "figures": {"alpha": choice, "beta": "nobody"},
        "test": test,
        "comparison": {"metrics": {"iou": {"value": 0.74}}},
        "decisions": {"threshold": 0.75, "sites": {"alpha": {}}},
    }
    figures = Figures(about, "operator")
    table = b"round,sites,train_loss,loss,iou\n1,2,0.2,0.71,0.72\n2,1,0.73,,\n"
    rounds = [
        {
            "event": "round_finished",
            "round": round_,
            "train_loss": 0.2,
            **sums,
            **lone_sites(rows[first:last]),
        }
        for round_, sums, first, last in (
            (1, {"loss": 0.71, "iou": 0.72}, 0, 4),
            (2, {"train_loss": 0.73}, 4, 5),
        )
    ]
    told = b"".join(figures.file("metrics.csv", io.BytesIO(table), lambda: rows)).decode()
    told += json.dumps([figures.description(about), *map(figures.event, rounds)])
    secret = ("0.71", "0.72", "0.73", "0.74", "0.75")
    assert [number in told for number in secret] == [choice == "project"] * len(secret)
    assert told.splitlines()[1].startswith("1,2,0.2,")  # two have trained
    assert '"train_loss": 0.2' in told


def test_texts_keep_names_and_lose_numbers() -> None:
    figures = Figures({"sites": {"site-001": {}}, "left_out": {"site-002": "7 patients"}}, "operator")
    text = "site-001: 7 of 1.5e-3, -12 (site-002) n=40%; site-003"
    assert figures.reason(text) == "site-001: … of … … (site-002) … …"
    assert Figures({}, None).reason(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("round 3: 2 sites returned an update, the job needs 3", None),
        ("site-001: no answer within 300 s", None),
        ("about 30 training patients, the job asks for 20", "about … training patients, the job asks for 20"),
        ("12.5 sites, 1,200 sites, round 3-7, round 3a", "… sites, … sites, round … round …"),
        ("17 patients in 3 rounds of 41", "… patients in … rounds of …"),
    ],
)
def test_what_counts_the_runs_own_stays_in_a_reason(text: str, shown: str | None) -> None:
    figures = Figures({"sites": {"site-001": {}}}, "viewer")
    assert figures.reason(text) == (shown or text)


@pytest.mark.parametrize(
    "description",
    [{}, {"figures": {"alpha": "everybody"}}, {"sites": {"alpha": {}}}, {"figures": {"alpha": "operators"}}],
)
def test_what_nobody_has_allowed_is_hidden(description: dict[str, Any]) -> None:
    figures = Figures({"sites": {"alpha": {}, "beta": {}}, **description}, "viewer")
    assert not figures.everything
    assert figures.shown({"alpha", "beta"}) == set()
    line = {"event": "site_done", "site": "alpha", "round": 1, "examples": 71}
    assert figures.event(line) == {"event": "site_done", "site": "alpha", "round": 1}
