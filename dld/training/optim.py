"""Schedule the learning rate, which is computed before each update."""

import math
from dataclasses import dataclass

from dld.checks import AT_LEAST_0, COUNT, FRACTION, NOT_NEGATIVE, require


@dataclass(frozen=True)
class WarmupCosine:
    """Warm up linearly to the peak, then follow half a cosine down to a fraction of it at the last update.

    Parameters
    ----------
    peak : float
        Highest learning rate; 0 leaves the weights as they are.
    warmup : int
        Updates until the peak.
    floor : float
        Fraction of the peak that is left at the end.

    Examples
    --------
    >>> schedule = WarmupCosine(peak=1e-3, warmup=10, floor=0.0)
    >>> [round(schedule(update, total=110), 6) for update in (5, 10, 60, 110)]
    [0.0005, 0.001, 0.0005, 0.0]
    """

    peak: float
    warmup: int = 0
    floor: float = 0.01

    def __post_init__(self):
        """Raise a `DldError` for a setting out of its range."""
        require(self, AT_LEAST_0, peak=self.peak)
        require(self, NOT_NEGATIVE, warmup=self.warmup)
        require(self, FRACTION, floor=self.floor)

    def __call__(self, update, total):
        """Return the learning rate of update number `update` (from 1) of `total`."""
        if update < self.warmup:
            return self.peak * update / self.warmup
        fraction = min(1.0, (update - self.warmup) / max(1, total - self.warmup))
        return self.peak * (self.floor + (1.0 - self.floor) * 0.5 * (1.0 + math.cos(math.pi * fraction)))


@dataclass(frozen=True)
class Noam:
    """Warm up linearly to the peak, then decay with the inverse square root of the update (arXiv 1706.03762, eq. 3).

    Parameters
    ----------
    peak : float
        Highest learning rate, reached at update `warmup`.
    warmup : int

    Examples
    --------
    >>> schedule = Noam(peak=1e-3, warmup=100)
    >>> [schedule(update, total=0) for update in (50, 100, 400)]
    [0.0005, 0.001, 0.0005]
    """

    peak: float
    warmup: int

    def __post_init__(self):
        """Raise a `DldError` for a setting out of its range."""
        require(self, AT_LEAST_0, peak=self.peak)
        require(self, COUNT, warmup=self.warmup)

    def __call__(self, update, total):
        """Return the learning rate of update number `update` (from 1); the total plays no part."""
        return self.peak * min(update / self.warmup, math.sqrt(self.warmup / update))
