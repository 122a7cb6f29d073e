"""Whether the hospital's name alone tells what a model shall learn from the image."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.metrics.naive_answers import auroc_of_groups

_CHANCE = 0.01  # how rarely chance alone may bring what is warned of
_TELLING = 0.6  # AUROC of the site's name that is worth a word
_SHUFFLES = 999
_MOST_CLASSES = 50  # with more they are numbers or names


def site_tells(labelled: Sequence[tuple[str, str, tuple[str, ...]]]) -> Iterator[str]:
    """Warn where the site tells the label better than chance would have it.

    Whether it could be chance is judged by the patients, who are dealt out to the sites anew: a hundred
    slices of one person are one observation. The AUROC is over the images, as that of a model is.

    Args:
        labelled: Site, patient and labels of each image.
    """
    sites = sorted({site for site, _, _ in labelled})
    classes = sorted({label for _, _, labels in labelled for label in labels})
    if len(sites) < 2 or not 2 <= len(classes) <= _MOST_CLASSES:
        return
    home = np.array([sites.index(site) for site, _, _ in labelled])
    has = np.array([[name in labels for name in classes] for _, _, labels in labelled], dtype=np.float64)
    if _chance(home, [f"{site}\0{patient}" for site, patient, _ in labelled], has) > _CHANCE:
        return
    images = np.bincount(home, minlength=len(sites)).astype(np.float64)
    counts = np.stack([np.bincount(home, column, len(sites)) for column in has.T], axis=1).astype(float)
    aurocs = [
        auroc_of_groups(of, images - of, share)
        for of, share in zip(counts.T, (counts / images[:, None]).T, strict=True)
    ]
    best = int(np.argmax(np.nan_to_num(aurocs)))
    if not aurocs[best] >= _TELLING:
        return
    mean = f", {np.nanmean(aurocs):.2f} on average over the classes" if len(classes) > 2 else ""
    yield (
        f"the site alone tells '{classes[best]}' with AUROC {aurocs[best]:.2f}{mean} (0.50 is chance): a "
        "model may learn the hospital instead of the disease; compare with that figure, and look at each site"
    )


def _chance(home: NDArray[np.int64], patients: Sequence[str], has: NDArray[np.float64]) -> float:
    """Return how often patients dealt out at random differ as much between the sites (a permutation test)."""
    _, first, number = np.unique(patients, return_index=True, return_inverse=True)
    images = np.bincount(number).astype(np.float64)
    shares = np.stack([np.bincount(number, column) for column in has.T], axis=1) / images[:, None]
    shares -= shares.mean(axis=0)
    spread = np.maximum(shares.var(axis=0), 1e-12)
    places = np.eye(home.max() + 1)[home[first]]  # (P, S)
    sizes = places.sum(axis=0)
    generator = np.random.default_rng(0)

    def difference(order: NDArray[np.int64] | slice) -> float:
        sums = places.T @ shares[order]  # (S, K)
        return float((sums**2 / sizes[:, None] / spread).sum())

    observed = difference(slice(None)) - 1e-9
    more = sum(difference(generator.permutation(len(shares))) >= observed for _ in range(_SHUFFLES))
    return (1 + more) / (1 + _SHUFFLES)
