"""Reading audio as a Kaldi `wav.scp` names it: a file, a pipe (`command |`) or an archive entry (`file.ark:offset`)."""

import contextlib
import functools
import io
import logging
import math
import os
import re
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import kaldiio
import numpy as np
import soundfile
from scipy.signal import resample_poly

from dld.errors import DldError

logger = logging.getLogger(__name__)

#: Seconds by which a segment may end after its recording, or a noted duration differ from the audio's: times in
#: corpora are often rounded to centiseconds or to a frame.
TOLERANCE = 0.05

_ARCHIVE = re.compile(r"(?P<path>.+):(?P<offset>\d+)(\[[\d:,]*\])?")
# Writers that stream to a pipe cannot know the length; they put a number near 2 or 4 GiB in the header.
_STREAMED = 0x7FFF0000
_said = set()


@dataclass(frozen=True)
class AudioInfo:
    """What a recording's header says: `sample_rate` (Hz), `channels`, `frames` (samples per channel)."""

    sample_rate: int
    channels: int
    frames: int

    @property
    def duration(self):
        """Seconds."""
        return self.frames / self.sample_rate


class _Memory:
    """An archive entry, with as much of `soundfile.SoundFile`'s interface as reading needs."""

    def __init__(self, samplerate, samples):
        self.samplerate = samplerate
        self.frames, self.channels = samples.shape
        self._samples = samples
        self._position = 0

    def seek(self, frame):
        self._position = frame

    def read(self, frames, dtype, always_2d):
        return self._samples[self._position : self._position + frames]

    def close(self):
        self._samples = None


def is_pipe(source):
    """Whether a `wav.scp` value is a command whose output is the audio."""
    return str(source).rstrip().endswith("|")


def source_path(source):
    """Return the file that a `wav.scp` value reads, or None for a pipe.

    Examples
    --------
    >>> str(source_path("data/a.ark:35")), source_path("sph2pipe -f wav a.sph |")
    ('data/a.ark', None)
    """
    source = str(source)
    if is_pipe(source):
        return None
    archive = _ARCHIVE.fullmatch(source)
    if archive and not os.path.exists(source):
        return Path(archive["path"])
    return Path(source)


def info(source, utterance=None):
    """Return the `AudioInfo` of a recording from its header; a pipe is run to its end for that.

    A WAV or NIST SPH file that is shorter than its header says is an error here; cut FLAC files show only when
    they are read, cut OGG files not at all.

    Parameters
    ----------
    source : str or Path
        A `wav.scp` value.
    utterance : str, optional
        Named in error messages.

    Raises
    ------
    DldError
        The audio is missing, unreadable, empty or cut short.
    """
    with _opened(source, _place(source, utterance)) as recording:
        return AudioInfo(recording.samplerate, recording.channels, recording.frames)


def duration(source, utterance=None):
    """Seconds of audio in a recording; see `info`."""
    return info(source, utterance).duration


