"""`wardround simulate`, its options, and what it leaves behind."""

import csv
import hashlib
import json
import math
import resource
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from server.runs.folder import RunFolder
from shared.run_folder import status_of
from tests.cli import wardround
from tests.jobs import job_text

# The tiny hospitals have a single patient on each side.
FEW = "min_group = 1\nmin_patients_in_update = 1\nshare_site_metrics = true\n"


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def description(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def model(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


@pytest.fixture
def interrupted(cli, tiny_job_file, tiny_data, monkeypatch):
    """Return a function that starts a run with options, stops it as Ctrl-C does, and returns its folder."""
    save = RunFolder.save

    def interrupt(self, checkpoint):
        saved = save(self, checkpoint)
        if checkpoint.round == 1:
            raise KeyboardInterrupt
        return saved

    def start(*options: object) -> Path:
        with monkeypatch.context() as patch:
            patch.setattr(RunFolder, "save", interrupt)
            said = cli("simulate", tiny_job_file, "--data", tiny_data, "--workers", "in-process", *options)
        assert said.code == 130
        assert said.err.strip() == "interrupted"
        run = next(Path("runs").glob("tiny-*"))
        assert status_of(run) == "stopped"
        return run

    return start


@pytest.fixture(scope="module")
def plain(tiny_data, tmp_path_factory) -> tuple[str, Path]:
    """Return what the simulation of the tiny job says, and its run; the tests only look at it."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "tiny.toml").write_text(job_text())
    said = wardround("simulate", "tiny.toml", "--data", tiny_data, "--workers", "in-process", cwd=folder)
    assert said.returncode == 0, said.stderr
    return said.stdout, folder / said.stdout.strip().rpartition("Run folder: ")[2]


def test_a_run_says_everything_about_itself(plain, tiny_job):
    said, run = plain
    assert sorted(path.name for path in run.iterdir() if path.name != ".lock") == [
        "best.safetensors",
        "checkpoint.safetensors",
        "events.jsonl",
        "job.json",
        "metrics.csv",
        "model.safetensors",
        "participation.jsonl",
        "rehearsal",
        "report.html",
        "run.json",
        "simulation.json",
        "sites.csv",
        "test.json",
    ]
    told = description(run)
    assert told["status"] == "finished"
    assert told["digest"] == tiny_job().digest()
    assert told["job"] == json.loads(tiny_job().canonical())
    assert {"wardround", "flwr", "torch", "monai", "numpy", "python"} <= told["versions"].keys()
    assert {"cores", "memory_gib", "machine"} <= told["hardware"].keys()
    assert told["started"] < told["finished"]
    assert told["models"] == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in run.glob("*.safetensors")
    }
    assert told["startup_seconds"] >= 0
    assert told["sites"]["alpha"]["patients"] == {"train": 10, "val": 10, "test": 10}  # rounded
    for name in ("alpha", "beta", "gamma", "delta", "federation", run.name):
        assert name in said
    assert "by default a real one does not" in said


def test_a_run_is_repeated_by_its_record(simulate, cli, tiny_job_file, tiny_data):
    run = simulate("--set", "strategy.fraction=0.5", "--set", "strategy.min_sites=2").run
    said = cli("simulate", "--as-in", run, "--data", tiny_data, "--workers", "in-process")
    assert said.code == 0, said.err
    again = said.run
    assert (again / "participation.jsonl").read_bytes() == (run / "participation.jsonl").read_bytes()
    assert model(again) == model(run)
    file = run / "participation.jsonl"
    refused = cli("simulate", tiny_job_file, "--data", tiny_data, "--as-in", file)
    assert refused.code == 2
    assert "belongs to another job" in refused.err


def test_scripts_get_one_json_object(simulate):
    said = simulate("--json", "--rounds", "1")
    answer = json.loads(said.out)
    assert answer["description"]["status"] == "finished"
    assert answer["description"] == json.loads((Path(answer["run"]) / "run.json").read_text())
    assert "Run folder" in said.err


def test_the_tables_have_a_row_a_round_and_two_a_site(plain):
    _, run = plain
    metrics, sites = table(run / "metrics.csv"), table(run / "sites.csv")
    assert [row["round"] for row in metrics] == ["1", "2", "3"]
    assert all(row["sites"] == "4" and float(row["train_loss"]) > 0 for row in metrics)
    assert len(sites) == 3 * 4 * 2
    assert {row["phase"] for row in sites} == {"train", "val"}
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds.count("site_joined") == 4
    assert kinds.count("round_finished") == 3
    assert kinds[-1] == "run_finished"
    best = max(metrics, key=lambda row: float(row["dice_global"]))
    assert description(run)["tested_round"] == int(best["round"])
    # The federation's loss is the mean over all validation images, each site counted by its images.
    last = [row for row in sites if row["round"] == "3" and row["phase"] == "val"]
    images = [int(row["examples"]) for row in last]
    loss = np.average([float(row["loss"]) for row in last], weights=images)
    assert math.isclose(loss, float(metrics[2]["loss"]), rel_tol=1e-6)


def test_the_federations_row_is_what_pooling_the_predictions_gives(plain, tiny_job, tiny_data):
    import torch

    from client.data.manifest.splits import CohortKey, Split
    from client.data.samples.site_data import SiteData
    from shared.networks.build import build_model
    from shared.tasks import make_task

    _, run = plain
    job = tiny_job()
    task = make_task(job)
    network = build_model(job, seed=0)
    tensors = safetensors.numpy.load_file(run / "best.safetensors")
    network.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()}, strict=False)
    split = Split(CohortKey.drawn(job.job.seed))
    everyone = SiteData.load(tiny_data, job, site="everyone", split=split).split("test")
    batch = everyone.batch(range(len(everyone)))
    found = task.predict({"model": network}, batch)["logits"].argmax(1).numpy().astype(bool)
    truth = batch["mask"].numpy().astype(bool)
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert description(run)["test"]["federation"]["dice_global"] == pytest.approx(dice, abs=1e-6)


@pytest.mark.parametrize("options", [["--rounds", "2"], ["--set", "job.rounds=2"]])
def test_rounds_override_the_job(simulate, options):
    run = simulate(*options).run
    assert len(table(run / "metrics.csv")) == 2
    assert json.loads((run / "job.json").read_text())["job"]["rounds"] == 2


def test_another_seed_gives_another_model(simulate, plain):
    models = [model(simulate(*options).run) for options in (["--seed", "6"], ["--set", "job.seed=6"])]
    assert models[0] == models[1]
    assert models[0] != model(plain[1])


class TestHospitals:
    @pytest.mark.parametrize("scheme", ["iid", "dirichlet:0.5"])
    def test_one_dataset_is_cut(self, simulate, interrupted, scheme):
        options = ("--sites", "3", "--partition", scheme)
        run = interrupted(*options)
        simulate("--resume", run)
        told = description(run)["sites"]
        assert sorted(told) == ["site-01", "site-02", "site-03"]
        cut = [table(path) for path in sorted(run.glob("sites/**/*.csv"))]
        assert sum(len({row["patient"] for row in rows}) for rows in cut) == 12
        assert model(simulate(*options).run) == model(run)

    def test_by_a_column(self, simulate):
        run = simulate("--partition", "column:site").run
        assert sorted(description(run)["sites"]) == ["alpha", "beta", "delta", "gamma"]

    def test_images_of_several_columns_are_found_after_cutting(self, simulate, tiny_data, tmp_path):
        rows = table(tiny_data)
        for row in rows:
            row |= {key: str(tiny_data.parent / row[key]) for key in ("image", "mask")}
        folder = tmp_path / "two"
        (folder / "second").mkdir(parents=True)
        for number, row in enumerate(rows):
            (folder / "second" / f"{number}.png").write_bytes(Path(row["image"]).read_bytes())
            row["second"] = f"second/{number}.png"
        write_table(folder / "manifest.csv", rows)
        said = simulate(
            *("--data", folder, "--sites", "3", "--rounds", "1"),
            *("--set", 'data.images=["image", "second"]', "--set", "data.channels=2"),
        )
        assert description(said.run)["status"] == "finished"

    def test_each_has_a_scanner_of_its_own(self, simulate, interrupted, plain):
        run = interrupted("--scanner-shift")
        simulate("--resume", run)
        assert model(simulate("--scanner-shift").run) == model(run)
        assert model(plain[1]) != model(run)

    def test_from_their_own_files(self, simulate, tiny_data, tmp_path, plain):
        options = []
        for name in ("alpha", "beta", "gamma", "delta"):
            path = tmp_path / f"{name}.toml"
            path.write_text(
                f'[site]\nname = "{name}"\n[datasets.discs]\nmanifest = "{tiny_data}"\nsite = "{name}"\n'
                '[policy]\ntasks = ["segmentation"]\n' + FEW
            )
            options += ["--site", path]
        assert model(simulate(*options).run) == model(plain[1])

    def test_one_with_too_few_patients_only_judges(self, simulate, tiny_data, tmp_path):
        rows = table(tiny_data)
        for row in rows:
            row |= {key: str(tiny_data.parent / row[key]) for key in ("image", "mask")}
        copies = [row | {"patient": f"{row['patient']}-{n}"} for row in rows for n in range(20)]
        uneven = [row for row in copies if row["site"] != "beta" or row["patient"].endswith("-1")]
        manifest = write_table(tmp_path / "uneven.csv", uneven)
        said = simulate("--data", manifest, "--set", "strategy.min_patients=20", "--rounds", "1")
        assert "beta only judges the model: about 10 training patients, the job asks for 20" in said.out
        told = description(said.run)
        assert told["left_out"] == {}
        assert told["only_judging"].keys() == {"beta"}
        assert told["test"]["sites"].keys() == {"alpha", "beta", "delta", "gamma"}

    def test_one_with_test_patients_alone_judges_and_has_no_baseline(self, simulate, tiny_data, tmp_path):
        rows = [row for row in table(tiny_data) if row["site"] != "beta" or row["split"] == "test"]
        for row in rows:
            row |= {key: str(tiny_data.parent / row[key]) for key in ("image", "mask")}
        manifest = write_table(tmp_path / "tests.csv", rows)
        said = simulate("--data", manifest, "--rounds", "1", "--baselines")
        assert "beta only judges the model: no training patients, the job asks for 1" in said.out
        told = description(said.run)["baselines"]
        assert told["alone"].keys() == {"alpha", "delta", "gamma"}
        assert told["pooled"]["sites"].keys() == {"alpha", "beta", "delta", "gamma"}
        line, _ = [line for line in said.out.splitlines() if line.strip(" │┃").startswith("beta  ")]
        assert "–" in line


class TestRounds:
    def test_patience_ends_a_run_early(self, simulate):
        # With a learning rate that changes nothing no round is better than the first.
        run = simulate(
            *("--rounds", "9", "--set", "evaluation.patience=2", "--set", "training.learning_rate=1e-30"),
            *("--set", "model.norm=instance"),
        ).run
        assert len(table(run / "metrics.csv")) == 3
        assert description(run)["rounds"] == 3
        assert description(run)["tested_round"] == 1

    def test_a_fraction_of_the_sites_is_drawn_by_the_seed(self, simulate):
        def drawn(seed: int) -> list[tuple[str, str]]:
            options = ("--set", "strategy.fraction=0.5", "--set", "strategy.min_sites=1", "--seed", seed)
            rows = table(simulate(*options).run / "sites.csv")
            return [(row["round"], row["site"]) for row in rows if row["phase"] == "train"]

        first = drawn(1)
        assert len(first) == 3 * 2
        assert first == drawn(1)
        assert first != drawn(2)

    def test_what_a_kill_cut_short_is_dropped(self, simulate, interrupted, plain):
        run, expected = interrupted(), plain[1]
        whole = {name: table(expected / name) for name in ("metrics.csv", "sites.csv")}
        for name in ("metrics.csv", "sites.csv"):
            with (run / name).open("a") as file:
                file.write('2,4,0.5,"0.')
        with (run / "events.jsonl").open("a") as file:
            file.write('{"time": "20')
        (run / ".checkpoint.safetensors.abc.part").write_bytes(b"half")
        simulate("--resume", run)
        for name, rows in whole.items():
            found = table(run / name)
            assert [row | {"seconds": ""} for row in found] == [row | {"seconds": ""} for row in rows]
        events = [json.loads(line)["event"] for line in (run / "events.jsonl").read_text().splitlines()]
        assert events.count("run_started") == 2
        assert events[-1] == "run_finished"
        assert not list(run.glob(".*.part"))

    def test_one_stopped_before_its_first_checkpoint_starts_over(
        self, cli, simulate, tiny_job_file, tiny_data, plain
    ):
        def interrupt(*_):
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("server.rounds.joining.Joining.gather", interrupt)
            said = cli("simulate", tiny_job_file, "--data", tiny_data, "--workers", "in-process")
        assert said.code == 130
        run = next(Path("runs").glob("tiny-*"))
        assert description(run)["status"] == "stopped"
        simulate("--resume", run)
        assert model(run) == model(plain[1])


class TestDisk:
    """What a full disk or a folder that can't be written does to a run."""

    def test_a_full_disk_stops_the_run_and_leaves_the_last_checkpoint(
        self, cli, simulate, tiny_job_file, tiny_data
    ):
        larger = ("--set", "model.channels=[64,96]")  # than any other file of the run
        expected = simulate(*larger).run
        # The first checkpoint fits under the limit; the next, which holds the best model too, does not.
        limit = (expected / "checkpoint.safetensors").stat().st_size * 3 // 4
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))  # root too: its disk is as full as anybody's
        try:
            places = ("--data", tiny_data, "--workers", "in-process", "--out", "full")
            said = cli("simulate", tiny_job_file, *places, *larger)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert said.code == 2
        assert said.err.count("error:") == 1
        assert "checkpoint.safetensors: can't be written" in said.err
        assert "--resume" in said.err
        run = next(Path("full").glob("tiny-*"))
        assert not list(run.glob(".*.part"))
        assert description(run)["status"] == "failed"
        simulate("--resume", run)
        assert model(run) == model(expected)
        assert "can't" not in (run / "run.json").read_text()

    def test_a_folder_that_cannot_be_written(self, cli, simulate, interrupted, plain):
        run = interrupted()
        (run / "model.safetensors").mkdir()  # not even root can put a file there
        before = (run / "checkpoint.safetensors").read_bytes()
        said = cli("simulate", "--resume", run, "--workers", "in-process")
        assert said.code == 2
        assert "model.safetensors: can't be written" in said.err
        assert (run / "checkpoint.safetensors").read_bytes() != before  # the rounds before are kept
        (run / "model.safetensors").rmdir()
        simulate("--resume", run)
        assert model(run) == model(plain[1])


