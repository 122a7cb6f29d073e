"""What a job may say about a classification."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from shared.metrics.spec import MetricSpec
from shared.metrics.statistic_spec import StatisticSpec
from shared.networks import Ends
from shared.table import Label, check_distinct, later_key
from shared.tasks.fields import Field as SampleField
from shared.tasks.options import Classes, ClassesOptions
from shared.tasks.records import RecordOptions, moments_of
from shared.tasks.stack_options import ENCODER, SEVERAL, StackTable

if TYPE_CHECKING:
    from shared.job.data_options import DataTable
    from shared.job.schema import JobSpec
    from shared.tasks.classification.task import ClassificationTask

NUMBERS = "numbers"
"""Name of the statistic: moments of the numbers that are predicted beside the class."""

PROTOTYPES = "prototypes"
"""Role of the network that holds the means of the classes."""


class Classification(RecordOptions, ClassesOptions):
    """Gives each image, record, both, or bag or series of instances, a class or any number of labels."""

    declared: ClassVar[Mapping[str, SampleField]] = {
        "image": SampleField("image"),
        "label": SampleField("label", role="target"),
    }
    counts_itself = frozenset({"balanced-softmax"})
    unweighted: ClassVar[Mapping[str, str]] = {"balanced-softmax": "corrects for class counts itself"}
    example: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "task": {"classes": ["benign", "malignant"]},
        "model": {"name": "cnn"},
        "data": {"size": [96, 96]},
        "training": {"local_epochs": 1},
        "strategy": {"name": "fedavg"},
        "evaluation": {"select_best": "balanced_accuracy"},
    }

    name: Literal["classification"]
    classes: Classes = Field(
        description="The labels, in the order of the outputs; of two, the second is the positive one."
    )
    multi_label: bool = Field(False, description="An image may have several labels ('a|b') or none.")
    loss: Literal["cross-entropy", "balanced-softmax", "focal"] = Field(
        "cross-entropy", description="What training minimises."
    )
    stack: StackTable | None = SEVERAL

    prototypes: int | None = later_key(
        None,
        ge=1,
        le=4096,
        examples=[32],
        description="Features of an image that [model.encoder] makes; an image is of the class whose mean of "
        "features, in [model.prototypes], is nearest (Snell et al. 2017).",
    )
    number_targets: list[Label] = later_key(
        [],
        max_length=64,
        examples=[["age"]],
        description="Columns of numbers that the same network predicts beside the class; rows may lack some.",
    )
    number_scaling: dict[Label, Annotated[list[float], Field(min_length=2, max_length=2)]] | None = later_key(
        None,
        examples=[{"age": [60.0, 12.0]}],
        description="Mean and standard deviation of each of `number_targets`; without it those of all sites' "
        "training patients, added up before round 1.",
    )
    number_weight: float = later_key(
        1.0,
        gt=0,
        le=1000,
        description="Of the mean Huber loss of the numbers, in deviations, beside that of the class.",
    )
    mixup: float | None = later_key(
        None,
        gt=0,
        le=10,
        examples=[0.2],
        description="Train on mixtures of two images and of their labels, with shares of a beta "
        "distribution that has this number twice.",
    )

    @model_validator(mode="after")
    def _labels(self) -> Self:
        if not self.multi_label and len(self.classes) < 2:
            raise ValueError("classes: a classification needs two classes, or multi_label = true")
        if self.multi_label and self.loss == "balanced-softmax":
            raise ValueError("loss: 'balanced-softmax' is for one label per image")
        if self.stack is not None and not (self.image and self.sees_images_alone):
            raise ValueError("stack: is in place of an image; leave out columns and image")
        if self.mixup is not None and not (self.stack is None and self.sees_images_alone):
            raise ValueError("mixup: is for single images, not for records, bags or series")
        self._check_prototypes()
        self._check_numbers()
        return self

    def _check_numbers(self) -> None:
        check_distinct("number_targets", self.number_targets)
        stated = self.number_scaling
        if stated is not None and set(stated) != set(self.number_targets):
            raise ValueError("number_scaling: needs every one of number_targets, and no other")
        if stated is not None and any(deviation <= 0 for _, deviation in stated.values()):
            raise ValueError("number_scaling: a standard deviation must be above 0")
        if not self.number_targets:
            return
        for key in ("stack", "prototypes", "mixup", "unlabelled"):
            if getattr(self, key) is not None:
                raise ValueError(
                    f"number_targets: are predicted beside one label of an image or a record, not with {key}"
                )

    def _check_prototypes(self) -> None:
        if self.prototypes is None:
            return
        if self.multi_label or self.stack is not None or not (self.image and self.sees_images_alone):
            raise ValueError(
                "prototypes: are for images with one label each, not for records, bags or series"
            )
        if self.mixup is not None or self.learns_unlabelled:
            key = "mixup" if self.mixup is not None else "[task.unlabelled], or take method = 'leave-out'"
            raise ValueError(f"prototypes: a mean is of images whose one class is known; leave out {key}")

    @property
    def predicted_columns(self) -> Sequence[str]:
        """See the base class."""
        return ("label", *self.number_targets)

    @property
    def subject(self) -> str:
        """See the base class."""
        if self.stack is not None:
            return f"{self.name} of a {self.stack.of_what}: {', '.join(self.classes)}"
        return super().subject if self.sees_images_alone else f"{super().subject} from {self.seen}"

    def fields(self) -> Mapping[str, SampleField]:
        """See the base class."""
        label = replace(
            self.declared["label"],
            classes=tuple(self.classes),
            several=self.multi_label,
            partly_known=self.unlabelled is not None,
        )
        if self.number_targets:
            number = SampleField("number", columns=tuple(self.number_targets), role="target", required=False)
            return {**self.inputs(), "label": label, "number": number}
        if self.stack is None:
            return {**self.inputs(), "label": label}
        return {self.stack.kind: self.stack.field, "label": label}

    def statistics(self) -> tuple[StatisticSpec, ...]:
        """See the base class; and the scale of vectors and of columns."""
        of_stack = () if self.stack is None else self.stack.statistics()
        stated = self.number_scaling is not None
        of_numbers = () if stated else moments_of(NUMBERS, self.number_targets, "number_scaling")
        return (*super().statistics(), *of_stack, *self.column_statistics(), *of_numbers)

    @property
    def counted(self) -> int:
        """See the base class."""
        return len(self.classes)

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """See `RecordOptions.input_networks`: one logit per class."""
        if self.stack is not None:
            return self.stack.networks(data, len(self.classes))
        if self.prototypes is not None:
            return {
                ENCODER: Ends.of(data, self.prototypes, "vector"),
                PROTOTYPES: Ends.of_means(self.prototypes, len(self.classes)),
            }
        return self.input_networks(data, len(self.classes) + len(self.number_targets))

    def metrics(self) -> tuple[MetricSpec, ...]:
        """See the base class."""
        single = self.classes if len(self.classes) > (1 if self.multi_label else 2) else []
        return (
            MetricSpec("accuracy", shown=2),
            MetricSpec("balanced_accuracy", shown=1),
            MetricSpec("precision"),
            MetricSpec("sensitivity", classes=single),
            MetricSpec("specificity", classes=single),
            MetricSpec("f1", shown=4),
            MetricSpec("auroc", shown=3, classes=single),
            MetricSpec("average_precision"),
            MetricSpec("calibration_error", lower_is_better=True),
            *self._metrics_of_numbers(),
        )

    def _metrics_of_numbers(self) -> Iterator[MetricSpec]:
        if self.number_targets:
            single = self.number_targets if len(self.number_targets) > 1 else []
            yield MetricSpec("mae", lower_is_better=True, classes=single)
            yield MetricSpec("rmse", lower_is_better=True, classes=single)
            yield MetricSpec("r2", shown=5, classes=single)
            yield MetricSpec("relative_mae", lower_is_better=True, classes=single)

    def edges_size(self, bins: int) -> int:
        """See the base class."""
        return bins * len(self.classes)

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        if self.mixup is not None and self.learns_unlabelled:
            yield "[task] mixup: mixes labels, which unlabelled rows have not; leave out one of the two"
        if self.mixup is not None and job.training.adversarial is not None:
            yield (
                "[task] mixup: an attack on an image would change the loss of what it is mixed with; leave "
                "one of them out"
            )
        if self.prototypes is not None:
            yield from _problems_of_prototypes(job)
        yield from super().problems(job)

    def private_problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        if self.mixup is not None:
            yield (
                "[task] mixup: mixes images of patients, and differential privacy clips the gradient of "
                "each; leave it out"
            )
        yield from super().private_problems(job)

    def build(self, job: "JobSpec") -> "ClassificationTask":
        """See the base class."""
        from shared.tasks.classification.task import ClassificationTask, RecordClassificationTask

        if self.stack is not None:
            from shared.tasks.classification.stacked import StackedClassification

            return StackedClassification(job, self.stack)
        if self.number_targets:
            from shared.tasks.classification.numbers import ClassAndNumbers, RecordClassAndNumbers

            return ClassAndNumbers(job) if self.sees_images_alone else RecordClassAndNumbers(job)
        if self.prototypes is not None:
            from shared.tasks.classification.prototypes import PrototypeClassification

            return PrototypeClassification(job)
        return ClassificationTask(job) if self.sees_images_alone else RecordClassificationTask(job)


def _problems_of_prototypes(job: "JobSpec") -> Iterator[str]:
    if not job.privacy.secure_aggregation and job.privacy.mechanism != "dp-sgd":
        yield (
            "[privacy] secure_aggregation: must be true with prototypes, or mechanism 'dp-sgd': an update "
            "has the mean of the features of each class, of one with a single patient theirs"
        )
    if job.training.optimizer != "sgd":
        yield (
            "[training] optimizer: must be 'sgd' with prototypes: others scale the steps of each number by "
            "itself, and a mean is a sum over a count"
        )