def read_audio(source, start=0.0, end=None, sample_rate=16000, channel=None, utterance=None):
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
        The audio is missing, unreadable, empty, cut short or not finite, or the segment or the channel is not
        in it.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "tone.flac"
    >>> tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(32000) / 16000)
    >>> soundfile.write(path, tone, 16000)
    >>> read_audio(path, start=0.5, end=0.75).shape
    (4000,)
    """
    place = _place(source, utterance)
    with _opened(source, place) as recording:
        rate, length = recording.samplerate, recording.frames / recording.samplerate
        stop = length if end is None else end
        if not 0 <= start < stop or start >= length or stop > length + TOLERANCE:
            raise DldError(
                f"{place}: no segment from {start:g} s to {stop:g} s in {length:.3f} s of audio; correct segments"
            )
        # Of the whole recording at the output rate there are as many samples as the resampler makes.
        total = -(-recording.frames * sample_rate // rate)
        first = round(start * sample_rate)
        last = total if end is None else min(round(end * sample_rate), total)
        if last <= first:
            raise DldError(f"{place}: the segment from {start:g} s to {stop:g} s is shorter than one sample")
        if rate == sample_rate:
            return _read_frames(recording, first, last, channel, place)
        _say_once(("rate", rate, sample_rate), f"audio at {rate} Hz is resampled to {sample_rate} Hz (first: {source})")
        return _read_resampled(recording, first, last, rate, sample_rate, channel, place)


def resample(samples, rate, target):
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
    common = math.gcd(rate, target)
    return resample_poly(samples, target // common, rate // common).astype(np.float32, copy=False)


def _read_resampled(recording, first, last, rate, target, channel, place):
    common = math.gcd(rate, target)
    up, down = target // common, rate // common
    # The filter reaches 10 * max(up, down) / up input samples to either side; reading starts on a multiple of
    # `down`, where an output sample coincides with an input sample, so that the grid is that of the whole.
    reach = 10 * max(up, down) // up + 1
    begin = max(0, first * down // up - reach) // down * down
    stop = min(recording.frames, last * down // up + reach + 1)
    samples = resample(_read_frames(recording, begin, stop, channel, place), rate, target)
    offset = begin // down * up
    return np.ascontiguousarray(samples[first - offset : last - offset])


def _read_frames(recording, first, last, channel, place):
    """One channel of the frames `first` ... `last - 1`, float32."""
    if recording.channels > 1 and channel is None:
        _say_once(("channels", recording.channels), f"audio has {recording.channels} channels: 0 is used ({place})")
    channel = channel or 0
    if not 0 <= channel < recording.channels:
        raise DldError(f"{place}: no channel {channel}, the audio has {recording.channels} (counted from 0)")
    recording.seek(first)
    samples = recording.read(last - first, dtype="float32", always_2d=True)
    if len(samples) != last - first:
        raise DldError(
            f"{place}: audio is cut short ({len(samples)} of {last - first} frames from frame {first}); copy it anew"
        )
    samples = np.ascontiguousarray(samples[:, channel])
    if not np.isfinite(samples).all():
        raise DldError(f"{place}: audio has values that are not finite numbers; convert the file anew")
    return samples


def _place(source, utterance):
    return f"{source} (utterance {utterance})" if utterance else str(source)


def _say_once(key, message):
    if key not in _said:
        _said.add(key)
        logger.warning(message)


@contextlib.contextmanager
def _opened(source, place):
    """Open any kind of source as a `SoundFile`, or as what looks like one; failures become `DldError`."""
    recording = None
    try:
        recording = _open(str(source), place)
        if recording.frames == 0:
            raise DldError(f"{place}: no audio in it (zero length); remove it with `dld-data fix`")
        yield recording
    except (soundfile.SoundFileError, OSError) as error:
        what = getattr(error, "error_string", None) or str(error) or type(error).__name__
        raise DldError(f"{place}: audio cannot be read: {what.strip()}") from None
    finally:
        if recording is not None:
            recording.close()


def _open(source, place):
    if is_pipe(source):
        done = _run_pipe(source)
        if done.returncode != 0 or not done.stdout:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            why = f": {said[-1]}" if said else ""
            raise DldError(f"{place}: the pipe ended with status {done.returncode}, {len(done.stdout)} bytes{why}")
        stream = io.BytesIO(done.stdout)
        _check_complete(stream, place)
        return soundfile.SoundFile(stream)
    path = source_path(source)
    if not path.exists():
        hint = "" if path.is_absolute() else f" (relative paths start at the current folder, {os.getcwd()})"
        raise DldError(f"{place}: no such audio file{hint}")
    with open(path, "rb") as stream:
        if str(path) != source:
            return _open_archive(source, stream, place)
        _check_complete(stream, place)
    return soundfile.SoundFile(str(path))


# Segments of one piped recording are usually read one after the other: run its command once for them.
@functools.lru_cache(maxsize=1)
def _run_pipe(command):
    # Not through kaldiio: it drops the exit status, and a failed command would look like short audio.
    return subprocess.run(command.rstrip().rstrip("|"), shell=True, stdin=subprocess.DEVNULL, capture_output=True)


def _open_archive(source, stream, place):
    stream.seek(int(_ARCHIVE.fullmatch(source)["offset"]))
    tag = stream.read(5)
    # kaldiio also reads matrices and pickles, and a pickle could run code: only audio is let through.
    if not tag.startswith((b"RIFF", b"fLaC", b"AUDIO")):
        raise DldError(f"{place}: no audio at that offset of the archive; make wav.scp and the archive together")
    stream.seek(-len(tag), os.SEEK_CUR)
    _check_complete(stream, place)
    try:
        rate, samples = kaldiio.load_mat(source)
    except Exception as error:  # kaldiio raises whatever its parts do: wave.Error, struct.error, ...
        raise DldError(f"{place}: audio cannot be read: {error}") from None
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif np.issubdtype(samples.dtype, np.integer):
        samples = samples / np.float32(-float(np.iinfo(samples.dtype).min))
    samples = samples.astype(np.float32, copy=False)
    return _Memory(rate, samples.reshape(len(samples), -1) if len(samples) else samples.reshape(0, 1))


def _check_complete(stream, place):
    """Raise if a WAV or NIST SPH header promises more than the stream holds: libsndfile would just read less.

    The stream is left where it was.
    """
    begin = stream.tell()
    there = stream.seek(0, os.SEEK_END) - begin
    stream.seek(begin)
    if there == 0:
        raise DldError(f"{place}: no audio in it (zero length); remove it with `dld-data fix`")
    head = stream.read(1024)
    promised = None
    if head.startswith(b"NIST_1A"):
        promised = _nist_bytes(head)
    elif head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        promised = _wave_bytes(stream, begin)
    stream.seek(begin)
    if promised is not None and promised > there:
        raise DldError(f"{place}: audio is cut short ({there} bytes of {promised}); copy it anew")


def _nist_bytes(head):
    fields = dict(re.findall(rb"(\w+) -\w+ (\S+)", head))
    names = (b"sample_count", b"channel_count", b"sample_n_bytes")
    if b"shorten" in fields.get(b"sample_coding", b"") or not all(fields.get(name, b"").isdigit() for name in names):
        return None
    header = int(head.split()[1])
    return header + math.prod(int(fields[name]) for name in names)


def _wave_bytes(stream, begin):
    position = 12
    while True:
        stream.seek(begin + position)
        chunk = stream.read(8)
        if len(chunk) < 8:
            return None
        name, size = struct.unpack("<4sI", chunk)
        position += 8
        if name == b"data":
            return position + size if size < _STREAMED else None
        position += size + size % 2