@pytest.mark.slow
def test_secure_aggregation_gives_the_same_bits_with_any_workers(simulate):
    secure = ("--set", "privacy.secure_aggregation=true", "--rounds", "2")
    runs = [simulate(*secure, workers=workers).run for workers in ("in-process", "2")]
    models = [(run / "model.safetensors").read_bytes() for run in runs]
    assert models[0] == models[1]


@pytest.mark.parametrize(
    "privacy",
    [
        {"mechanism": "site-level", "adaptive_clipping": "true"},
        {"mechanism": "dp-sgd", "noise": "distributed", "honest_sites": 3, "secure_aggregation": "true"},
    ],
)
def test_a_private_simulation_says_what_it_would_promise_and_resumes_bit_for_bit(
    *, simulate, interrupted, tiny_job_file, privacy
):
    keys = {f"privacy.{key}": value for key, value in privacy.items()}
    keys |= {"privacy.noise_multiplier": 1.0, "strategy.weight": "equal", "strategy.min_sites": 3}
    if privacy["mechanism"] == "dp-sgd":
        keys["training.optimizer"] = "sgd"
        tiny_job_file.write_text(job_text(training_local_epochs=None, training_local_steps=1))
    given = [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]
    cut = interrupted(*given)
    whole = simulate(*given)
    unit = "site" if privacy["mechanism"] == "site-level" else "patient"
    assert "A SIMULATION CARRIES NO GUARANTEE" in whole.out
    assert f"each {unit} loses at most epsilon" in whole.out
    assert description(whole.run)["guarantee"]["guaranteed"] is False
    simulate("--resume", cut)
    assert model(cut) == model(whole.run)


