"""Series of simulations: over seeds, without a site, with fewer sites or patients; stopped and resumed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from server.report.write import report_on
from server.runs.folder import RunFolder
from shared.run_folder import PATIENTS, REHEARSAL
from shared.series import Series
from shared.web.tables import Table
from simulate.series.run import begin
from simulate.session.session import Hospitals
from tests.cli import wardround
from tests.conftest import write_dataset
from tests.jobs import job_text, make_job

SITES = ("alpha", "beta", "gamma")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a job and three hospitals of 15 patients."""
    place = tmp_path_factory.mktemp("series")
    write_dataset(place / "data", sites=SITES, patients=15)
    job = job_text(
        job_rounds=1, task_name="classification", evaluation={"select_best": "auroc"}, strategy_min_sites=3
    )
    (place / "tiny.toml").write_text(job)
    return place


def series_of(place: Path, *options: object) -> Path:
    said = wardround(
        "simulate", "tiny.toml", "--data", "data", "--workers", "in-process", "--json", *options, cwd=place
    )
    assert said.returncode == 0, said.stderr
    return place / json.loads(said.stdout)["series"]


@pytest.fixture(scope="module")
def seeds(place: Path) -> Path:
    return series_of(place, "--seeds", 3)


def tables_of(folder: Path) -> dict[str, Table]:
    return {table.name: table for section in report_on([folder]).sections for table in section.tables}


