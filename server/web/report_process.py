"""Makes the report that stdin asks for: with PyTorch, so apart from the process of the coordinator."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from server.report.facts import RunFacts
from server.report.render import html, middle
from server.report.write import report_on_facts
from server.web.seen_run import SeenRun
from shared.errors import WardroundError
from shared.run_folder import RunRecord

_NICE = 10  # rounds go first


def _made(asked: dict[str, Any]) -> dict[str, str]:
    try:
        runs = [SeenRun.seen(RunRecord.read(Path(path)), asked["role"]) for path in asked["runs"]]
        report = report_on_facts([RunFacts(run) for run in runs], images=False)
    except WardroundError as error:
        return {"error": error.problem, "remedy": error.remedy or ""}
    return {"title": report.title, "html": html(report) if asked["whole"] else middle(report)}


if __name__ == "__main__":
    os.nice(_NICE)
    print(json.dumps(_made(json.load(sys.stdin))))