class TestSplits:
    """Of manifests without a column `split`."""

    @pytest.fixture
    def whole(self, tiny_data, tmp_path) -> Path:
        """Return the tiny hospitals' images under the names of many patients, on no side yet."""
        rows = table(tiny_data)
        for row in rows:
            row |= {key: str(tiny_data.parent / row[key]) for key in ("image", "mask")}
            del row["split"]
        rows = [row | {"patient": f"{row['patient']}-{n}"} for row in rows for n in range(4)]
        return write_table(tmp_path / "whole.csv", rows)

    def test_the_seed_draws_them_and_options_cut_them(self, simulate, whole):
        def run(*options: object) -> bytes:
            return model(simulate("--data", whole, "--rounds", "1", *options).run)

        drawn = run()
        assert drawn == run() == run("--test", "0.2", "--validation", "0.15", "--folds", "5")
        assert (
            len({drawn, run("--test", "0.4"), run("--set", "data.fold=1"), run("--set", "data.fold=2")}) == 4
        )

    def test_a_hospitals_own_key_and_shares_hold_in_its_rehearsal(self, simulate, whole, tmp_path):
        def run() -> bytes:
            options: list[object] = []
            for name in ("alpha", "beta", "gamma"):
                folder = tmp_path / name
                (folder / "keys").mkdir(parents=True, exist_ok=True)
                (folder / "site.toml").write_text(
                    f'[site]\nname = "{name}"\n[datasets.discs]\nmanifest = "{whole}"\nsite = "{name}"\n'
                    "[datasets.discs.split]\nvalidation = 0.3\n"
                    "[policy]\n" + FEW
                )
                options += ["--site", folder / "site.toml"]
            return model(simulate(*options, "--rounds", "1").run)

        drawn = run()
        (tmp_path / "alpha" / "keys" / "cohort.key").write_bytes(bytes(32))
        (tmp_path / "alpha" / "keys" / "cohort.key").chmod(0o600)
        assert run() != drawn
        assert {path.name for path in (tmp_path / "alpha").iterdir()} == {"keys", "site.toml"}

    def test_folds_that_the_hospitals_do_not_have(self, cli, whole, tiny_job_file):
        said = cli("simulate", tiny_job_file, "--data", whole, "--folds", "3", "--set", "data.fold=4")
        assert said.code == 2
        assert "[data] fold: is 4, and this site has 3 folds" in said.err


