"""The files of weights that a job starts from: `NAME.safetensors`, and how they lie in a run's folder."""

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from shared.errors import JobError
from shared.job.model_size import model_size
from shared.job.schema import JobSpec
from shared.job_parts import networks_of
from shared.networks.torch_files import read_torch_weights
from shared.run_folder import BEST, MODEL, START

_IN_BUNDLES = ("models/model.safetensors", "models/model.pt")


def read_start(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name.

    Raises:
        JobError: It is missing or can't be read.
    """
    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        problem, remedy = "is missing, and the job starts from it", "Put the file of weights there."
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        problem, remedy = (
            f"can't be read as weights ({error})",
            "`wardround job start FILE` makes such a file.",
        )
    raise JobError(problem, where=path, remedy=remedy)


def weights_in(path: Path) -> dict[str, Tensor]:
    """Return the tensors of any file or folder with weights that a researcher has.

    Args:
        path: A file of safetensors, or one of PyTorch, of which nothing but tensors is read; the folder of a
            run, whose best model is taken; the folder of a MONAI bundle.

    Raises:
        JobError: There are none, or they can't be read.
    """
    if path.is_dir():
        inside = (path / name for name in (BEST, MODEL, *_IN_BUNDLES) if (path / name).is_file())
        if (found := next(inside, None)) is None:
            raise JobError("is neither the folder of a run nor that of a MONAI bundle", where=path)
        path = found
    if path.suffix == ".safetensors":
        return read_start(path)
    try:
        return read_torch_weights(path.read_bytes(), path)
    except OSError as error:
        raise JobError(f"can't be read ({error.strerror})", where=path) from None


def write_start(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as a new file.

    Raises:
        JobError: There is one already, or it can't be written.
    """
    try:
        with path.open("xb") as file:
            file.write(safetensors.torch.save(dict(tensors)))
    except FileExistsError:
        raise JobError("is there already; nothing is overwritten", where=path, remedy="Give --out.") from None
    except OSError as error:
        raise JobError(f"can't be written ({error.strerror})", where=path) from None


def start_path(run: Path, sha256: str) -> Path:
    """Return where a run's folder has the weights of a digest."""
    return run / START / f"{sha256}.safetensors"


def kept_files(job: JobSpec, run: Path) -> dict[str, bytes]:
    """Return those of the files in a run's folder that each site gets once and keeps, by their digests.

    Raises:
        JobError: A file is missing or can't be read.
    """
    found = {}
    for digest in model_size(job).once:
        path = start_path(run, digest)
        try:
            found[digest] = path.read_bytes()
        except OSError as error:
            raise JobError(f"can't be read ({error.strerror})", where=path) from None
    return found


def starts_of(job: JobSpec, run: Path) -> Mapping[str | None, Mapping[str, Tensor]]:
    """Return what a run's folder has of the files that its job starts from, by their digests.

    Raises:
        JobError: A file is missing or can't be read.
    """
    digests = {network.options.start_sha256 for network in networks_of(job)} - {None}
    return {digest: read_start(start_path(run, str(digest))) for digest in digests}
