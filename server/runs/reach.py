"""The runs of the coordinator that somebody means: that of a folder, or the one logged in to."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.runs.control import RunControl


def control_of(folder: Path | None) -> "RunControl":
    """Return the runs of a folder of this machine, or of the coordinator that the user has logged in to.

    Raises:
        WardroundError: Nobody is logged in, or the folder is none of a coordinator.
    """
    if folder is None:
        from server.folder.login import load_login  # noqa: PLC0415  (with its libraries, only where needed)
        from server.runs.remote import RemoteCoordinator  # noqa: PLC0415

        return RemoteCoordinator(load_login())
    from server.audit.log import operator_audit  # noqa: PLC0415
    from server.runs.local import open_coordinator  # noqa: PLC0415

    return open_coordinator(folder, operator_audit(folder))
