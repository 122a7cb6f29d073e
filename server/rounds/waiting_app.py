"""The Flower ServerApp of a run that waits for its sites: asks them, and loads neither PyTorch nor MONAI.

A run may wait for days, and many at once; their processes share what is loaded here. Once it may begin, the
queue hands it to `server/rounds/server_app.py`, which asks the sites once more.
"""

import os
from contextlib import suppress

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from server.rounds.federation import Federation
from server.rounds.joining import Joining
from server.rounds.run_setting import RunSetting, note_end, run_setting
from server.runs.life import at_work
from server.runs.log import record_and_tell
from server.runs.places import BackInQueueError, WaitingRoom
from shared.flower import RunStopped

__all__ = ["app", "note_end"]

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Wait for the sites of the run that the configuration names.

    Raises:
        WardroundError: They did not come, or something else stopped it; it can be resumed.
    """
    with run_setting(grid, context) as setting:
        work = at_work(
            setting.run,
            resume=setting.resume,
            from_queue=True,
            status="waiting",
            flower_run=setting.number,
            queue=None,
            process=os.getpid(),
        )
        with suppress(RunStopped, BackInQueueError), work:  # whoever stopped it knows
            _wait(setting)


def _wait(setting: RunSetting) -> None:
    """Ask the sites until the run may begin.

    Raises:
        BackInQueueError: It may.
        RunError: Fewer than it needs have come by its deadline.
    """
    run = setting.run
    about = run.read_description()
    federation = Federation(
        setting.grid,
        run.job,
        record_and_tell(run, setting.heads),
        researcher=str(about.get("researcher", "")),
        project=str(about.get("project", "")),
        strict=False,
        numbers=0,  # no model comes back
        states=0,
        heads=setting.heads,
    )
    Joining(federation, run, setting.places(WaitingRoom)).gather(run.last_round() + 1)
