"""Transcripts of corpora as they are distributed → words that are trained on and scored.

All rules for texts are here, a function for each corpus. What goes in and what comes out is written down as pairs in
`tests/data/test_normalise.py` and, for queen, in `tests/data/test_queen.py`.
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

_APOSTROPHES = str.maketrans({"\u2019": "'", "`": "'"})
_NOT_SPEECH = re.compile(r"\([^()]*\)|<[^<>]*>")
_ABBREVIATIONS = {"mr.": "mister", "dr.": "doctor", "vs.": "versus"}
# fmt: off
#: Numbers from 0 to 19, and tens, as words.
ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
TENS = ("", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
# fmt: on
_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
_ORDINALS |= {"twelve": "twelfth"}


def tedlium(text: str) -> str:
    """Return the words of a TED-LIUM transcript.

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
    words: list[str] = []
    for word in _tedlium_tokens(text):
        if word in _SUFFIXES and words:
            words[-1] += word
        else:
            words.append(word)
    return " ".join(word for word in words if not _UNKNOWN.match(word))


def tedlium_word_range(text: str) -> tuple[int, int]:
    """Return the fewest and most words that other preparations of TED-LIUM count in a transcript.

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


def librispeech(text: str) -> str:
    """Return the words of a LibriSpeech transcript: the upper-case text as it is distributed, single spaces between.

    Examples
    --------
    >>> librispeech("MISTER  QUILTER'S MANNER ")
    "MISTER QUILTER'S MANNER"
    """
    return " ".join(text.split())


def an4(text: str) -> str:
    """Return the words of an AN4 transcript: upper-case as it is distributed, without `<s>` and `</s>`.

    Examples
    --------
    >>> an4("<s> ENTER  FOUR TWO </s>")
    'ENTER FOUR TWO'
    """
    return " ".join(_NOT_SPEECH.sub(" ", text).split())


def cardinal(number: int) -> str:
    """Return a whole number from 0 to 9 999 in words; those that may be years are read as years.

    Examples
    --------
    >>> cardinal(24), cardinal(150), cardinal(1948), cardinal(1905), cardinal(2000)
    ('twenty four', 'one hundred fifty', 'nineteen forty eight', 'nineteen oh five', 'two thousand')
    """
    if number < 20:
        return ONES[number]
    if number < 100:
        return _join(TENS[number // 10], number % 10)
    if number < 1000:
        return _join(f"{ONES[number // 100]} hundred", number % 100)
    century, rest = divmod(number, 100)
    if century % 10 == 0:
        return _join(f"{ONES[century // 10]} thousand", rest)
    return f"{cardinal(century)} {'hundred' if rest == 0 else 'oh ' + ONES[rest] if rest < 10 else cardinal(rest)}"


def _join(words, rest):
    return f"{words} {cardinal(rest)}" if rest else words


def _number(match):
    digits, minutes, ending = match["digits"], match["minutes"], match["ending"] or ""
    if len(digits) > 4:
        return " ".join(ONES[int(digit)] for digit in digits)
    words = cardinal(int(digits))
    if minutes:
        return f"{words} {'hundred' if minutes == '00' else cardinal(int(minutes))}"
    if ending.endswith("s"):  # a decade: 1940's
        return re.sub("y$", "ie", words) + "s"
    if ending:  # 13th
        *before, last = words.split()
        return " ".join([*before, _ORDINALS.get(last) or re.sub("y$", "ie", last.removesuffix("t")) + "th"])
    return f" {words} "


def queen(text: str) -> str:
    r"""Return what is spoken in a text of queen, as lower-case words of `a`…`z` and apostrophes.

    Numbers and the abbreviations that occur are written out, letters with full stops are joined (`D.N.A.` → `dna`),
    hyphens separate words. A text with signs that do not mean words, a noise such as `(sigh)` or a curse
    such as `&#$`, becomes the empty string where they are all of it or cannot be read.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> queen("Mr. King, it's only 24 Hours... for the \"D.N.A.\"!")
    "mister king it's only twenty four hours for the dna"
    >>> queen("This is the 1940's; 13th July, at 19:00 with 'em in seat 2B.")
    "this is the nineteen forties thirteenth july at nineteen hundred with 'em in seat two b"
    >>> queen("(sigh)"), queen("&#($!!, he got away!")
    ('', '')
    """
    text = _NOT_SPEECH.sub(" ", text.translate(_APOSTROPHES).replace("^_", "").lower())
    text = re.sub(r"\b(?:[a-z]\.){2,}", lambda letters: letters[0].replace(".", ""), text)
    text = re.sub(r"\b[a-z]+\.", lambda word: _ABBREVIATIONS.get(word[0], word[0]), text)
    text = re.sub(r"(?P<digits>\d+)(?::(?P<minutes>\d\d))?(?P<ending>'s|th|st|nd|rd)?", _number, text)
    text = re.sub(r'[-.,;:!?"]', " ", text)
    if re.search(r"[^a-z' ]", text):
        return ""
    return " ".join(word for word in text.split() if word.strip("'"))


def _tedlium_tokens(text):
    text = _UTTERANCE_NAME.sub("", text.replace("\u2019", "'"))
    return _SOUND.sub(" ", _VARIANT.sub("", text)).lower().split()
