"""Student's t distribution, for any number of degrees of freedom, fractions included.

SciPy has it, and the tests hold this to nine digits of its up to 10,000 degrees; its import takes longer
than the whole of `compare`.
"""

import math
from functools import lru_cache
from statistics import NormalDist

_TINY = 1e-300
_CONVERGED = 1e-15


def two_sided_p(t: float, degrees: float) -> float:
    """The probability of a value at least as far from 0 as t."""
    if math.isinf(t):
        return 0.0
    return _regularized_beta(degrees / (degrees + t * t), degrees / 2, 0.5)


@lru_cache(maxsize=4096)
def quantile(share: float, degrees: float) -> float:
    """The value that a share of the distribution, from 0.5 up to but not 1, lies below.

    Raises `ValueError` for another share.
    """
    if not 0.5 <= share < 1:
        raise ValueError(f"share {share}: from 0.5 up to but not 1")
    # Tails heavier than the normal's put the normal's quantile on the left, from where Newton's steps on a
    # concave function never pass the root.
    t, tail = NormalDist().inv_cdf(share), 1 - share
    log_peak = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - math.log(degrees * math.pi) / 2
    for _ in range(100):
        density = math.exp(log_peak - (degrees + 1) / 2 * math.log1p(t * t / degrees))
        step = (two_sided_p(t, degrees) / 2 - tail) / density
        t += step
        if abs(step) <= 1e-13 * t:
            break
    return t


def _regularized_beta(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _regularized_beta(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) / a * _continued_fraction(x, a, b)


def _continued_fraction(x: float, a: float, b: float) -> float:
    # Evaluated as by Thompson & Barnett 1986 (modified Lentz).
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or _TINY)
    value = d
    for m in range(1, 10_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + term * d or _TINY)
            c = 1 + term / c or _TINY
            value *= c * d
        if abs(c * d - 1) < _CONVERGED:
            break
    return value
