"""Bad input gives exit code 2 and one message that says what and where; nothing is started or overwritten."""

import csv
import fcntl
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.cli import wardround
from tests.jobs import job_text


@pytest.fixture
def refused(cli):
    """Return a function that expects `wardround simulate` to refuse, and returns what it said."""

    def run(*arguments: str | Path) -> str:
        said = cli("simulate", *arguments, "--workers", "in-process")
        assert said.code == 2, said
        assert said.err.count("error:") == 1
        assert "Traceback" not in said.out + said.err
        return " ".join(said.err.split())

    return run


def no_run() -> bool:
    return not list(Path("runs").glob("tiny-*"))


@pytest.fixture
def data(tiny_data, tmp_path) -> Path:
    """Return a copy of the tiny dataset that a test may spoil."""
    shutil.copytree(tiny_data.parent, tmp_path / "data")
    return tmp_path / "data"


def edit(data: Path, change) -> list[dict[str, str]]:
    with (data / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows = change(rows) or rows
    with (data / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return rows


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.batchsize=3", "[training] batchsize unknown key 'batch_size'"),
        ("training.batch_size=three", "[training] batch_size whole number three"),
        ("model.name=unte", "[model] name unte unet"),
        ("evaluation.select_best=dyce_global", "[evaluation] select_best 'dyce_global' 'dice_global'"),
        ("privacy.epsilon=3", "[privacy] epsilon mechanism = 'dp-sgd'"),
        ("rounds=3", "--set table.key=value"),
        ("job.name=null", "[job] name missing"),
    ],
)
def test_a_wrong_job(refused, tiny_job_file, tiny_data, override, words):
    said = refused(tiny_job_file, "--data", tiny_data, "--set", override)
    assert "tiny.toml" in said
    for word in words.split():
        assert word in said
    assert not Path("runs").exists()


def spoil(name):
    """Return a way to spoil a dataset, and the words with which it must be refused."""
    return {
        "missing column": (
            lambda rows: [{k: v for k, v in row.items() if k != "mask"} for row in rows],
            "'mask'",
        ),
        "label outside": (lambda rows: rows[3].update(label="huge"), "huge"),
        "two sides": (lambda rows: rows[1].update(split="test"), "alpha-0"),
        "unknown split": (lambda rows: rows[2].update(split="training"), "training"),
        "missing file": (lambda rows: rows[5].update(image="images/nowhere.png"), "nowhere.png"),
        "a site without a name": (lambda rows: rows[1].update(site="--"), "row 3 '--' no name"),
        "two spellings of a site": (lambda rows: rows[1].update(site="Alpha"), "row 3 'Alpha' 'alpha'"),
        "no sites": (lambda rows: [{k: v for k, v in row.items() if k != "site"} for row in rows], "--sites"),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "missing column",
        "two sides",
        "unknown split",
        "missing file",
        "a site without a name",
        "two spellings of a site",
        "no sites",
    ],
)
def test_a_wrong_manifest(refused, tiny_job_file, data, name):
    change, words = spoil(name)
    edit(data, change)
    said = refused(tiny_job_file, "--data", data)
    assert "manifest.csv" in said
    for word in words.split():
        assert word in said
    assert no_run()


def test_a_label_outside_the_classes(refused, tiny_job_file, data):
    change, _ = spoil("label outside")
    edit(data, change)
    tiny_job_file.write_text(job_text(task_name="classification"))
    said = refused(tiny_job_file, "--data", data)
    assert "huge" in said
    assert "large" in said


def test_missing_manifest(refused, tiny_job_file, tmp_path):
    assert "nowhere" in refused(tiny_job_file, "--data", tmp_path / "nowhere")
    assert no_run()


def test_a_manifest_that_is_an_image(refused, tiny_job_file, tiny_data):
    said = refused(tiny_job_file, "--data", tiny_data.parent / "images" / "alpha-0-0.png")
    assert "alpha-0-0.png" in said
    assert "CSV" in said
    assert no_run()


def test_more_sites_asked_for_than_there_are(refused, tiny_job_file, tiny_data):
    said = refused(tiny_job_file, "--data", tiny_data, "--set", "strategy.min_sites=9")
    assert "[strategy] min_sites" in said
    assert "4 sites can train" in said
    assert no_run()


def test_an_output_folder_that_is_a_file(refused, tiny_job_file, tiny_data):
    Path("taken").write_text("mine")
    assert "taken" in refused(tiny_job_file, "--data", tiny_data, "--out", "taken")
    assert Path("taken").read_text() == "mine"


def test_a_dataset_that_nobody_gave(refused, tiny_job_file):
    said = refused(tiny_job_file)
    assert "[job] dataset" in said
    assert "--data" in said


def test_a_corrupt_image_is_named(refused, tiny_job_file, data):
    (data / "images" / "gamma-0-1.png").write_bytes(b"\x89PNG not really")
    said = refused(tiny_job_file, "--data", data)
    assert "gamma-0-1.png" in said


