"""What a job may say about its task: `[task]`, checked without loading PyTorch."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from shared.metrics.spec import MetricSpec
from shared.metrics.statistic_spec import StatisticSpec
from shared.table import Label, Positive, Table, check_distinct, later_key
from shared.tasks.fields import Field as SampleField
from shared.tasks.fields import Pairing, first_of_role
from shared.tasks.unlabelled.options import UNLABELLED, UnlabelledTable, unlabelled_problems
from shared.text.names import suggestion

if TYPE_CHECKING:
    from shared.job.data_options import DataTable
    from shared.job.schema import JobSpec
    from shared.networks import Ends
    from shared.tasks.base import Task

Code = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(min_length=3, max_length=4)]
CATEGORIES = ("anatomy", "lesion", "tissue")
Classes = Annotated[list[Label], Field(min_length=1, max_length=256)]

CLASS_COUNTS = "class_counts"
"""Name of the statistic: (K,) images, or voxels, of each class."""


TRAIN = "train"
"""Name of the one phase of most tasks."""


@dataclass(frozen=True)
class PhaseSpec:
    """What is known of a phase of training before PyTorch is loaded: one optimiser, and what it works on.

    Attributes:
        name: As `[training.NAME]` has it.
        networks: Roles of the networks whose parameters it changes.
        mixes: Why its loss is not one for each sample ("ranks the patients of a batch"), so that it can't be
            had with differential privacy; None where it is.
        sees_data: Whether it is given anything of the samples.
    """

    name: str
    networks: tuple[str, ...]
    mixes: str | None = None
    sees_data: bool = True


class TaskOptions(Table):
    """Options that every task has, and what every task says about itself.

    A task is a subclass in a folder of its own, listed in `shared.tasks`, with its heavy half beside it.

    Attributes:
        declared: What a sample is made of, as far as it is the same for every job.
        takes_patches: Whether it may be trained on crops of its images (`[data] patch`).
        takes_levels: Whether its loss takes the maps of several levels (`[model] deep_supervision`).
        example: The tables of a job to begin with; `[job]` and `[task] name` are added.
    """

    declared: ClassVar[Mapping[str, SampleField]]
    takes_patches: ClassVar[bool] = False
    takes_levels: ClassVar[bool] = False
    example: ClassVar[Mapping[str, Mapping[str, Any]]]

    name: str
    codes: dict[Label, Code] = later_key(
        {},
        max_length=256,
        examples=[{"tumour": ["SCT", "108369006", "Neoplasm", "lesion"]}],
        description="What classes are called in results in DICOM and FHIR: coding scheme (SCT is SNOMED CT), "
        "code, meaning and, for structures, 'anatomy', 'lesion' or 'tissue' (docs/results.md).",
    )

    @model_validator(mode="after")
    def _codes_of_classes(self) -> Self:
        known = {name for own in self.fields().values() for name in own.classes}
        for name, code in self.codes.items():
            if name not in known:
                raise ValueError(f"codes: there is no class '{name}'; {suggestion(name, known)}")
            if len(code[1]) > 16 or len(code[0]) > 16:
                raise ValueError(f"codes: scheme and code of '{name}' have 16 characters at most")
            if code[3:] and code[3] not in CATEGORIES:
                raise ValueError(f"codes: '{name}' is none of {', '.join(CATEGORIES)} in the fourth place")
        return self

    def fields(self) -> Mapping[str, SampleField]:
        """Return what a sample is made of, by name."""
        return self.declared

    def given_fields(self) -> Mapping[str, SampleField]:
        """Return what a sample is made of where a model is used; here the same as where it is learnt from."""
        return self.fields()

    def pairing(self, data: "DataTable") -> Pairing | None:
        """Return how sites pair their patients; None where a sample is of one row."""
        return None

    def classified(self) -> tuple[str, SampleField] | None:
        """Return the target whose classes `Task.predict` gives `logits` for, and its name; None for none.

        Of a label these are (B, K), of a mask (B, 1 + K, *S) with the background first.
        """
        return None

    @property
    def needs_counts(self) -> bool:
        """Whether the loss needs the counts of the classes, `CLASS_COUNTS`."""
        return False

    @property
    def learns_unlabelled(self) -> bool:
        """Whether training rows without a target that is partly known are trained on, not left out."""
        return False

    @abstractmethod
    def networks(self, data: "DataTable") -> "Mapping[str, Ends]":
        """Return what stands at the ends of each network, by its role; `model` where there is one."""

    def phases(self, data: "DataTable") -> tuple[PhaseSpec, ...]:
        """Return what each step of training does, in order: here one phase for all networks."""
        return (PhaseSpec(TRAIN, tuple(self.networks(data))),)

    @abstractmethod
    def metrics(self) -> tuple[MetricSpec, ...]:
        """Return the metrics that the task reports, besides the loss."""

    @property
    @abstractmethod
    def subject(self) -> str:
        """What is learnt, in a few words for a person who decides about the job."""

    def statistics(self) -> tuple[StatisticSpec, ...]:
        """Return what is added up over the training patients of all sites before the first round."""
        return ()

    def edges_size(self, bins: int) -> int:
        """Return how many numbers the edges of the bins of an evaluation have, at most."""
        return 0

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """Yield what contradicts other tables of the job, each naming table and key."""
        yield from ()

    def private_problems(self, job: "JobSpec") -> Iterator[str]:
        """Yield what differential privacy at the sites can't be had with."""
        yield from ()

    @abstractmethod
    def build(self, job: "JobSpec") -> "Task":
        """Return the heavy half; loads PyTorch."""


