"""`[cache]` of site.toml: where prepared samples are kept, and how many of them."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_GIB = 2**30
_CGROUP = Path("/sys/fs/cgroup/memory.max")  # of a container
_BESIDE_OTHERS, _NOWHERE_ELSE = 0.5, 0.8  # of the machine's memory
_MOST_PROCESSES = 8  # each holds a sample or two while it prepares


class CacheTable(BaseModel):
    """`[cache]`: prepared samples are kept on the disk, for jobs that prepare in the same way."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    folder: Path | None = Field(
        None,
        examples=["/data/cache"],
        description="Folder for prepared samples; they are images of patients. Without it they are kept in "
        "memory only.",
    )
    memory_gib: Annotated[float, Field(gt=0)] | None = Field(
        None,
        examples=[16.0],
        description="Prepared samples of one job that are kept in memory; if there are more, each batch is "
        "read from the folder. Without it half of the machine's memory, without a folder 0.8 of it.",
    )
    disk_gib: float = Field(
        200.0,
        gt=0,
        description="Size of the folder; when a job has prepared its samples, those used longest ago go.",
    )
    days: int = Field(90, ge=1, description="Days after which samples that no job has used are deleted.")
    processes: int | None = Field(
        None,
        ge=1,
        le=256,
        examples=[4],
        description="Processes that prepare samples; without it one for each core, eight at most.",
    )

    @property
    def memory_bytes(self) -> int:
        """Bytes of prepared samples that a job may keep in memory."""
        if self.memory_gib is not None:
            return int(self.memory_gib * _GIB)
        return int(machine_bytes() * (_NOWHERE_ELSE if self.folder is None else _BESIDE_OTHERS))

    @property
    def disk_bytes(self) -> int:
        """Bytes that the folder may have."""
        return int(self.disk_gib * _GIB)

    @property
    def workers(self) -> int:
        """Number of processes that prepare."""
        return self.processes or min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)


def machine_bytes() -> int:
    """Return the memory of this machine, or of the container that this runs in."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(whole, int(_CGROUP.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        return whole
