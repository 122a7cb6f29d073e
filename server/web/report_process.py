"""Makes the reports that stdin asks for, a line of JSON each: with PyTorch, so apart from the coordinator."""

import json
import os
import sys
from pathlib import Path
from typing import Any

_NICE = 10  # rounds go first


def _made(asked: dict[str, Any]) -> dict[str, str]:
    _say("Loading what reports are made with.")
    from server.report.facts import RunFacts  # noqa: PLC0415  (takes time; what is said comes first)
    from server.report.render import html, middle  # noqa: PLC0415
    from server.report.write import report_on_facts  # noqa: PLC0415
    from server.web.seen_run import SeenRun  # noqa: PLC0415
    from shared.errors import WardroundError  # noqa: PLC0415
    from shared.run_folder import RunRecord  # noqa: PLC0415

    try:
        runs = [SeenRun.seen(RunRecord.read(Path(path)), asked["role"]) for path in asked["runs"]]
        _say("Computing intervals." if len(runs) == 1 else "Comparing the runs on their test patients.")
        report = report_on_facts([RunFacts(run) for run in runs], images=False)
        _say("Drawing the figures.")
        return {"title": report.title, "html": html(report) if asked["whole"] else middle(report)}
    except WardroundError as error:
        return {"error": error.problem, "remedy": error.remedy or ""}


def _say(text: str) -> None:
    print(json.dumps({"says": text}), flush=True)


if __name__ == "__main__":
    os.nice(_NICE)
    for line in sys.stdin:
        print(json.dumps(_made(json.loads(line))), flush=True)
