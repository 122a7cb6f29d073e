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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from scipy import stats

from client.data.manifest.splits import SplitTable
from shared.job.schema import load_job
from simulate.session.session import Hospitals, execute, start

PROJECT = Path(__file__).parents[2]
KEPT, FIGURES = PROJECT / "build" / "science", Path(__file__).with_name("gallery.json")
PAGE = PROJECT / "docs" / "gallery.md"
_COLUMNS = ("federated", "alone", "best alone", "pooled")
_COLOURS = 128
_SHOWN = ("rehearsal/median.png", "samples.png")  # the first of them that a run has


@dataclass(frozen=True)
class Entry:
    """One capability.

    Attributes:
        title: Its name.
        says: What it answers, in a sentence or two.
        page: Where it is described, within docs.
        studies: Jobs of benchmarks/science.py.
        made: The job on synthetic hospitals whose median answer is shown.
        picture: File beside this one, where another maker drew it.
        changes: Of the job, as `--set` makes them.
        called: In the name of its picture, where another entry shows the same job.
        labelled: Share of the training patients whose labels are used, as `--labelled` has it.
    """

    title: str
    says: str
    page: str
    studies: tuple[str, ...] = ()
    made: str = ""
    picture: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    called: str = ""
    labelled: float = 1.0

    @property
    def shown(self) -> str:
        """The picture's file."""
        return self.picture or f"gallery-{self.called or self.made}.png"

    @property
    def command(self) -> str:
        """What a user types."""
        words = ["wardround", "simulate", f"configs/jobs/{self.made}.toml"]
        if self.labelled < 1:
            words += ["--labelled", f"{self.labelled}"]
        for key, value in self.changes.items():
            said = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
            words += ["--set", f"'{key}={said}'" if '"' in said else f"{key}={said}"]
        return " ".join(words)


_HEADS = {"job.dataset": "phantom-sequences", "data.size": [64, 64]}

