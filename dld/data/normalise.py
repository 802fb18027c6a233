"""Transcripts of corpora as they are distributed → words that are trained on and scored.

What goes in and what comes out is written down as pairs in `tests/data/test_normalise.py`.
"""

import re

# What may be split off a word: "it 's", "don 't", "the dogs '". Other words that begin with an apostrophe ('til,
# 'cause, 'em, '60s) are words of their own.
_SUFFIXES = {"'", "'s", "'m", "'re", "'ve", "'ll", "'d", "'t"}
# The name of the utterance, which many lines end with: (AimeeMullins_2009P-17.82-28.81-F0_F)
_UTTERANCE_NAME = re.compile(r"\s*\([^\s()]+-\d[\d.]*-\d[\d.]*-[^\s()]*\)\s*$")
_VARIANT = re.compile(r"\(\d+\)")
_SOUND = re.compile(r"\{[^{}\s]*\}|\[[A-Za-z_]+\]|<sil>", re.IGNORECASE)
_UNKNOWN = re.compile(r"<unk>", re.IGNORECASE)


def tedlium(text):
    """Words of a TED-LIUM transcript.

    Markers of sounds (`{NOISE}`, `<sil>`), numbers of pronunciation variants (`(2)`) and the utterance's name at the
    end go; split contractions are joined again; what was left of an unknown word (`<unk>`, and a suffix of it) goes.
    Words are lower-case; numbers stay as they are written.

    Parameters
    ----------
    text : str
        What follows the label of an STM line.

    Returns
    -------
    str
        Words separated by single spaces; may be empty.

    Examples
    --------
    >>> tedlium("it 's {NOISE} what the(2) <unk> 's brother said wait 'til 1989")
    "it's what the brother said wait 'til 1989"
    """
    words = []
    for word in _tedlium_tokens(text):
        if word in _SUFFIXES and words:
            words[-1] += word
        else:
            words.append(word)
    return " ".join(word for word in words if not _UNKNOWN.match(word))


def tedlium_word_range(text):
    """Fewest and most words that other preparations of TED-LIUM count in a transcript.

    Kaldi's, whose totals are the published ones, joins every word that begins with an apostrophe to the word before,
    and keeps markers as words.

    Returns
    -------
    low, high : int

    Examples
    --------
    >>> tedlium_word_range("wait 'til {NOISE} she 's here")
    (3, 5)
    """
    words = tedlium(text).split()
    markers = len(_SOUND.findall(text)) + len(_UNKNOWN.findall(text))
    return len(words) - sum(word.startswith("'") for word in words), len(words) + markers


def librispeech(text):
    """Words of a LibriSpeech transcript: the upper-case text as it is distributed, single spaces between the words.

    Examples
    --------
    >>> librispeech("MISTER  QUILTER'S MANNER ")
    "MISTER QUILTER'S MANNER"
    """
    return " ".join(text.split())


def _tedlium_tokens(text):
    text = _UTTERANCE_NAME.sub("", text.replace("\u2019", "'"))
    return _SOUND.sub(" ", _VARIANT.sub("", text)).lower().split()
