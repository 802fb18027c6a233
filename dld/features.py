"""Front ends: from waveforms to what an encoder takes, and the augmentations on the way."""

import torch
import torchaudio.functional
import torchaudio.transforms
from torch import nn

from dld.checks import COUNT, FLAG, NOT_NEGATIVE, POSITIVE, SHARE, ListOf, Nullable, Number, Whole, require
from dld.encoders.base import padding_mask
from dld.errors import DldError


class LogMel(nn.Module):
    """Log-Mel filter-bank energies, normalised.

    Parameters
    ----------
    sample_rate : int
        Hz.
    n_mels : int
    window_ms, hop_ms : float
        Milliseconds.
    n_fft : int, optional
        The next power of two that holds a window, where it is not given.
    normalisation : UtteranceCMVN or GlobalCMVN, optional

    Examples
    --------
    >>> front_end = LogMel(sample_rate=16000, n_mels=80)
    >>> features, lengths = front_end(torch.randn(2, 16000), torch.tensor([16000, 8000]))
    >>> features.shape, lengths.tolist()
    (torch.Size([2, 101, 80]), [101, 51])
    """

    def __init__(self, sample_rate=16000, n_mels=80, window_ms=25.0, hop_ms=10.0, n_fft=None, normalisation=None):
        super().__init__()
        require(self, Whole(1000, 384000), sample_rate=sample_rate)
        require(self, COUNT, n_mels=n_mels)
        require(self, POSITIVE, window_ms=window_ms, hop_ms=hop_ms)
        window = round(sample_rate * window_ms / 1000)
        # Some thousand samples are the longest that anyone wants; a slip in the unit would take all memory.
        require(self, Whole(2, 1 << 16), **{"window_ms in samples": window})
        require(self, Nullable(Whole(low=window)), n_fft=n_fft)
        self.sample_rate = sample_rate
        self.hop = round(sample_rate * hop_ms / 1000)
        require(self, Whole(1, window), **{"hop_ms in samples": self.hop})
        if normalisation is not None and not isinstance(normalisation, (UtteranceCMVN, GlobalCMVN)):
            raise DldError("LogMel: normalisation must be a UtteranceCMVN or GlobalCMVN, or null")
        if isinstance(normalisation, GlobalCMVN) and len(normalisation.mean) != n_mels:
            raise DldError(
                f"LogMel: normalisation has n_features {len(normalisation.mean)}; it must be n_mels, {n_mels}"
            )
        self.output_size = n_mels
        # Constant padding: the frames at the end of an utterance see zeros whether or not the batch goes on after it.
        self.mel = torchaudio.transforms.MelSpectrogram(
            sample_rate=sample_rate,
            n_fft=n_fft or 1 << (window - 1).bit_length(),
            win_length=window,
            hop_length=self.hop,
            n_mels=n_mels,
            power=2.0,
            center=True,
            pad_mode="constant",
        )
        self.normalisation = normalisation

    def extra_repr(self):
        """The settings that weights and buffers do not show, so that front ends that differ are seen to differ."""
        return f"sample_rate={self.sample_rate}, hop={self.hop}"

    @property
    def needs_statistics(self):
        """True while the normalisation waits for statistics of the training data."""
        return self.normalisation is not None and self.normalisation.needs_statistics

    def estimate_statistics(self, batches):
        """Estimate them from (waveforms (batch, samples), lengths (batch,)) pairs."""
        self.normalisation.estimate(self.log_mel(*batch) for batch in batches)

    @torch.no_grad()
    def forward(self, waveforms, lengths):
        """Features of a batch of waveforms.

        Parameters
        ----------
        waveforms : Tensor (batch, samples)
        lengths : LongTensor (batch,)
            Valid samples of each utterance.

        Returns
        -------
        features : Tensor (batch, frames, n_mels), zero on padded frames
        lengths : LongTensor (batch,)
            Valid frames, `samples // hop + 1`.
        """
        features, lengths = self.log_mel(waveforms, lengths)
        if self.normalisation is not None:
            features = self.normalisation(features, lengths)
        return features.masked_fill(padding_mask(lengths, features.shape[1])[..., None], 0.0), lengths

    def log_mel(self, waveforms, lengths):
        """Features before normalisation; padded frames hold no particular value."""
        waveforms = waveforms.masked_fill(padding_mask(lengths, waveforms.shape[1]), 0.0)
        # Low precision would lose the quiet end of the spectrum.
        with torch.autocast(waveforms.device.type, enabled=False):
            features = self.mel(waveforms.float()).clamp_min(1e-10).log().transpose(1, 2)
        return features, lengths // self.hop + 1


