"""The Flower ServerApp of a real federation: opens the run's folder and runs the round loop in it.

A run that has to wait for its sites goes on in `server/rounds/waiting_app.py`, and comes back here.
"""

import os
from contextlib import suppress

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from server.rounds.describing import Describing
from server.rounds.loop import RoundLoop
from server.rounds.missing_sites import to_the_end
from server.rounds.passport import Passports
from server.rounds.run_setting import RunSetting, note_end, run_setting
from server.runs.life import at_work
from server.runs.places import BackInQueueError
from server.runs.start_files import keep_starts
from shared.flower import RunStopped

__all__ = ["app", "note_end"]

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the job that the run's configuration holds, as one JSON string, in the folder that it names.

    Raises:
        WardroundError: Something stopped it; it can be resumed.
    """
    with run_setting(grid, context) as setting:
        work = at_work(
            setting.run,
            resume=setting.resume,
            from_queue=True,
            flower_run=setting.number,
            queue=None,
            process=os.getpid(),
        )
        with suppress(RunStopped, BackInQueueError), work:  # whoever stopped it knows
            _execute(setting)


def _execute(setting: RunSetting) -> None:
    run, job, heads, places = setting.run, setting.run.job, setting.heads, setting.places()
    if not run.has_checkpoint():
        keep_starts(run, setting.starts)
    if job.job.describes:
        to_the_end(run, lambda: Describing(setting.grid, job, run, heads, heads=heads, places=places))
        return
    loop = to_the_end(run, lambda: RoundLoop(setting.grid, job, run, heads, heads=heads, places=places))
    Passports(setting.coordinator, setting.audit).write(run, loop.federation, loop.layout)
