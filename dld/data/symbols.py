"""Symbols that transcripts must not have, and the forms in which Unicode writes the same letter."""

import re
import unicodedata
from collections.abc import Iterable

#: Words with a meaning of their own: Kaldi's and the language model's, the CTC blank and the unknown token.
RESERVED = ("<s>", "</s>", "#0", "<eps>", "<unk>", "<UNK>", "<blk>")

# Sentencepiece takes the names of its own tokens out of the training text also inside words.
_FOUND = re.compile(r"<unk>|<blk>|(?<![^ \t])(?:<s>|</s>|#0|<eps>|<UNK>)(?![^ \t])")


def reserved_symbol(text: str) -> str | None:
    """Return the first reserved symbol of a text, None where there is none.

    The same rule holds in `dld data validate`, in the training of tokenizers and when text becomes tokens.

    Examples
    --------
    >>> reserved_symbol("one <s> two"), reserved_symbol("un<unk>known"), reserved_symbol("one #02")
    ('<s>', '<unk>', None)
    """
    found = _FOUND.search(text)
    return found and found[0]


def unicode_forms(texts: Iterable[tuple[str, str]]) -> tuple[str | None, str | None]:
    """Find the first text that is decomposed (not NFC) and the first that has composed letters.

    Parameters
    ----------
    texts : iterable of (str, str)
        Utterance ids and texts.

    Returns
    -------
    (str or None, str or None)
        Ids.

    Examples
    --------
    >>> unicode_forms([("a", "cafe"), ("b", "caf\u00e9"), ("c", "cafe\u0301")])
    ('c', 'b')
    """
    decomposed = composed = None
    for key, text in texts:
        if text.isascii():
            continue
        if not unicodedata.is_normalized("NFC", text):
            decomposed = decomposed or key
        elif not unicodedata.is_normalized("NFD", text):
            composed = composed or key
        if decomposed and composed:
            break
    return decomposed, composed
