"""What a machine needs to compile networks, and the folder that keeps what was compiled; loads no PyTorch."""

import contextlib
import os
import shutil
import stat
import sysconfig
import time
from pathlib import Path

from shared.errors import SiteError

HOW_TO_INSTALL = "Debian: apt install g++ python3-dev; a container: docker build --build-arg COMPILER=g++"

_HOUR = 3600
_DAYS, _BYTES = 90, 2 * 2**30  # how long kernels stay that nobody uses, and how much of them


def compiler_problem() -> str | None:
    """Return what this machine lacks to compile a network; None where nothing is missing."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        return "this machine has no C++ compiler"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "this machine lacks Python's header files"
    return None


def require_compiler(where: str) -> None:
    """Check that a network can be compiled here.

    Raises:
        SiteError: A compiler or its files are missing.
    """
    if problem := compiler_problem():
        raise SiteError(
            f"{problem}, and the job asks for a compiled network",
            where=where,
            remedy=f"Install it ({HOW_TO_INSTALL}), or leave out [training] compile.",
        )


def users_cache() -> Path:
    """Return the folder of compiled kernels that the runs of this user share."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wardround" / "kernels"


def keep_kernels_in(folder: Path) -> None:
    """Let this process keep compiled kernels in a folder, and take from there what others have compiled.

    Those that nobody has used for long are deleted, as `clear_kernels` does it. What lies there is loaded and
    run, so nobody else may write to it; PyTorch's own choice is a name in `/tmp` that anybody could have
    taken.

    Args:
        folder: Made if missing, for this user alone.

    Raises:
        SiteError: It can't be made, or is not this user's alone.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        safe = _is_private(folder)
    except OSError as error:
        raise SiteError(f"can't be made ({error.strerror})", where=folder) from None
    if not safe:
        raise SiteError(
            "holds compiled kernels, which are run, and others may write to it or to a folder above it",
            where=folder,
            remedy=f"Remove it (rm -r {folder}); the folders above it must be root's or this user's.",
        )
    clear_kernels(folder, _DAYS, _BYTES)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    os.environ["TRITON_CACHE_DIR"] = str(folder / "triton")


def clear_kernels(folder: Path, days: int, size: int) -> None:
    """Delete what no run has used for some days, and then what was used longest ago, down to a size.

    What was used within the hour stays, as another process may be about to load it. What is missing is
    compiled again.

    Args:
        folder: Of the kernels.
        days: Since the last use, as far as the file system keeps that; otherwise since they were made.
        size: Bytes that may stay.
    """
    now, left = time.time(), 0
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # another process was quicker
            if stat.S_ISREG((facts := path.lstat()).st_mode):
                found.append((max(facts.st_atime, facts.st_mtime), facts.st_size, path))
    for used, bytes_, path in sorted(found, reverse=True):
        left += bytes_
        idle = now - used
        if idle > days * 24 * _HOUR or (left > size and idle > _HOUR):
            with contextlib.suppress(OSError):
                path.unlink()


def _is_private(folder: Path) -> bool:
    """Say whether a folder is this user's alone, and nobody can put another in its place."""
    found, user = folder.lstat(), os.geteuid()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & 0o077:
        return False
    above = [parent.stat() for parent in folder.resolve().parents]
    return all(
        one.st_uid in {0, user} and (not one.st_mode & stat.S_IWOTH or one.st_mode & stat.S_ISVTX)
        for one in above
    )
