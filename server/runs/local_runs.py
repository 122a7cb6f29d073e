"""The runs in a folder of this machine, as simulations leave them: looked at without a coordinator."""

from pathlib import Path

from server.runs.control import RunRow
from shared.errors import RunError, WardroundError
from shared.run_folder import JOB, RunRecord


def local_runs(folder: Path) -> list[RunRow]:
    """Return the runs in a folder, the newest first.

    Raises:
        RunError: There is no such folder.
    """
    if not folder.is_dir():
        remedy = "Give the folder with --local, or log in to a coordinator with `wardround login`."
        raise RunError("is not a folder of runs", where=folder, remedy=remedy)
    rows = [_row(path.parent) for path in folder.glob(f"*/{JOB}")]
    return sorted(rows, key=lambda row: (row.started, row.name), reverse=True)


def _row(path: Path) -> RunRow:
    try:
        run = RunRecord.read(path)
        about = run.read_description()
        return RunRow(
            name=path.name,
            status=run.status,
            round=run.last_round(),
            rounds=run.job.job.rounds,
            started=str(about.get("started", "")),
            researcher="",
            project="",
            reason=str(about.get("reason") or ""),
        )
    except (WardroundError, OSError, ValueError) as error:
        reason = error.problem if isinstance(error, WardroundError) else str(error)
        return RunRow(path.name, "unreadable", 0, 0, "", "", "", reason)
