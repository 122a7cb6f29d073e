"""What a job may say about learning from images without labels."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from shared.method_keys import MethodKey, MethodTable
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

_KEYS = {
    "hidden": MethodKey(("mae",), 0.6),
    "block": MethodKey(("mae",), 8),
    "features": MethodKey(("simclr", "barlow-twins", "autoencoder"), 128),
    "projections": MethodKey(("simclr", "barlow-twins"), 64),
    "temperature": MethodKey(("simclr",), 0.2),
    "redundancy": MethodKey(("barlow-twins",), 0.005),
    "noise": MethodKey(("autoencoder",), 0, example=0.3),
    "sparsity": MethodKey(("autoencoder",), 0, example=0.01),
    "chain": MethodKey(("contrastive-divergence",), 1),
}


class Pretraining(MethodTable, TaskOptions):
    """Learns from images alone; another job starts from its weights.

    'mae' puts hidden blocks of an image together again. The others let two views of an image be alike, and
    those of two images not.
    """

    declared: ClassVar[Mapping[str, SampleField]] = {"image": SampleField("image")}
    takes_patches = True
    method_keys: ClassVar[Mapping[str, MethodKey]] = _KEYS
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
    hidden: float | None = _KEYS["hidden"].field("share of the blocks that is hidden", gt=0, lt=1)
    block: int | None = _KEYS["block"].field("pixels of a block along each axis", ge=1, le=256)
    features: int | None = _KEYS["features"].field(
        "numbers that [model.encoder] gives to the other network", ge=2, le=8192
    )
    projections: int | None = _KEYS["projections"].field(
        "numbers of [model.projector] for a view, which are compared", ge=2, le=8192
    )
    temperature: float | None = _KEYS["temperature"].field("temperature of the likenesses", gt=0, le=100)
    redundancy: float | None = _KEYS["redundancy"].field(
        "weight of what two numbers have in common", gt=0, le=100
    )
    noise: float | None = _KEYS["noise"].field(
        "deviation of noise on what is seen, in the units of prepared images (Vincent et al. 2008)",
        gt=0,
        le=100,
    )
    sparsity: float | None = _KEYS["sparsity"].field(
        "weight of the mean size of the numbers between", gt=0, le=1e6
    )
    chain: int | None = _KEYS["chain"].field("steps of a chain", ge=1, le=100)

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
        features = self.value_of("features")
        encoder = {ENCODER: Ends.of(data, features, "vector")}
        if self.compares:
            return {**encoder, PROJECTOR: Ends.of_table(features, self.value_of("projections"))}
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
        block = self.value_of("block")
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
