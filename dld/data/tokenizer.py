"""SentencePiece tokens over the training text; token 0 is the CTC blank."""

import hashlib
import io
import re
from pathlib import Path

import sentencepiece

from dld.checks import AUTO
from dld.data.symbols import reserved_symbol
from dld.errors import DldError
from dld.files import atomic_write

MODEL = "bpe.model"
BLANK = "<blk>"
UNKNOWN = "<unk>"
# SentencePiece writes a space as this character, so that a text which has it would not come back.
_SPACE = "\u2581"
_RESERVED = "the text has the reserved symbol {}, which cannot be a token; take it out or write what is spoken"


class Tokenizer:
    """Text to token numbers and back.

    Parameters
    ----------
    path : str or Path
        A SentencePiece model whose token 0 is the blank and token 1 the unknown, as `train` makes it.

    Attributes
    ----------
    blank : int
        0, the CTC blank.
    sha256 : str
        Hexadecimal SHA-256 of the model file: two tokenizers are the same if these are.

    Raises
    ------
    DldError
        The file is missing, is not a SentencePiece model, or has other tokens 0 and 1.

    Examples
    --------
    >>> tokenizer = train(["one two", "two three"], getfixture("tmp_path"), vocab_size=14)
    >>> tokenizer.decode(tokenizer.encode("three two one"))
    'three two one'
    >>> len(tokenizer), tokenizer.blank
    (14, 0)
    """

    blank = 0

    def __init__(self, path):
        try:
            model = Path(path).read_bytes()
        except OSError as error:
            raise DldError(f"{path}: {error.strerror}; make it with dld tokenizer") from None
        self._load(model, path)

    def _load(self, model, path):
        self.path = str(path)
        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.load_from_serialized_proto(model)
        except RuntimeError:
            raise DldError(f"{path}: not a SentencePiece model; make it with dld tokenizer") from None
        if self._processor.id_to_piece(0) != BLANK or self._processor.unk_id() != 1:
            raise DldError(f"{path}: token 0 is not {BLANK} and token 1 not {UNKNOWN}; make it with dld tokenizer")
        self.sha256 = hashlib.sha256(model).hexdigest()

    @classmethod
    def load(cls, folder):
        """Read the tokenizer of a language folder (`data/lang`)."""
        return cls(Path(folder) / MODEL)

    def __getstate__(self):
        """Return the model's bytes; the processor itself cannot be pickled."""
        return {"model": self._model, "path": self.path}

    def __setstate__(self, state):
        """Load the model from the pickled bytes."""
        self._load(state["model"], state["path"])

    def __len__(self):
        """Return the number of tokens, blank and unknown included."""
        return len(self._processor)

    def encode(self, text, utterance=None):
        """Return the token numbers of a text; runs of spaces count as one.

        Raises
        ------
        DldError
            The text has a reserved symbol, or characters that no token has; the message names them, and the utterance
            if given.
        """
        what = f"utterance {utterance}" if utterance else repr(text)
        if symbol := reserved_symbol(text):
            raise DldError(f"{what}: {_RESERVED.format(symbol)}")
        tokens = self._processor.encode(text)
        if 1 in tokens or _SPACE in text:
            unknown = sorted({c for c in text if c == _SPACE or 1 in self._processor.encode(c)})
            named = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in unknown)
            raise DldError(
                f"{what}: no token of {self.path} has {named}; correct the text, or train the tokenizer on it"
            )
        return tokens

    def decode(self, tokens):
        """Return the text of token numbers: words separated by single spaces; blanks vanish."""
        # A network may write the space between words more than once.
        return " ".join(word for word in self._processor.decode([int(token) for token in tokens]).split(" ") if word)

    def tokens(self):
        """Return the names of all tokens, by number."""
        return [self._processor.id_to_piece(number) for number in range(len(self))]


def auto_size(lines, characters=""):
    """Return the number of tokens that a text is enough for: 8 sqrt(words / 250), at most 256, or one per character.

    `characters` are others that get a token, too.

    Examples
    --------
    >>> [auto_size(["seven one two"] * number) for number in (30, 10_000, 1_000_000)]
    [10, 88, 256]
    """
    lines = list(lines)
    words = sum(len(line.split()) for line in lines)
    characters = {*characters, *(c for line in lines for c in line if c != " ")}
    return max(len(characters) + 3, min(256, round(8 * (words / 250) ** 0.5)))


