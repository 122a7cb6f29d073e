"""What a job may say about learning from images without labels."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from shared.metrics.spec import MetricSpec
from shared.networks import Ends
from shared.tasks.fields import Field as SampleField
from shared.tasks.options import TRAIN, PhaseSpec, TaskOptions

if TYPE_CHECKING:
    from shared.job.data_options import DataTable
    from shared.job.schema import JobSpec
    from shared.tasks.pretraining.rebuilding import PretrainingTask

ENCODER, PROJECTOR, DECODER = "encoder", "projector", "decoder"
"""Roles of networks: one sees an image; the others what it says, to compare it or to draw the image again."""

BELIEF = "belief-network"
"""Name of the network that learns by contrastive divergence."""

_OF_METHOD: Mapping[str, tuple[str, ...]] = {
    "hidden": ("mae",),
    "block": ("mae",),
    "features": ("simclr", "barlow-twins", "autoencoder"),
    "noise": ("autoencoder",),
    "sparsity": ("autoencoder",),
    "chain": ("contrastive-divergence",),
    "projections": ("simclr", "barlow-twins"),
    "temperature": ("simclr",),
    "redundancy": ("barlow-twins",),
}


class Pretraining(TaskOptions):
    """Learns from images alone; another job starts from its weights.

    'mae' puts hidden blocks of an image together again. The others let two views of an image be alike, and
    those of two images not.
    """

    declared: ClassVar[Mapping[str, SampleField]] = {"image": SampleField("image")}
    takes_patches = True
    example: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "task": {"method": "simclr"},
        "model": {"encoder": {"name": "cnn"}, "projector": {"name": "mlp", "hidden": [128]}},
        "data": {"size": [96, 96]},
        "training": {"local_steps": 50, "batch_size": 32, "keep_optimizer": True},
        "strategy": {"name": "fedavg"},
        "evaluation": {"select_best": "contrast"},
    }

    name: Literal["pretraining"]
    method: Literal["mae", "simclr", "barlow-twins", "autoencoder", "contrastive-divergence"] = Field(
        description="'mae' hides blocks and lets a network for maps fill them in (He et al. 2022, Xie et al. "
        "2022). 'simclr' (Chen et al. 2020) and 'barlow-twins' (Zbontar et al. 2021) compare two views. "
        "'autoencoder' draws an image again from few numbers; 'contrastive-divergence' trains a deep belief "
        "network layer by layer (Hinton et al. 2006)."
    )
    hidden: float | None = Field(
        None, gt=0, lt=1, examples=[0.6], description="mae: share of the blocks that is hidden. Default: 0.6."
    )
    block: int | None = Field(
        None, ge=1, le=256, examples=[8], description="mae: pixels of a block along each axis. Default: 8."
    )
    features: int | None = Field(
        None,
        ge=2,
        le=8192,
        examples=[128],
        description="Numbers that [model.encoder] gives to the other network. Default: 128.",
    )
    projections: int | None = Field(
        None,
        ge=2,
        le=8192,
        examples=[64],
        description="Of a view: numbers of [model.projector] that are compared. Default: 64.",
    )
    temperature: float | None = Field(
        None, gt=0, le=100, examples=[0.2], description="simclr: of the likenesses. Default: 0.2."
    )
    redundancy: float | None = Field(
        None,
        gt=0,
        le=100,
        examples=[0.005],
        description="barlow-twins: weight of what two numbers have in common. Default: 0.005.",
    )

    noise: float | None = Field(
        None,
        gt=0,
        le=100,
        examples=[0.3],
        description="autoencoder: deviation of noise on what is seen, in the units of prepared images "
        "(Vincent et al. 2008). Default: none.",
    )
    sparsity: float | None = Field(
        None,
        gt=0,
        le=1e6,
        examples=[0.01],
        description="autoencoder: weight of the mean size of the numbers between. Default: 0.",
    )
    chain: int | None = Field(
        None, ge=1, le=100, examples=[1], description="contrastive-divergence: steps of a chain. Default: 1."
    )

    @model_validator(mode="after")
    def _keys_of_methods(self) -> Self:
        for key, methods in _OF_METHOD.items():
            if getattr(self, key) is not None and self.method not in methods:
                raise ValueError(f"{key}: is for method = {' or '.join(map(repr, methods))}")
        return self

    @property
    def compares(self) -> bool:
        """Whether it compares two views of an image."""
        return self.method in ("simclr", "barlow-twins")

    @property
    def subject(self) -> str:
        """See the base class."""
        return f"what images look like, without labels ({self.method})"

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """One that gives the channels of each pixel; or one that sees an image, and one for what it says."""
        if self.method == "mae":
            return {"model": Ends.of(data, data.channels, "map")}
        if self.method == "contrastive-divergence":
            return {"model": Ends.of(data, 1, "vector")}
        features = self.features or 128
        encoder = {ENCODER: Ends.of(data, features, "vector")}
        if self.compares:
            return {**encoder, PROJECTOR: Ends.of_table(features, self.projections or 64)}
        return {**encoder, DECODER: Ends.of_drawn(data, features)}

    def phases(self, data: "DataTable") -> tuple[PhaseSpec, ...]:
        """See the base class: a contrast is none of single images."""
        mixes = "compares the images of a batch with each other" if self.compares else None
        return (PhaseSpec(TRAIN, tuple(self.networks(data)), mixes),)

    def metrics(self) -> tuple[MetricSpec, ...]:
        """See the base class."""
        if self.compares:
            return (
                MetricSpec("contrast", shown=1),
                MetricSpec("likeness_of_views", shown=2),
                MetricSpec("likeness_of_images", lower_is_better=True, shown=3),
            )
        return (
            MetricSpec("explained", shown=1),
            MetricSpec("rebuilt_error", lower_is_better=True, shown=2),
            MetricSpec("rebuilt_error_blank", lower_is_better=True),
        )

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        if self.compares and job.training.batch_size < 2:
            yield "[training] batch_size: must be 2 at least, as images are compared with each other"
        if job.training.adversarial is not None:
            yield "[training.adversarial]: is about answers, and this task has none"
        if self.method != "mae" and job.data.patch is not None:
            yield f"[data] patch: is for method = 'mae'; '{self.method}' looks at whole images"
        if self.method == "contrastive-divergence":
            yield from self._belief_problems(job)
        size = job.data.patch or job.data.size or []
        block = self.block or 8
        if self.method == "mae" and any(pixels < 2 * block for pixels in size):
            yield f"[task] block: {block} pixels are too many for images of {size}"

    def build(self, job: "JobSpec") -> "PretrainingTask":
        """See the base class."""
        from shared.tasks.pretraining.codes import AutoencoderTask, BeliefTask
        from shared.tasks.pretraining.task import ContrastTask, HiddenBlocksTask

        kinds: dict[str, type[PretrainingTask]] = {
            "mae": HiddenBlocksTask,
            "autoencoder": AutoencoderTask,
            "contrastive-divergence": BeliefTask,
        }
        return kinds.get(self.method, ContrastTask)(job, self)

    def _belief_problems(self, job: "JobSpec") -> Iterator[str]:
        from shared.job_parts import networks_of, phases_of
        from shared.networks.belief import BeliefNetworkOptions

        for network in networks_of(job):
            if not isinstance(network.options, BeliefNetworkOptions):
                yield f"[{network.table}] name: 'contrastive-divergence' trains a '{BELIEF}'"
            elif len(network.options.hidden) > 1 and job.privacy.mechanism == "dp-sgd":
                yield (
                    f"[{network.table}] hidden: must be one layer with 'dp-sgd', whose noise goes to all "
                    "layers in each step, also to those that have learnt and are to stay as they are"
                )
            elif len(network.options.hidden) > 1 and any(own.weight_decay for own in phases_of(job).values()):
                yield (
                    "[training] weight_decay: must be 0 with several layers, as it would go on shrinking "
                    "those that have learnt and are to stay as they are"
                )
        if job.data.intensity != "zscore":
            yield "[data] intensity: must be 'zscore', as pixels are taken to have a deviation of 1"
