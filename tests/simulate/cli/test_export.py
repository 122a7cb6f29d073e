"""`wardround export` and `verify`: what is exported gives the same elsewhere, and a changed byte is found."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.utils import eval_mode

from client.data.kinds import kinds_of
from client.data.manifest.rows import scan_manifest
from client.predict.answering import Predictor
from shared.finished_run import FinishedRun
from shared.job.schema import parse_job
from shared.networks.build import build_model
from shared.run_folder import JOB, MODEL
from shared.tasks import make_task
from shared.tasks.programs import Program
from shared.wire.packed_model import Layout
from tests.cli import wardround
from tests.every_task import write_for_every_task
from tests.jobs import job_tables

pytest.importorskip("onnxruntime")

SMALL = {"channels": [4, 8], "norm": "instance"}
VOLUME = {"dimensions": 3, "size": [32, 32, 32]}
JOBS = {
    "cnn": {"task_name": "classification"},
    "several-labels": {
        "task_name": "classification",
        "task_multi_label": True,
    },
    "unet": {"task_name": "segmentation", "data": {"size": [30, 27], "resize": "pad"}},
    "attention_unet": {"task_name": "segmentation", "model": {"name": "attention-unet", **SMALL}},
    "dynunet": {
        "task_name": "segmentation",
        "model": {"name": "dynunet", "channels": [4, 8, 8], "norm": "instance"},
        "data": VOLUME,
    },
    "swin_unetr": {
        "task_name": "segmentation",
        "model": {"name": "swin-unetr", "features": 12},
        "data": {"dimensions": 3, "size": [32, 32, 64], "resize": "pad", "intensity": "percentile"},
    },
    "vit": {
        "task_name": "classification",
        "model": {"name": "vit", "patch": 8, "features": 24, "layers": 2},
        "data": {"size": [32, 32]},
    },
    "densenet": {
        "task_name": "classification",
        "model": {"name": "densenet121"},
        "data": {"dimensions": 3, "size": [64, 32, 32], "intensity": "window", "window": [0.0, 200.0]},
    },
    "mlp": {"task_name": "survival", "task_scaling": {"age": [60.0, 12.0], "grade": [2.0, 1.0]}},
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
        },
        "model": {"image": {"name": "cnn", "channels": [4, 8]}, "record": {"name": "mlp", "hidden": [4]}},
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
BUNDLES = [name for name in JOBS if JOBS[name]["task_name"] not in ("survival", "generation")]


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


def wanted(run: Path, count: int) -> tuple[Program, list[torch.Tensor], np.ndarray]:
    """Return inputs as large as the real ones, and what the network gives for them as the task asks it."""
    finished = FinishedRun.read(run)
    model = finished.model(torch.device("cpu"), "best")
    from shared.networks.build import models_of

    program = make_task(finished.job).program(models_of(model))
    assert program is not None
    tensors = [
        torch.arange(count) % own.classes if own.classes else torch.rand(count, *own.shape) * 3
        for own in program.inputs.values()
    ]
    if "record" in program.inputs:
        tensors[list(program.inputs).index("record")][0, 0] = torch.nan
    with eval_mode(model, program.module), torch.no_grad():
        return program, tensors, program.module(*tensors).numpy()


def alone(script: str, folder: Path) -> None:
    """Run Python where no Wardround can be imported."""
    said = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr


NO_WARDROUND = """
import sys, numpy as np
sys.modules.update(dict.fromkeys(("wardround", "shared", "client", "server", "simulate")))  # not to be had
"""


@pytest.mark.parametrize("name", JOBS)
def test_onnx_and_torchscript_give_the_same_without_wardround(run_of, tmp_path, name) -> None:
    for kind in ("onnx", "torchscript"):
        export(run_of(name), kind, tmp_path / kind)
    expected = {}
    for count in (1, 4):
        program, tensors, found = wanted(run_of(name), count)
        expected[count] = found
        for key, tensor in zip(program.inputs, tensors, strict=True):
            np.save(tmp_path / f"{count}-{key}.npy", tensor.numpy())
    names = list(program.inputs)
    alone(
        NO_WARDROUND
        + f"""
import onnxruntime, torch
session = onnxruntime.InferenceSession("onnx/model.onnx", providers=["CPUExecutionProvider"])
module = torch.jit.load("torchscript/model.ts")
for count in (1, 4):
    inputs = {{name: np.load(f"{{count}}-{{name}}.npy") for name in {names!r}}}
    np.save(f"onnx-{{count}}.npy", session.run(None, inputs)[0])
    np.save(f"torchscript-{{count}}.npy", module(*map(torch.from_numpy, inputs.values())).detach().numpy())
