"""Classic networks that give a vector for each pixel, and that MONAI has not; loads PyTorch and MONAI."""

from collections.abc import Sequence
from typing import cast

import torch
from monai.networks.layers.factories import Conv, Norm, Pool
from monai.networks.nets.dynunet import DynUNet, DynUNetSkipLayer
from torch import Tensor, nn
from torch.nn import functional

from shared.networks.options import Ends
from shared.networks.vector_modules import convolved

_LINEAR = {2: "bilinear", 3: "trilinear"}


def enlarged(features: Tensor, size: Sequence[int]) -> Tensor:
    """Return features (B, F, *S) at another size, mixed linearly."""
    mode = _LINEAR[features.ndim - 2]
    return functional.interpolate(features, size=tuple(size), mode=mode, align_corners=False)


def stacked(maps: Sequence[Tensor]) -> Tensor:
    """Return maps (B, K, *S) of several levels as one (B, M, K, *S), of the size of the first."""
    size = maps[0].shape[2:]
    return torch.stack([own if own.shape[2:] == size else enlarged(own, size) for own in maps], dim=1)


class Stacked(nn.Module):
    """A network that gives maps of several levels in training, for deep supervision.

    Shapes: (B, C, *S) to (B, M, K, *S) in training, the finest first, and to (B, K, *S) otherwise.

    Args:
        network: Gives one map, or a list of maps.
        finest: Where in the list the map is that counts.
    """

    def __init__(self, network: nn.Module, finest: int = 0) -> None:
        super().__init__()
        self.network = network
        self.finest = finest

    def forward(self, images: Tensor) -> Tensor:
        """Return one map, or a map for each level."""
        found: Tensor | list[Tensor] = self.network(images)
        if isinstance(found, Tensor):
            return found
        maps = list(found)
        maps = [maps.pop(self.finest), *(maps if self.finest == 0 else reversed(maps))]
        return stacked(maps) if self.training and len(maps) > 1 else maps[0]


class LevelledDynUNet(DynUNet):
    """MONAI's network without what it remembers: MONAI keeps what heads give, and with it a step's graph."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the map (B, K, *S); in training those of all levels (B, M, K, *S), the finest first."""
        maps: list[Tensor] = []
        finest = cast(Tensor, self.output_block(self._through(self.skip_layers, x, maps)))
        return stacked([finest, *reversed(maps)]) if maps else finest

    def _through(self, layer: nn.Module, features: Tensor, maps: list[Tensor]) -> Tensor:
        if not isinstance(layer, DynUNetSkipLayer):
            return cast(Tensor, layer(features))
        skipped = layer.downsample(features)
        found = cast(Tensor, layer.upsample(self._through(layer.next_layer, skipped, maps), skipped))
        if self.training and layer.super_head is not None:
            maps.append(layer.super_head(found))
        return found


