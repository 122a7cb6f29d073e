"""The command line as a user meets it: exit codes, messages, what it loads."""

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from server.runs.folder import RunFolder
from shared.errors import JobError
from shared.job.schema import load_job
from tests import cli

PROJECT = Path(__file__).parents[1]
HEAVY = {"torch", "monai", "flwr", "ray", "numpy", "pydantic", "torchmetrics", "opacus", "scipy", "httpx"}
MOST_MODULES = 500


def wardround(*arguments: str | Path, cwd: Path = PROJECT) -> CompletedProcess[str]:
    return cli.wardround(*arguments, cwd=cwd, environment={"COLUMNS": "120"})


def test_it_runs_as_a_program() -> None:
    ended = subprocess.run([sys.executable, "-m", "wardround", "--version"], cwd=PROJECT, check=False)
    assert ended.returncode == 0


def loaded(*arguments: str | Path) -> set[str]:
    """Return the modules that a command has loaded when it ends."""
    script = (
        "import json, sys\nfrom wardround.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(json.dumps(list(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    return set(json.loads(ended.stdout.splitlines()[-1]))


def test_help_loads_nothing_heavy_and_so_answers_at_once() -> None:
    modules = loaded("--help")
    assert not modules & {*HEAVY, "asyncio"}
    assert len(modules) < MOST_MODULES  # Typer and Rich, the standard library, our commands


def test_a_job_is_checked_without_the_libraries_that_run_it(quickstart: Path) -> None:
    modules = loaded("job", "check", quickstart)
    assert not modules & (HEAVY - {"pydantic"})
    assert len(modules) < MOST_MODULES


@pytest.mark.parametrize(
    "arguments",
    [("show", "nope"), ("report", "nope"), ("compare", "a", "b"), ("simulate", "--resume", "nope")],
)
def test_a_run_that_is_not_there_is_said_before_anything_heavy_is_loaded(arguments: tuple[str, ...]) -> None:
    ended = wardround(*arguments)
    assert ended.returncode == 2
    assert "is not the folder of a run" in ended.stderr
    assert not loaded(*arguments) & HEAVY


def test_examples_are_made_without_the_libraries_that_train(tmp_path: Path) -> None:
    made = loaded("data", "example", "phantom-brain", "--out", tmp_path)
    assert not made & {"torch", "monai", "flwr", "torchmetrics"}


def test_a_run_that_goes_on_is_reported_without_pytorch(tmp_path: Path, quickstart: Path) -> None:
    run = RunFolder.create(tmp_path, load_job(quickstart))
    run.describe(status="running", sites={"alpha": {}, "beta": {}})
    run.add_rows("metrics.csv", [{"round": 1, "sites": 2, "train_loss": 0.5, "seconds": 1.0, "bytes": 1000}])
    made = loaded("report", run.path, "--out", tmp_path / "page.html")
    assert "<svg" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not made & {"torch", "monai", "torchmetrics", "scipy", "flwr"}


def test_real_runs_are_compared_without_pytorch(tmp_path: Path, quickstart: Path) -> None:
    changes = ({}, {"job.seed": 7}, {"training.learning_rate": 0.5})
    jobs = [load_job(quickstart, {"job.name": f"n{place}", **one}) for place, one in enumerate(changes)]
    runs = [RunFolder.create(tmp_path, job) for job in jobs]
    for run in runs:
        run.end(status="finished", test={"federation": {"dice_global": 0.5, "iou": 0.4}, "sites": {}})
        run.keep_test({"federation": [1.0], "edges": None, "sites": {}})
    made = loaded("report", *(run.path for run in runs), "--out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "single patients are not known: a real run shows none" in page
    assert not made & {"torch", "monai", "torchmetrics", "flwr"}


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_check_that_fails_ends_with_2(side: str, tmp_path: Path) -> None:
    assert wardround(side, "check", "--dir", tmp_path).returncode == 2


def test_version() -> None:
    assert wardround("--version").stdout.startswith("wardround 0.")


def test_a_valid_job_is_summed_up(quickstart: Path) -> None:
    ended = wardround("job", "check", quickstart)
    assert ended.returncode == 0
    assert "segmentation" in ended.stdout
    assert "quickstart" in ended.stdout


def test_of_a_large_model_it_is_said_what_memory_it_needs(tmp_path: Path, quickstart: Path) -> None:
    small = wardround("job", "check", quickstart)
    job = tmp_path / "job.toml"
    text = quickstart.read_text(encoding="utf-8")
    given = next(line for line in text.splitlines() if line.startswith("channels = "))
    job.write_text(text.replace(given, "channels = [64, 256, 1024, 2048]"), encoding="utf-8")
    large = wardround("job", "check", job)
    assert "memory" not in small.stdout
    assert re.search(r"memory +a model of \d\.\d GB: about \d\.\d GB at each site", large.stdout)
    assert "GB of its disk for each site" in " ".join(large.stdout.split())


def test_every_problem_is_named_once_with_its_place(tmp_path: Path, quickstart: Path) -> None:
    job = tmp_path / "job.toml"
    text = quickstart.read_text(encoding="utf-8").replace("rounds = 12", "rounds = -1")
    job.write_text(text.replace("batch_size = 8", "batchsize = 8"), encoding="utf-8")
    ended = wardround("job", "check", job)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("error:") == 1
    assert "Traceback" not in ended.stderr
    assert ended.stderr.startswith(f"error: {job}: 2 problems")
    assert "[job] rounds: must be at least 0, got -1" in ended.stderr
    assert "[training] batchsize: unknown key; did you mean 'batch_size'?" in ended.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), (b"[job\nname = 1", "is not valid TOML"), (b"\xff\xfe", "is in UTF-16")],
)
def test_a_file_that_is_no_job(tmp_path: Path, content: bytes | None, message: str) -> None:
    job = tmp_path / "job.toml"
    if content is not None:
        job.write_bytes(content)
    ended = wardround("job", "check", job)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: {job}: ")
    assert message in ended.stderr


