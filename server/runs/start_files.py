"""The files of weights that a run starts from: found at the coordinator, checked, and kept with the run."""

from pathlib import Path
from typing import TYPE_CHECKING

from server.files import disk_errors, write_atomic
from server.runs.folder import RunFolder
from shared.errors import JobError
from shared.job_parts import JobNetwork, networks_of

if TYPE_CHECKING:
    from shared.networks.start_weights import Match

_SHOWN = 20  # names of tensors in a run's description, at most


def keep_starts(run: RunFolder, folder: Path) -> None:
    """Copy what a run's job starts from into the run's folder, and say in its description what fitted.

    Args:
        run: New, and without any.
        folder: Holds `NAME.safetensors` for each `[model] start = "NAME"`, or is that of another run.

    Raises:
        JobError: A file is missing, can't be read or is not the one that the job names, or a part of it would
            not reach the sites.
    """
    said = {}
    for network in networks_of(run.job):
        if network.options.start_sha256 is not None:
            said[network.table] = _kept(run, network, _file(network, folder))
    if said:
        run.describe(start=said)


def _file(network: JobNetwork, folder: Path) -> Path:
    """Return the file that a network starts from: its name says it, or in a run's folder its digest."""
    by_digest = folder / f"{network.options.start_sha256}.safetensors"
    return by_digest if by_digest.exists() else folder / f"{network.options.start}.safetensors"


def _kept(run: RunFolder, network: JobNetwork, file: Path) -> dict[str, object]:
    import safetensors.torch  # noqa: PLC0415 (with PyTorch)

    from shared.networks.build import build_model, models_of  # noqa: PLC0415
    from shared.networks.start_weights import given_by_start, put_into  # noqa: PLC0415
    from shared.start_files import read_start, start_path  # noqa: PLC0415

    model = build_model(run.job, started=False, adapted=False)
    own = models_of(model)[network.role]
    found = put_into(own, network.options, read_start(file))
    given = given_by_start(network.options, found.taken)
    if stays := sorted(run.job.strategy.personal(model) & {network.prefix + name for name in given}):
        raise JobError(
            f"'{run.job.strategy.name}' keeps {stays[0]} at each site, which would not get it from the start",
            where="[strategy] name",
            remedy="Take another strategy, or let it be drawn: [model] fresh.",
        )
    path = start_path(run.path, str(network.options.start_sha256))
    with disk_errors(path):
        path.parent.mkdir(exist_ok=True)
    write_atomic(path, safetensors.torch.save(given))
    return {"name": network.options.start, "sha256": network.options.start_sha256, **told(found)}


def told(found: "Match") -> dict[str, object]:
    """Return what people are told of what a file had for a network; of many names the first."""
    return {
        "tensors": len(found.taken),
        "drawn": found.missing[:_SHOWN],
        "drawn_count": len(found.missing),
        "unused": found.unused[:_SHOWN],
        "unused_count": len(found.unused),
    }
