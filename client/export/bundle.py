"""A MONAI bundle: network and preprocessing as TorchScript, and how MONAI's transforms lead to them."""

import json
import math
from typing import Any

import monai
import nibabel
import numpy as np
import PIL
import torch

from client.data.kinds import first_of_kind, kinds_of
from client.export.elsewhere import require_same_preparation
from client.export.example_files import picture_modes
from client.export.facts import trained_by
from client.export.preparation import preparation_program
from shared.errors import RunError
from shared.finished_run import FinishedRun
from shared.job.data_options import DataTable
from shared.tasks.programs import Program
from shared.tasks.whole_images import OVERLAP

_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)
_MODES = ("L", "RGB", "I;16")
"""Pictures of PIL whose numbers are those of the file."""
_ENDINGS = {2: (".png", ".jpg", ".jpeg", ".bmp"), 3: (".nii", ".nii.gz")}


def bundle_files(
    run: FinishedRun, program: Program, network: bytes, facts: dict[str, Any]
) -> dict[str, bytes]:
    """Return the files of a bundle by their names.

    Raises:
        RunError: The model takes something else than one image of one file, or the bundle's preprocessing
            would be another one than training's.
    """
    data = run.job.data
    if len(program.inputs) != 1 or first_of_kind(kinds_of(run.job), "image") not in program.inputs:
        raise RunError("a bundle of MONAI takes one image: take --format onnx or torchscript", where=run.path)
    if len(data.images) > 1:
        raise RunError(
            "sees images of several files, which MONAI reads without comparing where they lie: take --format "
            "onnx or torchscript",
            where=run.path,
        )
    if data.dimensions == 2 and data.spacing is not None and data.size is None:
        raise RunError("resamples pictures by their pixels' size, which MONAI does not read", where=run.path)
    if data.patch is not None and data.size is not None and _is_within(data.size, data.patch):
        raise RunError(
            "sees whole images smaller than [data] patch: take --format safetensors", where=run.path
        )
    if data.dimensions == 2 and not picture_modes(data):
        raise RunError(f"sees {data.channels} channels, and no picture has that many", where=run.path)
    files = {
        "models/model.ts": network,
        "models/preprocessing.ts": preparation_program(data),
        "configs/metadata.json": _json(_metadata(run, program, facts)),
        "configs/inference.json": _json(inference(data, next(iter(program.inputs)))),
    }
    require_same_preparation(run, files)
    return files


def _is_within(size: list[int], patch: list[int]) -> bool:
    return size != patch and all(length <= most for length, most in zip(size, patch, strict=True))


def inference(data: DataTable, name: str) -> dict[str, Any]:
    """Return the bundle's configuration, which reads and prepares files and asks the network.

    Args:
        data: The job's.
        name: Of the one thing that the network takes, an image.
    """
    run = (
        "$list(map(lambda path, item, net=@network_def, inferer=@inferer, device=@device, out=@output_dir: "
        "numpy.save(os.path.join(out, os.path.basename(path) + '.npy'), "
        f"inferer(item['{name}'][None].to(device), net).detach().cpu().numpy()[0]), @datalist, @dataset))"
    )
    endings = _ENDINGS[data.dimensions]
    every = "glob.glob(os.path.join(@dataset_dir, '*'))"
    inferer: Any = {"_target_": "SimpleInferer"}
    if data.patch is not None:
        inferer = {"_target_": "SlidingWindowInferer", "roi_size": data.patch, "sw_batch_size": 4}
        inferer |= {"overlap": OVERLAP, "mode": "gaussian", "padding_mode": "replicate"}
    return {
        "imports": [
            *("$import glob", "$import os", "$import numpy", "$import torch"),
            *("$import PIL.Image as Image", "$import PIL.ImageOps as ImageOps"),
        ],
        "bundle_root": ".",
        "dataset_dir": "data",
        "output_dir": "eval",
        "device": "$torch.device('cpu')",
        "datalist": f"$sorted(filter(lambda path: path.lower().endswith({endings}), {every}))",
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)",
        "program": "$torch.jit.load(@bundle_root + '/models/preprocessing.ts')",
        "preprocessing": {"_target_": "Compose", "transforms": _transforms(data, name)},
        "dataset": {
            "_target_": "Dataset",
            "data": f"$[{{'{name}': path}} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "inferer": inferer,
        "initialize": ["$torch.set_grad_enabled(False)", "$os.makedirs(@output_dir, exist_ok=True)"],
        "run": [run],
    }


