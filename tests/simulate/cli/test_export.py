"""`wardround export` and `verify`: what is exported gives the same elsewhere, and a changed byte is found."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.utils import eval_mode

from client.data.kinds import kinds_of
from client.export.example_files import example_files
from client.export.preparation import preparation_program
from client.predict.answering import Predictor
from client.predict.rows import find_rows
from shared.finished_run import FinishedRun
from shared.job.schema import parse_job
from shared.networks.build import build_model, models_of
from shared.run_folder import JOB, MODEL, SIMULATION
from shared.tasks import make_task
from shared.tasks.base import Task
from shared.wire.packed_model import Layout
from tests.cli import wardround
from tests.jobs import job_tables

pytest.importorskip("onnxruntime")

SMALL = {"channels": [4, 8], "norm": "instance"}
VOLUME = {"dimensions": 3, "size": [16, 16, 16]}
JOBS: dict[str, dict[str, Any]] = {
    "cnn": {"task_name": "classification", "data": {"size": [16, 16], "channels": 3}},
    "unet": {"task_name": "segmentation", "data": {"size": [30, 27], "resize": "pad"}},
    "dynunet": {
        "task_name": "segmentation",
        "model": {"name": "dynunet", "channels": [4, 8, 8], "norm": "instance"},
        "data": VOLUME,
    },
    "vit": {
        "task_name": "classification",
        "task_multi_label": True,
        "model": {"name": "vit", "patch": 8, "features": 24, "layers": 2},
    },
    "cox-with-image": {
        "task_name": "survival",
        "task": {
            "name": "survival",
            "columns": ["age", "grade"],
            "categories": {"grade": ["1", "2", "3"]},
            "loss": "cox",
            "image": True,
            "indicators": True,
            "scaling": {"age": [60.0, 12.0]},
            "missing_images": True,
        },
        "model": {
            "image": {"name": "cnn", "channels": [4, 8]},
            "record": {"name": "mlp", "hidden": [4]},
            "fusion": {"name": "gated", "hidden": [4]},
        },
        "data": {"size": [16, 16]},
        "strategy_min_sites": 2,
    },
    "boxes": {"task_name": "detection", "data": {"size": [16, 18]}},
    "windows": {
        "task_name": "segmentation",
        "model": {"name": "unet", **SMALL},
        "data": {"dimensions": 3, "spacing": [2.0, 2.0, 2.0], "patch": [16, 16, 16], "intensity": "minmax"},
    },
    "generator": {"task_name": "generation", "task_classes": ["small", "large"]},
}
"""Runs of every task."""

BUNDLES = ["unet", "windows"]


@pytest.fixture(autouse=True, scope="module")
def own_key(tmp_path_factory) -> Iterator[None]:
    """The person's key is made in a folder of the tests'."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


def write_run(folder: Path, name: str) -> Path:
    """Write the folder of a finished run, its numbers drawn: what they are is nothing to an export."""
    job = parse_job(job_tables(**JOBS[name]), name)
    folder.mkdir(parents=True)
    model = build_model(job)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=0.05)
        for key, tensor in model.named_buffers():
            if key.endswith("running_mean"):
                tensor.add_(0.1)
    from server.runs.folder import RunFolder

    run = RunFolder(folder, job)
    (folder / JOB).write_text(job.canonical())
    layout = Layout.of(model)
    run.save_model("model", layout, layout.pack(model), 2)
    sites = {site: {"patients": {"train": 10, "test": 10}} for site in ("alpha", "beta")}
    test = {"federation": {"loss": 0.5, "dice_global": 0.25}, "sites": {}, "examples": {}}
    run.describe(status="finished", rounds=2, tested_round=2, sites=sites, test=test, versions={"torch": "2"})
    assert (folder / MODEL).is_file()
    return folder


@pytest.fixture(scope="module")
def run_of(tmp_path_factory) -> Callable[[str], Path]:
    known: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name not in known:
            known[name] = write_run(tmp_path_factory.mktemp("runs") / name, name)
        return known[name]

    return find


