"""Reading audio as a Kaldi `wav.scp` names it: a file, a pipe (`command |`) or an archive entry (`file.ark:offset`)."""

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dld.data.pipes import allow_pipes, is_pipe
from dld.data.recordings import opened, say_once, source_path
from dld.data.resampling import resample
from dld.errors import DldError

__all__ = [
    "TOLERANCE", "AudioInfo", "allow_pipes", "decode_check", "duration", "info", "is_pipe", "read_audio", "read_parts",
    "resample", "source_path",
]  # fmt: skip

logger = logging.getLogger(__name__)

#: Seconds by which a segment may end after its recording, or a noted duration differ from the audio's: times in
#: corpora are often rounded to centiseconds or to a frame.
TOLERANCE = 0.05


@dataclass(frozen=True)
class AudioInfo:
    """What a recording's header says: `sample_rate` (Hz), `channels`, `frames` (samples per channel)."""

    sample_rate: int
    channels: int
    frames: int

    @property
    def duration(self) -> float:
        """Return the seconds."""
        return self.frames / self.sample_rate


def info(source: str | Path, utterance: str | None = None) -> AudioInfo:
    """Return the `AudioInfo` of a recording from its header; a pipe is run to its end for that.

    A WAV, RF64, Wave64, AIFF, CAF, AU, NIST SPHERE, OGG or MP3 file that is shorter than its header says is an error
    here; a FLAC shows it when it is read. Where a header does not state the length, the recording is decoded to count
    it.

    Parameters
    ----------
    source : str or Path
        A `wav.scp` value.
    utterance : str, optional
        Named in error messages.

    Raises
    ------
    DldError
        The audio is missing, unreadable, empty or cut short, or its header says what cannot be.
    """
    with opened(source, _where(source, utterance)) as recording:
        return AudioInfo(recording.samplerate, recording.channels, recording.length)


def duration(source: str | Path, utterance: str | None = None) -> float:
    """Return the seconds of audio in a recording; see `info`."""
    return info(source, utterance).duration


def read_audio(
    source: str | Path,
    start: float = 0.0,
    end: float | None = None,
    sample_rate: int = 16000,
    channel: int | None = None,
    utterance: str | None = None,
) -> np.ndarray:
    """Read a recording, or one segment of it by seeking, as mono float samples.

    `start` and `end` become sample numbers at the output rate, `round(seconds * sample_rate)`, so a segment equals
    the same cut of the whole recording. At another rate than the recording's this holds too: the segment is read
    with the context that the resampling filter sees. A segment may end up to `TOLERANCE` after the recording,
    whose last sample then ends it.

    Parameters
    ----------
    source : str or Path
        A `wav.scp` value: a file (WAV, FLAC, NIST SPH, OGG, whatever libsndfile reads), `command |`, or
        `file.ark:offset`. Relative paths start at the current folder, as in Kaldi.
    start, end : float
        Seconds; `end=None` reads to the end of the recording.
    sample_rate : int
        Hz of the result. Another rate is resampled, and the log says so once per rate.
    channel : int, optional
        Channel to take, from 0. None takes channel 0, and the log says so once if there are others.
    utterance : str, optional
        Named in error messages.

    Returns
    -------
    numpy.ndarray
        Shape (samples,), float32, full scale is 1.

    Raises
    ------
    DldError
        The audio is missing, unreadable, empty, cut short or not finite, its header says what cannot be, or the
        segment or the channel is not in it.

    Examples
    --------
    >>> import soundfile
    >>> path = getfixture("tmp_path") / "tone.flac"
    >>> tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(32000) / 16000)
    >>> soundfile.write(path, tone, 16000)
    >>> read_audio(path, start=0.5, end=0.75).shape
    (4000,)
    """
    where = _where(source, utterance)
    with opened(source, where) as recording:
        first, last = _bounds(recording, start, end, sample_rate, where)
        if recording.format == "MP3" and first > 0:
            say_once(
                "MP3",
                "segments of MP3 can differ from the whole in their first 9 ms, as its frames overlap; convert the "
                f"recordings to FLAC for exact segments (first: {where})",
            )
        begin, _ = _source_span(recording, first, last, sample_rate)
        recording.go_to(begin)
        return _Forward(recording, channel, where, begin).cut(first, last, sample_rate)


def read_parts(
    source: str | Path, parts: Iterable[tuple[int, int]], sample_rate: int = 16000, channel: int | None = None
) -> Iterator[np.ndarray]:
    """Yield parts of a recording, which is read once, forwards and in blocks: memory does not depend on its length.

    Parameters
    ----------
    source : str or Path
        See `read_audio`.
    parts : iterable of (int, int)
        First sample of each and the one after its last, at the output rate. None begins before the one before it; they
        may overlap.
    sample_rate, channel
        See `read_audio`.

    Yields
    ------
    array (samples,), float32
        The samples that `read_audio` returns there.

    Raises
    ------
    DldError
        As `read_audio`; what is wrong after the last part is not found.
    """
    where = _where(source, None)
    with opened(source, where) as recording:
        forward = _Forward(recording, channel, where)
        for first, last in parts:
            yield forward.cut(first, last, sample_rate)


