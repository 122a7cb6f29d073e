"""`wardround export`: a run's model for other programs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from shared.cli.answer import Json, answer
from shared.cli.run_options import Model, Run


def export(
    run: Run,
    out: Annotated[Path, typer.Option(help="A new folder.", show_default=False)],
    format_: Annotated[
        Literal["bundle", "onnx", "torchscript", "safetensors"],
        typer.Option("--format", help="For MONAI, ONNX Runtime or PyTorch; or the weights alone."),
    ] = "bundle",
    model: Model = "best",
    key: Annotated[
        Path | None,
        typer.Option(
            help="Private key that signs it. Default: your own, made at first use.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write a run's model for other programs, checked against the network and signed."""
    from shared.loading import loading

    with loading():
        from client.data.new_folder import require_new
        from client.export.signing import fingerprint_of, own_key, prepare_key, public_file
        from client.export.write import export
        from shared.finished_run import FinishedRun

    require_new(out)
    finished = FinishedRun.read(run)
    signer = prepare_key(key)
    export(finished, model, format_, out, signer)
    lines = [f"{out}: signed by the key {fingerprint_of(signer)}"]
    if signer == own_key():
        lines.append(f"Whoever is to verify it needs {public_file(signer)}.")
    answer(json, lines, folder=out, key=fingerprint_of(signer), public_key=public_file(signer))
