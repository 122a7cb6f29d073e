"""What an export says about itself: the preprocessing in words and JSON, and the facts of its run."""

import hashlib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from shared.decisions.choice import Choice, choice_of, sigmoid
from shared.finished_run import FinishedRun, Which
from shared.job.data_options import DataTable
from shared.run_folder import ABOUT, SIMULATION
from shared.tasks.fields import fields_of
from shared.tasks.programs import Program
from shared.text.markdown import in_markdown
from shared.text.plural import many

_INTENSITY = {
    "zscore": "each channel loses its mean and is divided by its standard deviation (1 where that is 0)",
    "minmax": "each channel's lowest value becomes 0 and its highest 1",
    "percentile": "each channel's 1st percentile becomes 0 and its 99th 1; what lies beyond is cut",
    "none": "values stay as they are",
}

_SCORES = "The score of a class is the logit of its probability against all others."


def preprocessing(data: DataTable, has_image: bool) -> dict[str, Any]:
    """Return how files become what the network sees: `steps` in words, and the job's own settings."""
    if not has_image:
        return {"steps": ["No image: the columns go in as they are written."], "settings": {}}
    keys = {"images", "channels", "size", "spacing", "resize", "colour", "patch", "dimensions"}
    settings = data.model_dump(mode="json", include=keys | {"intensity", "window"})
    return {"steps": _steps(data), "settings": settings}


def _steps(data: DataTable) -> list[str]:
    flat = data.dimensions == 2
    steps = [
        "Pictures are (channels, rows, columns) from the top left, as they are shown (EXIF is followed); "
        "slices with a place in the patient are turned to the radiological view."
        if flat
        else "Volumes are (C, x, y, z), turned to RAS+: x to the patient's right, y to the front, z to "
        "the head."
    ]
    if data.colour is not None:
        steps.append(
            "Grey becomes three channels."
            if data.colour == "rgb"
            else "Colour becomes its luminance (BT.601)."
        )
    keeps = data.resize == "keep"
    if data.spacing is not None and (data.size is None or keeps):
        steps.append(f"Resampled to {' x '.join(f'{length:g}' for length in data.spacing)} mm for each axis.")
    if data.size is not None and not keeps:
        size = " x ".join(map(str, data.size))
        how = "each axis by itself" if data.resize == "stretch" else "all axes alike, within it"
        steps.append(f"Resized to {size}, {how}.")
    method = (
        "antialiased bilinear"
        if flat
        else "a Gaussian of (factor - 1) / 2 voxels along shrinking axes, then trilinear"
    )
    if (data.size is not None and not keeps) or data.spacing is not None:
        steps.append(f"Resizing is {method}; pixels are areas (align_corners = False).")
    window = data.window or [0, 0]
    steps.append(
        f"{window[0]:g} becomes 0 and {window[1]:g} becomes 1; what lies beyond is cut."
        if data.intensity == "window"
        else f"Over the whole image, {_INTENSITY[data.intensity]}."
    )
    if data.resize != "stretch" and data.size is not None:
        size = " x ".join(map(str, data.size))
        steps.append(f"Padded to {size} on both sides alike, with the lowest value of each channel.")
    if data.patch is not None:
        patch = " x ".join(map(str, data.patch))
        steps.append(
            f"Larger images are covered by windows of {patch}, a quarter overlapping, whose outputs are "
            "averaged with Gaussian weights."
        )
    return steps


def run_facts(run: FinishedRun, which: Which) -> dict[str, Any]:
    """Return what `run.json` says about a model, for its card: how it came to be, and how good it was."""
    said = run.description
    comparison = said.get("comparison") or {}
    return {
        "name": run.job.job.name,
        "run": run.path.resolve().name,
        "job": run.job.digest(),
        "task": run.job.task.name,
        "subject": run.job.task.subject,
        "model": hashlib.sha256(run.file(which).read_bytes()).hexdigest(),
        "round": run.round_of(which),
        "rounds": run.rounds,
        "strategy": run.job.strategy.name,
        "simulated": (run.path / SIMULATION).exists(),
        "sites": {name: dict(own.get("patients", {})) for name, own in run.sites.items()},
        "test": dict(said.get("test", {}).get("federation", {})),
        "tested_round": said.get("tested_round"),
        "test_patients": comparison.get("patients"),
        "intervals": {
            name: [own["low"], own["high"]]
            for name, own in comparison.get("metrics", {}).items()
            if {"low", "high"} <= own.keys()
        },
        "privacy": run.job.privacy.mechanism,
        "guarantee": said.get("guarantee"),
        "sites_judge_their_own": run.sites_judge_their_own,
        "decisions": _decisions(run, which),
        "versions": dict(said.get("versions", {})),
    }


def _decisions(run: FinishedRun, which: Which) -> dict[str, Any] | None:
    """Return what the run has chosen of this model on the validation patients; None of another round's."""
    chosen = choice_of(run.description, run.path / ABOUT)
    if chosen is None or chosen.round != run.round_of(which):
        return None
    return chosen.model_dump()