def about(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def model(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


def test_seeds_train_other_models_and_test_the_same_patients(seeds: Path):
    runs = [seeds / f"seed-{seed}" for seed in (5, 6, 7)]
    assert len({model(run) for run in runs}) == 3
    who = [safetensors.numpy.load_file(run / REHEARSAL / PATIENTS)["alpha/who"].tobytes() for run in runs]
    assert len(set(who)) == 1
    dice = [about(run)["comparison"]["metrics"]["auroc"]["value"] for run in runs]
    row = next(row for row in tables_of(seeds)["seeds"].rows if row[0] == "AUROC")
    assert row[1].value == pytest.approx(sum(dice) / 3)
    assert row[1].low < row[1].value < row[1].high
    assert (row[3], row[4]) == (min(dice), max(dice))
    assert "15 test patients" in tables_of(seeds)["seeds"].notes[0]
    assert "Over 3 seeds" in (seeds / "report.html").read_text()


def test_the_first_seed_is_the_run_that_the_job_alone_makes(seeds: Path, place: Path):
    said = wardround(
        "simulate", "tiny.toml", "--data", "data", "--workers", "in-process", "--json", cwd=place
    )
    alone = place / json.loads(said.stdout)["run"]
    assert model(alone) == model(seeds / "seed-5")
    assert about(alone)["digest"] == about(seeds / "seed-5")["digest"]


def test_a_series_that_was_stopped_goes_on_with_the_same_bits(place: Path, seeds: Path, monkeypatch):
    save = RunFolder.save

    def stop(self, checkpoint):
        saved = save(self, checkpoint)
        if self.path.name == "seed-6":
            raise KeyboardInterrupt
        return saved

    out = place / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save", stop)
        ended = wardround(
            "simulate",
            "tiny.toml",
            "--data",
            "data",
            "--workers",
            "in-process",
            "--seeds",
            3,
            "--out",
            out,
            cwd=place,
        )
    assert ended.returncode == 130
    [folder] = out.glob("tiny-*-seeds")
    first = (folder / "seed-5" / "run.json").read_bytes()
    refused = wardround("simulate", "--resume", folder, "--seeds", 3, cwd=place)
    assert refused.returncode == 2
    assert wardround("simulate", "--resume", folder, "--workers", "in-process", cwd=place).returncode == 0
    assert (folder / "seed-5" / "run.json").read_bytes() == first
    assert [model(folder / f"seed-{n}") for n in (5, 6, 7)] == [model(seeds / f"seed-{n}") for n in (5, 6, 7)]


def test_two_jobs_are_compared_over_their_seeds(place: Path, seeds: Path):
    other = series_of(place, "--seeds", 3, "--set", "training.learning_rate=1e-9")
    report = report_on([seeds, other])
    tables = {table.name: table for section in report.sections for table in section.tables}
    row = next(row for row in tables["difference-1"].rows if row[0] == "AUROC")
    means = [
        next(row for row in tables_of(folder)["seeds"].rows if row[0] == "AUROC")[1].value
        for folder in (seeds, other)
    ]
    assert row[1].value == pytest.approx(means[1] - means[0])
    assert row[3] >= row[2]
    assert "comparisons" in tables["difference-1"].notes[0]
    shown = wardround("compare", seeds, other, cwd=place)
    assert shown.returncode == 0, shown.stderr
    assert "Mean over the seeds" in shown.stdout
    mixed = report_on([seeds, seeds / "seed-6"])
    assert "1 seed" in dict(mixed.facts).values()


def test_a_hospital_that_is_left_out_only_tests(place: Path):
    folder = series_of(place, "--leave-one-site-out")
    without = about(folder / "without-beta-seed-5")
    assert without["sites"]["beta"]["patients"] == {"train": 0, "val": 0, "test": 10}  # rounded
    assert "beta" in without["only_judging"]
    alone = place / "two"
    rows = (place / "data" / "manifest.csv").read_text().splitlines()
    kept = [row for row in rows if not row.startswith("beta") or row.endswith("test")]
    alone.mkdir()
    (alone / "images").symlink_to(place / "data" / "images")
    (alone / "manifest.csv").write_text("\n".join(kept) + "\n")
    command = ("simulate", "tiny.toml", "--data", alone, "--workers", "in-process", "--json")
    said = wardround(*command, "--set", "strategy.min_sites=2", cwd=place)
    run = place / json.loads(said.stdout)["run"]
    assert model(run) == model(folder / "without-beta-seed-5")  # nothing else of it takes part
    table = tables_of(folder)["without-auroc"]
    assert [row[0] for row in table.rows] == list(SITES)
    table = tables_of(folder)["without-accuracy"]
    every = about(folder / "all-seed-5")["test"]["sites"]["beta"]["accuracy"]
    assert table.rows[1][1].value == pytest.approx(every)
    assert table.rows[1][2].value == pytest.approx(without["test"]["sites"]["beta"]["accuracy"])


def test_a_hospital_that_has_test_patients_alone_is_never_one_of_those_that_train(tmp_path: Path):
    """Without one of the other two a single hospital trains, and the job asks for as many."""
    manifest = write_dataset(tmp_path / "data", sites=SITES, patients=6)
    lines = manifest.read_text().splitlines()
    manifest.write_text(
        "\n".join(line.rsplit(",", 1)[0] + ",test" if line.startswith("gamma") else line for line in lines)
    )
    job = make_job(job_rounds=1, strategy_min_sites=2)
    data, kind = Hospitals(data=tmp_path / "data"), "leave-one-site-out"
    folder, _ = begin(job, data, tmp_path / "runs", "cpu", kind=kind, seeds=1, baselines=False)
    series = Series.read(folder)
    assert [one.name for one in series.variants] == ["all", "without-alpha", "without-beta"]
    assert [series.job_of(member).strategy.min_sites for member in series.members] == [2, 1, 1]


def test_learning_curves_have_a_row_for_each_number(place: Path):
    folder = series_of(place, "--learning-curve", "sites")
    rows = tables_of(folder)["curve-auroc"].rows
    assert [row[0] for row in rows] == ["1", "2", "3", "4 (a guess)", "5 (a guess)"]
    assert [row[3] for row in rows] == [2, 2, 1, 0, 0]
    firsts = {
        tuple(variant.held_out) for variant in Series.read(folder).variants if "sites-1" in variant.name
    }
    assert len(firsts) == 2  # another hospital comes first in each order
    folder = series_of(place, "--learning-curve", "patients")
    rows = tables_of(folder)["curve-auroc"].rows
    assert [row[0] for row in rows][:5] == ["10%", "20%", "40%", "70%", "100%"]
    shown = wardround("show", folder, cwd=place)
    assert "Learning curve" in shown.stdout


def test_one_run_may_hold_out_a_hospital(place: Path):
    command = ("simulate", "tiny.toml", "--data", "data", "--workers", "in-process")
    said = wardround(*command, "--hold-out", "gamma", "--set", "strategy.min_sites=2", "--json", cwd=place)
    assert said.returncode == 0, said.stderr
    assert about(place / json.loads(said.stdout)["run"])["sites"]["gamma"]["patients"]["train"] == 0
    unknown = wardround(*command, "--hold-out", "gama", cwd=place)
    assert unknown.returncode == 2
    assert "did you mean 'gamma'?" in unknown.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--learning-curve", "images"), "sites or patients"),
        (("--learning-curve", "sites", "--leave-one-site-out"), "goes without"),
    ],
)
def test_what_makes_no_series_is_refused(place: Path, options: tuple[str, ...], said: str):
    ended = wardround("simulate", "tiny.toml", *options, cwd=place, environment={"COLUMNS": "200"})
    assert ended.returncode == 2
    assert said in ended.stderr


