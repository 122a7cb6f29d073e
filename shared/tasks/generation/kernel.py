"""The kernel distance of real and drawn images, from sums of products of their features.

The kernel of Bińkowski et al. 2018 ("Demystifying MMD GANs", KID): k(x, y) = (x · y / D + 1)³, here of
features brought within -1 and 1. It is the inner product of the products of up to three features, so the
distance follows from their means, which add up over sites. Unlike that of the Fréchet distance its
expectation does not depend on how many images there are, and it may fall below 0.
"""

from functools import cache
from itertools import combinations_with_replacement
from math import comb, factorial, prod

import torch
from torch import Tensor

_DEGREE = 3
_LARGEST = 2.0**_DEGREE  # of the kernel, with features within -1 and 1


def kernel_columns(features: int) -> int:
    """Return how many numbers `kernel_moments` has of an image."""
    return comb(
        features + _DEGREE, _DEGREE
    )  # products of one to three, and the kernel of an image with itself


def kernel_moments(features: Tensor) -> Tensor:
    """Return products of features (B, D) within 0 and 1, brought within 0 and 1 too, (B, kernel_columns(D)).

    The last column is the kernel of an image with itself.
    """
    centred = 2 * features.double() - 1
    columns = []
    for degree in range(1, _DEGREE + 1):
        places, _ = _products(features.shape[1], degree)
        columns.append(centred[:, places.to(centred.device)].prod(2))
    own = (centred.square().mean(1) + 1) ** _DEGREE
    return torch.cat([(torch.cat(columns, dim=1) + 1) / 2, own[:, None] / _LARGEST], dim=1)


def kernel_distance(real: Tensor, drawn: Tensor, images: int, features: int) -> float:
    """Return the unbiased estimate of the squared maximum mean discrepancy; NaN of fewer than two images.

    MMD² = mean of k(x, x') + mean of k(y, y') - 2 mean of k(x, y), over pairs of different real images x,
    different drawn images y, and of both (Gretton et al. 2012, equation 3).

    Args:
        real: Means of `kernel_moments` of real images.
        drawn: The same of drawn ones.
        images: Of either.
        features: D.
    """
    if images < 2:
        return float("nan")
    weights = torch.cat([_products(features, degree)[1] for degree in range(1, _DEGREE + 1)])
    first, second = (2 * means[:-1] - 1 for means in (real, drawn))
    within = sum(
        (images * (1 + (weights * products.square()).sum()) - _LARGEST * means[-1]) / (images - 1)
        for products, means in ((first, real), (second, drawn))
    )
    return float(within - 2 * (1 + (weights * first * second).sum()))


@cache
def _products(features: int, degree: int) -> tuple[Tensor, Tensor]:
    """Return which features are multiplied (P, degree), and how much each product counts (P,)."""
    places = list(combinations_with_replacement(range(features), degree))
    ways = [
        factorial(degree) / prod(factorial(own.count(one)) for one in set(own)) for own in places
    ]  # orders in which the same product occurs
    weights = torch.tensor(ways, dtype=torch.float64) * comb(_DEGREE, degree) / features**degree
    return torch.tensor(places), weights