class Waveform(nn.Module):
    """The waveform itself, for encoders that begin with convolutions over it.

    Parameters
    ----------
    normalise : bool
        Zero mean and unit variance over each utterance's valid samples, as WavLM Large was trained with. Base was
        trained without; as its first convolution has no bias and is normalised itself, it makes no difference there.

    Examples
    --------
    >>> out, lengths = Waveform()(torch.tensor([[1.0, 3.0, 99.0]]), torch.tensor([2]))
    >>> out.round(decimals=3).tolist(), lengths.tolist()
    ([[-1.0, 1.0, 0.0]], [2])
    """

    output_size = 1
    hop = 1
    needs_statistics = False

    def __init__(self, normalise=True):
        super().__init__()
        require(self, FLAG, normalise=normalise)
        self.normalise = normalise

    def extra_repr(self):
        """The setting, so that two front ends that differ in it are seen to differ."""
        return f"normalise={self.normalise}"

    @torch.no_grad()
    def forward(self, waveforms, lengths):
        """Waveforms (batch, samples) and their lengths (batch,) → the same shapes, zero beyond the lengths."""
        padding = padding_mask(lengths, waveforms.shape[1])
        waveforms = waveforms.masked_fill(padding, 0.0)
        if self.normalise:
            count = lengths.clamp_min(1)[:, None]
            # Sums of half a million samples: float32 would lose digits that depend on how long the batch is.
            centred = waveforms.double() - waveforms.sum(1, keepdim=True, dtype=torch.float64) / count
            centred = centred.masked_fill(padding, 0.0)
            deviation = (centred.square().sum(1, keepdim=True) / count + 1e-7).sqrt()
            waveforms = (centred / deviation).to(waveforms.dtype)
        return waveforms, lengths