def export(run: Path, kind: str, out: Path, *more: object, code: int = 0) -> str:
    said = wardround("export", run, "--format", kind, "--out", out, *more)
    assert said.returncode == code, said.stdout + said.stderr
    return said.stdout + said.stderr


def wanted(run: Path, count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return inputs as large as the real ones, and what the network gives for them as the task asks it."""
    finished = FinishedRun.read(run)
    model = finished.model(torch.device("cpu"), "best")
    program = make_task(finished.job).program(models_of(model))
    assert program is not None
    drawn = torch.Generator().manual_seed(count)
    tensors = {
        name: torch.arange(count) % own.classes
        if own.classes
        else torch.rand(count, *own.shape, generator=drawn) * 3
        for name, own in program.inputs.items()
    }
    if "record" in tensors:
        tensors["record"][0, 0] = torch.nan
        tensors["record"][-1] = torch.nan
        if "image" in tensors:
            tensors["image"][1:2] = torch.nan
    with eval_mode(model, program.module), torch.no_grad():
        found = program.module(*tensors.values()).numpy()
    return {name: tensor.numpy() for name, tensor in tensors.items()}, found


def alone(script: str, folder: Path) -> None:
    """Run Python where no Wardround can be imported."""
    said = subprocess.run(
        [sys.executable, "-I", "-c", NO_WARDROUND + script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr[-3000:]


NO_WARDROUND = """
import gc
import sys
gc.disable()  # MONAI is loaded in half the time
gone = ["wardround", "shared", "client", "server", "simulate"]
gone += ["mlflow", "pandas", "sklearn", "tensorboard"]  # which MONAI would load
sys.modules.update(dict.fromkeys(gone))
"""
ASK = """
import onnxruntime, torch, numpy as np
from pathlib import Path
for run in Path().iterdir():
    session = onnxruntime.InferenceSession(run / "onnx/model.onnx", providers=["CPUExecutionProvider"])
    module = torch.jit.load(run / "torchscript/model.ts")
    for count in (1, 4):
        inputs = dict(np.load(run / f"{count}.npz"))
        np.save(run / f"onnx-{count}.npy", session.run(None, inputs)[0])
        tensors = map(torch.from_numpy, inputs.values())
        np.save(run / f"torchscript-{count}.npy", module(*tensors).detach().numpy())
"""


@pytest.fixture(scope="module")
def exported(run_of, tmp_path_factory) -> Path:
    """Every run as ONNX and TorchScript, what goes in, and what one process without Wardround makes of it."""
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("exported")
    for name in JOBS:
        (folder / name).mkdir()
        for kind in ("onnx", "torchscript"):
            export(run_of(name), kind, folder / name / kind)
        for count in (1, 4):
            inputs, _ = wanted(run_of(name), count)
            np.savez(folder / name / f"{count}.npz", **inputs)
    alone(ASK, folder)
    return folder


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
@pytest.mark.parametrize("name", JOBS)
def test_what_is_exported_gives_the_same_without_wardround(run_of, exported, name, kind) -> None:
    for count in (1, 4):
        found = np.load(exported / name / f"{kind}-{count}.npy")
        np.testing.assert_allclose(found, wanted(run_of(name), count)[1], rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def bundles(run_of, tmp_path_factory) -> Path:
    """Bundles that one process of MONAI has verified and run."""
    pytest.importorskip("fire")
    folder = tmp_path_factory.mktemp("bundles")
    schema = folder / "schema.json"  # MONAI would fetch its own; this has what that one requires
    schema.write_text(json.dumps({"type": "object", "required": REQUIRED}))
    for name in BUNDLES:
        export(run_of(name), "bundle", folder / name)
        (folder / f"{name}-images").mkdir()
        example_files(folder / f"{name}-images", FinishedRun.read(run_of(name)).job.data)
    alone(f"names, schema = {BUNDLES!r}, {str(schema)!r}" + VERIFY, folder)
    return folder


VERIFY = """
import os
import shutil
from monai.bundle import run, verify_metadata, verify_net_in_out
for name in names:
    os.chdir(name)
    meta = "configs/metadata.json"
    verify_metadata(meta_file=meta, filepath=schema)
    config = "configs/inference.json"
    verify_net_in_out(net_id="network_def", meta_file=meta, config_file=config, device="cpu")
    run(config_file=config, meta_file=meta, dataset_dir=f"../{name}-images")
    os.chdir("..")
"""
REQUIRED = [
    *("schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"),
    *("task", "description", "authors", "copyright", "network_data_format"),
]


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_passes_monais_own_verification_and_gives_what_predict_is_given(
    run_of, bundles, name
) -> None:
    predictor = Predictor.of(FinishedRun.read(run_of(name)), "best", torch.device("cpu"))
    kinds = kinds_of(predictor.job)
    rows = find_rows(bundles / f"{name}-images", predictor.job, kinds)
    answers = list(predictor.answers(rows, kinds))
    assert len(answers) > 2
    for said in answers:
        assert said.answer is not None
        assert said.answer.map is not None
        found = np.load(bundles / name / f"eval/{said.record.images[0].name}.npy")
        np.testing.assert_allclose(found, said.answer.map.numpy(), rtol=1e-3, atol=1e-4)


def test_another_preparation_than_trainings_is_refused(run_of, tmp_path) -> None:
    """The one that is compared is the one that is exported."""

    def other(data):
        return preparation_program(data.model_copy(update={"intensity": "minmax"}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("client.export.bundle.preparation_program", other)
        said = export(run_of("unet"), "bundle", tmp_path / "out", code=2)
    assert "would be another one" in said
    assert not (tmp_path / "out").exists()


def test_what_is_no_bundle_or_no_program_is_refused(run_of, tmp_path) -> None:
    for name in ("cox-with-image", "generator"):
        assert "takes one image" in export(run_of(name), "bundle", tmp_path / "a", code=2)
    with pytest.MonkeyPatch.context() as patch:  # what a task of a package has that says nothing of it
        patch.setattr("shared.tasks.segmentation.task.SegmentationTask.program", Task.program)
        said = export(run_of("unet"), "onnx", tmp_path / "a", code=2)
    assert "says nothing of what could be exported" in said
    assert not (tmp_path / "a").exists()


def test_an_export_says_what_a_user_must_know(run_of, tmp_path) -> None:
    export(run_of("windows"), "safetensors", tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    for text in (
        *("RAS+", "2 x 2 x 2 mm", "windows of 16 x 16 x 16"),
        *("dice\\_global | 0.250", "Not a medical", "disc"),
    ):
        assert text in card
    about = json.loads((tmp_path / "out/model.json").read_text())
    assert about["inputs"]["image"]["shape"] == ["batch", 1, 16, 16, 16]
    assert "Apache License" in (tmp_path / "out/LICENSE").read_text()
    assert (tmp_path / "out/model.safetensors").read_bytes() == (run_of("windows") / MODEL).read_bytes()


def test_a_rehearsal_never_passes_for_a_federation(run_of, tmp_path) -> None:
    run = Path(shutil.copytree(run_of("windows"), tmp_path / "run"))
    export(run, "safetensors", tmp_path / "real")
    (run / SIMULATION).write_text("{}")
    export(run, "safetensors", tmp_path / "simulated")
    real, simulated = ((tmp_path / name / "README.md").read_text() for name in ("real", "simulated"))
    assert "by 2 sites together; no image left a hospital" in real
    assert "by 2 simulated sites on one machine: a rehearsal, no real federation" in simulated
    assert "no image left" not in simulated


def test_whatever_was_changed_is_found_and_named(run_of, tmp_path) -> None:
    out = tmp_path / "out"
    said = export(run_of("cnn"), "torchscript", out)
    assert "signed by the key" in said
    assert wardround("verify", out).returncode == 0
    for file in sorted(out.iterdir()):
        before = file.read_bytes()
        for place in (0, len(before) // 2, len(before) - 1):
            content = bytearray(before)
            content[place] ^= 1
            file.write_bytes(content)
            said = refusal(out)
            if file.name != "model.sig":
                assert f"'{file.name}' was changed" in said
        file.write_bytes(before)
    assert wardround("verify", out).returncode == 0
    (out / ".gitignore").write_text("more")
    assert "'.gitignore' was added" in refusal(out)
    (out / ".gitignore").unlink()
    (out / "more").mkdir()
    assert "'more' is not a file of an export" in refusal(out)
    (out / "more").rmdir()
    licence = (out / "LICENSE").rename(tmp_path / "LICENSE")
    assert "'LICENSE' is missing" in refusal(out)
    (out / "LICENSE").symlink_to(licence)
    assert "'LICENSE' is a link" in refusal(out)


def refusal(out: Path) -> str:
    said = wardround("verify", out)
    assert said.returncode == 2, said.stdout
    assert "Traceback" not in said.stderr
    return " ".join(said.stderr.split())


def test_what_the_signer_did_not_look_at_was_not_signed(run_of, tmp_path) -> None:
    """The format lets a signature name files that are left out."""
    from model_signing import hashing, signing

    out = tmp_path / "out"
    export(run_of("cnn"), "safetensors", out)
    (out / "model.sig").unlink()
    (out / "more.bin").write_bytes(b"anything")
    key = Path(os.environ["XDG_CONFIG_HOME"]) / "wardround/signing-key.pem"
    config = signing.Config().use_elliptic_key_signer(private_key=key)
    left_out = hashing.Config().set_ignored_paths(paths=[out / "model.sig", out / "more.bin"])
    config.set_hashing_config(left_out).sign(out, out / "model.sig")
    assert "'more.bin' was added" in refusal(out)


def test_only_a_key_that_is_trusted_counts(run_of, tmp_path) -> None:
    from shared.pki.certificates import new_key, save_key

    export(run_of("cnn"), "safetensors", tmp_path / "own")
    save_key(tmp_path / "other.pem", new_key())
    export(run_of("cnn"), "safetensors", tmp_path / "out", "--key", tmp_path / "other.pem")
    said = wardround("verify", tmp_path / "out")
    assert said.returncode == 2
    assert "another key" in said.stderr
    public = subprocess.run(
        ["openssl", "pkey", "-in", tmp_path / "other.pem", "-pubout", "-out", tmp_path / "other.pub"],
        capture_output=True,
        check=False,
    )
    assert public.returncode == 0
    assert wardround("verify", tmp_path / "out", "--key", tmp_path / "other.pub").returncode == 0
    assert wardround("verify", tmp_path / "own", "--key", tmp_path / "other.pub").returncode == 2
    nobody = wardround("verify", tmp_path / "out", environment={"XDG_CONFIG_HOME": str(tmp_path)})
    assert "--key" in nobody.stderr
    (tmp_path / "out/model.sig").write_text("{}")
    broken = wardround("verify", tmp_path / "out", "--key", tmp_path / "other.pub")
    assert broken.returncode == 2
    assert "Traceback" not in broken.stderr
    (tmp_path / "out/model.sig").unlink()
    assert "has no model.sig" in wardround("verify", tmp_path / "out").stderr


def test_the_own_key_is_the_owners_alone(run_of, tmp_path) -> None:
    export(run_of("cnn"), "safetensors", tmp_path / "out")
    key = Path(os.environ["XDG_CONFIG_HOME"]) / "wardround/signing-key.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    assert not any(b"PRIVATE KEY" in file.read_bytes() for file in (tmp_path / "out").iterdir())
    assert key.with_suffix(".pub").is_file()
