"""Front ends in a form that becomes a small graph: Fourier transforms are two products of matrices.

Each computes what its class in `dld.frontends` does, for a single utterance without padding.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from dld.errors import DldError
from dld.frontends import FrontEnd, KaldiFbank, LogMel, Waveform, WhisperLogMel
from dld.frontends.filterbank import FilterBank
from dld.frontends.kaldi import FLOOR, PREEMPHASIS
from dld.frontends.waveform import centred

#: What sherpa-onnx adds to the variance of a waveform before it divides by its root.
RUNTIME_EPSILON = 1e-5
#: Variances of a waveform that can be told from what is left of it, see `Restored`.
QUIETEST, LOUDEST = 1e-12, 0.5


class Spectrum(nn.Module):
    """Energies of a bank of filters in windows of a signal.

    Windows are symmetric, and only magnitudes count. So a window is folded at its middle: cosines, counted from there,
    see the sums of the samples at equal distances before and after it, and sines the differences. It is folded once
    more at a quarter of the transform, where those of even frequencies are symmetric and those of odd ones are not, or
    the reverse. What is left are products of small matrices; ONNX Runtime computes its own STFT much more slowly. The
    graph holds no weights of it, which would make half of a small pack, but how they are computed; that is done once,
    when the graph is loaded.

    Parameters
    ----------
    window : Tensor (window,)
        Factors on the samples of a window: symmetric, but for a first one that is 0.
    size : int
        Points of the transform.
    hop : int
        Samples between windows.
    filters : Tensor (size // 2 + 1, filters)
    preemphasis : float, optional
        Take a window's mean away, and then from each sample this part of the one before it, as Kaldi does. The window
        must begin with 0: its first sample has no other before it.
    """

    def __init__(self, window: Tensor, size: int, hop: int, filters: Tensor, preemphasis: float | None = None):
        super().__init__()
        self.hop, self.preemphasis = hop, preemphasis
        self.window = len(window)
        # A periodic window is symmetric without its first sample.
        self.skipped = 0 if torch.allclose(window, window.flip(0), atol=1e-6) else 1
        shape = window[self.skipped :].float()
        assert torch.allclose(shape, shape.flip(0), atol=1e-6) and not window[: self.skipped].any()
        self.reach = (len(shape) + 1) // 2
        weights = shape[-self.reach :].clone()
        middle = len(shape) % 2
        if middle:  # this sample is before and after
            weights[0] /= 2
        self.near = min(size // 4 + middle, self.reach) if size % 4 == 0 else self.reach
        far = self.reach - self.near
        self.around = (self.near - middle - far, int(middle))  # of what is folded over the near samples
        # Frequencies that no filter has are left out; if there is a second fold, the even ones come first.
        used = filters.any(1).nonzero().squeeze(1)
        kinds = [used[used % 2 == 0], used[used % 2 == 1]] if far else [used]
        self.bins = [len(kind) for kind in kinds]
        used = torch.cat(kinds)
        # Buffers of the state: the tracer would work out what is computed of others.
        self.size = size
        self.register_buffer("weights", weights)
        self.register_buffer("frequencies", used.float()[None])
        self.register_buffer("times", torch.arange(self.near, dtype=torch.float32)[:, None] + (0.0 if middle else 0.5))
        self.register_buffer("filters", filters[used].float().contiguous())

    def forward(self, signal: Tensor) -> Tensor:
        """Compute (1, samples) → (1, windows, filters)."""
        samples = signal
        if self.preemphasis is not None:
            samples = functional.pad(signal[:, 1:] - self.preemphasis * signal[:, :-1], (1, 0))
        after, before = self.halves(self.rows(samples))
        sums, differences = after + before, after - before
        if self.preemphasis is not None:
            sums = sums - self.totals(self.rows(signal)) * (2 * (1 - self.preemphasis) / self.window)
        # Exact in float32, for which every runtime has cosines; those of large angles are not exact.
        angles = (self.times @ self.frequencies).remainder(float(self.size)) * (2 * math.pi / self.size)
        tables = zip(self.folded(sums), self.folded(differences)[::-1], angles.split(self.bins, 1), strict=True)
        parts = [((even @ table.cos()), (odd @ table.sin())) for even, odd, table in tables]
        energies = [real * real + imaginary * imaginary for real, imaginary in parts]
        return (torch.cat(energies, 1) @ self.filters)[None]

    def folded(self, half: Tensor) -> list[Tensor]:
        """Return (windows, reach) with weights, and folded: what is symmetric and what is not, (windows, near) each."""
        half = half * self.weights
        if self.near == self.reach:
            return [half]
        near, far = half[:, : self.near], functional.pad(half[:, self.near :].flip(1), self.around)
        return [near + far, near - far]

    def rows(self, signal: Tensor) -> Tensor:
        """Return a signal in rows of a hop, with zeros behind it where the last window ends within a row."""
        padded = functional.pad(signal, (0, -self.window % self.hop))
        whole = length_of(padded) // self.hop * self.hop
        return padded[:, : whole[0]].reshape(-1, self.hop)

    def parts(self, first: int, end: int) -> list[tuple[int, int, int]]:
        """Return where the samples of a window from `first` to `end` are: row, from its first one on, and columns."""
        cuts = [first, *range((first // self.hop + 1) * self.hop, end, self.hop), end]
        return [(a // self.hop, a % self.hop, (b - 1) % self.hop + 1) for a, b in zip(cuts, cuts[1:], strict=False)]

    def of_windows(self, rows: Tensor, row: int) -> Tensor:
        """Return that row of all windows."""
        return rows[row : (row - (self.window - 1) // self.hop) or None]

    def totals(self, rows: Tensor) -> Tensor:
        """Return the sums of the samples of windows, (windows, 1)."""
        parts = [self.of_windows(rows[:, a:b].sum(1, keepdim=True), row) for row, a, b in self.parts(0, self.window)]
        return torch.stack(parts).sum(0)

    def halves(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the samples of windows after and before their middles, from there on: two of (windows, reach)."""
        backward, hop = rows.flip(1), self.hop
        after = [self.of_windows(rows, row)[:, a:b] for row, a, b in self.parts(self.window - self.reach, self.window)]
        first = self.parts(self.skipped, self.skipped + self.reach)[::-1]
        before = [self.of_windows(backward, row)[:, hop - b : hop - a] for row, a, b in first]
        return torch.cat(after, 1), torch.cat(before, 1)


def length_of(signal: Tensor) -> Tensor:
    """Return the length of a single utterance, (1,), as the graph that is traced computes it."""
    return torch.as_tensor(signal.shape[1]).reshape(1)


class _Normalised(nn.Module):
    """The normalisation of a filter bank."""

    def __init__(self, frontend: FilterBank):
        super().__init__()
        self.normalisation = frontend.normalisation

    def normalise(self, features: Tensor) -> Tensor:
        return features if self.normalisation is None else self.normalisation(features, length_of(features))


class KaldiGraph(_Normalised):
    """`KaldiFbank` of one utterance: (1, samples) → (1, frames, n_mels)."""

    def __init__(self, frontend: KaldiFbank):
        super().__init__(frontend)
        self.spectrum = Spectrum(frontend.shape, frontend.n_fft, frontend.hop, frontend.filters, PREEMPHASIS)
        self.frontend = [frontend]  # not a child: its buffers are not in the graph

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute the features."""
        [frontend] = self.frontend
        lengths = length_of(waveform)
        frames = frontend.frames(lengths)
        first, _ = frontend.span
        end = first + (frames - 1) * frontend.hop + frontend.window
        # Only the ends, which are mirrored, are looked up: that of all samples takes as long as two blocks of int8.
        added = torch.arange((end - lengths).clamp_min(0)[0])  # type: ignore[call-overload]
        before, after = self.mirrored(waveform, torch.arange(first, 0)), self.mirrored(waveform, lengths + added)
        samples = torch.cat([before, waveform, after], 1)[:, : (end - first)[0]]
        return self.normalise(self.spectrum(samples).clamp_min(FLOOR).log())

    @staticmethod
    def mirrored(waveform: Tensor, index: Tensor) -> Tensor:
        """Return samples, of which those outside are inside of its mirror images, see `KaldiFbank`."""
        samples = length_of(waveform)
        index = index.remainder(2 * samples)
        return waveform[:, torch.minimum(index, 2 * samples - 1 - index)]


class LogMelGraph(_Normalised):
    """`LogMel` of one utterance: (1, samples) → (1, frames, n_mels)."""

    def __init__(self, frontend: LogMel):
        super().__init__(frontend)
        mel = frontend.mel
        window = mel.spectrogram.window
        self.spectrum = Spectrum(window, mel.n_fft, frontend.hop, mel.mel_scale.fb)
        # A window is in the middle of the points of its transform, which are around the frame's sample.
        before = mel.n_fft // 2 - (mel.n_fft - len(window)) // 2
        self.padding, self.hop = (before, max(0, len(window) - before)), frontend.hop
        self.zero_mean = frontend.zero_mean

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute the features."""
        if self.zero_mean:
            waveform = centred(waveform, length_of(waveform))
        energies = self.spectrum(functional.pad(waveform, self.padding))
        frames = waveform.shape[1] // self.hop + 1
        return self.normalise(energies[:, :frames].clamp_min(1e-10).log())


class WhisperGraph(nn.Module):
    """`WhisperLogMel` of one utterance: (1, samples) → (1, frames, n_mels)."""

    def __init__(self, frontend: WhisperLogMel):
        super().__init__()
        self.hop, self.before, self.zero_mean = frontend.hop, frontend._n_fft // 2, frontend.zero_mean
        self.spectrum = Spectrum(frontend.window, frontend._n_fft, frontend.hop, frontend.filters)

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute the features."""
        if self.zero_mean:
            waveform = centred(waveform, length_of(waveform))
        padded = functional.pad(waveform, (0, 2 * self.before))
        energies = self.spectrum(functional.pad(padded, (self.before, 0), mode="reflect"))
        frames = (length_of(waveform) // self.hop).clamp_min(1)
        features = energies[:, : frames[0]].clamp_min(1e-10).log10()
        return (features.maximum(features.amax((1, 2), keepdim=True) - 8.0) + 4.0) / 4.0


class WaveformGraph(nn.Module):
    """`Waveform` of one utterance: (1, samples) → (1, samples)."""

    def __init__(self, frontend: Waveform):
        super().__init__()
        self.frontend = frontend

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute the features."""
        return self.frontend(waveform, length_of(waveform))[0]


class Restored(nn.Module):
    """Undo the normalisation of a waveform by sherpa-onnx, `x = (w - mean) / sqrt(variance + RUNTIME_EPSILON)`.

    The variance of `x` is not quite 1, which tells that of `w`: `v = variance / (variance + ε)`, so
    `variance = ε v / (1 - v)`. Features that depend on the level of the waveform are then those of `w`, but for its
    mean.
    """

    def __init__(self, graph: nn.Module):
        super().__init__()
        self.graph = graph

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute the features of `w` from `x`."""
        exact = waveform.double()
        found = (exact - exact.mean(1, keepdim=True)).square().mean(1, keepdim=True)
        rest = (1.0 - found).clamp_min(RUNTIME_EPSILON / LOUDEST)
        variance = (RUNTIME_EPSILON * found / rest).clamp_min(QUIETEST)
        return self.graph((exact * (variance + RUNTIME_EPSILON).sqrt()).float())


_GRAPHS: dict[type[FrontEnd], type[nn.Module]] = {
    KaldiFbank: KaldiGraph,
    LogMel: LogMelGraph,
    WhisperLogMel: WhisperGraph,
    Waveform: WaveformGraph,
}


def graph_of(frontend: FrontEnd) -> nn.Module:
    """Return the module to trace for a front end: (1, samples) → features of one utterance.

    Examples
    --------
    >>> frontend = KaldiFbank()
    >>> waveform = torch.randn(1, 4000)
    >>> expected, _ = frontend(waveform, torch.tensor([4000]))
    >>> bool((graph_of(frontend)(waveform) - expected).abs().max() < 1e-3)
    True
    """
    if type(frontend) not in _GRAPHS:
        names = ", ".join(cls.__name__ for cls in _GRAPHS)
        raise DldError(f"{type(frontend).__name__} cannot be exported; front ends that can are {names}")
    return _GRAPHS[type(frontend)](frontend).eval()