class WhisperLogMel(nn.Module):
    """The features that Whisper was trained on (arXiv 2212.04356, section 2.2).

    Slaney-Mel energies of windows of 400 samples every 160 (25 and 10 ms), `log10`, cut off 8 below the utterance's own
    maximum and scaled, `(x + 4) / 4`. The maximum is that of the valid frames, so it depends on no other utterance.
    The utterance is mirrored before its start and followed by silence, as in Whisper's windows of 30 s.

    Parameters
    ----------
    n_mels : int
        80, or 128 for Whisper large-v3.

    Examples
    --------
    >>> features, lengths = WhisperLogMel()(torch.randn(2, 16000), torch.tensor([16000, 8100]))
    >>> features.shape, lengths.tolist()
    (torch.Size([2, 100, 80]), [100, 50])
    """

    sample_rate = 16000
    hop = 160
    needs_statistics = False
    _n_fft = 400

    def __init__(self, n_mels=80):
        super().__init__()
        require(self, Whole(1, self._n_fft // 2), n_mels=n_mels)
        self.output_size = n_mels
        half = self.sample_rate / 2
        filters = torchaudio.functional.melscale_fbanks(
            self._n_fft // 2 + 1, 0.0, half, n_mels, self.sample_rate, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", torch.hann_window(self._n_fft), persistent=False)

    def extra_repr(self):
        """The setting, so that two front ends that differ in it are seen to differ."""
        return f"n_mels={self.output_size}"

    @torch.no_grad()
    def forward(self, waveforms, lengths):
        """Features of a batch of waveforms.

        Parameters
        ----------
        waveforms : Tensor (batch, samples)
            At 16 kHz.
        lengths : LongTensor (batch,)
            Valid samples of each utterance.

        Returns
        -------
        features : Tensor (batch, frames, n_mels), zero on padded frames
        lengths : LongTensor (batch,)
            Valid frames, `samples // 160` and at least 1.
        """
        waveforms = waveforms.masked_fill(padding_mask(lengths, waveforms.shape[1]), 0.0)
        half = self._n_fft // 2
        # Low precision would lose the quiet end of the spectrum.
        with torch.autocast(waveforms.device.type, enabled=False):
            padded = nn.functional.pad(waveforms.float(), (0, self._n_fft))
            padded = nn.functional.pad(padded, (half, 0), mode="reflect")
            spectrum = torch.stft(padded, self._n_fft, self.hop, window=self.window, center=False, return_complex=True)
            energies = spectrum.abs().square().transpose(1, 2) @ self.filters
        lengths = (lengths // self.hop).clamp_min(1)
        features = energies[:, : max(1, waveforms.shape[1] // self.hop)].clamp_min(1e-10).log10()
        padding = padding_mask(lengths, features.shape[1])[..., None]
        highest = features.masked_fill(padding, -torch.inf).amax((1, 2), keepdim=True)
        return ((features.maximum(highest - 8.0) + 4.0) / 4.0).masked_fill(padding, 0.0), lengths


class UtteranceCMVN(nn.Module):
    """Mean and variance normalisation of each utterance over its own valid frames.

    Parameters
    ----------
    variance : bool
        False subtracts the mean only.

    Examples
    --------
    >>> out = UtteranceCMVN()(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([2]))
    >>> out[0, :2, 0].tolist()
    [-1.0, 1.0]
    """

    needs_statistics = False

    def __init__(self, variance=True):
        super().__init__()
        require(self, FLAG, variance=variance)
        self.variance = variance

    def extra_repr(self):
        """The setting."""
        return f"variance={self.variance}"

    def forward(self, features, lengths):
        """(batch, frames, bins), (batch,) → the same shape."""
        valid = (~padding_mask(lengths, features.shape[1]))[..., None]
        count = lengths.clamp_min(1)[:, None, None]
        features = features - (features * valid).sum(1, keepdim=True) / count
        if self.variance:
            features = features / ((features * valid).square().sum(1, keepdim=True) / count).sqrt().clamp_min(1e-5)
        return features


class GlobalCMVN(nn.Module):
    """Mean and variance normalisation with statistics of the training data, the same for every utterance.

    The statistics are estimated once, before training, and saved with the weights. As they depend on nothing of the
    utterance, this is the one to take for streaming.

    Parameters
    ----------
    n_features : int
    """

    def __init__(self, n_features):
        super().__init__()
        require(self, COUNT, n_features=n_features)
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("std", torch.ones(n_features))
        self.register_buffer("frames", torch.zeros((), dtype=torch.long))

    @property
    def needs_statistics(self):
        """True until `estimate` was called or saved statistics were loaded."""
        return self.frames.item() == 0

    def estimate(self, batches):
        """Take mean and standard deviation from un-normalised features.

        Parameters
        ----------
        batches : iterable of (features (batch, frames, bins), lengths (batch,))
        """
        total = torch.zeros_like(self.mean, dtype=torch.float64)
        squares, frames = total.clone(), 0
        for features, lengths in batches:
            valid = features[~padding_mask(lengths, features.shape[1])].double()
            total += valid.sum(0)
            squares += valid.square().sum(0)
            frames += len(valid)
        mean = total / frames
        self.mean.copy_(mean)
        self.std.copy_((squares / frames - mean.square()).clamp_min(1e-10).sqrt())
        self.frames.fill_(frames)

    def forward(self, features, lengths):
        """(batch, frames, bins), (batch,) → the same shape."""
        return (features - self.mean) / self.std


class SpecAugment(nn.Module):
    """Masks over time and frequency, drawn for each utterance (SpecAugment, arXiv 1904.08779, without warping).

    Parameters
    ----------
    time_masks, freq_masks : int
        Masks of each kind.
    time_width, freq_width : int
        Largest width of a mask, in frames and bins; each is drawn uniformly from 0 up to it.
    time_share : float
        No time mask is wider than this share of the batch's longest utterance.
    """

    def __init__(self, time_masks=2, time_width=40, freq_masks=2, freq_width=27, time_share=0.2):
        super().__init__()
        require(self, NOT_NEGATIVE, time_masks=time_masks, time_width=time_width)
        require(self, NOT_NEGATIVE, freq_masks=freq_masks, freq_width=freq_width)
        require(self, SHARE, time_share=time_share)
        self.time_masks = time_masks
        self.time_width = time_width
        self.freq_masks = freq_masks
        self.freq_width = freq_width
        self.time_share = time_share

    def forward(self, features):
        """Masked copy of features (batch, frames, bins); masked places are zero, the mean after CMVN."""
        for _ in range(self.time_masks):
            features = torchaudio.functional.mask_along_axis_iid(features, self.time_width, 0.0, 1, self.time_share)
        for _ in range(self.freq_masks):
            features = torchaudio.functional.mask_along_axis_iid(features, self.freq_width, 0.0, 2, 1.0)
        return features


class SpeedPerturb(nn.Module):
    """Play each training batch at a speed drawn from a list (Ko et al., Interspeech 2015: 0.9, 1.0, 1.1).

    Parameters
    ----------
    speeds : list of float
        Each with at most two decimals.

    Examples
    --------
    >>> waveforms, lengths = SpeedPerturb([0.5])(torch.randn(1, 1000), torch.tensor([1000]))
    >>> waveforms.shape, lengths.tolist()
    (torch.Size([1, 2000]), [2000])
    """

    def __init__(self, speeds=(0.9, 1.0, 1.1)):
        super().__init__()
        require(self, ListOf(Number(0.1, 10)), speeds=speeds)
        for speed in speeds:
            if abs(speed * 100 - round(speed * 100)) > 1e-6:
                raise DldError(f"SpeedPerturb: speeds has {speed}; each may have two decimals at most")
        self.resamplers = nn.ModuleList(
            torchaudio.transforms.Resample(orig_freq=round(speed * 100), new_freq=100) for speed in speeds
        )
        self.fastest = max(speeds)

    def forward(self, waveforms, lengths):
        """(batch, samples), (batch,) → the same, shorter or longer."""
        resampler = self.resamplers[int(torch.randint(len(self.resamplers), ()))]
        if resampler.orig_freq == resampler.new_freq:
            return waveforms, lengths
        out = resampler(waveforms)
        # torchaudio gives ceil(new_freq * samples / orig_freq) samples.
        lengths = -(-lengths * resampler.new_freq // resampler.orig_freq)
        return out, lengths.clamp_max(out.shape[1])
