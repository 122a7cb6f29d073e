"""`wardround predict`: what a finished run's model says of images is what the run's evaluation said."""

import csv
import gzip
import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import nibabel
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from client.data.images.readers import Layout as Files
from client.data.images.readers import read_files, read_mask
from shared.run_folder import BEST, MODEL
from tests.cli import wardround
from tests.every_task import write_for_every_task
from tests.jobs import job_text

METHODS = ("grad-cam", "integrated-gradients", "shap")
TASKS = (
    "classification",
    "segmentation",
    "detection",
    "instances",
    "survival",
    "generation",
    "restoration",
    "regression",
)
Run = Callable[..., Path]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def predict(*arguments: object, code: int = 0) -> CompletedProcess[str]:
    said = wardround("predict", *arguments)
    assert said.returncode == code, said.stderr + said.stdout
    return said


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_for_every_task(tmp_path_factory.mktemp("every") / "data", patients=9).parent


@pytest.fixture(scope="module")
def run_of(tmp_path_factory, data) -> Run:
    """Return a function that gives the finished run of a task, simulated once."""
    known: dict[str, Path] = {}

    def find(task: str, **options: object) -> Path:
        name = json.dumps([task, options])
        if name not in known:
            folder = tmp_path_factory.mktemp(task)
            (folder / "job.toml").write_text(job_text(task_name=task, job_rounds=2, **options))
            said = wardround(*("simulate", "job.toml", "--data", data, "--workers", "in-process"), cwd=folder)
            assert said.returncode == 0, said.stderr
            [known[name]] = (folder / "runs").iterdir()
        return known[name]

    return find


@pytest.fixture(scope="module")
def predicted(tmp_path_factory, run_of, data) -> Callable[[str], Path]:
    """Return a function that gives what a task's run predicts of all rows, and it fits the test's figures."""
    known: dict[str, Path] = {}

    def find(task: str) -> Path:
        if task not in known:
            known[task] = tmp_path_factory.mktemp("said") / task
            given = [] if task == "generation" else ["--data", data]
            predict(run_of(task), *given, "--out", known[task])
        return known[task]

    return find


def of_test(out: Path, data: Path) -> list[tuple[dict[str, str], dict[str, str]]]:
    pairs = zip(rows(out / "predictions.csv"), rows(data / "manifest.csv"), strict=True)
    return [(said, row) for said, row in pairs if row["split"] == "test"]


def figures_of(run: Path) -> dict[str, float]:
    return json.loads((run / "run.json").read_text())["test"]["federation"]


def test_classification_is_what_was_tested(predicted, run_of, data) -> None:
    pairs = of_test(predicted("classification"), data)
    truth = [row["label"] for _, row in pairs]
    assert [said["true"] for said, _ in pairs] == truth
    figures = figures_of(run_of("classification"))
    said = [said["predicted"] for said, _ in pairs]
    assert balanced_accuracy_score(truth, said) == pytest.approx(figures["balanced_accuracy"])
    scores = np.array([[float(one["score/small"]), float(one["score/large"])] for one, _ in pairs])
    assert scores.sum(axis=1) == pytest.approx(1)
    losses = -np.log([own[("small", "large").index(label)] for own, label in zip(scores, truth, strict=True)])
    assert losses.mean() == pytest.approx(figures["loss"], rel=1e-5)
    comparison = json.loads((run_of("classification") / "run.json").read_text())["comparison"]
    auroc = roc_auc_score([label == "large" for label in truth], scores[:, 1])
    assert auroc == pytest.approx(comparison["metrics"]["auroc"]["value"], abs=0.05)  # the run's has bins


def test_masks_are_what_was_tested(predicted, run_of, data) -> None:
    out = predicted("segmentation")
    found = added = missed = 0
    by_image = []
    for said, row in of_test(out, data):
        mask = np.asarray(Image.open(out / said["mask"])) == 1
        true = np.asarray(Image.open(data / row["mask"])) > 0
        assert mask.shape == true.shape
        counts = (mask & true).sum(), (mask & ~true).sum(), (~mask & true).sum()
        found, added, missed = found + counts[0], added + counts[1], missed + counts[2]
        by_image.append(2 * counts[0] / (2 * counts[0] + counts[1] + counts[2]))
        assert float(said["dice/disc"]) == pytest.approx(by_image[-1])
        assert int(said["pixels/disc"]) == mask.sum()
    figures = figures_of(run_of("segmentation"))
    assert 2 * found / (2 * found + added + missed) == pytest.approx(figures["dice_global"])
    assert np.mean(by_image) == pytest.approx(figures["dice_image"])


