"""What a job may say about the local training: `[training]`, and `[training.PHASE]` for one phase of it."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from shared.networks.options import Part
from shared.table import SEVERAL, Table, later_key

Optimizer = Annotated[Literal["sgd", "adam", "adamw"], Field(description="Of the local training.")]
LearningRate = Annotated[float, Field(gt=0, description="At the start of the schedule.")]
Momentum = Annotated[
    float, Field(ge=0, lt=1, description="Of sgd; of adam and adamw it is beta 1, for GANs at most 0.5.")
]
WeightDecay = Annotated[float, Field(ge=0, description="L2 penalty; with adamw decoupled from the gradient.")]
Schedule = Annotated[
    Literal["constant", "cosine", "linear"],
    Field(description="How the learning rate falls over the rounds of the run (to 0 at its end)."),
]
WarmupRounds = Annotated[
    int, Field(ge=0, le=100_000, description="Rounds over which the learning rate rises from near 0.")
]
GradientClip = Annotated[float, Field(gt=0, description="Largest L2 norm of a step's gradient.")]


_TABLES = ("rates", "adversarial")  # keys that are tables, and none of a phase


def _own() -> Any:
    return Field(None, exclude_if=lambda value: value is None)


def _describe(schema: dict[str, Any]) -> None:
    """Let the description of a key stand where it is looked for, also where the key may have no value."""
    for field in schema["properties"].values():
        field.setdefault("description", field.get("anyOf", [{}])[0].get("description", ""))


class PhaseTable(Table):
    """`[training.PHASE]`: what is otherwise than in `[training]` in one phase, of a task that has several."""

    model_config = ConfigDict(json_schema_extra=_describe)

    optimizer: Optimizer | None = _own()
    learning_rate: LearningRate | None = _own()
    momentum: Momentum | None = _own()
    weight_decay: WeightDecay | None = _own()
    schedule: Schedule | None = _own()
    warmup_rounds: WarmupRounds | None = _own()
    gradient_clip: GradientClip | None = _own()


def _tables_for_phases(schema: dict[str, Any]) -> None:
    """Let every table within `[training]` be one of a phase, whatever its name."""
    phases = schema["properties"].pop(SEVERAL)
    schema["additionalProperties"] = phases["additionalProperties"]
    _describe(schema)


class AdversarialTable(Table):
    """`[training.adversarial]`: images are changed against the model before each step (Madry et al. 2018)."""

    epsilon: float = Field(
        gt=0,
        le=1000,
        description="Largest change of each number of an image, in the units of prepared images: deviations "
        "with 'zscore', and parts of the range with the others.",
    )
    steps: int = Field(
        1,
        ge=1,
        le=100,
        description="Steps of the attack; each takes as long as one of training. One begins at a drawn place "
        "(Wong et al. 2020), and several are PGD.",
    )


class TrainingTable(Table):
    """`[training]`: what each site does in a round."""

    model_config = ConfigDict(json_schema_extra=_tables_for_phases)

    local_epochs: int | None = Field(
        None, ge=1, le=1000, examples=[1], description="Passes over the site's data in a round."
    )
    local_steps: int | None = Field(
        None, ge=1, le=100_000, examples=[50], description="Optimiser steps in a round, instead of epochs."
    )
    batch_size: int = Field(16, ge=1, le=4096, description="Images in a step.")
    optimizer: Optimizer = "adamw"
    learning_rate: LearningRate = 1e-3
    momentum: Momentum = 0.9
    weight_decay: WeightDecay = 0.0
    schedule: Schedule = "constant"
    warmup_rounds: WarmupRounds = 0
    gradient_clip: GradientClip | None = Field(None, examples=[1.0])
    rates: dict[Part, Annotated[float, Field(ge=0, le=1000)]] = later_key(
        {},
        max_length=1000,
        description="Factors on the learning rate by modules of the model, such as { encoder = 0.1 }; of two "
        "that hold a tensor the inner one counts. What has 0 is neither trained nor sent.",
    )
    sampling: Literal["shuffled", "class-balanced"] = later_key(
        "shuffled",
        description="Which images a pass takes: each once; or each class as often as the others, whose "
        "patients take turns (for one label per image).",
    )
    passes: Literal["anew", "continued"] = later_key(
        "anew",
        description="Where the steps of a round begin: with a pass of their own; or, with local_steps, "
        "where the last round's ended, so that a round shorter than a pass meets other images.",
    )
    keep_optimizer: bool = later_key(
        False,
        description="Keep the optimiser's moments at each site from round to round; otherwise each round "
        "begins without any.",
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32",
        description="Of the network's arithmetic in training. A site whose processor or GPU lacks it refuses "
        "the job: 'bfloat16' needs AVX512-BF16 or AMX, or an NVIDIA GPU from Ampere on; 'float16' a GPU.",
    )
    compile: bool = later_key(
        False,
        description="Compile the networks at each site for its machine, for quicker steps after the first. "
        "Needs a C++ compiler there, and [policy] compile of the site.",
    )
    adversarial: AdversarialTable | None = later_key(
        None,
        description="Training on images that are changed against the model, in a table of its own.",
    )
    threads: int = Field(
        1, ge=1, le=64, description="CPU threads of a site's training. The result depends on it bit by bit."
    )

    @model_validator(mode="after")
    def _length(self) -> Self:
        if (self.local_epochs is None) == (self.local_steps is None):
            raise ValueError("local_epochs: give either local_epochs or local_steps")
        if self.passes == "continued" and self.local_steps is None:
            raise ValueError("passes: 'continued' needs local_steps; rounds of epochs are whole passes")
        return self

    phases: dict[str, PhaseTable] = later_key({}, validation_alias=SEVERAL)

    @model_validator(mode="before")
    @classmethod
    def _tables_are_phases(cls, table: Any) -> Any:
        """Take the tables within for those of phases, but for the keys of `[training]` that are tables."""
        if not isinstance(table, dict):
            return table
        tables = {key: value for key, value in table.items() if isinstance(value, dict)}
        phases = {key: value for key, value in tables.items() if key not in _TABLES}
        keys = {key: value for key, value in table.items() if key not in phases}
        return keys | {SEVERAL: phases} if phases else table

    @model_serializer(mode="wrap")
    def _as_written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        table: dict[str, Any] = write(self)
        return table | table.pop("phases", {})

    def of(self, phase: str) -> "TrainingTable":
        """Return the options that hold in a phase."""
        own = self.phases.get(phase)
        return self if own is None else self.model_copy(update=own.model_dump() | {"phases": {}})
