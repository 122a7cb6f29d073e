"""The images of skin-lesions as tables: what EfficientNet-Lite0 with ImageNet's weights sees of each."""

import csv
from pathlib import Path

import numpy as np
import torch
from common import DATA, rows_of
from PIL import Image
from torch import Tensor

from shared.networks.efficientnet_lite import EfficientNetLite0Options
from shared.networks.features import projected
from shared.networks.options import Ends

PACK = DATA / "skin_ham_4sites"
COLUMNS = tuple(f"feature_{number}" for number in range(320))
_SIZE, _AT_ONCE = (160, 128), 64


def as_table(folder: Path) -> Path:
    """Write a manifest with the features of each image, in directions that are drawn at random; return it.

    The network is public and a fixed seed draws the directions, so that each hospital can do it by itself.
    """
    path = folder / "features.csv"
    if path.exists():
        return path
    rows = rows_of(PACK / "manifest.csv")
    kept = ("site", "patient", "label", "split")
    made = [{key: row[key] for key in kept} for row in rows]
    for own, found in zip(made, _features([PACK / row["image"] for row in rows]), strict=True):
        own |= {name: f"{value:.4f}" for name, value in zip(COLUMNS, found, strict=True)}
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [*kept, *COLUMNS], lineterminator="\n")
        writer.writeheader()
        writer.writerows(made)
    return path


def _features(files: list[Path]) -> Tensor:
    """Return the features of images, scaled to length 1 and projected (N, number of `COLUMNS`)."""
    options = EfficientNetLite0Options(name="efficientnet-lite0", start="imagenet")
    network = options.build(Ends(2, 3, 2, list(_SIZE[::-1]), "vector"))
    options.start_from(network, options.packaged["imagenet"].read())
    encoder, found = network.get_submodule("encoder").eval(), []
    with torch.no_grad():
        for start in range(0, len(files), _AT_ONCE):
            pictures = [
                Image.open(file).convert("RGB").resize(_SIZE) for file in files[start : start + _AT_ONCE]
            ]
            images = torch.from_numpy(np.stack([np.asarray(one, np.float32) for one in pictures]))
            found.append(encoder(images.movedim(3, 1) / 127.5 - 1))
    return projected(torch.cat(found), len(COLUMNS), seed=0)