def test_instances_are_what_was_tested(predicted, run_of, data) -> None:
    """Of one disc in each image, counted by hand; maps have 16 bits."""
    out = predicted("instances")
    matched, added, missed, overlap, apart = 0, 0, 0, 0.0, []
    for said, row in of_test(out, data):
        numbers = np.asarray(Image.open(out / said["mask"]))
        assert numbers.dtype == np.uint16
        true = np.asarray(Image.open(data / row["mask"])) > 0
        ratios = [
            float(((numbers == number) & true).sum() / ((numbers == number) | true).sum())
            for number in range(1, numbers.max() + 1)
        ]
        right = [ratio for ratio in ratios if ratio > 0.5]
        assert int(said["instances"]) == len(ratios)
        assert [int(said[name]) for name in ("true_instances", "found")] == [1, len(right)]
        matched, overlap = matched + len(right), overlap + sum(right)
        added, missed = added + len(ratios) - len(right), missed + 1 - len(right)
        apart.append(abs(len(ratios) - 1))
    figures = figures_of(run_of("instances"))
    assert overlap / (matched + (added + missed) / 2) == pytest.approx(figures["pq"])
    assert np.mean(apart) == pytest.approx(figures["count_error"])


def test_boxes_are_what_was_tested(predicted, run_of, data) -> None:
    """Average precision over the boxes by their scores, counted by hand."""
    out = predicted("detection")
    by_row: dict[str, list[dict[str, str]]] = {}
    for box in rows(out / "boxes.csv"):
        by_row.setdefault(box["row"], []).append(box)
    judged, truths = [], 0
    for said, row in of_test(out, data):
        boxes = by_row.get(said["row"], [])
        assert len(boxes) == int(said["boxes"])
        true = json.loads(row["boxes"])
        truths += len(true)
        free = set(range(len(true)))
        for box in boxes:
            corners = [float(box[name]) for name in ("x0", "y0", "x1", "y1")]
            hits = [number for number in free if overlap(corners, true[number]) >= 0.3]
            judged.append((float(box["score"]), bool(hits)))
            free -= set(hits[:1])
        assert len(true) - len(free) == int(said["found/0.3"])
    judged.sort(reverse=True)
    right = np.cumsum([hit for _, hit in judged])
    precision = right / np.arange(1, len(judged) + 1)
    by_hand = sum(precision[number] for number, (_, hit) in enumerate(judged) if hit) / truths
    assert by_hand == pytest.approx(figures_of(run_of("detection"))["ap30"], abs=0.05)  # the run's has bins


def overlap(first: list[float], second: list[float]) -> float:
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    both = np.prod(np.clip(high - low, 0, None))
    area = [np.prod(np.subtract(box[2:], box[:2])) for box in (first, second)]
    return float(both / (sum(area) - both))


def test_regression_is_what_was_tested(predicted, run_of, data) -> None:
    pairs = of_test(predicted("regression"), data)
    errors = [float(said["predicted/age"]) - float(row["age"]) for said, row in pairs]
    assert [float(said["error/age"]) for said, _ in pairs] == pytest.approx(errors, abs=1e-4)
    assert np.abs(errors).mean() == pytest.approx(figures_of(run_of("regression"))["mae"], rel=1e-5)


