"""Hospitals of a simulation that want to spoil the model: what they do to their labels or to what they send.

Only a simulation has them. They judge models as the others do, on what they really have.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from client.data.samples.site_data import Samples, SiteData
from client.work.hospital import Site
from shared.batch import Batch
from shared.errors import RunError
from shared.job.schema import JobSpec
from shared.seeds import seed_of
from shared.table import Table
from shared.tasks.fields import UNKNOWN_LABEL, UNKNOWN_PIXEL
from shared.wire import messages

Kind = Literal["label-flip", "sign-flip", "scale", "noise", "backdoor", "collude"]
KINDS: tuple[Kind, ...] = get_args(Kind)

CORNER = 8
"""A backdoor's mark is so many times smaller than the image along each axis."""

_TIMES = 10.0  # what 'scale' makes of an update, and how long the one of 'noise' is beside the true one
_COMMON = 0.1  # length of the update on which colluding sites agree, of the model's
_MARKED = 0.5  # share of the images that a backdoor marks
Vector = NDArray[np.float32]


class Attack(Table):
    """Which sites of a simulation attack, and how; kept in the run's folder.

    Attributes:
        kind: `label-flip` trains on the wrong classes, `backdoor` marks half of the images and calls them
            class 0; `sign-flip` sends its update backwards, `scale` ten times as long, `noise` a random one
            that is as long as that; with `collude` all send the same one, in a direction drawn for the round.
        sites: Names of the attackers.
        seed: Of what they draw.
    """

    kind: Kind
    sites: list[str] = Field(min_length=1)
    seed: int

    @classmethod
    def drawn(cls, kind: str, count: int, job: JobSpec, sites: Sequence[str]) -> "Attack":
        """Draw the attackers by the job's seed.

        Raises:
            RunError: There is no such attack, it is not one for the job's task, or too few sites are left.
        """
        known = next((own for own in KINDS if own == kind), None)
        if known is None:
            raise RunError(f"there is no attack '{kind}'", where="--attack", remedy=f"One of: {_NAMES}.")
        if not 0 < count < len(sites):
            problem = f"{count} of {len(sites)} sites can't be attackers: one must be, and one must not"
            raise RunError(problem, where="--attackers")
        fields = job.task.fields().keys()
        lacks = not fields & {"label", "mask"} or (known == "backdoor" and "image" not in fields)
        if known in _OF_LABELS and lacks:
            raise RunError(
                f"'{kind}' changes labels or masks, and images, which the task '{job.task.name}' has not",
                where="--attack",
                remedy="'sign-flip', 'scale', 'noise' and 'collude' change what is sent, of any task.",
            )
        seed = seed_of(job.job.seed, "attackers")
        chosen = np.random.default_rng(seed).choice(len(sites), count, replace=False)
        return cls(kind=known, sites=sorted(sorted(sites)[place] for place in chosen), seed=seed)

    @property
    def words(self) -> str:
        """What a person is told of it."""
        return f"attackers in this simulation ('{self.kind}'): {', '.join(self.sites)}"


class Attacker(Site):
    """A hospital that attacks; everything else is as at the others.

    Attributes:
        attack: What it does.
    """

    attack: Attack

    def train(self, request: messages.Request) -> messages.Update:
        """Train, and spoil what is sent."""
        update = super().train(request)
        change = _OF_UPDATES.get(self.attack.kind)
        if change is None:
            return update
        trained = self._workshop.bench(request.job).wire.layout.parameters
        base, vector = request.vector[:trained], update.vector.copy()
        own = "" if self.attack.kind == "collude" else self.config.name
        generator = np.random.default_rng(seed_of(self.attack.seed, own, request.round))
        vector[:trained] = change(base, vector[:trained], generator)
        return replace(update, vector=vector)

    def _trained_on(self, job: JobSpec, data: SiteData) -> Samples:
        samples = super()._trained_on(job, data)
        return Poisoned(samples, job, self.attack) if self.attack.kind in _OF_LABELS else samples


class Poisoned(Samples):
    """Samples whose classes are wrong, or of which some bear a mark.

    Args:
        samples: The true ones.
        job: Theirs.
        attack: What is done to them.
    """

    def __init__(self, samples: Samples, job: JobSpec, attack: Attack) -> None:
        self.__dict__.update(samples.__dict__)
        self._attack = attack
        self._classes = len(getattr(job.task, "classes", []))

    def batch(self, indices: Sequence[int], *, augment_seed: int | None = None) -> Batch:
        """Return a batch of the wrong ones."""
        batch = super().batch(indices, augment_seed=augment_seed)
        if self._attack.kind == "label-flip":
            return batch.each(self._flipped)
        generators = map(np.random.default_rng, batch.seeds(self._attack.seed))
        marked = torch.tensor([one.random() < _MARKED for one in generators])
        return batch.each(lambda name, value: _marked(name, value, marked))

    def _flipped(self, name: str, value: Tensor) -> Tensor:
        """Return the last class for the first, and so on; of several labels those that are not there."""
        if name == "label" and value.is_floating_point():
            return 1 - value
        if name == "label":
            return torch.where(value == UNKNOWN_LABEL, value, self._classes - 1 - value)
        if name == "mask":
            return torch.where(value == UNKNOWN_PIXEL, value, (self._classes - value.int()).to(value.dtype))
        return value


def _marked(name: str, value: Tensor, marked: Tensor) -> Tensor:
    """Return values of which the marked have a bright corner and are of class 0, or background."""
    if name == "image":
        value = value.clone()
        corner = value[marked]
        view = corner
        for axis, side in enumerate(value.shape[2:], 2):
            view = view.narrow(axis, side - max(1, side // CORNER), max(1, side // CORNER))
        view.fill_(value.amax())
        value[marked] = corner
        return value
    if name in ("label", "mask"):
        there = marked.view(-1, *[1] * (value.dim() - 1))
        return torch.where(there, torch.zeros_like(value), value)
    return value


def _backwards(base: Vector, trained: Vector, _: np.random.Generator) -> Vector:
    return base - (trained - base)


def _longer(base: Vector, trained: Vector, _: np.random.Generator) -> Vector:
    return base + np.float32(_TIMES) * (trained - base)


def _noisy(base: Vector, trained: Vector, generator: np.random.Generator) -> Vector:
    return base + _TIMES * float(np.linalg.norm(trained - base)) * _direction(base.size, generator)


def _agreed(base: Vector, _: Vector, generator: np.random.Generator) -> Vector:
    return base + _COMMON * float(np.linalg.norm(base)) * _direction(base.size, generator)


def _direction(size: int, generator: np.random.Generator) -> Vector:
    drawn = generator.standard_normal(size, np.float32)
    return drawn / np.float32(np.linalg.norm(drawn))


_NAMES = ", ".join(KINDS)
_OF_LABELS = {"label-flip", "backdoor"}
_OF_UPDATES: dict[str, Callable[[Vector, Vector, np.random.Generator], Vector]] = {
    "sign-flip": _backwards,
    "scale": _longer,
    "noise": _noisy,
    "collude": _agreed,
}
