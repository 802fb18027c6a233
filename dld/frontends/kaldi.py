"""Kaldi's filter-bank features, in batches."""

from typing import Any

import torch
from torch import Tensor
from torchaudio.compliance.kaldi import get_mel_banks

from dld.checks import AT_LEAST_0, FLAG, Number, require
from dld.errors import DldError
from dld.frontends.cmvn import GlobalCMVN, UtteranceCMVN
from dld.frontends.filterbank import FilterBank

#: Kaldi's constants: the exponent of its window, its pre-emphasis, and the floor of energies.
POVEY, PREEMPHASIS, FLOOR = 0.85, 0.97, torch.finfo(torch.float32).eps


class KaldiFbank(FilterBank):
    """Mel filter-bank energies as `compute-fbank-feats` and kaldi-native-fbank compute them, without dither.

    This is what phone runtimes such as sherpa-onnx compute themselves, so models with this front end run there
    unmodified. Samples are in [-1, 1]. The defaults are sherpa-onnx's; Kaldi's own are n_mels 23, snip_edges true and
    high_hz 0. Windows have Kaldi's shape ("povey"), each loses its mean and is pre-emphasised by 0.97.

    Parameters
    ----------
    sample_rate : int
        Hz.
    n_mels : int
    window_ms, hop_ms : float
        Milliseconds.
    snip_edges : bool
        True: only windows that lie within the utterance, `1 + (samples - window) // hop` of them. False: a window for
        each hop, `(samples + hop // 2) // hop` of them; those at the edges see the utterance mirrored. An utterance too
        short for a window has one all the same, where Kaldi has none.
    low_hz, high_hz : float
        Lowest and highest frequency; zero or less counts from half the sampling rate downwards.
    normalisation : UtteranceCMVN or GlobalCMVN, optional

    Examples
    --------
    >>> front_end = KaldiFbank(sample_rate=16000, n_mels=80)
    >>> features, lengths = front_end(torch.randn(2, 16000), torch.tensor([16000, 8000]))
    >>> features.shape, lengths.tolist()
    (torch.Size([2, 100, 80]), [100, 50])
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        n_mels: int = 80,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        snip_edges: bool = False,
        low_hz: float = 20.0,
        high_hz: float = -400.0,
        normalisation: UtteranceCMVN | GlobalCMVN | None = None,
    ):
        super().__init__(sample_rate, n_mels, window_ms, hop_ms, normalisation)
        require(self, FLAG, snip_edges=snip_edges)
        require(self, AT_LEAST_0, low_hz=low_hz)
        require(self, Number(), high_hz=high_hz)
        nyquist = sample_rate / 2
        highest = high_hz if high_hz > 0 else nyquist + high_hz
        if not low_hz < highest <= nyquist:
            raise DldError(
                f"KaldiFbank: low_hz is {low_hz} and high_hz is {high_hz}, that is {highest:g} Hz; "
                f"they must be in this order and at most {nyquist:g} Hz, half the sampling rate"
            )
        self.snip_edges, self.low_hz, self.high_hz = snip_edges, low_hz, high_hz
        self.n_fft = 1 << (self.window - 1).bit_length()
        filters, _ = get_mel_banks(n_mels, self.n_fft, float(sample_rate), low_hz, high_hz, 100.0, -500.0, 1.0)
        if not filters.any(1).all():
            empty = int((~filters.any(1)).nonzero()[0])
            raise DldError(
                f"KaldiFbank: n_mels is {n_mels}; filter {empty} has no frequency of the {self.n_fft} point transform; "
                "take fewer"
            )
        # Not weights: they follow from the settings.
        self.register_buffer("filters", torch.nn.functional.pad(filters, (0, 1)).T.contiguous(), persistent=False)
        window = torch.hann_window(self.window, periodic=False, dtype=torch.float64).pow(POVEY).float()
        self.register_buffer("shape", window, persistent=False)
        self.normalisation = normalisation

    @property
    def settings(self) -> dict[str, Any]:
        """What `config` holds of this front end alone."""
        return {"snip_edges": self.snip_edges, "low_hz": float(self.low_hz), "high_hz": float(self.high_hz)}

    @property
    def span(self) -> tuple[int, int]:
        """The samples that the first frame sees; see `FilterBank`."""
        first = 0 if self.snip_edges else self.hop // 2 - self.window // 2
        return first, first + self.window

    def frames(self, lengths: Tensor) -> Tensor:
        """Return the number of frames of utterances of `lengths` samples."""
        if self.snip_edges:
            return ((lengths - self.window).div(self.hop, rounding_mode="floor") + 1).clamp_min(1)
        return ((lengths + self.hop // 2) // self.hop).clamp_min(1)

    def log_mel(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features before normalisation; see `FilterBank`."""
        frames = self.frames(lengths)
        samples = self._extended(waveforms, lengths, int(frames.max()))
        means = samples.unfold(1, self.window, self.hop).mean(-1, keepdim=True)
        # Kaldi takes the mean of a window away and then pre-emphasises. Pre-emphasis of all samples first gives the
        # same: a window's first sample, which has no other before it, has weight 0.
        emphasised = torch.nn.functional.pad(samples[:, 1:] - PREEMPHASIS * samples[:, :-1], (1, 0))
        windows = emphasised.unfold(1, self.window, self.hop) * self.shape
        windows.addcmul_(means, self.shape, value=PREEMPHASIS - 1)
        spectrum = torch.fft.rfft(windows, self.n_fft)
        power = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)
        return (power @ self.filters).clamp_min(FLOOR).log(), frames

    def _extended(self, waveforms: Tensor, lengths: Tensor, frames: int) -> Tensor:
        """Return samples for all windows, (batch, samples): before and after an utterance there is its mirror image."""
        first, _ = self.span
        index = torch.arange(first, first + (frames - 1) * self.hop + self.window, device=waveforms.device)
        lengths = lengths.clamp_min(1)[:, None]
        # ... 1 0 | 0 1 2 ... n-1 | n-1 n-2 ...: period 2n.
        index = index.remainder(2 * lengths)
        return waveforms.gather(1, torch.minimum(index, 2 * lengths - 1 - index))