class FCN(nn.Module):
    """Convolutions and pooling; what single levels say is enlarged and added (Long et al. 2015).

    Args:
        ends: Of the network.
        channels: Features of each level, which ends with pooling.
        skips: Levels above the deepest one that are added; 2 in an FCN-8s.
        dropout: On the deepest features.
    """

    def __init__(self, ends: Ends, channels: list[int], skips: int, dropout: float) -> None:
        super().__init__()
        conv, pool = Conv[Conv.CONV, ends.dimensions], Pool[Pool.MAX, ends.dimensions]
        before = [ends.channels, *channels]
        self.levels = nn.ModuleList(
            nn.Sequential(convolved(ends, a, b), convolved(ends, b, b), pool(2))
            for a, b in zip(before, channels, strict=False)
        )
        self.deepest = nn.Sequential(convolved(ends, channels[-1], channels[-1]), nn.Dropout(dropout))
        scored = channels[-1 - skips :]
        self.scores = nn.ModuleList(conv(features, ends.outputs, 1) for features in scored)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K, *S)."""
        features, at = images, []
        for level in self.levels:
            features = level(features)
            at.append(features)
        at[-1] = self.deepest(features)
        scores = [score(own) for score, own in zip(self.scores, at[-len(self.scores) :], strict=True)]
        total = scores.pop()
        while scores:
            finer = scores.pop()
            total = finer + enlarged(total, finer.shape[2:])
        return enlarged(total, images.shape[2:])


class SegNet(nn.Module):
    """Encoder and decoder; the largest at pooling go back to their places (Badrinarayanan et al. 2017).

    Args:
        ends: Of the network.
        channels: Features of each level, which ends with pooling.
        dropout: On the deepest features.
    """

    def __init__(self, ends: Ends, channels: list[int], dropout: float) -> None:
        super().__init__()
        before = [ends.channels, *channels]
        self.down = nn.ModuleList(
            nn.Sequential(convolved(ends, a, b), convolved(ends, b, b))
            for a, b in zip(before, channels, strict=False)
        )
        after = [channels[0], *channels]
        self.up = nn.ModuleList(
            nn.Sequential(convolved(ends, b, b), convolved(ends, b, a))
            for a, b in zip(after, channels, strict=False)
        )
        self.pool = Pool[Pool.MAX, ends.dimensions](2, return_indices=True)
        self.unpool = (nn.MaxUnpool2d if ends.dimensions == 2 else nn.MaxUnpool3d)(2)
        self.dropout = nn.Dropout(dropout)
        self.head = Conv[Conv.CONV, ends.dimensions](channels[0], ends.outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K, *S)."""
        features, places = images, []
        for down in self.down:
            features, place = self.pool(down(features))
            places.append(place)
        features = self.dropout(features)
        for up, place in zip(reversed(self.up), reversed(places), strict=True):
            features = up(self.unpool(features, place))
        return cast(Tensor, self.head(features))


class TwoPaths(nn.Module):
    """One path sees the image, another a smaller copy, so that each place knows its surroundings.

    After Kamnitsas et al. 2017 (DeepMedic). The smaller copy is of the same image (or patch), not of a larger
    part of the scan, and convolutions are padded.

    Args:
        ends: Of the network.
        channels: Features of the convolutions of each path.
        factor: By how much the copy is smaller along each axis.
        hidden: Features of the two layers that join the paths.
        dropout: In front of each of these.
    """

    def __init__(self, ends: Ends, channels: list[int], factor: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.near, self.far = self._path(ends, channels), self._path(ends, channels)
        self.shrink = Pool[Pool.AVG, ends.dimensions](factor)
        conv = Conv[Conv.CONV, ends.dimensions]
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            convolved(ends, 2 * channels[-1], hidden, 1),
            nn.Dropout(dropout),
            convolved(ends, hidden, hidden, 1),
            conv(hidden, ends.outputs, 1),
        )

    @staticmethod
    def _path(ends: Ends, channels: list[int]) -> nn.Sequential:
        before = [ends.channels, *channels]
        return nn.Sequential(*(convolved(ends, a, b) for a, b in zip(before, channels, strict=False)))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K, *S)."""
        far = enlarged(self.far(self.shrink(images)), images.shape[2:])
        return cast(Tensor, self.head(torch.cat([self.near(images), far], dim=1)))


class Cascade(nn.Module):
    """Two networks: the second sees the image beside what the first one says of it.

    Shapes: (B, C, *S) to (B, K, *S); in training, where both are supervised, (B, 2, K, *S), the second first.

    Args:
        first: From C channels to K logits.
        second: From C + K channels to K logits.
        supervised: Whether the first is told what is right as well.
    """

    def __init__(self, first: nn.Module, second: nn.Module, *, supervised: bool) -> None:
        super().__init__()
        self.first, self.second, self.supervised = first, second, supervised

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of the second network."""
        guessed = self.first(images)
        refined = self.second(torch.cat([images, guessed.softmax(dim=1)], dim=1))
        return torch.stack([refined, guessed], dim=1) if self.supervised and self.training else refined