@pytest.mark.parametrize("arguments", [["jobb"], ["job", "check"], ["job", "new"], ["--no-such-option"]])
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    ended = wardround(*arguments)
    assert ended.returncode == 2
    assert "Usage" in ended.stderr


def test_the_schema_is_json_and_describes_every_key() -> None:
    ended = wardround("job", "schema")
    schema = json.loads(ended.stdout)
    undescribed = [
        f"{table}.{key}"
        for table, definition in schema["definitions"].items()
        for key, field in definition["properties"].items()
        if key != "name" and not field.get("description")
    ]
    assert undescribed == []


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_a_new_job_is_valid_and_explains_every_key(tmp_path: Path, task: str) -> None:
    assert wardround("job", "new", "heart", "--task", task, cwd=tmp_path).returncode == 0
    written = tmp_path / "heart.toml"
    assert wardround("job", "check", written).returncode == 0
    text = written.read_text(encoding="utf-8")
    assert tomllib.loads(text)["job"]["name"] == "heart"
    for key in ("seed", "warmup_rounds", "min_patients", "augment", "gradient_clip"):
        assert f"# {key} = " in text


def test_what_is_commented_out_in_a_new_job_can_be_put_in(tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    wardround("job", "new", "heart", "--task", "segmentation", "--out", job)
    text = job.read_text(encoding="utf-8")
    for line in (
        "seed",
        "dropout",
        "multi_label",
        "augment",
        "batch_size",
        "gradient_clip",
        "fraction",
        "patch",
    ):
        text = text.replace(f"\n# {line} = ", f"\n{line} = ")
    job.write_text(text, encoding="utf-8")
    assert wardround("job", "check", job).returncode == 0


def test_a_new_job_overwrites_nothing(tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    job.write_text("precious", encoding="utf-8")
    ended = wardround("job", "new", "heart", "--task", "segmentation", "--out", job)
    assert ended.returncode == 2
    assert "exists already" in ended.stderr
    assert job.read_text(encoding="utf-8") == "precious"


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("heart", "segmentatoin", "did you mean 'segmentation'?"),
        ("../heart", "segmentation", "is not a name for a job"),
        ("Heart", "segmentation", "is not a name for a job"),
    ],
)
def test_a_new_job_needs_a_valid_name_and_task(tmp_path: Path, name: str, task: str, message: str) -> None:
    ended = wardround("job", "new", name, "--task", task, cwd=tmp_path)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert list(tmp_path.iterdir()) == []


def run_main(command: str, *, wait_for: str | None = None) -> tuple[int, str]:
    """Run `main()` with one more command, whose body is given; interrupt it once it prints `wait_for`."""
    script = (
        f"import sys, time\nfrom shared.errors import *\nfrom wardround.cli import app, main\n"
        f"@app.command()\ndef extra():\n    'Says [training] and [bold].'\n    {command}\n"
        f"sys.argv[0] = 'wardround'\nmain()"
    )
    argument = "--help" if command == "..." else "extra"
    process = subprocess.Popen(
        [sys.executable, "-c", script, argument],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "120"},
    )
    assert process.stdout is not None
    if wait_for:
        assert process.stdout.readline().strip() == wait_for
        process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    return process.returncode, output


def test_an_error_is_printed_as_it_is() -> None:
    code, output = run_main(
        "raise JobError('[training] loss: [bold]x[/]', where='a.toml', remedy='Try :smile:.')"
    )
    assert code == 2
    assert (
        output == f"error: {JobError('[training] loss: [bold]x[/]', where='a.toml', remedy='Try :smile:.')}\n"
    )


def test_help_keeps_brackets() -> None:
    assert "Says [training] and [bold]." in run_main("...")[1]


def test_an_interrupt_is_one_line() -> None:
    code, output = run_main("print('ready', flush=True); time.sleep(60)", wait_for="ready")
    assert code == 130
    assert output == "interrupted\n"


def test_the_service_of_a_hospital_loads_no_pytorch() -> None:
    """Its worker process does; the service hands messages to it, and is there all day."""
    script = "import json, sys, client.service.site_service; print(json.dumps(list(sys.modules)))"
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert not set(json.loads(ended.stdout)) & {"torch", "monai", "torchmetrics", "opacus", "scipy"}
