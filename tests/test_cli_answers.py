"""Every command, as scripts and narrow terminals use it: `--json`, `-h`, exit codes, whole names."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from client.guard.job_book import JobBook
from shared.cli.table import table_lines
from shared.job.schema import load_job
from shared.networks.build import build_model
from shared.start_files import write_start
from tests.cli import wardround
from tests.client.dicom_import.heaps import write_heap
from tests.conftest import write_dataset
from tests.jobs import job_text
from wardround.cli import app

PROJECT = Path(__file__).parents[1]
QUICKSTART = PROJECT / "configs" / "jobs" / "quickstart.toml"
PRIVATE = PROJECT / "configs" / "jobs" / "skin-lesions-private.toml"
NO_ANSWER = {
    "client start": "a service: it logs",
    "client page": "a service: it prints a link",
    "server start": "a service: it logs",
    "job schema": "prints a JSON Schema already",
    "client schema": "prints a JSON Schema already",
    "server schema": "prints a JSON Schema already",
}
IN_A_FEDERATION = {  # tests/server/runs/test_remote_runs.py asks these of a coordinator that runs
    *("login", "counts", "submit", "runs", "runs remove", "watch", "stop", "resume", "fetch"),
}
OF_A_SIMULATION = {
    "simulate",
    "describe",
    "tune",
    "contribution",
    "forget",
    "audit-privacy",
}  # tests/simulate/
OF_RUNS = {  # tests/server/report/test_commands.py, tests/server/track/, tests/*/cli/
    *(
        "report",
        "show",
        "compare",
        "drift",
        "predict",
        "retrieve",
        "export",
        "verify",
        "track",
        "store",
        "job judge",
    ),
    *("client label list", "client label take"),
}


def commands(group: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Give every command that does something by itself, with what is typed for it."""
    if not isinstance(group, click.Group):
        yield "", group
        return
    if group.invoke_without_command and group.name != "wardround":
        yield "", group
    for name, command in group.commands.items():
        for rest, found in commands(command):
            yield f"{name} {rest}".strip(), found


