"""Write docs/gallery.md, and gallery-*.png beside this file: `make gallery`.

    python -m docs.images.make_gallery [--draw [PICTURE ...]] [--page]

Figures are those that benchmarks/science.py left in build/science; what it measured earlier is kept in
gallery.json. Pictures are of what jobs on synthetic hospitals, or on data that anybody may show, answered.
"""

import argparse
import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from scipy import stats

from client.data.manifest.splits import SplitTable
from docs.images.gallery_entries import ENTRIES, Entry
from shared.job.schema import load_job
from simulate.session.session import Hospitals, execute, start

PROJECT = Path(__file__).parents[2]
KEPT, FIGURES = PROJECT / "build" / "science", Path(__file__).with_name("gallery.json")
PAGE = PROJECT / "docs" / "gallery.md"
_COLUMNS = ("federated", "alone", "best alone", "pooled")
_COLOURS = 128
_SHOWN = ("rehearsal/median.png", "samples.png")  # the first of them that a run has


_HEAD = """# Gallery

What Wardround can learn, each with a command, a picture and figures. Pictures are the median answer on test
patients of synthetic hospitals, which the command makes, as a run's report shows it. Figures are on real
patients, of jobs that begin with `phantom` on synthetic ones: one model of all hospitals, without an image
leaving one (federated); each hospital by itself; and one model of the data in one place (pooled), which no
federation could have. All are judged on the same test patients of all sites; ± is half the width of the 95 %
interval of the mean over seeds, or over the folds that were published.

This page is made by `make gallery`, its figures by `python benchmarks/science.py`.
"""


def main() -> None:
    """Renew the page, and draw pictures that lack, or those alone that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--draw",
        nargs="*",
        metavar="PICTURE",
        choices=[entry.shown for entry in ENTRIES if not entry.picture],
        help="draw pictures anew, such as gallery-wgan.png; all, if none is named",
    )
    parser.add_argument("--page", action="store_true", help="draw no picture")
    options = parser.parse_args()
    known = renewed(json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {})
    FIGURES.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for entry in [] if options.page else ENTRIES:
        path = Path(__file__).with_name(entry.shown)
        asked = entry.shown in options.draw if options.draw else options.draw == [] or not path.exists()
        if asked and not entry.picture:
            answer_of(entry).quantize(_COLOURS, Image.Quantize.FASTOCTREE).save(path, optimize=True)
    PAGE.write_text(written(known), encoding="utf-8")


def renewed(known: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of each study, the latest runs in place of earlier ones."""
    for file in sorted(KEPT.glob("*.json")):
        known[file.stem] = json.loads(file.read_text(encoding="utf-8"))
    return known


def answer_of(entry: Entry) -> Image.Image:
    """Simulate a shipped job on synthetic hospitals; return the picture of its median test answer."""
    with tempfile.TemporaryDirectory() as folder:
        spec = load_job(PROJECT / "configs" / "jobs" / f"{entry.made}.toml", dict(entry.changes))
        hospitals = Hospitals(shares=SplitTable(labelled=entry.labelled))
        run = start(spec, hospitals, Path(folder), "cpu", baselines=False)
        execute(run, "in-process", Console(file=io.StringIO()))
        shown = next(run.path / name for name in _SHOWN if (run.path / name).exists())
        return Image.open(shown).convert("RGB")


def written(known: Mapping[str, Any]) -> str:
    """Return the page."""
    return _HEAD + "".join(_section(entry, known) for entry in ENTRIES)


def _section(entry: Entry, known: Mapping[str, Any]) -> str:
    lines = ["", f"## {entry.title}", "", f"{entry.says} [More]({entry.page})", ""]
    lines += ["```", entry.command, "```", ""]
    if Path(__file__).with_name(entry.shown).exists():
        lines += [f"![{entry.title}: {entry.says}](images/{entry.shown})", ""]
    rows = [_row(name, known[name]) for name in entry.studies if name in known]
    if rows:
        lines += ["| job, metric | seeds or folds | federated | sites alone, mean | best of them | pooled |"]
        lines += ["| --- | --- | --- | --- | --- | --- |", *rows, ""]
    return "\n".join(lines)


def _row(name: str, found: Mapping[str, Any]) -> str:
    scores = list(found["scores"].values())
    cells = [f"{name}, {found['metric'].replace('_', ' ')}", str(len(scores))]
    return f"| {' | '.join([*cells, *(_mean([row[column] for row in scores]) for column in _COLUMNS)])} |"


def _mean(values: list[float]) -> str:
    mean = sum(values) / len(values)
    digits = 1 if abs(mean) >= 10 else 3
    if len(values) < 2:
        return f"{mean:.{digits}f}"
    half = float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


if __name__ == "__main__":
    main()
