"""Images put into few numbers and drawn again: autoencoders, and belief networks."""

from collections.abc import Sequence
from typing import cast

import torch
from monai.networks.utils import eval_mode
from torch import Generator, Tensor

from shared.batch import Batch, Prediction
from shared.networks.belief_module import BeliefNetwork
from shared.tasks.base import TRAIN, Models, Phase
from shared.tasks.precision import full
from shared.tasks.pretraining.options import DECODER, ENCODER
from shared.tasks.pretraining.rebuilding import RebuildingTask
from shared.tasks.programs import Program

NOISE, SEEDS = "noise", "chain_seeds"


class AutoencoderTask(RebuildingTask):
    """One network makes numbers (B, F) of an image, another an image of these.

    With noise it is a denoising one (Vincent et al. 2008), with a price on the numbers a sparse one.
    """

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """Add the `noise` (B, C, *S) on what is seen."""
        if self.options.noise is None:
            return batch
        sources = [Generator().manual_seed(own) for own in batch.seeds(seed)]
        pairs = zip(batch["image"], sources, strict=True)
        drawn = [torch.randn(image.shape, generator=source) for image, source in pairs]
        return batch.plus(**{NOISE: self.options.noise * torch.stack(drawn)})

    def prepare_given(self, batch: Batch, seed: int) -> Batch:
        """Take somebody's own images as they are."""
        return batch

    def seen(self, batch: Batch) -> Tensor:
        """See the base class: with noise."""
        images: Tensor = batch["image"]
        return images + batch[NOISE] if NOISE in batch else images

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return `rebuilt` (B, C, *S), its errors, and the numbers between, `features` (B, F)."""
        features = models[ENCODER](self.seen(batch))
        return {**self.judged(batch, models[DECODER](features)), "features": features}

    def losses(self, models: Models, batch: Batch) -> Tensor:
        """Return the squared errors and the price of the numbers, (B,)."""
        predicted = self.forward(models, batch)
        found = self.sample_losses(models, batch, predicted)
        if self.options.sparsity is None:
            return found
        return found + self.options.sparsity * full(predicted["features"]).abs().mean(dim=1)

    def program(self, models: Models) -> Program:
        """See the base class: the encoder."""
        return self.encoder_program(models)


class BeliefTask(RebuildingTask):
    """A belief network, trained layer by layer: each for its part of the rounds, on what those below say.

    The gradient of the difference of two free energies is contrastive divergence (Hinton 2002, "Training
    products of experts by minimizing contrastive divergence"): so it is a loss like any other.
    """

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """Add the seeds (B,) of the chains."""
        return batch.plus(**{SEEDS: torch.tensor(batch.seeds(seed))})

    def phases(self) -> Sequence[Phase]:
        """See the base class."""
        return (self.phase(TRAIN, self._divergence),)

    def _divergence(self, models: Models, batch: Batch) -> Tensor:
        model = cast(BeliefNetwork, models["model"])
        layers = len(model.layers)
        depth = min(layers - 1, int(layers * batch.rounds / self.job.job.rounds))
        sources = [Generator().manual_seed(seed) for seed in batch[SEEDS].tolist()]
        values = full(batch["image"]).flatten(1)
        if depth:  # layers below have learnt, and stay as they are
            with torch.no_grad():
                values = model.up(batch["image"], depth)
        after = model.chain(values.detach(), depth, self.options.value_of("chain"), sources)
        return model.free_energy(values, depth) - model.free_energy(after, depth)

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return `rebuilt` (B, C, *S), up through all layers and down again, and its errors."""
        model = cast(BeliefNetwork, models["model"])
        images = batch["image"]
        layers = len(model.layers)
        rebuilt = model.down(model.up(images, layers), layers)
        return self.judged(batch, rebuilt.view(images.shape))

    def predict(self, models: Models, batch: Batch) -> Prediction:
        """See the base class."""
        with eval_mode(models["model"]), torch.no_grad():
            return self.forward(models, batch)

    def program(self, models: Models) -> Program:
        """Return the network up to the last layer of units and its linear one."""
        inputs = {"image": self.image_input()}
        return Program(models["model"], inputs, "features", "what the last layer says, of no unit", {})
