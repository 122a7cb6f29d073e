"""An autoencoder whose features are codes of a book, and what says which code comes next; loads MONAI."""

from collections.abc import Mapping, Sequence

import torch
from monai.networks.blocks.selfattention import SABlock
from monai.networks.nets.transformer import DecoderOnlyTransformer
from monai.networks.nets.vqvae import Decoder, Encoder
from torch import Tensor, nn
from torch.nn.functional import one_hot

from shared.networks.options import Ends

_HALVES = (2, 4, 1, 1)  # stride, kernel, dilation, padding


class QuantisedAutoencoder(nn.Module):
    """An image to the nearest code at each position, and back (van den Oord et al. 2017).

    The book is the weight of a linear layer that sees which code was taken, so that the gradient of each
    sample is known (`client.training.clipping`).

    Args:
        ends: `outputs` codes of images of `channels`.
        channels: Features of each level.
        blocks: Residual blocks of each.
        width: Numbers of a code.
        dropout: Share of the activations dropped in training.
    """

    def __init__(self, ends: Ends, channels: Sequence[int], blocks: int, width: int, dropout: float) -> None:
        super().__init__()
        levels, axes = list(channels), ends.dimensions
        halves = [_HALVES] * len(levels)
        self.encoder = Encoder(axes, ends.channels, width, levels, blocks, levels, halves, dropout, "relu")
        doubles = [(*_HALVES, 0)] * len(levels)
        self.decoder = Decoder(
            axes, width, ends.channels, levels, blocks, levels, doubles, dropout, "relu", output_act=None
        )
        self.book = nn.Linear(ends.outputs, width, bias=False)
        nn.init.normal_(self.book.weight)

    def forward(self, images: Tensor) -> Mapping[str, Tensor]:
        """Return the nearest `codes` (B, W, *G), their `indices` (B, *G), and the image `rebuilt`.

        `book` and `commitment` (B,) are how far features are from codes; the gradient of one moves codes, of
        the other features.
        """
        features = self.encoder(images).movedim(1, -1)  # (B, *G, W)
        indices = self.nearest(features)
        codes = self.book(one_hot(indices, self.book.in_features).to(features))
        passed = features + (codes - features).detach()
        return {
            "indices": indices,
            "codes": codes.detach().movedim(-1, 1),
            "rebuilt": self.decoder(passed.movedim(-1, 1)),
            "book": (features.detach() - codes).square().flatten(1).mean(1),
            "commitment": (features - codes.detach()).square().flatten(1).mean(1),
        }

    @torch.no_grad()
    def nearest(self, features: Tensor) -> Tensor:
        """Return the indices (B, *G) of the codes that are nearest to features (B, *G, W)."""
        flat = features.flatten(0, -2)
        return torch.cdist(flat, self.book.weight.T).argmin(dim=1).view(features.shape[:-1])

    def decoded(self, indices: Tensor) -> Tensor:
        """Return the images (B, C, *S) of codes (B, *G)."""
        images: Tensor = self.decoder(self.book.weight.T[indices].movedim(-1, 1))
        return images


class CodePrior(DecoderOnlyTransformer):
    """Codes (B, N), each at its place, to a logit for each that may come next (B, N, K)."""

    def __init__(self, ends: Ends, width: int, layers: int, heads: int, dropout: float) -> None:
        [length] = ends.size
        super().__init__(
            ends.outputs + ends.channels, length, width, layers, heads, embedding_dropout_rate=dropout
        )
        self.to_logits = nn.Linear(width, ends.outputs)
        for block in self.blocks:  # MONAI's have what only attention to something else needs
            block.norm_cross_attn, block.cross_attn = nn.Identity(), nn.Identity()
        for module in self.modules():
            if isinstance(module, SABlock):  # what never changes need not travel
                module.register_buffer("causal_mask", module.causal_mask, persistent=False)
