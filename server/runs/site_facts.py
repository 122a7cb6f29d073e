"""What runs tell of each site: the jobs for which it is waited, and the last round that it trained."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import WardroundError
from shared.run_folder import ABOUT, AT_WORK, SITES, RunRecord

_APPROVAL = "approval"


@dataclass(frozen=True)
class SiteFacts:
    """What runs tell of one site.

    Attributes:
        waiting: Runs that wait for its approval.
        last_run: The newest one in which it trained; empty where it never did.
        last_round: The last round of that run that it trained.
    """

    waiting: int = 0
    last_run: str = ""
    last_round: int = 0


def site_facts(runs: Path) -> dict[str, SiteFacts]:
    """Return what the runs of a coordinator tell of its sites, by name.

    Args:
        runs: Folder of the run folders.
    """
    waiting: dict[str, int] = {}
    last: dict[str, tuple[str, int]] = {}
    for run, about in _newest_first(runs):
        if run.status in AT_WORK:
            for site, standing in ((about.get("waiting") or {}).get("sites") or {}).items():
                waiting[site] = waiting.get(site, 0) + (standing.get("state") == _APPROVAL)
        for site, round_ in _last_rounds(run).items():
            last.setdefault(site, (run.path.name, round_))
    names = waiting.keys() | last.keys()
    return {site: SiteFacts(waiting.get(site, 0), *last.get(site, ("", 0))) for site in names}


def _newest_first(runs: Path) -> Iterator[tuple[RunRecord, dict[str, Any]]]:
    found = []
    for path in runs.glob(f"*/{ABOUT}"):
        with suppress(WardroundError, OSError, ValueError):  # being made, or of another version
            run = RunRecord.read(path.parent)
            found.append((run, run.read_description()))
    yield from sorted(found, key=lambda pair: str(pair[1].get("started")), reverse=True)


def _last_rounds(run: RunRecord) -> dict[str, int]:
    last: dict[str, int] = {}
    with suppress(WardroundError):
        for row in run.table(SITES):
            if row.get("phase") == "train" and str(row.get("round")).isdigit():
                last[row["site"]] = max(last.get(row["site"], 0), int(row["round"]))
    return last