@pytest.fixture(scope="module")
def folds(place: Path) -> Path:
    return series_of(place, "--cross-validation", "--folds", 3, "--rounds", 1)


def test_a_cross_validation_trains_without_each_fold_and_opens_no_test(folds: Path):
    runs = [folds / f"fold-{fold}" for fold in (1, 2, 3)]
    jobs = [RunFolder.read(run).job for run in runs]
    assert [job.data.fold for job in jobs] == [1, 2, 3]
    assert all(job.evaluation.select_best is None for job in jobs)  # a fold judges, and chooses nothing
    assert len({model_of(run) for run in runs}) == 3
    for run in runs:
        assert not (run / "test.json").exists()
        assert "test" not in about(run)
    tables = tables_of(folds)
    single = [row[2] for row in tables["each-fold"].rows]
    row = tables["folds"].rows[0]
    assert row[1].value == pytest.approx(np.mean(single))
    half = 4.302653 * np.std(single, ddof=1) * (1 / 3 + 1 / 2) ** 0.5  # t of 2 degrees of freedom, 97.5 %
    assert (row[1].low, row[1].high) == pytest.approx((row[1].value - half, row[1].value + half), abs=1e-5)
    assert "Cross-validation" in (folds / "report.html").read_text()


def test_a_cross_validation_goes_on_with_the_folds_that_are_left(folds: Path):
    before = model_of(folds / "fold-1"), model_of(folds / "fold-3")
    time = (folds / "fold-1" / "checkpoint.safetensors").stat().st_mtime_ns
    shutil.rmtree(folds / "fold-3")
    said = wardround("simulate", "--resume", folds, "--workers", "in-process")
    assert said.returncode == 0, said.stderr
    assert (model_of(folds / "fold-1"), model_of(folds / "fold-3")) == before
    assert (folds / "fold-1" / "checkpoint.safetensors").stat().st_mtime_ns == time


def model_of(run: Path) -> bytes:
    return safetensors.numpy.load_file(run / "checkpoint.safetensors")["vector"].tobytes()


def test_cross_validations_are_compared_fold_by_fold(folds: Path, tmp_path: Path):
    other = tmp_path / "other"
    shutil.copytree(folds, other)
    for path in other.glob("fold-*/metrics.csv"):
        lines = path.read_text().splitlines()
        names, cells = lines[0].split(","), lines[-1].split(",")
        cells[names.index("accuracy")] = str(float(cells[names.index("accuracy")]) + 0.25)
        path.write_text("\n".join([lines[0], ",".join(cells)]) + "\n")
    report = report_on([folds, other])
    rows = {row[0]: row for table in report.sections[0].tables[1:] for row in table.rows}
    assert rows["accuracy"][1].value == pytest.approx(0.25)
    assert rows["accuracy"][4] == "the second"
    assert rows["balanced accuracy"][4] == "not shown"


def test_a_cross_validation_that_would_look_at_the_test_is_refused(place: Path):
    said = wardround(
        "simulate", "tiny.toml", "--data", "data", "--cross-validation", "--baselines", cwd=place
    )
    assert said.returncode == 2
    assert "opens no test" in said.stderr
