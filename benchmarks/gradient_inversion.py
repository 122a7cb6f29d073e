"""Can the coordinator see a patient in one update? As it is, clipped, clipped and noised, masked, summed.

    python benchmarks/gradient_inversion.py [--picture docs/images/gradient-inversion.png] [--quick]

Three simulated sites train a small vision transformer for one step on one synthetic image each. The attack
(`simulate/session/inversion.py`) solves for the first site's image. Of several cut-offs that an attacker
could choose, the one is shown that comes nearest to the true image, which no attacker could know. Limits:
structural similarity of 0.9 at least for the plain update, of 0.3 at most with noise and behind masks.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from common import conditions, finish
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from simulate.session.inversion import (
    Vector,
    clipped_and_noised,
    gradient_of,
    invert,
    masked_and_summed,
    phantom_patient,
    plain_update,
    small_job,
)

CUTOFFS = (1e-6, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3)
SITES = ("north", "south", "east")
MAX_NORM = 1.0
PLAIN, CLIPPED = "plain update", "clipped"
LITTLE, NOISED = "clipped, noise 0.001", "clipped, noise 1"
MASKED, SUMMED = "masked (secure aggregation)", "mean of three sites"
RECOVERED, HIDDEN = 0.9, 0.3  # structural similarity
ENLARGED = 2


def main() -> None:
    """Attack, print the table and the figures, write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--picture", type=Path, help="write what was recovered here, side by side")
    parser.add_argument("--quick", action="store_true", help="smaller images; held to no figure")
    options = parser.parse_args()
    before = conditions()
    side = 32 if options.quick else 64
    images = {site: phantom_patient(side, number) for number, site in enumerate(SITES)}
    found = recovered(side, images)
    true = images[SITES[0]]
    table = Table("what the coordinator has", title="The image of one patient, out of one update")
    for heading in ("SSIM", "PSNR (dB)"):
        table.add_column(heading, justify="right")
    figures: dict[str, Any] = {}
    for name, image in found.items():
        ssim, psnr = similarity(image, true), float(peak_signal_noise_ratio(image, true, data_range=1.0))
        table.add_row(name, f"{ssim:.3f}", f"{psnr:.1f}")
        figures[name] = {"ssim": round(ssim, 4), "psnr": round(psnr, 2)}
    Console(width=100).print(table)
    if options.picture:
        side_by_side([true, *found.values()]).save(options.picture, optimize=True)
    finish("gradient_inversion", before | figures, missed(figures), quick=options.quick)


def recovered(side: int, images: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what the attack makes of each form of the first site's update."""
    job = small_job(side)
    updates = {site: plain_update(job, image, site) for site, image in images.items()}
    gradient = gradient_of(job, updates[SITES[0]])
    masked, mean = masked_and_summed(job, updates)
    gradients: dict[str, Vector] = {
        PLAIN: gradient,
        CLIPPED: clipped_and_noised(gradient, MAX_NORM, 0.0, 1),
        LITTLE: clipped_and_noised(gradient, MAX_NORM, 0.001, 1),
        NOISED: clipped_and_noised(gradient, MAX_NORM, 1.0, 1),
        MASKED: gradient_of(job, masked[SITES[0]]),
        SUMMED: gradient_of(job, mean),
    }
    true = images[SITES[0]]
    return {
        name: max((invert(job, one, cutoff) for cutoff in CUTOFFS), key=lambda image: similarity(image, true))
        for name, one in gradients.items()
    }


def similarity(image: Tensor, true: Tensor) -> float:
    """Return the structural similarity (Wang et al. 2004) of two images (1, H, W)."""
    return float(structural_similarity_index_measure(image[None], true[None], data_range=1.0))


def side_by_side(images: list[Tensor]) -> Image.Image:
    """Return images (1, H, W) in one row, enlarged, with a white line between them."""
    tiles = [np.pad(image[0].numpy(), ((0, 0), (0, 2)), constant_values=1.0) for image in images]
    row = Image.fromarray(np.rint(255 * np.hstack(tiles)).astype(np.uint8))
    return row.resize((ENLARGED * row.width, ENLARGED * row.height), Image.Resampling.NEAREST)


def missed(figures: dict[str, Any]) -> list[str]:
    """Return what is claimed and does not hold."""
    ssim = {name: figures[name]["ssim"] for name in (PLAIN, CLIPPED, NOISED, MASKED)}
    return [f"{name}: not recovered" for name in (PLAIN, CLIPPED) if not ssim[name] >= RECOVERED] + [
        f"{name}: recovered" for name in (NOISED, MASKED) if not ssim[name] <= HIDDEN
    ]


if __name__ == "__main__":
    main()
