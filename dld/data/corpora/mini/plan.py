"""The plan of the mini corpus, drawn from one seed: who says which numbers, in which voice, how fast and how high."""

import random
from dataclasses import dataclass, field

from dld.data.corpora.mini import Options
from dld.data.corpora.settings import SETS
from dld.data.normalise import ONES
from dld.data.normalise import TENS as ALL_TENS

DIGITS = [ONES[0], "oh", *ONES[1:10]]
TEENS = [*ONES[10:13]]
TENS = [*ALL_TENS[2:]]
VOCABULARY = (*DIGITS, *TEENS, *TENS, "hundred", "double", "point")

# Speakers of each split (female, male) and utterances per speaker at scale 1.
_SPEAKERS = {"train": (8, 25), "dev": (2, 4), "test": (3, 6)}
_UTTERANCES = {"train": 36, "dev": 24, "test": 42}

# Variants of espeak-ng: formants, pitch, glottal source. Each is a speaker, so no voice is in two splits. Left
# out are those that whisper, croak, echo like a robot or copy another, and eight that are hard to make out:
# pocketsphinx, with its model of US English and the vocabulary as grammar, got 80 % or more of their words wrong in
# clean speech, as it did with two accents that are left out too.
# fmt: off
_FEMALE = (
    "f1", "f2", "f3", "f4", "f5", "Andrea", "Annie", "anika", "aunty", "belinda", "grandma", "linda",
    "steph",
)
_MALE = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "Alex", "Andy", "Denis", "Diogo", "Gene", "Gene2", "Hugo",
    "Mario", "Mike", "Nguyen", "Reed", "Storm", "adam", "antonio", "benjamin",
    "ed", "edward", "grandpa", "john", "klatt", "klatt2", "klatt3", "max", "michel",
    "mike2", "paul", "quincy",
)
# fmt: on
_ACCENTS = {
    "us": "en-us",
    "gb": "en",
    "rp": "en-gb-x-rp",
    "scot": "en-gb-scotland",
    "lanc": "en-gb-x-gbclan",
    "nyc": "en-us-nyc",
}
_FLITE = ("awb", "kal16", "rms", "slt")


@dataclass(frozen=True)
class Line:
    """One utterance to be spoken: what, and how."""

    id: str
    text: str
    spoken: str
    rate: int
    pitch: int
    range: int
    gap: int


@dataclass(frozen=True)
class Speaker:
    """One voice, the split that it belongs to, and its utterances."""

    id: str
    split: str
    engine: str
    voice: str
    lines: list = field(repr=False)


def plan(options: Options) -> list[Speaker]:
    """Draw who says what; nothing is synthesised.

    Parameters
    ----------
    options : Options

    Returns
    -------
    list of Speaker
        In the order of their splits; every speaker is in one split only.

    Examples
    --------
    >>> speakers = plan(Options(scale=0.1))
    >>> len(speakers), len({speaker.id for speaker in speakers})
    (48, 48)
    >>> plan(Options(scale=0.1)) == speakers
    True
    """
    draw = random.Random(f"{options.seed} speakers")
    female, male = draw.sample(_FEMALE, len(_FEMALE)), draw.sample(_MALE, len(_MALE))
    speakers = []
    for split in SETS:
        women, men = _SPEAKERS[split]
        voices = [female.pop() for _ in range(women)] + [male.pop() for _ in range(men)]
        accents: list[str] = []
        for variant in voices:
            accents = accents or draw.sample(sorted(_ACCENTS), len(_ACCENTS))
            accent = accents.pop()
            speakers.append((f"{variant.lower()}-{accent}", split, "espeak", f"{_ACCENTS[accent]}+{variant}"))
    if options.flite:
        speakers += [(f"{voice}-flite", "train", "flite", voice) for voice in _FLITE]
    return [Speaker(*speaker, _lines(options, *speaker[:2])) for speaker in speakers]


def _lines(options, speaker, split):
    """Return the utterances of one speaker, drawn on the speaker's own generator."""
    draw = random.Random(f"{options.seed} {speaker}")
    # A speaker has habits, each utterance deviates a little from them.
    rate, pitch, span, gap = (
        draw.uniform(145, 225),
        draw.uniform(35, 65),
        draw.uniform(30, 75),
        draw.choice((0, 0, 1, 2)),
    )
    lines = []
    for number in range(max(1, round(_UTTERANCES[split] * options.scale))):
        groups = _number(draw)
        lines.append(
            Line(
                id=f"{speaker}-{number + 1:04d}",
                text=" ".join(groups),
                spoken=(", " if draw.random() < 0.25 else " ").join(groups),
                rate=round(rate * draw.uniform(0.88, 1.14)),
                pitch=round(pitch + draw.uniform(-6, 6)),
                range=round(span + draw.uniform(-8, 8)),
                gap=gap,
            )
        )
    return lines


def _number(draw):
    """Return one number as people read it out: a list of word groups, between which a speaker may pause."""
    kind = draw.choices(("digits", "cardinal", "decimal", "pair"), (50, 15, 15, 20))[0]
    if kind == "digits":
        return _digits(draw, draw.randint(1, 8))
    if kind == "cardinal":
        return [_cardinal(draw)]
    if kind == "decimal":
        return [f"{_cardinal(draw)} point {draw.choice(DIGITS)}", *_digits(draw, draw.randint(0, 2))]
    return [_cardinal(draw), _cardinal(draw)]


def _digits(draw, count):
    """Return a string of digits in groups of three; sometimes two equal ones are read as “double”."""
    words = [draw.choice(DIGITS) for _ in range(count)]
    if count > 1 and draw.random() < 0.3:
        words[draw.randrange(count)] = f"double {draw.choice(DIGITS)}"
    return [" ".join(words[start : start + 3]) for start in range(0, count, 3)]


def _cardinal(draw):
    """Return a whole number from 1 to 999."""
    digit, other = draw.sample(DIGITS[2:], 2)
    below = draw.choice((digit, draw.choice(TEENS), draw.choice(TENS), f"{draw.choice(TENS)} {digit}"))
    return draw.choice((below, below, f"{other} hundred", f"{other} hundred {below}"))
