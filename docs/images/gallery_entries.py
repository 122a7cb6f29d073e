"""What docs/gallery.md shows: each capability with its command, its picture and its studies."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from docs.images.make_decisions import CHANGES as DECISIONS
from docs.images.make_decisions import VALIDATION


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
        validation: Share of the patients who do not test that validate, where `--validation` says it.
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
    validation: float | None = None

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
        if self.validation is not None:
            words += ["--validation", f"{self.validation}"]
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
        ("skin-lesions", "skin-record", "phantom-records"),
        made="phantom-records",
    ),
    Entry(
        "A class and numbers",
        "One network says what is in an image and how much of it there is.",
        "records.md#a-class-and-numbers",
        ("phantom-findings",),
        made="phantom-findings",
    ),
    Entry(
        "From scores to decisions",
        "Calibrated probabilities, thresholds, and sets of the classes that can't be ruled out.",
        "decisions.md",
        made="phantom-records",
        changes=DECISIONS,
        validation=VALIDATION,
        picture="decisions.png",
    ),
    Entry(
        "Several views",
        "One answer from several images of a patient, some of which may be lacking.",
        "bags.md#views",
        ("phantom-views",),
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
        ("retina-raters", "phantom-raters"),
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
        "A second network judges what the first has found; the FROC curve shows both. It did not help yet.",
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
        ("tcga-brca", "glioma-survival", "rotterdam-gbsg", "brain-survival-fusion", "phantom-survival"),
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
        "Reconstruction of CT",
        "The same from 40 angles, counted in few photons: less dose.",
        "reconstruction.md",
        ("phantom-low-dose",),
        made="phantom-low-dose",
    ),
    Entry(
        "Reconstruction of PET",
        "The same from few counts, beside a few steps of ML-EM.",
        "reconstruction.md",
        ("phantom-low-count",),
        made="phantom-low-count",
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
        ("phantom-rhythm",),
        made="phantom-rhythm",
        picture="sequences.png",
    ),
    Entry(
        "Cines",
        "How much of its blood a heart ejects: no frame tells it by itself.",
        "sequences.md",
        made="phantom-cine",
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
        "Generation from numbers",
        "Images drawn from a few numbers, into which an encoder puts real ones (variational autoencoder).",
        "tasks.md#generation",
        made="phantom-vae",
    ),
    Entry(
        "Diffusion",
        "Images drawn out of noise, pixel by pixel (rectified flow, or DDPM).",
        "tasks.md#generation",
        made="phantom-diffusion",
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
