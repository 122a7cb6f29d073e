"""What a job may say about a classification."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from shared.metrics.spec import MetricSpec
from shared.metrics.statistic_spec import StatisticSpec
from shared.networks import Ends
from shared.table import later_key
from shared.tasks.fields import Field as SampleField
from shared.tasks.options import Classes, ClassesOptions
from shared.tasks.records import RecordOptions
from shared.tasks.stack_options import SEVERAL, StackTable

if TYPE_CHECKING:
    from shared.job.data_options import DataTable
    from shared.job.schema import JobSpec
    from shared.tasks.classification.task import ClassificationTask


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
        return self

    @property
    def predicted_columns(self) -> Sequence[str]:
        """See the base class."""
        return ("label",)

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
        if self.stack is None:
            return {**self.inputs(), "label": label}
        return {self.stack.kind: self.stack.field, "label": label}

    def statistics(self) -> tuple[StatisticSpec, ...]:
        """See the base class; and the scale of vectors and of columns."""
        of_stack = () if self.stack is None else self.stack.statistics()
        return (*super().statistics(), *of_stack, *self.column_statistics())

    @property
    def counted(self) -> int:
        """See the base class."""
        return len(self.classes)

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """See `RecordOptions.input_networks`: one logit per class."""
        if self.stack is not None:
            return self.stack.networks(data, len(self.classes))
        return self.input_networks(data, len(self.classes))

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
        )

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
        return ClassificationTask(job) if self.sees_images_alone else RecordClassificationTask(job)