def test_a_mask_of_another_size_is_named(refused, tiny_job_file, data):
    Image.new("L", (8, 16)).save(data / "images" / "mask-gamma-0-1.png")
    said = refused(tiny_job_file, "--data", data)
    assert "mask-gamma-0-1.png" in said
    assert "16" in said
    assert "8" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--device", "tpu9"], "tpu9"),
        (["--device", "cuda:7"], "cuda:7"),
        (["--partition", "dirichlet:x", "--sites", "2"], "dirichlet:x"),
        (["--partition", "dirichlt:1", "--sites", "2"], "dirichlet"),
        (["--sites", "100"], "100"),
        (["--resume", "nowhere"], "nowhere"),
    ],
)
def test_wrong_options(refused, tiny_job_file, tiny_data, options, words):
    data = [] if "--resume" in options else ["--data", tiny_data]
    assert words in refused(tiny_job_file, *data, *options)
    assert no_run()


def test_unknown_workers(cli, tiny_job_file, tiny_data):
    said = cli("simulate", tiny_job_file, "--data", tiny_data, "--workers", "many")
    assert said.code == 2
    assert "in-process" in said.err
    assert no_run()


@pytest.mark.slow
def test_an_error_in_a_worker_process_is_one_message_too(cli, tiny_job_file, data):
    (data / "images" / "gamma-0-1.png").write_bytes(b"\x89PNG not really")
    said = cli("simulate", tiny_job_file, "--data", data, "--workers", "2")
    assert said.code == 2
    assert said.err.count("error:") == 1
    assert "gamma-0-1.png" in said.err
    assert "Traceback" not in said.out + said.err


def write_site(path: Path, data: Path, site: str, policy: str = "") -> Path:
    path.write_text(
        f'[site]\nname = "{site}"\n[datasets.discs]\nmanifest = "{data}"\nsite = "{site}"\n{policy}\n'
    )
    return path


def test_two_sites_of_one_name(refused, tiny_job_file, tiny_data, tmp_path):
    files = [write_site(tmp_path / f"{number}.toml", tiny_data, "alpha") for number in (1, 2)]
    said = refused(tiny_job_file, "--site", files[0], "--site", files[1])
    assert "2.toml" in said
    assert "alpha" in said


def test_a_policy_that_refuses(refused, tiny_job_file, tiny_data, tmp_path):
    path = write_site(tmp_path / "a.toml", tiny_data, "alpha", '[policy]\nnetworks = ["dynunet"]')
    said = refused(tiny_job_file, "--site", path)
    assert "policy.networks" in said
    assert "unet" in said
    assert no_run()


def test_an_unknown_key_in_site_toml(refused, tiny_job_file, tiny_data, tmp_path):
    path = write_site(tmp_path / "a.toml", tiny_data, "alpha", "[device]\ngpus = 1")
    said = refused(tiny_job_file, "--site", path)
    assert "a.toml" in said
    assert "[device]" in said
    assert "'gpu'" in said


class TestResume:
    @pytest.fixture(scope="class")
    def finished(self, tiny_data, tmp_path_factory) -> Path:
        """Return a finished run."""
        folder = tmp_path_factory.mktemp("finished")
        (folder / "tiny.toml").write_text(job_text())
        said = wardround("simulate", "tiny.toml", "--data", tiny_data, "--workers", "in-process", cwd=folder)
        assert said.returncode == 0, said.stderr
        [run] = (folder / "runs").iterdir()
        return run

    @pytest.fixture
    def run(self, cli, finished) -> Path:
        """Return a copy of it that a test may spoil."""
        return shutil.copytree(finished, Path("runs", finished.name))

    def unfinish(self, run: Path) -> None:
        text = (run / "run.json").read_text()
        (run / "run.json").write_text(text.replace('"status": "finished"', '"status": "stopped"'))

    def content(self, run: Path) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    def test_a_finished_run(self, refused, run):
        assert "finished" in refused("--resume", run)

    def test_another_job(self, refused, run, tiny_job_file):
        self.unfinish(run)
        before = self.content(run)
        said = refused(tiny_job_file, "--resume", run, "--set", "job.seed=6")
        assert "another job" in said
        assert self.content(run) == before

    @pytest.mark.parametrize("how", ["cut short", "one bit flipped"])
    def test_a_damaged_checkpoint(self, refused, run, how):
        self.unfinish(run)
        path = run / "checkpoint.safetensors"
        content = bytearray(path.read_bytes())
        if how == "cut short":
            content = content[: len(content) // 2]
        else:
            content[-100] ^= 1
        path.write_bytes(content)
        assert "checkpoint.safetensors" in refused("--resume", run)
        assert path.read_bytes() == content

    def test_a_run_that_another_process_works_on(self, refused, run):
        self.unfinish(run)
        with (run / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert "another process" in refused("--resume", run)

    def test_a_missing_checkpoint(self, refused, run):
        self.unfinish(run)
        (run / "checkpoint.safetensors").unlink()
        assert "checkpoint.safetensors" in refused("--resume", run)

    @pytest.mark.parametrize("content", [None, "", "3", "[1]", '{"job": 3}'])
    def test_something_that_is_no_run(self, refused, content):
        Path("other").mkdir()
        if content is not None:
            Path("other/job.json").write_text(content)
        assert "other" in refused("--resume", "other")
        assert len(list(Path("other").iterdir())) == (content is not None)

    def test_the_folder_of_a_run_that_is_no_simulation(self, refused, run):
        self.unfinish(run)
        (run / "simulation.json").unlink()
        assert "simulation" in refused("--resume", run)

    def test_options_that_a_resumed_run_cannot_change(self, refused, run, tiny_data):
        assert "--resume" in refused("--resume", run, "--data", tiny_data)
        assert "--resume" in refused("--resume", run, "--rounds", "9")
        assert "--resume" in refused("--resume", run, "--device", "cpu")
