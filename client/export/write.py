"""The folder of an export: a program or the weights, what they take and give, card, licence, signature."""

import json
from pathlib import Path
from typing import Any, Literal

import torch

from client.data.new_folder import new_folder
from client.export.bundle import bundle_files
from client.export.facts import card, has_image, licence, preprocessing, run_facts
from client.export.file_names import ABOUT, CARD, LICENCE, PREPROCESSING, WEIGHTS
from client.export.programs import onnx_program, torchscript_program
from client.export.signing import sign
from shared.errors import RunError
from shared.finished_run import FinishedRun, Which
from shared.networks.build import models_of
from shared.passport.documents import FILE as PASSPORT
from shared.tasks import make_task
from shared.tasks.programs import Program

Format = Literal["bundle", "onnx", "torchscript", "safetensors"]
Files = dict[str, bytes]


def export(run: FinishedRun, which: Which, kind: Format, out: Path, key: Path | None) -> None:
    """Write a run's model into a new folder, and sign it.

    Args:
        run: Its model.
        which: Of which round.
        kind: As what.
        out: The folder; its parent must be there.
        key: Signs it; None leaves it unsigned.

    Raises:
        RunError: The model can't be had in this format.
        DataError: The folder exists or can't be written.
        SignatureError: It can't be signed.
    """
    torch.set_num_threads(run.job.training.threads)
    program = program_of(run, which)
    facts = run_facts(run, which)
    before = preprocessing(run.job.data, has_image=has_image(run))
    about: dict[str, Any] = {
        "inputs": {
            name: {
                "shape": ["batch", *own.shape],
                "dtype": "int64" if own.classes else "float32",
                "says": own.says,
            }
            for name, own in program.inputs.items()
        },
        "output": {"name": program.output, "says": program.says, **program.facts},
        "run": facts,
    }
    content: Files = {
        CARD: card(facts, program, before["steps"]).encode(),
        LICENCE: licence().encode(),
        ABOUT: _json(about),
        PREPROCESSING: _json(before),
    }
    content |= _model(run, which, kind, program, facts)
    if (run.path / PASSPORT).is_file():
        content[PASSPORT] = (run.path / PASSPORT).read_bytes()
    with new_folder(out) as folder:
        for name, part in content.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(part)
        if key is not None:
            sign(folder, key)
        folder.chmod(0o755)  # made to be given away, unlike what is predicted of patients


def program_of(run: FinishedRun, which: Which) -> Program:
    """Return what is exported of a run, in evaluation mode.

    Raises:
        RunError: The task exports nothing.
    """
    model = run.model(torch.device("cpu"), which).eval()
    program = make_task(run.job, run.statistics).program(models_of(model))
    if program is None:
        raise RunError(
            f"the task '{run.job.task.name}' says nothing of what could be exported",
            where=run.path,
            remedy="A task of a package says it in `Task.program` (docs/extending.md).",
        )
    program.module.eval()
    return program


def _model(run: FinishedRun, which: Which, kind: Format, program: Program, facts: dict[str, Any]) -> Files:
    if kind == "onnx":
        return {"model.onnx": onnx_program(program)}
    if kind == "torchscript":
        return {"model.ts": torchscript_program(program)}
    if kind == "bundle":
        return bundle_files(run, program, torchscript_program(program), facts)
    # The network's own tensors, by their names in the network: what a run of the same job starts from.
    return {
        WEIGHTS: run.file(which).read_bytes(),
        "job.json": run.job.canonical().encode(),
    }


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n").encode()
