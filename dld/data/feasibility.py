"""Check whether the utterances of dev and test sets can be measured, where the sets are made."""

import itertools
import logging
import math
from collections.abc import Sequence

from dld.errors import DldError

logger = logging.getLogger(__name__)

_SHOWN = 5


def frames_needed(tokens: Sequence[int]) -> int:
    """Return how many frames CTC needs: one for every token, and a blank between equal neighbours.

    Examples
    --------
    >>> frames_needed([5, 7, 7, 2])
    5
    """
    return len(tokens) + sum(a == b for a, b in itertools.pairwise(tokens))


def check_evaluation(utterances, tokenizer=None, frames_per_second=25.0, overlap=0.0, max_seconds=None, name="dev"):
    """Check utterances that are to be validated or decoded; nothing is left out.

    Parameters
    ----------
    utterances : list of Utterance
    tokenizer : Tokenizer, optional
        Needed for the loss: without it only the lengths are checked, as decoding needs no loss.
    frames_per_second, overlap : float
        As in `select_for_training`.
    max_seconds : float, optional
        The longest that the encoder takes: 30 for Whisper's positions.
    name : str
        The set, in messages.

    Returns
    -------
    list of str
        Ids of utterances with fewer frames than CTC needs for their text, whose loss is infinite. They are logged; a
        mean loss must leave them out and say so. Their hypotheses count as all others do.

    Raises
    ------
    DldError
        Utterances are too long for the encoder; the message has their ids.

    Examples
    --------
    >>> from dld.data.kaldi import Utterance
    >>> from dld.data.tokenizer import train
    >>> tokenizer = train(["aa bb"], getfixture("tmp_path"), model_type="char")
    >>> fast = Utterance("a-1", "a", "aa bb", "a.wav", duration=0.2)  # 5 frames for _aa_bb and two blanks
    >>> check_evaluation([fast], tokenizer)
    ['a-1']
    >>> check_evaluation([Utterance("a-2", "a", "aa", "b.wav", duration=31.0)], max_seconds=30)
    Traceback (most recent call last):
    dld.errors.DldError: dev: 1 of 1 utterances are longer than the 30 s that the encoder takes: a-2 (31.0 s); ...
    """
    if max_seconds is not None:
        too_long = [f"{u.id} ({u.duration:.1f} s)" for u in utterances if u.duration > max_seconds]
        if too_long:
            raise DldError(
                f"{name}: {len(too_long)} of {len(utterances)} utterances are longer than the {max_seconds:g} s that "
                f"the encoder takes: {_list(too_long)}; cut them into segments"
            )
    if tokenizer is None:
        return []
    infeasible = []
    for u in utterances:
        needed = frames_needed(tokenizer.encode(u.text or "", u.id))
        if math.floor(u.duration * frames_per_second - overlap) < needed:
            infeasible.append(u.id)
    if infeasible:
        logger.warning(
            "%s: %d of %d utterances are too short for their text (CTC), so that they have no loss: %s; look at their "
            "audio and text",
            name, len(infeasible), len(utterances), _list(infeasible),
        )  # fmt: skip
    return infeasible


def _list(entries):
    return ", ".join(entries[:_SHOWN]) + (f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else "")