def test_hospitals_at_their_defaults_say_why_there_are_no_metrics(cli, tiny_data, tiny_job_file, tmp_path):
    rows = table(tiny_data)
    for row in rows:
        row |= {key: str(tiny_data.parent / row[key]) for key in ("image", "mask")}
    copies = [row | {"patient": f"{row['patient']}-{n}"} for row in rows for n in range(12)]
    manifest = write_table(tmp_path / "many.csv", copies)
    options: list[object] = []
    for name in ("alpha", "beta", "gamma"):
        path = tmp_path / f"{name}.toml"
        path.write_text(
            f'[site]\nname = "{name}"\n[datasets.discs]\nmanifest = "{manifest}"\nsite = "{name}"\n'
        )
        options += ["--site", path]
    said = cli("simulate", tiny_job_file, *options, "--rounds", "1", "--workers", "in-process")
    assert said.code == 0, said.err
    assert "There are no metrics: hospitals let no scores of their own leave" in said.out
    assert "by default a real one does not" not in said.out
    assert description(said.run)["sites"]["alpha"]["patients"] == {"train": 10, "val": 10, "test": 10}
    secure = ("--set", "privacy.secure_aggregation=true", "--workers", "in-process")
    summed = cli("simulate", tiny_job_file, *options, "--rounds", "1", *secure)
    assert summed.code == 0, summed.err
    assert "There are no metrics" not in summed.out