ENTRIES = (
    Entry(
        "Segmentation",
        "Outlines of organs, lesions and vessels, in pictures and volumes.",
        "tasks.md",
        ("brain-lgg", "retina-vessels"),
        made="quickstart",
    ),
    Entry(
        "Classification, with or without a record",
        "Classes of an image, a table, or both; rows that lack one of them are used too.",
        "records.md",
        ("skin-lesions", "skin-record"),
        made="phantom-records",
    ),
    Entry(
        "Several views",
        "One answer from several images of a patient, some of which may be lacking.",
        "bags.md#views",
        made="phantom-views",
    ),
    Entry(
        "Classes from few examples",
        "A class is the mean of its examples at all hospitals: one round, nothing else is learnt.",
        "few-labels.md#prototypes-classes-from-few-examples",
        made="skin-few-shot",
        changes={
            "job.dataset": "phantom-lesions",
            "task.classes": ["naevus", "melanoma", "keratosis"],
            "data.size": [64, 64],
        },
        labelled=0.1,
    ),
    Entry(
        "Few labels",
        "Images without a label teach beside those that have one.",
        "few-labels.md",
        ("brain-few-labels", "skin-few-labels"),
        made="brain-few-labels",
        changes=_HEADS,
        labelled=0.2,
    ),
    Entry(
        "Images alone",
        "What hides behind a part of an image, learnt without a label, to start another job from.",
        "few-labels.md#learning-from-images-alone",
        ("skin-pretrain",),
        made="phantom-hidden",
    ),
    Entry(
        "Several raters",
        "Masks of several people, who do not agree.",
        "few-labels.md#several-raters",
        ("retina-raters",),
        made="phantom-raters",
    ),
    Entry(
        "Regression",
        "Numbers that an image or a table tells: a volume, an age, a burden.",
        "regression.md",
        ("hippocampus-volume", "skin-age"),
        made="phantom-burden",
    ),
    Entry(
        "Detection",
        "Boxes around findings, in pictures and volumes: a map of centres, or RetinaNet.",
        "tasks.md#detection",
        ("brain-boxes", "blood-cells"),
        made="phantom-nodules-3d",
    ),
    Entry(
        "Detection, twice",
        "A second network looks at what the first has found; the FROC curve shows both.",
        "tasks.md#a-second-look",
        made="phantom-nodules-twice",
    ),
    Entry(
        "Instances",
        "Objects of one kind told apart and counted, such as cells.",
        "instances.md",
        made="phantom-cells",
    ),
    Entry(
        "Instances by direction",
        "The same by where in its object each pixel lies (HoVer-Net), in place of how deep.",
        "instances.md#how-objects-that-touch-are-told-apart",
        made="phantom-cells",
        changes={"task.apart": "directions"},
        called="cells-directions",
    ),
    Entry(
        "Survival",
        "How soon an event comes, from a table, an image or both.",
        "survival.md",
        ("tcga-brca", "glioma-survival", "rotterdam-gbsg", "brain-survival-fusion"),
        made="phantom-survival",
        picture="report.png",
    ),
    Entry(
        "Restoration",
        "Noise, coarse pixels, motion or shading taken out of an image.",
        "restoration.md",
        ("brain-denoise", "hippocampus-superresolution"),
        made="brain-denoise",
        changes=_HEADS,
    ),
    Entry(
        "Reconstruction",
        "An image from too few lines of k-space, rays of CT or counts of PET.",
        "reconstruction.md",
        ("brain-recon",),
        made="phantom-kspace",
        picture="reconstruction.png",
    ),
    Entry(
        "Synthesis",
        "An image of another kind: a sequence that was not taken.",
        "restoration.md#synthesis",
        ("brain-synthesis",),
        made="brain-synthesis",
        changes=_HEADS,
    ),
    Entry(
        "Bags and slides",
        "One label for many tiles, slices or vectors, and which of them it comes from.",
        "bags.md",
        ("musk1", "brain-bags"),
        made="phantom-slides",
        picture="bags.png",
    ),
    Entry(
        "Series",
        "Cines, signals and visits: what comes after what counts.",
        "sequences.md",
        made="phantom-rhythm",
        picture="sequences.png",
    ),
    Entry(
        "Registration",
        "Where each point of one image lies in another.",
        "registration.md",
        made="phantom-register",
    ),
    Entry(
        "Registration with a matrix first",
        "The same where images also lie elsewhere as a whole; each stage is shown.",
        "registration.md#a-matrix-first",
        made="phantom-align",
    ),
    Entry(
        "Generation",
        "Images of nobody: two networks, of which one tells what the other draws from real images.",
        "tasks.md#generation",
        made="skin-generate",
        changes={"job.dataset": "phantom-lesions"},
    ),
    Entry(
        "Generation, steadier",
        "The same with the distance of Wasserstein (WGAN-GP), and a moving average of the rounds' models.",
        "tasks.md#generation",
        made="skin-generate",
        changes={
            "job.dataset": "phantom-lesions",
            "task.loss": "wasserstein",
            "task.penalty": 10.0,
            "evaluation.select_best": None,
            "evaluation.average_decay": 0.9,
        },
        called="wgan",
    ),
    Entry(
        "Latent diffusion",
        "Images drawn out of noise, in the codes of an autoencoder.",
        "tasks.md#generation",
        made="phantom-latents",
    ),
    Entry(
        "Generation from codes",
        "Images put together of codes from a book, one code after the other (VQ-VAE).",
        "tasks.md#generation",
        made="phantom-codes",
    ),
)

_HEAD = """# Gallery

What Wardround can learn, each with a command, a picture and figures. Pictures are the median answer on test
patients of synthetic hospitals, which the command makes, as a run's report shows it. Figures are on real
patients: one model of all hospitals, without an image leaving one (federated); each hospital by itself; and
one model of the data in one place (pooled), which no federation could have. All are judged on the
same test patients of all sites; ± is half the width of the 95 % interval of the mean over seeds, or over the
folds that were published.

This page is made by `make gallery`, its figures by `python benchmarks/science.py`.
"""


def main() -> None:
    """Renew the page; pictures that are there stay, unless they are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--draw",
        nargs="*",
        metavar="PICTURE",
        help="draw pictures anew, such as gallery-wgan.png; all, if none is named",
    )
    parser.add_argument("--page", action="store_true", help="draw no picture")
    options = parser.parse_args()
    known = renewed(json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {})
    FIGURES.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for entry in [] if options.page else ENTRIES:
        path = Path(__file__).with_name(entry.shown)
        asked = options.draw is not None and (not options.draw or entry.shown in options.draw)
        if not entry.picture and (asked or not path.exists()):
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
