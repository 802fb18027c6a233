"""Features of a waveform that arrives in parts."""

import torch
from torch import Tensor

from dld.errors import DldError
from dld.frontends.cmvn import UtteranceCMVN
from dld.frontends.filterbank import FilterBank


class FeatureStream:
    """Compute the features of one utterance while it arrives, as the front end does of the whole.

    Parameters
    ----------
    frontend : FilterBank

    Raises
    ------
    DldError
        The front end needs the whole utterance.

    Examples
    --------
    >>> from dld.frontends import KaldiFbank
    >>> frontend, samples = KaldiFbank(), torch.randn(4000)
    >>> stream = FeatureStream(frontend)
    >>> parts = [stream.accept(part) for part in samples.split(700)]
    >>> [part.shape[1] for part in parts], stream.end().shape[1]
    ([3, 5, 4, 4, 5, 3], 1)
    """

    def __init__(self, frontend: FilterBank):
        if not isinstance(frontend, FilterBank):
            raise DldError(f"the front end {type(frontend).__name__} needs whole utterances; KaldiFbank does not")
        if isinstance(frontend.normalisation, UtteranceCMVN):
            raise DldError("the front end's UtteranceCMVN needs whole utterances; train with GlobalCMVN instead")
        if frontend.zero_mean:
            raise DldError("the front end's zero_mean needs whole utterances; KaldiFbank does not")
        self.frontend = frontend
        first, last = frontend.span
        # Frames at the front of a piece see other samples there than in the utterance; those kept have all of theirs.
        self._margin = -(-max(last - first, -first) // frontend.hop) + 1
        self._samples = torch.zeros(0)
        self._dropped = 0  # frames whose samples are gone
        self._done = 0

    def accept(self, samples: Tensor) -> Tensor:
        """Take samples, (samples,), and return the features that no later sample changes: (1, frames, bins)."""
        self._samples = torch.cat([self._samples.to(samples), samples])
        ready = self._dropped + (len(self._samples) - self.frontend.span[1]) // self.frontend.hop + 1
        return self._features(ready) if ready > self._done else self._none()

    def end(self) -> Tensor:
        """Return the features that are left."""
        return self._features(None) if len(self._samples) else self._none()

    def _features(self, ready: int | None) -> Tensor:
        features, _ = self.frontend(
            self._samples[None], torch.tensor([len(self._samples)], device=self._samples.device)
        )
        features = features[:, self._done - self._dropped : None if ready is None else ready - self._dropped]
        self._done += features.shape[1]
        gone = max(self._dropped, self._done - self._margin)
        self._samples = self._samples[(gone - self._dropped) * self.frontend.hop :]
        self._dropped = gone
        return features

    def _none(self) -> Tensor:
        return self._samples.new_empty(1, 0, self.frontend.output_size)