class ClassesOptions(TaskOptions):
    """A task whose targets are classes, which a loss may weigh."""

    classes: Classes
    loss: str
    class_weights: Literal["none", "site", "federation", "public"] = Field(
        "none",
        description="Weight classes by the inverse of their count at the site, in the federation or "
        "of class_shares.",
    )
    class_shares: list[Positive] | None = Field(
        None,
        max_length=257,
        examples=[[0.9, 0.1]],
        description="Shares of the classes as publicly known, in place of counts. A private job can't "
        "count: counts are the patients'.",
    )

    label_smoothing: float = later_key(
        0.0,
        ge=0,
        lt=1,
        examples=[0.1],
        description="Share of each label that training spreads over all classes; for losses with a "
        "cross-entropy.",
    )

    unlabelled: UnlabelledTable | None = UNLABELLED

    smoothed: ClassVar[frozenset[str]] = frozenset(
        {"cross-entropy", "balanced-softmax", "dice-ce", "batch-dice-ce", "cldice-ce"}
    )  # losses that take smoothed labels
    counts_itself: ClassVar[frozenset[str]] = frozenset()  # losses that need class counts by their nature
    unweighted: ClassVar[Mapping[str, str]] = {}  # losses that take no class weights, and why

    def classified(self) -> tuple[str, SampleField]:
        """See the base class: the first target."""
        fields = self.fields()
        name = first_of_role(fields, "target")
        return name, fields[name]

    @property
    def learns_unlabelled(self) -> bool:
        """See the base class."""
        return self.unlabelled is not None and self.unlabelled.learns

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        yield from super().problems(job)
        yield from unlabelled_problems(self)
        if self.learns_unlabelled and job.training.adversarial is not None:
            yield "[training.adversarial]: an attack raises the loss of labels; leave out [task.unlabelled]"

    @property
    @abstractmethod
    def counted(self) -> int:
        """Classes that are counted, the background among them."""

    @property
    def needs_counts(self) -> bool:
        """See the base class."""
        return self.corrects_for_counts

    @property
    def corrects_for_counts(self) -> bool:
        """Whether the loss makes up for how often classes occur."""
        return self.class_weights != "none" or self.loss in self.counts_itself

    @property
    def subject(self) -> str:
        """See the base class."""
        found = f"{self.name} of {', '.join(self.classes)}"
        return f"{found}, from images with and without labels" if self.learns_unlabelled else found

    def statistics(self) -> tuple[StatisticSpec, ...]:
        """Return the counts of the classes, where those of all sites are weighed together."""
        if self.class_weights != "federation":
            return ()
        names = self.classes if self.counted == len(self.classes) else ["background", *self.classes]
        counts = StatisticSpec.counts(CLASS_COUNTS, names)
        return (counts.unless("take class_weights = 'public' and give class_shares"),)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        check_distinct("classes", self.classes)
        return self

    @model_validator(mode="after")
    def _smoothing(self) -> Self:
        if not self.label_smoothing:
            return self
        if self.classified()[1].several:
            raise ValueError("label_smoothing: is for one label per image (or pixel)")
        if self.loss not in self.smoothed:
            fitting = ", ".join(sorted(self.smoothed))
            raise ValueError(f"label_smoothing: '{self.loss}' has no cross-entropy (one of: {fitting})")
        return self

    @model_validator(mode="after")
    def _weights(self) -> Self:
        if self.class_weights != "none" and self.loss in self.unweighted:
            raise ValueError(f"class_weights: must be 'none', as '{self.loss}' {self.unweighted[self.loss]}")
        shares = self.class_shares
        if self.class_weights == "public" and shares is None:
            raise ValueError("class_shares: is needed for class_weights = 'public'")
        if shares is None:
            return self
        if self.class_weights != "public" and self.loss not in self.counts_itself:
            others = "".join(f" or loss = '{name}'" for name in sorted(self.counts_itself))
            raise ValueError(f"class_shares: needs class_weights = 'public'{others}")
        if len(shares) != self.counted:
            raise ValueError(f"class_shares: needs {self.counted} numbers, has {len(shares)}")
        return self

    def private_problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        if self.class_shares is None and self.needs_counts:
            key = "class_weights" if self.class_weights != "none" else "loss"
            yield (
                f"[task] {key}: '{getattr(self, key)}' needs the exact class counts of the site, which no "
                "noise protects; give public class_shares, or take class_weights = 'none' and another loss"
            )
