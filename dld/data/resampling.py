"""Audio at another rate."""

import math

import numpy as np


def resample(samples: np.ndarray, rate: int, target: int) -> np.ndarray:
    """Resample to another rate by a polyphase filter.

    SciPy's, not torchaudio's: it needs no torch, so the same code can serve where only the run-time lives.

    Parameters
    ----------
    samples : numpy.ndarray
        Shape (samples,).
    rate, target : int
        Hz, of the input and of the result.

    Returns
    -------
    numpy.ndarray
        Shape (ceil(samples * target / rate),), float32.

    Examples
    --------
    >>> resample(np.zeros(8000, dtype=np.float32), 8000, 16000).shape
    (16000,)
    """
    if rate == target:
        return samples.astype(np.float32, copy=False)
    # Takes long to import, and only other rates need it.
    from scipy.signal import resample_poly

    common = math.gcd(rate, target)
    return resample_poly(samples, target // common, rate // common).astype(np.float32, copy=False)
