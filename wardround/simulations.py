"""All hospitals of a federation on this machine: `wardround.simulate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wardround.datasets import Dataset
from wardround.finished import Run
from wardround.jobs import Job, as_job

if TYPE_CHECKING:
    from rich.console import Console


def simulate(
    job: Job | Path | str,
    *,
    data: Dataset | Path | str | None = None,
    site_files: Sequence[Path | str] = (),
    sites: int | None = None,
    partition: str | None = None,
    scanner_shift: bool = False,
    attackers: int = 0,
    attack: str | None = None,
    baselines: bool = False,
    workers: str | None = None,
    device: str = "auto",
    out: Path | str = "runs",
    track: Sequence[str] | None = None,
    progress: bool = True,
) -> Run:
    """Train a job across simulated hospitals, as `wardround simulate` does.

    Args:
        job: The job, or its file.
        data: Dataset for all hospitals. None makes synthetic ones, where the job names a phantom.
        site_files: The hospitals' own `site.toml`, instead of `data`.
        sites: Number of hospitals into which the dataset is cut; without it, those of its column `site`.
        partition: How to cut it: `iid`, `dirichlet:ALPHA` or `column:NAME`.
        scanner_shift: Give each hospital a scanner of its own.
        attackers: Hospitals that want to spoil the model, drawn by the job's seed.
        attack: What they do: `label-flip`, `sign-flip`, `scale`, `noise`, `backdoor` or `collude`.
        baselines: Also train each hospital alone, and one model on all data.
        workers: `in-process`, a number of processes, or Ray; None takes a process per core or hospital.
        device: `cpu`, `cuda`, `cuda:N`, or `auto` for a GPU where there is one.
        out: Folder that holds the run folders.
        track: Trackers that are told of it: `tensorboard:FOLDER`, `mlflow:FOLDER`, `wandb:FOLDER`; None takes
            those of your `settings.toml`.
        progress: Print the rounds and the tables.

    Raises:
        WardroundError: The job, the data or the options can't be used, or training could not go on.
    """
    from shared.loading import loading

    with loading():
        from server.track.settings import targets_of
        from simulate.session.session import Hospitals, execute, start

    targets = targets_of(track)
    folder = data.path if isinstance(data, Dataset) else data
    hospitals = Hospitals(
        files=[Path(file) for file in site_files],
        data=None if folder is None else Path(folder),
        count=sites,
        scheme=partition,
        scanner_shift=scanner_shift,
        attackers=attackers,
        attack=attack,
    )
    run = start(as_job(job).spec, hospitals, Path(out), device, baselines=baselines)
    execute(run, workers, _console(progress), track=targets)
    return Run(run.path)


def resume(run: Run | Path | str, *, workers: str | None = None, progress: bool = True) -> Run:
    """Go on with a simulation that was stopped, also by a kill, after its last whole round.

    Args:
        run: The run, or its folder.
        workers: As for `simulate`.
        progress: Print the rounds and the tables.

    Raises:
        WardroundError: It has finished, or another process is at work on it.
    """
    from server.runs.folder import RunFolder
    from simulate.session.session import execute

    folder = RunFolder.open(run.path if isinstance(run, Run) else Path(run))
    execute(folder, workers, _console(progress), resume=True)
    return Run(folder.path)


def _console(progress: bool) -> "Console":
    from rich.console import Console

    return Console(quiet=not progress)