def decode_check(
    source: str | Path,
    spans: Iterable[tuple[float, float | None]] = (),
    utterance: str | None = None,
    sample_rate: int = 16000,
) -> float:
    """Decode a whole recording, in blocks, so that memory stays flat; raise at what reading it would refuse.

    Parameters
    ----------
    source : str or Path
        A `wav.scp` value.
    spans : iterable of (float, float or None)
        Segments to check, in seconds, as `read_audio` takes them.
    utterance : str, optional
        Named in error messages.
    sample_rate : int
        Hz that segments will be read at: each must have a sample.

    Returns
    -------
    float
        Seconds that were decoded.

    Raises
    ------
    DldError
        As `info` and `read_audio`. A recording of zeros alone is only logged.
    """
    where = _where(source, utterance)
    with opened(source, where) as recording:
        for start, end in spans:
            _bounds(recording, start, end, sample_rate, where)
        frames, silent = 0, True
        for block in recording.blocks_of(recording.length):
            _check_finite(block, frames, recording.samplerate, where)
            frames += len(block)
            silent = silent and not block.any()
        if frames < recording.length:
            _cut_short(frames, recording.length, 0, where)
        if silent:
            logger.warning("%s: silent, all %d samples are 0", where, frames)
        return frames / recording.samplerate


def _bounds(recording, start, end, sample_rate, where):
    """Return the first and the last sample of a segment at the output rate."""
    rate, length = recording.samplerate, recording.length / recording.samplerate
    stop = length if end is None else end
    if not 0 <= start < stop or start >= length or stop > length + TOLERANCE:
        raise DldError(
            f"{where}: no segment from {start:g} s to {stop:g} s in {length:.3f} s of audio; correct segments"
        )
    # Of the whole recording at the output rate there are as many samples as the resampler makes.
    total = -(-recording.length * sample_rate // rate)
    first = round(start * sample_rate)
    last = total if end is None else min(round(end * sample_rate), total)
    if last <= first:
        raise DldError(
            f"{where}: the segment from {start:g} s to {stop:g} s is shorter than one sample; correct segments"
        )
    return first, last


def _source_span(recording, first, last, target):
    """Return the frames of a recording that its samples `first` ... `last - 1` at the rate `target` are made of."""
    if recording.samplerate == target:
        return first, last
    common = math.gcd(recording.samplerate, target)
    up, down = target // common, recording.samplerate // common
    # The filter reaches 10 * max(up, down) / up input samples to either side; reading starts on a multiple of
    # `down`, where an output sample coincides with an input sample, so that the grid is that of the whole.
    reach = 10 * max(up, down) // up + 1
    begin = max(0, first * down // up - reach) // down * down
    return begin, min(recording.length, last * down // up + reach + 1)


class _Forward:
    """One channel of a recording, read forwards from the frame where it is; keeps what the next cut may need."""

    def __init__(self, recording, channel, where, frame=0):
        if recording.channels > 1 and channel is None:
            say_once(("channels", recording.channels), f"audio has {recording.channels} channels: 0 is used ({where})")
        self.channel = channel or 0
        if not 0 <= self.channel < recording.channels:
            raise DldError(f"{where}: no channel {channel}, the audio has {recording.channels} (counted from 0)")
        self.recording, self.where = recording, where
        self.begin, self.samples = frame, np.zeros(0, np.float32)

    def cut(self, first, last, target):
        """Return the samples `first` ... `last - 1` at the rate `target`; `first` is never smaller than before."""
        rate = self.recording.samplerate
        begin, stop = _source_span(self.recording, first, last, target)
        frames = self._frames(begin, stop)
        if rate == target:
            return frames
        say_once(("rate", rate, target), f"audio at {rate} Hz is resampled to {target} Hz (first: {self.where})")
        offset = begin * target // rate
        return np.ascontiguousarray(resample(frames, rate, target)[first - offset : last - offset])

    def _frames(self, first, last):
        there = self.begin + len(self.samples)
        kept = self.samples[first - self.begin :]
        # What no cut wants is read over.
        for _ in self.recording.blocks_of(max(0, first - there)):
            pass
        there = max(there, first)
        read = self.recording.blocks_of(max(0, last - there))
        blocks = [kept, *(np.ascontiguousarray(block[:, self.channel]) for block in read)]
        blocks = [block for block in blocks if len(block)]
        self.begin = first
        self.samples = blocks[0] if len(blocks) == 1 else np.concatenate(blocks or [np.zeros(0, np.float32)])
        if len(self.samples) < last - first:
            _cut_short(len(self.samples), last - first, first, self.where)
        _check_finite(self.samples[there - first :], there, self.recording.samplerate, self.where)
        return self.samples[: last - first]


def _cut_short(there, wanted, first, where):
    raise DldError(f"{where}: audio is cut short ({there} of {wanted} frames from frame {first}); copy it again")


def _check_finite(samples, first, rate, where):
    if not np.isfinite(samples).all():
        bad = np.flatnonzero(~np.isfinite(samples.reshape(len(samples), -1)).all(axis=1))[0]
        raise DldError(
            f"{where}: audio has values that are not finite numbers (first at {(first + bad) / rate:.3f} s); "
            "convert the file again"
        )


def _where(source, utterance):
    return f"{source} (utterance {utterance})" if utterance else str(source)