class DenseUNet(nn.Module):
    """Dense blocks down, and up again with the features of the way down (Li et al. 2018, section III-B).

    Args:
        ends: Of the network.
        first: Features of the first convolution.
        growth: Features that each layer of a block adds.
        layers: Of each block.
        dropout: In the blocks.
        in_plane: Of a volume, whether only its planes along the first two axes are looked at.
    """

    def __init__(
        self,
        ends: Ends,
        first: int,
        growth: int,
        layers: list[int],
        dropout: float,
        *,
        in_plane: bool = False,
    ) -> None:
        super().__init__()
        self._kernel = (3, 3, 1) if in_plane else (3,) * ends.dimensions
        pool = (2, 2, 1) if in_plane else (2,) * ends.dimensions
        self._dimensions, self._dropout = ends.dimensions, dropout
        self.start = self._conv(ends.channels, first)
        self.blocks, self.shrinks = nn.ModuleList(), nn.ModuleList()
        features, at = first, []
        for number, count in enumerate(layers):
            self.blocks.append(
                nn.ModuleList(self._layer(features + i * growth, growth) for i in range(count))
            )
            features += count * growth
            at.append(features)
            if number < len(layers) - 1:
                shrunk = features // 2
                reduce = Conv[Conv.CONV, ends.dimensions](features, shrunk, 1, bias=False)
                self.shrinks.append(nn.Sequential(reduce, Pool[Pool.AVG, ends.dimensions](pool)))
                features = shrunk
        self.joins = nn.ModuleList()
        for skipped in reversed(at[:-1]):
            self.joins.append(
                nn.Sequential(self._conv(features + skipped, first), self._norm(first), nn.ReLU())
            )
            features = first
        self.features = features

    def _conv(self, before: int, after: int) -> nn.Module:
        padding = tuple(size // 2 for size in self._kernel)
        conv = Conv[Conv.CONV, self._dimensions]
        return cast(nn.Module, conv(before, after, self._kernel, padding=padding, bias=False))

    def _norm(self, features: int) -> nn.Module:
        return cast(nn.Module, Norm[Norm.BATCH, self._dimensions](features))

    def _layer(self, before: int, growth: int) -> nn.Module:
        return nn.Sequential(
            self._norm(before), nn.ReLU(), self._conv(before, growth), nn.Dropout(self._dropout)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return `features` features of each pixel, (B, F, *S)."""
        features, skips = self.start(images), []
        for number, block in enumerate(self.blocks):
            if number:
                skips.append(features)
                features = self.shrinks[number - 1](features)
            for layer in cast(nn.ModuleList, block):
                features = torch.cat([features, layer(features)], dim=1)
        for join in self.joins:
            skipped = skips.pop()
            features = join(torch.cat([enlarged(features, skipped.shape[2:]), skipped], dim=1))
        return features


class Hybrid(nn.Module):
    """A dense U-Net of each plane guides one of the volume; both give features (Li et al. 2018, figure 2).

    Args:
        planes: Of a volume's planes.
        volume: Of the volume beside the logits of the planes.
        ends: Of the network.
    """

    def __init__(self, planes: DenseUNet, volume: DenseUNet, ends: Ends) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, ends.dimensions]
        self.planes, self.volume = planes, volume
        self.guess = conv(planes.features, ends.outputs, 1)
        self.head = nn.Sequential(
            convolved(ends, volume.features, volume.features), conv(volume.features, ends.outputs, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K, *S)."""
        planes = self.planes(images)
        volume = self.volume(torch.cat([images, self.guess(planes)], dim=1))
        return cast(Tensor, self.head(planes + volume))


class OfOneSize(nn.Module):
    """A network that takes images of one size: smaller ones are padded to it, and their map is cut back."""

    def __init__(self, network: nn.Module, size: Sequence[int]) -> None:
        super().__init__()
        self.network, self.size = network, tuple(size)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K, *S)."""
        missing = [wanted - own for wanted, own in zip(self.size, images.shape[2:], strict=True)]
        if any(missing):
            images = functional.pad(images, [n for extra in reversed(missing) for n in (0, extra)])
        found: Tensor = self.network(images)
        for axis, extra in enumerate(missing, start=2):
            found = found.narrow(axis, 0, found.shape[axis] - extra)
        return found