""",
        tmp_path,
    )
    for count, numbers in expected.items():
        for kind in ("onnx", "torchscript"):
            found = np.load(tmp_path / f"{kind}-{count}.npy")
            np.testing.assert_allclose(found, numbers, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_passes_monais_own_verification(run_of, tmp_path, name) -> None:
    pytest.importorskip("fire")
    bundle = tmp_path / "bundle"
    export(run_of(name), "bundle", bundle)
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    schema = tmp_path / "schema.json"  # MONAI would fetch its own; this has what that one requires
    schema.write_text(json.dumps({"type": "object", "required": REQUIRED}))
    given = ["--meta_file", "configs/metadata.json"]
    monai("verify_metadata", *given, "--filepath", schema, folder=bundle)
    network = ["--net_id", "network_def", "--config_file", "configs/inference.json", "--device", "cpu"]
    monai("verify_net_in_out", *given, *network, folder=bundle)
    assert metadata["network_data_format"]["inputs"]["image"]["dtype"] == "float32"


REQUIRED = [
    *("schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"),
    *("task", "description", "authors", "copyright", "network_data_format"),
]


def monai(*arguments: object, folder: Path) -> None:
    command = [sys.executable, "-I", "-m", "monai.bundle", *map(str, arguments)]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr[-3000:]


def test_a_bundle_runs_on_files_and_gives_what_predict_is_given(run_of, tmp_path) -> None:
    pytest.importorskip("fire")
    data = write_for_every_task(tmp_path / "data", ("alpha",)).parent
    bundle = tmp_path / "bundle"
    export(run_of("unet"), "bundle", bundle)
    (tmp_path / "pictures").mkdir()
    manifest = scan_manifest(data)
    for record in manifest.records:
        shutil.copy(record.images[0], tmp_path / "pictures")
    monai(
        *("run", "--config_file", "configs/inference.json", "--meta_file", "configs/metadata.json"),
        *("--dataset_dir", tmp_path / "pictures"),
        folder=bundle,
    )
    predictor = Predictor.of(FinishedRun.read(run_of("unet")), "best", torch.device("cpu"))
    for said in predictor.answers(manifest, kinds_of(predictor.job)):
        assert said.answer is not None
        assert said.answer.map is not None
        found = np.load(bundle / f"eval/{said.record.images[0].name}.npy")
        np.testing.assert_allclose(found, said.answer.map.numpy(), rtol=1e-3, atol=1e-4)


def test_what_is_not_the_same_elsewhere_is_refused(run_of, tmp_path) -> None:
    assert "takes one image" in export(run_of("mlp"), "bundle", tmp_path / "a", code=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("client.export.preparation.Preparation._ranged", _other)
        said = export(run_of("cnn"), "bundle", tmp_path / "a", code=2)
    assert "would be another one" in said
    assert not (tmp_path / "a").exists()


def _other(self, image: torch.Tensor) -> torch.Tensor:
    return image / 255


def test_an_export_says_what_a_user_must_know(run_of, tmp_path) -> None:
    export(run_of("swin_unetr"), "safetensors", tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    for text in (
        "RAS+",
        "32 x 32 x 64",
        "1st percentile",
        "dice_global | 0.250",
        "Not a medical",
        "disc",
    ):
        assert text in card
    about = json.loads((tmp_path / "out/model.json").read_text())
    assert about["inputs"]["image"]["shape"] == ["batch", 1, 32, 32, 64]
    assert "Apache License" in (tmp_path / "out/LICENSE").read_text()
    assert (tmp_path / "out/model.safetensors").read_bytes() == (run_of("swin_unetr") / MODEL).read_bytes()


def test_a_changed_byte_is_found(run_of, tmp_path) -> None:
    said = export(run_of("cnn"), "onnx", tmp_path / "out")
    assert "signed by the key" in said
    verified = wardround("verify", tmp_path / "out")
    assert verified.returncode == 0, verified.stderr
    for file in sorted((tmp_path / "out").iterdir()):
        before = file.read_bytes()
        for place in (0, len(before) // 2, len(before) - 1):
            content = bytearray(before)
            content[place] ^= 1
            file.write_bytes(content)
            said = wardround("verify", tmp_path / "out")
            assert said.returncode == 2, (file.name, place)
            assert "Traceback" not in said.stderr
            if file.name != "model.sig":
                assert f"'{file.name}' was changed" in said.stderr
        file.write_bytes(before)
    assert wardround("verify", tmp_path / "out").returncode == 0
    (tmp_path / "out/.gitignore").write_text("more")
    assert ".gitignore" in wardround("verify", tmp_path / "out").stderr
    (tmp_path / "out/.gitignore").unlink()
    (tmp_path / "out/LICENSE").unlink()
    assert "LICENSE" in wardround("verify", tmp_path / "out").stderr


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
    assert "no signature" in wardround("verify", tmp_path / "out").stderr


def test_the_own_key_is_the_owners_alone(run_of, tmp_path) -> None:
    export(run_of("cnn"), "safetensors", tmp_path / "out")
    key = Path(os.environ["XDG_CONFIG_HOME"]) / "wardround/signing-key.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    assert not any(b"PRIVATE KEY" in file.read_bytes() for file in (tmp_path / "out").iterdir())
    assert key.with_suffix(".pub").is_file()
