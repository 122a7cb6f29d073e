"""Draw page-*.png beside this file: `python -m docs.images.make_pages`. Needs Chromium."""

import io
import json
import math
import random
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from PIL import Image

from server.runs.folder import RunFolder
from shared.metrics.spec import metric_names
from tests.browser import Watched, watched_tab
from tests.jobs import make_job
from tests.server.report.runs import write_run
from tests.server.web.place import Place, open_place

_HERE = Path(__file__).parent
_WIDTH = 1200
_COLOURS = 128
_DICE = {"charite": 0.86, "st-mary": 0.82, "boston": 0.79, "lyon": 0.74}  # that each comes to
_ROUNDS, _DONE, _MINUTES = 40, 27, 1.75  # rounds, those that are over, and what one takes
_OURS = {
    "project": "default",
    "researcher": "ada",
    "flower_run": 1,
    "figures": dict.fromkeys(_DICE, "project"),
}


def draw(place: Place) -> None:
    """Save the pictures of a coordinator's pages."""
    earlier = make_job(job_name="heart-mri", job_rounds=12, job_seed=2)
    started = "2026-11-19T09:15:00+00:00"
    write_run(place.runs, earlier, list(_DICE), 12, "heart-mri-20261119-091500", **_OURS, started=started)
    _write_waiting(place)
    run = _write_going(place)
    with watched_tab(_WIDTH, trusts_all=True) as tab:
        tab.page.goto(place.url)
        tab.page.fill("#token", place.tokens["olga"])
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_url(f"{place.url}/")
        _save(tab, "runs")
        tab.page.goto(f"{place.url}/runs/{run.path.name}")
        tab.page.wait_for_selector("#live-state:text('live')")
        _save(tab, "run")


def _write_waiting(place: Place) -> None:
    run = RunFolder.create(place.runs, make_job(job_name="lung-ct"), "lung-ct-20261126-080000", "default")
    sites = {
        "charite": {"state": "approval", "since": _ago(190)},
        "lyon": {"state": "outside its hours", "since": _ago(30)},
    }
    until = "2026-12-03T08:00:00+00:00"
    run.describe(**_OURS, started=_ago(190), status="waiting", waiting={"sites": sites, "until": until})
    place.goes_on(run)


def _write_going(place: Place) -> RunFolder:
    """Write a run that has done most of its rounds, with a site that was late and is lost now."""
    job = make_job(job_name="heart-mri", job_rounds=_ROUNDS, job_dataset="heart-mri-2025")
    run = RunFolder.create(place.runs, job, "heart-mri-20261126-090000", "default")
    counts = {"train": 100, "val": 20, "test": 40}
    sites = {site: {"patients": counts, "examples": counts} for site in _DICE}
    run.describe(**_OURS, started=_ago(52), status="running", sites=sites)
    lines = [{"event": "run_started", "time": _ago(50), "rounds": _ROUNDS, "sites": 4}]
    for round_ in range(1, _DONE + 1):
        lines += _write_round(run, round_)
    lines.append({"event": "round_started", "time": _ago(1), "round": _DONE + 1})
    now = {"round": _DONE + 1, "phase": "train", "time": _ago(0.2)}
    for site, loss in (("charite", 0.161), ("st-mary", 0.19)):
        lines.append({"event": "site_done", "site": site, "loss": loss, "seconds": 62.3, **now})
    lines.append({"event": "site_failed", "site": "lyon", "reason": "no space left on the device", **now})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (run.path / "events.jsonl").write_text(text, encoding="utf-8")
    return place.goes_on(run)


def _write_round(run: RunFolder, round_: int) -> list[dict[str, object]]:
    """Write the rows of a round; returns its events."""
    generator = random.Random(round_)  # noqa: S311 (for a picture)
    begun = 50 - _MINUTES * (round_ - 1)
    dice = {
        site: top * (1 - math.exp(-round_ / 6)) + generator.gauss(0, 0.008) for site, top in _DICE.items()
    }
    loss = {site: 0.9 * math.exp(-round_ / 9) + 0.12 + 0.03 * place for place, site in enumerate(_DICE)}
    metrics = metric_names(run.job)
    mean = dict.fromkeys(metrics, sum(dice.values()) / 4)
    row = {"round": round_, "sites": 4, "train_loss": sum(loss.values()) / 4, "seconds": 104.2}
    run.add_rows("metrics.csv", [{**row, "bytes": 46_000_000, **mean}])
    rows = [{"round": round_, "site": site, "seconds": 60, "bytes": 5_600_000} for site in _DICE]
    trained = [{**row, "phase": "train", "train_loss": loss[str(row["site"])]} for row in rows]
    judged = [{**row, "phase": "val", **dict.fromkeys(metrics, dice[str(row["site"])])} for row in rows]
    run.add_rows("sites.csv", [*trained, *judged])
    when = {"round": round_, "time": _ago(begun - 0.9), "phase": "train"}
    done = [
        {"event": "site_done", "site": site, "loss": loss[site], "seconds": 61.0, **when}
        for site in _DICE
        if (site, round_) != ("lyon", 19)
    ]
    late = [{"event": "site_late", "site": "lyon", **when}] if round_ == 19 else []
    return [
        {"event": "round_started", "round": round_, "time": _ago(begun)},
        *done,
        *late,
        {"event": "round_finished", "round": round_, "time": _ago(begun - 1.74)},
    ]


def _ago(minutes: float) -> str:
    return (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat(timespec="milliseconds")


def _save(tab: Watched, name: str) -> None:
    shot = Image.open(io.BytesIO(tab.page.screenshot(full_page=True))).convert("RGB")
    small = shot.quantize(_COLOURS, Image.Quantize.FASTOCTREE)
    small.save(_HERE / f"page-{name}.png", optimize=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, open_place(Path(folder) / "coordinator") as opened:
        draw(opened)
