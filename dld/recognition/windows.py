"""Long recordings in windows that overlap: where they begin, and where what they give is joined."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dld.data.clips import Clip
from dld.decoding.best_path import BLANK, log_softmax
from dld.errors import DldError

#: Seconds of the longest audio that runs whole. The longest utterances of LibriSpeech and TED-LIUM have 35 s.
WINDOW_SECONDS = 40.0
#: Seconds that windows have in common, at most a third of a window.
OVERLAP_SECONDS = 8.0


class Plan(NamedTuple):
    """The windows of a recording.

    Attributes
    ----------
    starts : list of int
        First frame of each.
    size : int
        Frames of each; the last may have fewer.
    """

    starts: list[int]
    size: int


class Segment(NamedTuple):
    """Part of a recording: its first frame, and its logits (frames, tokens)."""

    first: int
    logits: np.ndarray


def plan(frames: int, frame_seconds: float, window_seconds: float = WINDOW_SECONDS) -> Plan:
    """Return windows of equal size for a recording.

    Parameters
    ----------
    frames : int
    frame_seconds : float
    window_seconds : float
        The longest window.

    Examples
    --------
    >>> plan(2500, 0.04)
    Plan(starts=[0, 767, 1534], size=967)
    """
    most = max(3, int(window_seconds / frame_seconds))
    overlap = min(round(OVERLAP_SECONDS / frame_seconds), most // 3)
    count = max(1, -(-(frames - overlap) // (most - overlap)))
    size = -(-(frames + (count - 1) * overlap) // count)
    return Plan([number * (size - overlap) for number in range(count)], size)


def segments(
    clip: Clip,
    frame_seconds: float,
    window_seconds: float,
    batch_seconds: float,
    run: Callable[[list[np.ndarray]], list[list[np.ndarray]] | None],
) -> Iterator[Segment]:
    """Yield the parts of long audio in their order; memory does not depend on its length.

    Parameters
    ----------
    clip : Clip
    frame_seconds : float
        A whole number of samples.
    window_seconds : float
        The longest window.
    batch_seconds : float
        The longest batch of windows; at least one runs.
    run : callable
        Waveforms → for one gate vector the logits of each; None where there is too little memory.

    Raises
    ------
    DldError
        The audio cannot be read to its end, or there is too little memory for a window.
    """
    step = round(frame_seconds * clip.sample_rate)
    starts, size = plan(-(-clip.samples // step), frame_seconds, window_seconds)
    spans = [(start * step, min((start + size) * step, clip.samples)) for start in starts]
    together = max(1, int(batch_seconds / (size * frame_seconds)))

    def logits() -> Iterator[np.ndarray]:
        waveforms = clip.parts(spans)
        while batch := list(itertools.islice(waveforms, together)):
            rows = run(batch)
            if rows is None:
                raise DldError(f"{clip.name}: not enough memory for {window_seconds:g} s; take a shorter window")
            yield from rows[0]

    yield from joined(starts, logits())


def joined(starts: Sequence[int], logits: Iterable[np.ndarray]) -> Iterator[Segment]:
    """Yield the parts of a recording, each of the window in which it has context on both sides.

    Parameters
    ----------
    starts : sequence of int
        First frame of each window.
    logits : iterable of array (frames, tokens)
        Of each window; one is kept while the next is computed.
    """
    first, held, held_start = 0, None, 0
    for start, rows in zip(starts, logits, strict=True):
        if held is not None:
            common = min(held_start + len(held), start + len(rows)) - start
            joint = start + joint_of(held[start - held_start :][:common], rows[:common])
            yield Segment(first, held[first - held_start : joint - held_start])
            first = joint
        held, held_start = rows, start
    if held is not None:
        yield Segment(first, held[first - held_start :])


def joint_of(left: np.ndarray, right: np.ndarray) -> int:
    """Return where two windows are joined: in the middle of the longest pause that both find.

    Only the middle half of what they have in common is looked at, where both have context. Without a frame that both
    take for a blank it is the frame where that is most probable.

    Parameters
    ----------
    left, right : array (frames, tokens)
        Logits of the same frames, by the window that ends here and the one that begins.

    Returns
    -------
    int
        The first frame that is taken of the right window.
    """
    begin, end = len(left) // 4, len(left) - len(left) // 4
    if end <= begin:
        return begin
    left, right = left[begin:end], right[begin:end]
    pause = (left.argmax(-1) == BLANK) & (right.argmax(-1) == BLANK)
    if not pause.any():
        both = np.minimum(log_softmax(left)[:, BLANK], log_softmax(right)[:, BLANK])
        return begin + int(both.argmax())
    edges = np.flatnonzero(np.diff(pause.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    # Of equally long pauses the one nearest to the middle.
    longest = max(edges.tolist(), key=lambda edge: (edge[1] - edge[0], -abs(sum(edge) - len(pause))))
    return begin + sum(longest) // 2