def train(lines, folder, vocab_size=None, model_type="bpe", characters=""):
    """Train SentencePiece tokens on texts and write `bpe.model`, `bpe.vocab` and `units.txt`.

    The text is taken as it is (no Unicode normalisation) and every character of it gets a token. The result
    depends only on the arguments.

    Parameters
    ----------
    lines : iterable of str
        Transcripts, without utterance ids.
    folder : str or Path
        Where the files go; the folder is made.
    vocab_size : int or "auto"
        Number of tokens, the blank and the unknown included; `auto`: what the text is enough for, see `auto_size`. With
        `model_type="char"` the text decides: leave it out, or set exactly that number.
    model_type : {"bpe", "unigram", "char"}
    characters : str
        That get a token although the texts may lack them.

    Returns
    -------
    Tokenizer

    Raises
    ------
    DldError
        There is no text, it has a reserved symbol, or too little for `vocab_size` tokens; the message names a size that
        works.
    """
    lines = list(lines)
    there = {c for line in lines for c in line if c != " "}
    added = "".join(sorted(set(characters) - there - {" "}))
    if not there:
        raise DldError("no text to train a tokenizer on; give the training set's transcripts")
    for number, line in enumerate(lines, 1):
        if symbol := reserved_symbol(line):
            raise DldError(f"text {number} of {len(lines)}, '{line[:60]}': {_RESERVED.format(symbol)}")
    if _SPACE in there or _SPACE in added:
        raise DldError(f"the text has {_SPACE!r} (U+2581), which SentencePiece keeps for spaces; replace it")
    if model_type == "char":
        needed = len(there) + len(added) + 3
        if vocab_size not in (None, needed):
            raise DldError(
                f"char tokens are one per character: this text has {needed}, not {vocab_size}; drop the size"
            )
        vocab_size = needed
    elif model_type not in ("bpe", "unigram"):
        raise DldError(f"unknown kind of tokens {model_type!r}; choose bpe, unigram or char")
    elif vocab_size is None:
        raise DldError(f"{model_type} tokens need a vocabulary size")
    if vocab_size == AUTO:
        model = _largest(lines, auto_size(lines, added), model_type, added)
    else:
        model = _trained(lines, vocab_size, model_type, added)
    folder = Path(folder)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    with atomic_write(folder / "bpe.vocab") as out:
        out.writelines(f"{processor.id_to_piece(i)}\t{processor.get_score(i):g}\n" for i in range(len(processor)))
    with atomic_write(folder / "units.txt") as out:
        out.writelines(f"{processor.id_to_piece(i)} {i}\n" for i in range(len(processor)))
    # Last, since this is the file that a reader looks for.
    with atomic_write(folder / MODEL, "wb") as out:
        out.write(model)
    return Tokenizer(folder / MODEL)


def _largest(lines, size, model_type, added):
    """Return a model of `size` tokens, or of as many as the text is enough for."""
    try:
        return _trained(lines, size, model_type, added)
    except _TooLarge as error:
        return _trained(lines, error.highest, model_type, added)


def _trained(lines, vocab_size, model_type, added):
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            vocab_size=vocab_size,
            model_type=model_type,
            pad_id=0,
            pad_piece=BLANK,
            unk_id=1,
            unk_piece=UNKNOWN,
            bos_id=-1,
            eos_id=-1,
            character_coverage=1.0,
            normalization_rule_name="identity",
            required_chars=added,
            # Longer lines would be left out without an error; SentencePiece refuses limits below 10.
            max_sentence_length=max(10, *(1 + len(line.encode()) for line in lines)),
            # With more threads the sums of floats, and with them the tokens, depend on timing.
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _training_error(str(error), vocab_size) from None
    return model.getvalue()


class _TooLarge(DldError):
    """A text that is not enough for a vocabulary."""

    def __init__(self, message, highest):
        super().__init__(message)
        self.highest = highest


def _training_error(message, vocab_size):
    highest = re.search(r"value <= (\d+)", message)
    lowest = re.search(r"required_chars\. \d+ vs (\d+)", message)
    if highest:
        text = f"this text is enough for at most {highest[1]} tokens, not {vocab_size}; lower the vocabulary size"
        return _TooLarge(text, int(highest[1]))
    if lowest:
        return DldError(
            f"this text needs at least {lowest[1]} tokens for its characters, not {vocab_size}; raise the size"
        )
    return DldError(f"SentencePiece cannot train {vocab_size} tokens on this text: {' '.join(message.split())}")