def test_survival_is_what_was_tested(predicted, run_of, data) -> None:
    pairs = of_test(predicted("survival"), data)
    edges = np.array([12.0, 36.0, 60.0])
    errors: dict[float, list[float]] = {edge: [] for edge in edges}
    for said, row in pairs:
        chances = [float(said[f"survival/{edge:g}"]) for edge in edges]
        assert chances == sorted(chances, reverse=True)
        assert float(said["risk"]) == pytest.approx(1 - chances[-1])
        for edge, chance in zip(edges, chances, strict=True):
            alive = float(row["time"]) >= edge
            if alive or row["event"] == "1":
                errors[edge].append((alive - chance) ** 2)
    by_edge = np.array([np.mean(own) for own in errors.values()])
    brier = (by_edge * np.diff(edges, prepend=0)).sum() / edges[-1]
    assert brier == pytest.approx(figures_of(run_of("survival"))["integrated_brier"], rel=1e-5)
    assert (predicted("survival") / "index.html").read_text().count("<polyline") == len(
        rows(data / "manifest.csv")
    )


def test_images_are_restored_as_they_are(predicted, data) -> None:
    """Nothing is degraded before: an image is changed by as much as it differs from the restored one."""
    out = predicted("restoration")
    for said, row in zip(rows(out / "predictions.csv"), rows(data / "manifest.csv"), strict=True):
        before, after = (
            np.asarray(Image.open(file)) for file in (data / row["image"], out / said["restored"])
        )
        assert after.shape == before.shape
        change = np.abs(before.astype(float) - after).mean() / 255
        assert change == pytest.approx(float(said["mean_change"]), abs=0.003)
    page = (out / "index.html").read_text()
    assert (
        page.count("<figcaption>given")
        == page.count("<figcaption>restored")
        == len(rows(data / "manifest.csv"))
    )


def test_samples_are_drawn_from_the_seed(predicted, run_of, tmp_path) -> None:
    out = predicted("generation")
    files = sorted((out / "samples").iterdir())
    assert len(files) == 64
    pictures = [np.asarray(Image.open(file)) for file in files]
    assert {picture.shape for picture in pictures} == {(16, 16)}
    assert len({picture.tobytes() for picture in pictures}) > 1
    predict(run_of("generation"), "--out", tmp_path / "again")
    assert content(tmp_path / "again") == content(out)


@pytest.mark.parametrize("task", TASKS)
def test_it_is_the_same_again_and_the_owners_alone(predicted, run_of, data, task, tmp_path) -> None:
    given = [] if task == "generation" else ["--data", data]
    predict(run_of(task), *given, "--out", tmp_path / "again")
    assert content(tmp_path / "again") == content(predicted(task))
    for path in [predicted(task), *predicted(task).rglob("*")]:
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path
    text = (predicted(task) / "index.html").read_text()
    assert "default-src 'none'" in text
    assert "http" not in text.replace("http-equiv", "")


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_folder_of_images_needs_no_manifest(predicted, run_of, data, tmp_path) -> None:
    """Nothing is said of truth; what is predicted is the same."""
    (tmp_path / "images/below").mkdir(parents=True)
    known = rows(data / "manifest.csv")[:3]
    for number, row in enumerate(known):
        shutil.copy(data / row["image"], tmp_path / f"images/{'below/' * (number == 0)}{number}.png")
    predict(run_of("segmentation"), "--data", tmp_path / "images", "--out", tmp_path / "out")
    said = rows(tmp_path / "out/predictions.csv")
    assert [one["image"] for one in said] == ["1.png", "2.png", "below/0.png"]
    assert "dice/disc" not in said[0]
    before = rows(predicted("segmentation") / "predictions.csv")
    for own, other in zip(said, (before[1], before[2], before[0]), strict=True):
        masks = (tmp_path / "out" / own["mask"], predicted("segmentation") / other["mask"])
        assert masks[0].read_bytes() == masks[1].read_bytes()


