"""Rényi divergence of Poisson-sampled Gaussian steps (Mironov, Talwar & Zhang 2019), to high orders.

Opacus goes to order 63, where no noise proves an epsilon below 0.1 at a delta of 1e-5. Small losses show at
high orders, so they are added here.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from opacus.accountants import RDPAccountant
from opacus.accountants.analysis import rdp
from scipy.special import gammaln, logsumexp

_LOW = tuple(RDPAccountant.DEFAULT_ALPHAS)
_BROKEN = sum(not float(order).is_integer() for order in _LOW)  # they come first, up to order 11
_LARGE_NOISE = 50.0  # from here on broken orders take a second each, and no bound is found at them
_HIGH = tuple(round(2 ** (power / 2)) for power in range(12, 33))  # 64 to 65536
ORDERS = (*_LOW, *_HIGH)


@lru_cache(maxsize=4096)
def step_curve(noise_multiplier: float, sample_rate: float) -> NDArray[np.float64]:
    """Return one step's Rényi divergence at each of `ORDERS`, (orders,); it takes 20 to 50 ms.

    Args:
        noise_multiplier: Standard deviation of the noise over the clipping norm.
        sample_rate: Probability with which a unit takes part, in (0, 1].
    """
    left_out = _BROKEN if noise_multiplier > _LARGE_NOISE else 0
    orders = _LOW[left_out:]
    low = rdp.compute_rdp(q=sample_rate, noise_multiplier=noise_multiplier, steps=1, orders=orders)
    high = [_divergence(order, noise_multiplier, sample_rate) for order in _HIGH]
    return np.concatenate([np.full(left_out, np.inf), np.asarray(low), high])


def epsilon_at(curve: NDArray[np.float64], delta: float) -> float:
    """Return the least epsilon at `delta` that a curve (orders,) over `ORDERS` proves (Balle et al. 2020)."""
    epsilon, _ = rdp.get_privacy_spent(orders=list(ORDERS), rdp=curve, delta=delta)
    return max(float(epsilon), 0.0)


def _divergence(order: int, noise_multiplier: float, sample_rate: float) -> float:
    """Return one step's divergence at a whole order: section 3.3 of the paper, in logarithms."""
    if sample_rate == 1.0:
        return order / (2 * noise_multiplier**2)
    drawn = np.arange(order + 1.0)
    terms = _log_binomials(order) + drawn * math.log(sample_rate) + (order - drawn) * math.log1p(-sample_rate)
    terms += drawn * (drawn - 1) / (2 * noise_multiplier**2)
    return max(float(logsumexp(terms)), 0.0) / (order - 1)


@lru_cache(maxsize=len(_HIGH))
def _log_binomials(order: int) -> NDArray[np.float64]:
    drawn = np.arange(order + 1.0)
    whole: NDArray[np.float64] = gammaln(order + 1) - gammaln(drawn + 1) - gammaln(order - drawn + 1)
    return whole