def _transforms(data: DataTable, name: str) -> list[dict[str, Any]]:
    """Return how MONAI reads and turns an image; the program does the rest."""
    if data.dimensions == 2:
        # LoadImage would go on to other readers where this one refuses: palettes would be read as numbers.
        # And Pillow halves the bits of deep colours without a word.
        modes = ", ".join(f"'{mode}': image" for mode in _MODES)
        mode = "image.mode + ';16' * ('RGB;16' in str(image.tile))"
        read = f"(lambda image: {{{modes}}}[{mode}])(Image.open(path))"
        prepared = "lambda image: program(torch.as_tensor(image).float(), torch.ones(2))"
        first = "(lambda array: array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy())"
        upright = f"numpy.array(ImageOps.exif_transpose({read}))"
        func = f"$lambda path, program=@program: ({prepared})({first}({upright}))"
        return [{"_target_": "Lambdad", "keys": name, "func": func}]
    channel = "no_channel" if data.channels == 1 else -1
    # MONAI takes every length for mm: what NIfTI says to be in another unit is refused.
    spacing = "{0: image.pixdim, 2: image.pixdim}[int(image.meta['xyzt_units']) % 8]"
    prepared = f"$lambda image, program=@program: program(image.as_tensor(), {spacing})"
    return [
        {"_target_": "LoadImaged", "keys": name, "image_only": True, "reader": "NibabelReader"},
        {"_target_": "EnsureChannelFirstd", "keys": name, "channel_dim": channel},
        {"_target_": "Orientationd", "keys": name, "axcodes": "RAS", "labels": None},
        {"_target_": "Lambdad", "keys": name, "func": prepared},
    ]


def _metadata(run: FinishedRun, program: Program, facts: dict[str, Any]) -> dict[str, Any]:
    [(name, own)] = program.inputs.items()
    with torch.no_grad():
        output = program.module(torch.zeros(1, *own.shape))
    tensor = {
        "type": "image",
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": run.job.data.patch is not None,
    }
    classes = program.facts.get("classes", [])
    channels = {
        str(number): _inert(str(label))
        for number, label in enumerate(classes if isinstance(classes, list) else [])
    }
    packages = (
        {"nibabel": nibabel.__version__} if run.job.data.dimensions == 3 else {"pillow": PIL.__version__}
    )
    taken = tensor | {
        "format": "magnitude",
        "num_channels": own.shape[0],
        "spatial_shape": list(own.shape[1:]),
    }
    taken["channel_def"] = {str(number): "image" for number in range(own.shape[0])}
    given = tensor | {
        "type": "image" if output.ndim > 2 else "probabilities",
        "format": "segmentation" if run.job.task.name == "segmentation" else "raw",
        "num_channels": output.shape[1],
        "spatial_shape": list(output.shape[2:]),
        "channel_def": channels,
    }
    figures = {
        key: value
        for key, value in facts["test"].items()
        if isinstance(value, float) and not math.isnan(value)
    }
    return {
        "schema": _SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"the model of round {facts['round']} of the run {facts['run']}"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": packages,
        "name": facts["name"],
        "task": facts["subject"],
        "description": f"Trained {trained_by(facts)}. Gives {program.says}.",
        "authors": "the sites of the run, see README.md",
        "copyright": "see README.md",
        "intended_use": "Not a medical device.",
        "eval_metrics": figures,
        "network_data_format": {"inputs": {name: taken}, "outputs": {"pred": given}},
    }


def _inert(text: str) -> str:
    """Return a text of the job so that MONAI reads it as a text, not as a file to load or an expression."""
    return f" {text}" if text.startswith(("%", "@", "$")) else text


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
