"""`wardround job judge`: the job that judges a finished run's model, without training it."""

from pathlib import Path
from typing import Annotated

import typer

from shared.cli.answer import Json, answer
from shared.cli.run_options import Model, Run


def judge(
    run: Run,
    out: Annotated[
        Path, typer.Option(help="Job file to write; its weights are written beside it.", show_default=False)
    ],
    dataset: Annotated[
        str | None, typer.Option(help="On which it is judged. Default: the run's.", show_default=False)
    ] = None,
    model: Model = "best",
    json: Json = False,
) -> None:
    """Write the job that judges a run's model on the test patients of all sites, and trains nothing.

    The weights go to the coordinator's folder `starts`. Nothing is overwritten.
    """
    from shared.finished_run import FinishedRun
    from shared.judging_job import judging_job, write_judging_job

    found = judging_job(FinishedRun.read(run), out.stem, model, dataset)
    files = write_judging_job(found, out)
    said = [f"{file}: written" for file in files]
    said.append(f"Try it: wardround simulate {out} --data DATA")
    answer(json, said, file=files[0], weights=files[1:], digest=found.job.digest())
