"""Single recordings to transcribe: files and samples, checked before they are read."""

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from dld.checks import is_whole
from dld.data.batching import sorted_batches
from dld.data.pipes import is_pipe
from dld.data.resampling import resample
from dld.errors import DldError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

#: A file, or samples: one dimension, floating point, full scale 1.
Audio = Union[str, os.PathLike, np.ndarray, "torch.Tensor"]

#: Largest sample that is taken, far above full scale; the square of larger ones is not finite.
LARGEST = 1e9
#: Samples from here on are at full scale, and a file with a larger part of those than this is called clipped.
FULL_SCALE, MOST_CLIPPED = 0.999, 0.01


@dataclass(frozen=True)
class Clip:
    """Audio at the rate that a network takes.

    Attributes
    ----------
    name : str
        What messages call it: its path, or its index in a list.
    samples : int
    sample_rate : int
        Hz.
    parts : callable
        Takes first sample and the one after the last of each of several parts, in rising order, and gives their
        samples, one array (samples,), float32, after the other.
    """

    name: str
    samples: int
    sample_rate: int
    parts: Callable[[Iterable[tuple[int, int]]], Iterator[np.ndarray]]

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.samples / self.sample_rate

    def read(self) -> np.ndarray:
        """Return all samples, (samples,), float32."""
        [samples] = self.parts([(0, self.samples)])
        return samples


def listed(audio: Audio | Iterable[Audio]) -> tuple[list[Audio], bool]:
    """Return a list of audio, and whether it was a single one."""
    if isinstance(audio, (str, os.PathLike, np.ndarray)) or _is_tensor(audio):
        return [audio], True
    try:
        return list(audio), False
    except TypeError:
        raise DldError(f"audio is a path, samples, or a list of those, not {type(audio).__name__}") from None


@dataclass(frozen=True)
class Source:
    """How a network takes audio.

    Attributes
    ----------
    sample_rate : int
        Hz.
    channel : int, optional
        Channel of files, see `dld.data.audio.read_audio`.
    max_seconds : float, optional
        The longest that it takes.

    Examples
    --------
    >>> Source(16000).clip(np.zeros(8000), 0, given_rate=8000).seconds
    1.0
    """

    sample_rate: int
    channel: int | None = None
    max_seconds: float | None = None

    def clip(self, audio: Audio, index: int, given_rate: int | None = None) -> Clip:
        """Check a file by its header, or samples of `given_rate` Hz.

        Raises
        ------
        DldError
            It cannot be read, is too long, or is a command, as a `wav.scp` may have them; the message has the path, or
            the index of samples in their list.
        """
        if isinstance(audio, (str, os.PathLike)):
            name = os.fsdecode(audio)
            if is_pipe(name):
                raise DldError(f"{name}: is a command, and none is run here; give a file")
            # Takes soundfile, which samples do not need.
            from dld.data.audio import info

            header = info(name)
            samples = -(-header.frames * self.sample_rate // header.sample_rate)
            clip = Clip(name, samples, self.sample_rate, functools.partial(self._file_parts, name))
        else:
            name = f"audio {index}"
            whole = _checked(audio, name)
            if given_rate is None or not (is_whole(given_rate) and given_rate > 0):
                raise DldError(f"{name}: sample_rate is {given_rate!r}; give that of the samples, in Hz")
            whole = resample(whole, given_rate, self.sample_rate)
            clip = Clip(name, len(whole), self.sample_rate, lambda parts: (whole[a:b] for a, b in parts))
        if self.max_seconds is not None and clip.seconds > self.max_seconds:
            raise DldError(
                f"{name}: {clip.seconds:.1f} s long, the encoder takes at most {self.max_seconds:g} s; "
                "cut it into shorter parts"
            )
        return clip

    def _file_parts(self, name: str, parts: Iterable[tuple[int, int]]) -> Iterator[np.ndarray]:
        """Yield parts of a file, as `Clip.parts`; say where they are clipped."""
        from dld.data.audio import read_parts

        read = full = 0
        for samples in read_parts(name, parts, self.sample_rate, self.channel):
            largest = np.abs(samples)
            if not largest.max(initial=0.0) <= LARGEST:
                raise DldError(f"{name}: has values far above full scale, which is 1; convert it again")
            read, full = read + len(samples), full + int((largest >= FULL_SCALE).sum())
            yield samples
        if full > MOST_CLIPPED * read:
            logger.warning("%s: clipped, %.1f %% of its samples are at full scale", name, 100 * full / read)

    def clips(self, audio: Sequence[Audio], given_rate: int | None = None) -> dict[int, Clip | DldError]:
        """Return the clip of each of a list, by index, or what is wrong with it; see `clip`."""
        found: dict[int, Clip | DldError] = {}
        for index, item in enumerate(audio):
            try:
                found[index] = self.clip(item, index, given_rate)
            except DldError as error:
                found[index] = error
        return found


def batches(clips: Mapping[int, Clip], batch_seconds: float) -> Iterator[tuple[list[int], list[np.ndarray] | DldError]]:
    """Yield batches of similar duration, the longest first, and faults as they are found.

    Parameters
    ----------
    clips : mapping of int to Clip
    batch_seconds : float
        See `dld.data.batching.sorted_batches`.

    Yields
    ------
    indices : list of int
    batch : list of array (samples,), or DldError
        Waveforms, or what is wrong with the audio of that index.
    """
    numbers = list(clips)
    for batch in sorted_batches([clip.seconds for clip in clips.values()], max_batch_seconds=batch_seconds):
        waveforms = {}
        for index in sorted(numbers[position] for position in batch):
            try:
                waveforms[index] = clips[index].read()
            except DldError as error:
                yield [index], error
            except MemoryError:
                yield [index], DldError(f"{clips[index].name}: not enough memory to read it; cut it")
        if waveforms:
            yield list(waveforms), list(waveforms.values())


def _is_tensor(audio: Any) -> bool:
    """Return whether it is a tensor of torch, which is not imported for that."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(audio, torch.Tensor)


def _checked(audio: Any, name: str) -> np.ndarray:
    """Return samples as a float32 array."""
    samples = audio
    if _is_tensor(audio):
        # NumPy does not have bfloat16.
        samples = (audio.float() if audio.is_floating_point() else audio).detach().cpu().numpy()
    if not isinstance(samples, np.ndarray):
        raise DldError(f"{name}: audio is a path or an array of samples, not {type(audio).__name__}")
    if not np.issubdtype(samples.dtype, np.floating):
        raise DldError(f"{name}: samples of type {samples.dtype}; floating point was expected, full scale 1")
    if samples.ndim != 1 or not len(samples):
        raise DldError(f"{name}: shape {samples.shape}; samples have one dimension, (samples,), and are at least one")
    # Contiguous, since torch takes no array that runs backwards.
    with np.errstate(over="ignore"):
        samples = np.ascontiguousarray(samples, np.float32)
    if not np.abs(samples).max() <= LARGEST:
        raise DldError(f"{name}: has values that are not finite numbers, or far above full scale, which is 1")
    return samples