def test_a_wrong_file_is_named_and_the_others_go_on(run_of, data, tmp_path) -> None:
    shutil.copytree(data, tmp_path / "data")
    table = rows(tmp_path / "data/manifest.csv")[:4]
    (tmp_path / "data" / table[1]["image"]).write_bytes(b"no picture")
    table[2]["label"] = ""  # nobody knows it
    table[3]["image"] = "images/nowhere.png"
    with (tmp_path / "data/manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)
    said = predict(
        *(run_of("classification"), "--data", tmp_path / "data", "--out", tmp_path / "out"), code=2
    )
    assert "row 3" in said.stderr
    assert table[1]["image"].rpartition("/")[2] in said.stderr
    assert "row 5" in said.stderr
    assert "2 rows could not be used" in said.stderr
    assert "2 rows predicted" in said.stdout
    found = rows(tmp_path / "out/predictions.csv")
    assert [bool(row["predicted"]) for row in found] == [True, False, True, False]
    assert [bool(row["problem"]) for row in found] == [False, True, False, True]
    assert [row["true"] for row in found] == [table[0]["label"], "", "", ""]
    assert "row 3" in (tmp_path / "out/index.html").read_text()


def test_nothing_is_left_where_nothing_can_be_predicted(run_of, tmp_path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").write_bytes(b"no picture")
    said = predict(
        *(run_of("classification"), "--data", tmp_path / "images", "--out", tmp_path / "out"), code=2
    )
    assert "a.png" in said.stderr
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    predict(run_of("classification"), "--data", tmp_path / "none", "--out", tmp_path / "out", code=2)


def test_best_and_last_are_said(run_of, data, tmp_path) -> None:
    run = run_of("segmentation")
    best = predict(run, "--data", data, "--out", tmp_path / "a").stdout
    last = predict(run, "--data", data, "--out", tmp_path / "b", "--model", "last").stdout
    assert "chosen on validation patients" in best
    assert "round 2 of 2" in last
    same = (run / BEST).read_bytes() == (run / MODEL).read_bytes()
    assert same or content(tmp_path / "a") != content(tmp_path / "b")
    assert (
        "The job chooses no best round"
        in predict(run_of("classification"), "--data", data, "--out", tmp_path / "c").stdout
    )


def test_personal_strategies_say_which_model_it_is(run_of, data, tmp_path) -> None:
    ditto = run_of("segmentation", strategy_name="ditto")
    assert (
        "each site has a model of its own" in predict(ditto, "--data", data, "--out", tmp_path / "a").stdout
    )
    fedbn = run_of("segmentation", strategy_name="fedbn")
    refused = predict(fedbn, "--data", data, "--out", tmp_path / "b", code=2)
    assert "a part of it stays at each site" in refused.stderr


def test_reasons_lie_on_their_images(predicted, run_of, data, tmp_path) -> None:
    """What is predicted is the same; each method has a map and a picture of each row, for the owner alone."""
    run, out = run_of("classification"), tmp_path / "out"
    asked = [part for name in METHODS for part in ("--explain", name)]
    predict(run, "--data", data, "--out", out, *asked)
    before = rows(predicted("classification") / "predictions.csv")
    for said, other, row in zip(
        rows(out / "predictions.csv"), before, rows(data / "manifest.csv"), strict=True
    ):
        assert {name: said[name] for name in other} == other
        assert said["explained"] == f"what speaks for {said['predicted']}"
        image = Image.open(data / row["image"])
        for name in METHODS:
            found = np.asarray(Image.open(out / said[name]))
            assert found.shape == image.size[::-1]
            assert found.max() in (0, 255)  # Grad-CAM may find nothing that speaks for a class
            assert Image.open(out / said[f"overlay/{name}"]).mode == "RGB"
    assert not any(path.stat().st_mode & 0o77 for path in out.rglob("*"))
    assert "not what is ill" in (out / "index.html").read_text()
    predict(run, "--data", data, "--out", tmp_path / "again", *asked)
    assert content(tmp_path / "again") == content(out)


@pytest.mark.parametrize(
    ("task", "asked", "says"),
    [
        ("classification", ["--explain", "gradcam"], "did you mean 'grad-cam'"),
        ("classification", ["--explain", "grad-cam", "--of", "smal"], "did you mean 'small'"),
        ("classification", ["--of", "small"], "give --explain"),
        ("classification", ["--explain", "attention"], "take another method"),
        ("segmentation", ["--explain", "grad-cam"], "has no single number of an image"),
    ],
)
def test_what_can_not_be_explained_is_said(run_of, data, tmp_path, task, asked, says) -> None:
    said = predict(run_of(task), "--data", data, "--out", tmp_path / "out", *asked, code=2)
    assert says in said.stderr.replace("Take", "take")
    assert not (tmp_path / "out").exists()


def test_an_image_finds_its_like_in_an_archive(run_of, data, tmp_path) -> None:
    """The archive has the query's own images too, under another name: they are the most alike."""
    table = rows(data / "manifest.csv")
    (tmp_path / "again").mkdir()
    with (tmp_path / "again/manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        for row in table:
            writer.writerow({**row, "patient": f"other-{row['patient']}", "image": str(data / row["image"])})
    asked = ("retrieve", run_of("classification"), "--archive", data, "--query", tmp_path / "again")
    said = wardround(*asked, "--out", tmp_path / "out", "--count", 3, "--json")
    assert said.returncode == 0, said.stderr
    answer = json.loads(said.stdout)
    found = rows(tmp_path / "out/neighbours.csv")
    assert (answer["queries"], answer["archive"], len(found)) == (len(table), len(table), 3 * len(table))
    best = [row for row in found if row["rank"] == "1"]
    assert [float(row["likeness"]) for row in best] == pytest.approx([1.0] * len(table))
    right = np.mean([row["label"] == row["found_label"] for row in found])
    assert answer["goodness"]["precision"] == pytest.approx(right)
    assert "data:image/png" in (tmp_path / "out/index.html").read_text()
    assert not any(path.stat().st_mode & 0o77 for path in (tmp_path / "out").rglob("*"))
    own = wardround(*asked[:4], "--query", data, "--out", tmp_path / "own")
    assert own.returncode == 0, own.stderr
    names = [(row["row"], row["found_patient"]) for row in rows(tmp_path / "own/neighbours.csv")]
    patient = {str(number): row["patient"] for number, row in enumerate(table, 2)}
    assert all(patient[row] != other for row, other in names)


def test_only_features_of_whole_images_are_compared(run_of, data, tmp_path) -> None:
    asked = ("retrieve", run_of("segmentation"), "--archive", data, "--query", data)
    said = wardround(*asked, "--out", tmp_path / "out")
    assert said.returncode == 2
    assert "'segmentation' has no features of whole images" in said.stderr
    assert not (tmp_path / "out").exists()


def test_an_image_of_another_kind_is_unusual(run_of, data, tmp_path) -> None:
    """The run is asked for the sums of its features; stripes are like nothing that it was tested on."""
    metrics = [{"name": "feature_moments", "features": 4}, {"name": "robust_accuracy", "steps": 2}]
    run = run_of("classification", evaluation={"metrics": metrics})
    figures = figures_of(run)
    assert 0 < figures["feature_moments"] < 1
    assert 0 <= figures["robust_accuracy"] <= figures["accuracy"]
    (tmp_path / "images").mkdir()
    stripes = np.tile(np.array([0, 255], np.uint8), (32, 16))
    Image.fromarray(stripes).save(tmp_path / "images/stripes.png")
    predict(run, "--data", tmp_path / "images", "--out", tmp_path / "other")
    predict(run, "--data", data, "--out", tmp_path / "own")
    [other], own = rows(tmp_path / "other/predictions.csv"), rows(tmp_path / "own/predictions.csv")
    tested = [float(said["distance"]) for said, row in of_test(tmp_path / "own", data)]
    assert np.mean(tested) < 2.5  # of the very images behind the sums; 2 is the root of their four numbers
    assert {row["unusual"] for row in own} <= {"yes", "no"}
    assert float(other["distance"]) > max(tested)
    assert "unusual" in (tmp_path / "own/index.html").read_text()
    plain = run_of("classification")
    predict(plain, "--data", tmp_path / "images", "--out", tmp_path / "here", "--usual", data)
    predict(plain, "--data", data, "--out", tmp_path / "self", "--usual", data)
    [other] = rows(tmp_path / "here/predictions.csv")
    distances = [float(row["distance"]) for row in rows(tmp_path / "self/predictions.csv")]
    assert float(other["distance"]) > np.mean(distances)
    wrong = predict(run_of("segmentation"), "--data", data, "--out", tmp_path / "no", "--usual", data, code=2)
    assert "what is usual is for tasks that give an image one class" in wrong.stderr


def volume_run(folder: Path, data: Path) -> Path:
    """Simulate a job on volumes that are resampled and covered by windows."""
    (folder / "job.toml").write_text(
        job_text(
            job_rounds=1,
            job_dataset="volumes",
            data={"dimensions": 3, "size": [16, 16, 16], "patch": [16, 16, 8]},
            model={"name": "unet", "channels": [4, 8], "num_res_units": 0, "norm": "batch"},
            strategy_min_sites=1,
        )
    )
    said = wardround(
        *("simulate", "job.toml", "--data", data, "--sites", 1, "--workers", "in-process"), cwd=folder
    )
    assert said.returncode == 0, said.stderr
    [run] = (folder / "runs").iterdir()
    return run


def test_masks_of_volumes_lie_where_their_images_lie(tmp_path) -> None:
    """Each is read beside its image, whatever way the image is stored; the affine is the image's own."""
    data = tmp_path / "data"
    data.mkdir()
    generator = np.random.default_rng(0)
    table = []
    affines = {
        "ras": np.diag([1.0, 1.0, 2.0, 1]),
        "lps": np.array([[-1.0, 0, 0, 20], [0, -1.0, 0, 5], [0, 0, 2.0, 3], [0, 0, 0, 1]]),
        "turned": np.array([[0, 0, 1.5, 7], [1.0, 0, 0, -3], [0, -1.0, 0, 9], [0, 0, 0, 1]]),
    }
    for number in range(6):
        name, affine = list(affines.items())[number % 3]
        mask = np.zeros((20, 18, 12), np.uint8)
        mask[4:9, 6:12, 3:7] = 1
        image = (generator.normal(80, 5, mask.shape) + 100 * mask).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(image, affine), data / f"{name}{number}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(mask, affine), data / f"{name}{number}-mask.nii.gz")
        split = ("train", "train", "train", "val", "test", "test")[number]
        table.append(f"p{number},{name}{number}.nii.gz,{name}{number}-mask.nii.gz,{split}")
    (data / "manifest.csv").write_text("\n".join(["patient,image,mask,split", *table]))
    run, out = volume_run(tmp_path, data), tmp_path / "out"
    predict(run, "--data", data, "--out", out)
    dice = []
    for row in rows(out / "predictions.csv"):
        image, mask = nibabel.load(data / row["image"]), nibabel.load(out / row["mask"])
        assert mask.shape == image.shape
        assert np.array_equal(mask.affine, image.affine)
        assert mask.get_data_dtype() == np.uint8
        picture, beside = read_files([data / row["image"]], out / row["mask"], Files(3, classes=("disc",)))
        assert beside is not None
        assert beside.shape == picture.shape
        voxel = abs(np.linalg.det(image.affine[:3, :3]))
        found = np.asarray(mask.dataobj) == 1
        assert float(row["ml/disc"]) == pytest.approx(found.sum() * voxel / 1000)
        true = np.asarray(nibabel.load(data / row["image"].replace(".nii", "-mask.nii")).dataobj) == 1
        both = 2 * (found & true).sum() / max(1, found.sum() + true.sum())
        dice.append((both, float(row["dice/disc"])))
    on_file, on_grid = np.array(dice).T
    assert (on_file > on_grid - 0.15).all()  # elsewhere it would be far lower; the finer grid may gain
    assert gzip.decompress((out / rows(out / "predictions.csv")[0]["mask"]).read_bytes())
    assert read_mask(out / rows(out / "predictions.csv")[0]["mask"], 1, 3).max() <= 1


@pytest.mark.parametrize("task", ["classification", "survival", "regression"])
def test_a_model_is_judged_again_as_it_was_tested(run_of, data, task, tmp_path) -> None:
    """Its job states what was summed before the training: other sums would make another model of it."""
    said = wardround("job", "judge", run_of(task), "--out", tmp_path / "again.toml")
    assert said.returncode == 0, said.stderr
    said = wardround("simulate", "again.toml", "--data", data, "--workers", "in-process", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    [again] = (tmp_path / "runs").iterdir()
    first, second = (json.loads((run / "run.json").read_text()) for run in (run_of(task), again))
    curves = {
        "auroc",
        "average_precision",
        "calibration_error",
        "auc",
    }  # of other bins
    for name, value in first["test"]["federation"].items():
        if name.partition("/")[0] not in curves:
            assert second["test"]["federation"][name] == pytest.approx(value, rel=1e-6, nan_ok=True), name
    assert second["rounds"] == 0