COMMANDS = {name: command for name, command in commands(typer.main.get_command(app)) if name}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a federation, a site that has joined by files, a dataset and a job that waits."""
    place = tmp_path_factory.mktemp("place")

    def run(line: str, stdin: str = "") -> dict[str, Any]:
        ended = wardround(*shlex.split(line), "--json", stdin=stdin, cwd=place)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    run("server init fed --name lung --host fed.example.org --no-passphrase")
    join = run("server invite st-mary --dir fed")["join"]
    key = run("client enrol - --dir site --request-out site.csr", join)["key"]
    run(f"server sign site.csr --fingerprint {key} --dir fed")
    run("client enrol - --dir site --certificate site.csr.crt", join)
    write_dataset(place / "data", sites=("st-mary",), patients=30)
    write_heap(place / "heap", patients=1)
    with (place / "site" / "site.toml").open("a") as file:
        file.write(f'\n[datasets.discs]\nmanifest = "{place / "data"}"\n')
    job = load_job(QUICKSTART)
    JobBook(place / "site" / "state.sqlite").meet(job, "jane")
    write_start(place / "weights.safetensors", build_model(job).state_dict())
    return place


def test_every_command_takes_json() -> None:
    without = {name for name, command in COMMANDS.items() if not _takes(command, "--json")}
    assert without == NO_ANSWER.keys() & COMMANDS.keys()


def _takes(command: click.Command, option: str) -> bool:
    return any(option in parameter.opts for parameter in command.params)


DIGEST = load_job(QUICKSTART).digest()
ASKED = {
    "server people add": "server people add bob --role viewer --dir fed",
    "server people list": "server people list --dir fed",
    "server people remove": "server people remove bob --dir fed",
    "server projects add": "server projects add brain --dir fed",
    "server projects join": "server projects join brain --site st-mary --dir fed",
    "server projects list": "server projects list --dir fed",
    "server projects leave": "server projects leave brain --site st-mary --dir fed",
    "server projects remove": "server projects remove brain --dir fed",
    "server sites": "server sites --dir fed",
    "server check": "server check --dir fed",
    "server audit show": "server audit show --dir fed",
    "server audit verify": "server audit verify --dir fed",
    "server backup": "server backup copy.tar.gz --include-key --dir fed",
    "server restore": "server restore copy.tar.gz again",
    "server revoke": "server revoke st-mary --dir again",
    "server authority renew": "server authority renew --dir again",
    "server rehost": "server rehost moved.example.org --dir again",
    "server authority new": "server authority new --no-passphrase --dir again",
    "job check": f"job check {QUICKSTART}",
    "job start": f"job start weights.safetensors --job {QUICKSTART} --out start.safetensors",
    "job new": "job new heart --task segmentation",
    "data check": "data check data",
    "data look": "data look data --out looked",
    "data manifest": "data manifest classes",
    "data group": "data group data --out bags.csv",
    "data import": "data import heap --out imported",
    "data join": "data join data ages.csv --out data/joined.csv",
    "data harmonise": "data harmonise marks.csv --job marks.toml --out harmonised.csv",
    "data example": "data example phantom-survival --out examples",
    "server notify": "server notify --dir fed",
    "client notify": "client notify --dir site",
    "client jobs": "client jobs --dir site",
    "client approve": f"client approve {DIGEST} --yes --dir site",
    "client deny": f"client deny {DIGEST} --dir site",
    "client check": "client check --offline --dir site",
    "client status": "client status --dir site",
    "client budget": "client budget --dir site",
    "client budget plan": f"client budget --dir site plan {PRIVATE}",
    "client budget repair": "client budget --dir site repair",
    "client cohort": "client cohort --dir site",
    "client cohort accept": "client cohort --dir site accept discs --yes",
    "client audit show": "client audit show --dir site",
    "client audit verify": "client audit verify --dir site",
}
BY_THE_FIXTURE = {"server init", "server invite", "server sign", "client enrol"}
REFUSED = {  # what can't succeed here ends with 2 and says nothing on stdout
    "client renew": "client renew --dir site",
    "data pull": "data pull list.csv --from pacs.toml --out pulled --dir site",
    "data ask": "data ask discs --dir site",
    "client counts tell": "client counts tell discs --yes --dir site",
    "client counts withdraw": "client counts withdraw discs --dir site",
    "client follow": "client follow 127.0.0.1:1 --dir site",
    "client prepare": f"client prepare {QUICKSTART} --dir site",
    "client budget plan": ASKED.pop("client budget plan"),
}
ENDS_WITH = {"client status": 3}


def test_what_is_asked_here_are_all_commands() -> None:
    asked = ASKED.keys() | REFUSED.keys() | BY_THE_FIXTURE | IN_A_FEDERATION | OF_A_SIMULATION | OF_RUNS
    assert COMMANDS.keys() - NO_ANSWER.keys() - asked == set()


@pytest.mark.parametrize("name", ASKED)
def test_an_answer_is_one_json_object(place: Path, name: str) -> None:
    if name == "data manifest":
        for kind in ("cat", "dog"):
            (place / "classes" / kind).mkdir(parents=True)
            (place / "classes" / kind / f"p{kind}.png").write_bytes(
                next((place / "data" / "images").glob("st*.png")).read_bytes()
            )
    if name == "data join":
        rows = (place / "data" / "manifest.csv").read_text().splitlines()
        patient = rows[1].split(",")[rows[0].split(",").index("patient")]
        (place / "ages.csv").write_text(f"patient,years\n{patient},61\n")
    if name == "data harmonise":
        marks = [f"p{number},{number % 7},1,{number % 3}\n" for number in range(12)]
        (place / "marks.csv").write_text("patient,time,event,mark\n" + "".join(marks))
        scaled = {"task_name": "survival", "task_columns": ["mark"], "task_scaling": {"mark": [1.0, 0.5]}}
        (place / "marks.toml").write_text(job_text(**scaled))
    ended = wardround(*shlex.split(ASKED[name]), "--json", cwd=place)
    assert ended.returncode == ENDS_WITH.get(name, 0), ended.stderr
    answer = json.loads(ended.stdout)
    assert answer.pop("command") == name
    assert answer
    assert ended.stdout.isascii()


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_no_json(place: Path, name: str) -> None:
    ended = wardround(*shlex.split(REFUSED[name]), "--json", cwd=place)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: ")


def test_a_job_that_waits_is_said_with_the_command_to_type(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "site.toml").write_text('[site]\nname = "st-mary"\n')
    JobBook(folder / "state.sqlite").meet(load_job(QUICKSTART), "jane")
    said = wardround("client", "status", "--dir", folder).stdout
    command = f"wardround client approve {DIGEST} --dir {folder}"
    assert "job 'quickstart' waits for approval since 20" in said
    assert command in said
    assert wardround(*shlex.split(command)[1:], "--yes").returncode in (0, 2)
    (folder / "site.toml").write_text('[site]\nname = "st-mary"\n[policy]\napproval = "automatic"\n')
    assert "waits" not in wardround("client", "status", "--dir", folder).stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_a_short_help_that_describes_all_it_takes(name: str) -> None:
    ended = wardround(*name.split(), "-h", environment={"COLUMNS": "400"})
    assert ended.returncode == 0
    for parameter in COMMANDS[name].params:
        shown = [line for line in ended.stdout.splitlines() if _shows(parameter, line)]
        assert shown, parameter.name
        assert len(shown[0].strip("│ ").split()) > 3, shown[0]
    assert "{" not in ended.stdout


def _shows(parameter: click.Parameter, line: str) -> bool:
    return any(option in line.split() for option in (*parameter.opts, str(parameter.metavar)))


def test_help_lists_what_can_be_named() -> None:
    said = " ".join(wardround("job", "new", "-h", environment={"COLUMNS": "400"}).stdout.split())
    for name in ("segmentation", "survival", "densenet121", "scaffold"):
        assert name in said


NAMES = ("a-run-with-a-rather-long-name-20261126-055223-940", "st-mary-of-the-long-river-hospital")


@pytest.mark.parametrize("width", [20, 40, 80, None])
def test_a_table_never_cuts_a_name(monkeypatch: pytest.MonkeyPatch, width: int | None) -> None:
    if width is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", str(width))
    lines = table_lines(("run", "project", "reason"), [(*NAMES, "the site 'ä' \x1b[31m left")])
    text = "\n".join(lines)
    for name in NAMES:
        assert name in text
    assert "\x1b" not in text
    if width is None:
        assert len(lines) == 2  # a line for each row, for whoever reads a pipe


def test_completion_lists_commands_and_tasks() -> None:
    for typed, expected in (("wardround cl", "client"), ("wardround job new x --task seg", "segmentation")):
        environment = {
            "_WARDROUND_COMPLETE": "complete_bash",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(len(typed.split()) - 1),
        }
        assert expected in wardround(environment=environment).stdout.split()


NEVER_ENROLLED = [
    *("check", "jobs", "status", "renew", "budget", "cohort", "audit show", "audit verify", "start"),
    *(f"approve {DIGEST}", f"deny {DIGEST}", f"prepare {QUICKSTART}", "check --offline"),
]


@pytest.mark.parametrize("command", NEVER_ENROLLED)
@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_a_folder_that_was_never_enrolled(tmp_path: Path, command: str, kind: str) -> None:
    folder = tmp_path / "site"
    if kind == "empty":
        folder.mkdir()
    if kind == "file":
        folder.write_text("")
    ended = wardround("client", *command.split(), "--dir", folder)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "wardround client enrol" in ended.stderr
    assert not folder.is_dir() or list(folder.iterdir()) == []  # and nothing is left in it


WRONG = [
    "client enrol nonsense",
    "simulate {quickstart} --validation nan",
    "job start missing.pt --job missing.toml",
    "client approve abc --dir {site}",
    "client audit verify --head 1:zz --dir {site}",
    "client budget --dir {site} plan missing.toml",
    "client cohort --dir {site} accept nothing --yes",
    "client prepare missing.toml --dir {site}",
    "client approve {digest} --json --dir {site}",
    "server init {fed} --name lung --host x",
    "server init new --name Lung! --host x",
    *(
        f"server {command} --dir {{nowhere}}"
        for command in ("sites", "check", "start", "audit verify", "audit show")
    ),
    *(f"server {command} --dir {{nowhere}}" for command in ("people list", "projects list", "backup b.gz")),
    "server invite Bad! --dir {fed}",
    "server revoke nobody --dir {fed}",
    "server sign missing.csr --dir {fed}",
    "server people add bob --role king --dir {fed}",
    "server people remove nobody --dir {fed}",
    "server projects join nothing --person bob --dir {fed}",
    "server projects join nothing --dir {fed}",
    "server audit verify --head 1:zz --dir {fed}",
    "server restore missing.gz new",
    *(f"{command} RUN --dir {{fed}}" for command in ("watch", "stop", "resume", "fetch")),
    "runs --dir {fed}",
    "submit missing.toml --dir {fed}",
    "login http://x --authority y",
    "simulate missing.toml",
    "simulate",
    "simulate {quickstart} --device quantum",
    "simulate --resume runs/nope",
    "audit-privacy runs/nope --site-name a",
    "job check missing.toml",
    "job new 'Chest X-ray' --task classification",
    "job new heart --task heart",
    "data check missing",
    "data look missing",
    "data manifest missing",
    "data group missing --out bags.csv",
    "data join missing table.csv --out joined.csv",
    f"data harmonise missing --job {QUICKSTART} --out harmonised.csv",
    "data example nothing",
    "nonsense",
    "client nonsense",
    "job check --nonsense {quickstart}",
]


@pytest.mark.parametrize("line", WRONG)
def test_what_the_user_can_put_right_ends_with_2(place: Path, tmp_path: Path, line: str) -> None:
    places = {"site": place / "site", "fed": place / "fed", "nowhere": tmp_path / "nowhere"}
    arguments = shlex.split(line.format(**places, quickstart=QUICKSTART, digest=DIGEST))
    ended = wardround(*arguments, cwd=tmp_path)
    assert ended.returncode == 2, (ended.stdout, ended.stderr)
    assert "Traceback" not in ended.stderr
    assert ended.stderr.strip() or "failure" in ended.stdout


def test_what_a_name_may_be(tmp_path: Path) -> None:
    ended = wardround("job", "new", "Chest X-ray", "--task", "classification", cwd=tmp_path)
    assert ended.stderr.startswith("error: 'Chest X-ray' is not a name for a job: lower-case letters, digits")
    assert "wardround job new chest-x-ray --task classification" in ended.stderr
    untold = wardround("job", "new", "Chest X-ray", cwd=tmp_path)
    assert (untold.returncode, untold.stderr) == (2, ended.stderr)
    assert "a job needs a task: name it with --task; one of: class" in wardround("job", "new", "x").stderr