def trained_by(facts: Mapping[str, Any]) -> str:
    """Return who trained a model, in words; a rehearsal never passes for a federation."""
    count = len(facts["sites"])
    if facts["simulated"]:
        return f"by {many(count, 'simulated site')} on one machine: a rehearsal, no real federation"
    return f"by {many(count, 'site')} together; no image left a hospital"


def card(facts: Mapping[str, Any], program: Program, steps: list[str]) -> str:
    """Return the model card: Hugging Face's header, and what a user must know.

    Whatever a job has named, such as a class, is escaped.
    """
    lines = [
        "---",
        "library_name: wardround",
        "tags: [medical, federated-learning]",
        "---",
        "",
        f"# {facts['name']}",
        "",
    ]
    lines.append(f"Trained for {in_markdown(facts['subject'])}, {trained_by(facts)}.")
    lines += [
        "",
        "Not a medical device. Whoever uses it for patients must validate it on their own first.",
        "",
    ]
    lines += ["## What goes in", ""]
    lines += [
        f"- `{name}` (batch, {', '.join(map(str, own.shape))}): {in_markdown(own.says)}"
        for name, own in program.inputs.items()
    ]
    lines += ["", "## What comes out", "", f"`{program.output}`: {in_markdown(program.says)}."]
    lines += [f"- {name}: {_text(value)}" for name, value in program.facts.items()]
    lines += ["", "## Preprocessing", "", *(f"{number}. {step}" for number, step in enumerate(steps, 1)), ""]
    lines += [*_decided(facts), "## How good it was", "", *_tested(facts), "", "## How it came to be", ""]
    lines += [
        f"- run `{facts['run']}`, the model of round {facts['round']} of {facts['rounds']}",
        f"- strategy `{facts['strategy']}`",
        f"- job `{facts['job']}`",
        f"- privacy: {facts['privacy']}" + (f" ({_text(facts['guarantee'])})" if facts["guarantee"] else ""),
        *(f"- {site}: {_patients(own)}" for site, own in sorted(facts["sites"].items())),
        *(["- patients are numbers as the sites round them"] if facts["sites"] else []),
        "",
        "## Licence",
        "",
        "The networks' code is under Apache-2.0 (LICENSE). Those who trained the weights say on which terms "
        "they may be used.",
        "",
    ]
    return "\n".join(lines)


def _decided(facts: Mapping[str, Any]) -> list[str]:
    """Return how scores become decisions, as the run has chosen it before its test."""
    if facts["decisions"] is None:
        return []
    choice = Choice.model_validate(facts["decisions"])
    lines = ["## From scores to decisions", ""]
    lines += [f"Chosen on {choice.images} validation images, before the test was opened. {_SCORES}", ""]
    if choice.temperature is not None:
        lines.append(
            f"- calibrated probability: the logistic function of the score / {choice.temperature:.6g}"
        )
    lines += [
        f"- calibrated probability of {in_markdown(name)}: a curve, in `model.json`"
        for name in choice.isotonic
    ]
    lines += [
        f"- {in_markdown(name)} from a score of {logit:.6g} on (probability {sigmoid(np.array(logit)):.4f})"
        for name, logit in choice.thresholds.items()
    ]
    lines += [
        f"- in the prediction set of {choice.coverage:g} coverage: {in_markdown(name)} from {logit:.6g} on"
        for name, logit in choice.cuts.items()
    ]
    return [*lines, ""]


def _tested(facts: Mapping[str, Any]) -> list[str]:
    figures = {name: value for name, value in facts["test"].items() if isinstance(value, float)}
    if not figures:
        return ["No figure of the test left the sites."]
    if facts["sites_judge_their_own"]:
        return ["The run's figures are of models of the sites' own, not of this one."]
    if facts["tested_round"] != facts["round"]:
        return [f"The run tested the model of round {facts['tested_round']}, not this one."]
    whom = f"{facts['test_patients']} test patients" if facts["test_patients"] else "the test patients"
    lines = [
        f"On {whom} of all sites, who chose nothing:",
        "",
        "| metric | value | 95 % interval |",
        "| --- | --- | --- |",
    ]
    for name, value in figures.items():
        ends = facts["intervals"].get(name)
        interval = f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else "–"
        lines.append(f"| {in_markdown(name)} | {value:.3f} | {interval} |")
    return lines


def _patients(own: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} {side}" for side, count in own.items()) or "no number told"


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, Mapping):
        return "; ".join(f"{in_markdown(name)}: {_text(own)}" for name, own in value.items())
    return f"{value:.6g}" if isinstance(value, float) else in_markdown(value)


def has_image(run: FinishedRun) -> bool:
    """Say whether the samples of a run have an image."""
    return any(own.kind == "image" for own in fields_of(run.job).values())


def licence() -> str:
    """Return the text of Wardround's licence, which is that of the networks' code too."""
    beside = Path(__file__).parents[2] / "LICENSE"
    if beside.is_file():
        return beside.read_text(encoding="utf-8")
    return metadata.distribution("wardround").read_text("licenses/LICENSE") or "Apache-2.0"
