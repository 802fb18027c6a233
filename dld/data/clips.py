"""Single recordings to transcribe: files and samples, checked before they are read."""

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from dld.checks import is_whole
from dld.data.audio import duration, is_pipe, read_audio, resample
from dld.data.batching import sorted_batches
from dld.errors import DldError

if TYPE_CHECKING:
    import torch

#: A file, or samples: one dimension, floating point, full scale 1.
Audio = Union[str, os.PathLike, np.ndarray, "torch.Tensor"]

#: Largest sample that is taken, far above full scale; the square of larger ones is not finite.
LARGEST = 1e9


@dataclass(frozen=True)
class Clip:
    """Audio at the rate that a network takes.

    Attributes
    ----------
    seconds : float
    read : callable
        Gives the samples, (samples,), float32.
    """

    seconds: float
    read: Callable[[], np.ndarray]


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
            read = functools.partial(read_audio, name, sample_rate=self.sample_rate, channel=self.channel)
            clip = Clip(duration(name), read)
        else:
            name = f"audio {index}"
            samples = _checked(audio, name)
            if given_rate is None or not (is_whole(given_rate) and given_rate > 0):
                raise DldError(f"{name}: sample_rate is {given_rate!r}; give that of the samples, in Hz")
            samples = resample(samples, given_rate, self.sample_rate)
            clip = Clip(len(samples) / self.sample_rate, lambda: samples)
        if self.max_seconds is not None and clip.seconds > self.max_seconds:
            raise DldError(
                f"{name}: {clip.seconds:.1f} s long, the encoder takes at most {self.max_seconds:g} s; "
                "cut it into shorter parts"
            )
        return clip

    def batches(
        self, audio: Sequence[Audio], given_rate: int | None, batch_seconds: float
    ) -> Iterator[tuple[list[int], list[np.ndarray] | DldError]]:
        """Yield batches of similar duration, the longest first, and faults as they are found.

        Parameters
        ----------
        audio : list of paths and samples
        given_rate : int, optional
            Hz of samples.
        batch_seconds : float
            See `dld.data.batching.sorted_batches`.

        Yields
        ------
        indices : list of int
        batch : list of array (samples,), or DldError
            Waveforms, or what is wrong with the audio of that index.
        """
        clips = {}
        for index, item in enumerate(audio):
            try:
                clips[index] = self.clip(item, index, given_rate)
            except DldError as error:
                yield [index], error
        numbers = list(clips)
        for batch in sorted_batches([clip.seconds for clip in clips.values()], max_batch_seconds=batch_seconds):
            waveforms = {}
            for index in sorted(numbers[position] for position in batch):
                try:
                    waveforms[index] = clips[index].read()
                except DldError as error:
                    yield [index], error
                except MemoryError:
                    yield [index], DldError(f"{name_of(audio[index], index)}: not enough memory to read it; cut it")
            if waveforms:
                yield list(waveforms), list(waveforms.values())


def name_of(audio: Audio, index: int) -> str:
    """Return what messages call an item of a list: its path, or its index."""
    return os.fsdecode(audio) if isinstance(audio, (str, os.PathLike)) else f"audio {index}"


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
