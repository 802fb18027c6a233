"""Train SentencePiece tokens on the text of data directories."""

import logging
import sys
from collections.abc import Sequence

from dld.bin import command
from dld.bin.options import Parser, of
from dld.checks import AUTO, Whole
from dld.data.symbols import reserved_symbol
from dld.errors import DldError
from dld.files import writable_folder

logger = logging.getLogger(__name__)


def make_parser() -> Parser:
    """Return the parser of the options."""
    parser = Parser(
        prog="dld tokenizer",
        description="Train SentencePiece tokens; write bpe.model, bpe.vocab and units.txt. Token 0 is the CTC blank.",
    )
    parser.add_argument("--text", nargs="+", required=True, metavar="FILE", help="Kaldi text tables of training data")
    parser.add_argument(
        "--characters",
        nargs="+",
        default=[],
        metavar="FILE",
        help="text tables whose characters get tokens, too, such as that of dev: the loss is measured on it",
    )
    parser.add_argument("--output", required=True, metavar="LANG", help="folder to write, such as data/lang")
    parser.add_argument(
        "--vocab-size",
        type=_size,
        metavar="N",
        help="number of tokens, blank and unknown included (not for char); auto: what the text is enough for",
    )
    parser.add_argument("--model-type", choices=("bpe", "unigram", "char"), default="bpe", help="kind of tokens")
    return parser


def _size(text: str) -> float | str:
    return AUTO if text == AUTO else of(Whole(3, 2**20))(text)


def read_training_text(paths: Sequence[str]) -> list[str]:
    """Return the text of every utterance of Kaldi text tables.

    Raises
    ------
    DldError
        An utterance has a symbol that is reserved, such as `<unk>`.
    """
    from dld.data import kaldi

    lines = []
    for path in paths:
        texts = kaldi.read_text(path)
        for utterance, text in texts.items():
            if symbol := reserved_symbol(text):
                raise DldError(
                    f"{path}: utterance {utterance} has the reserved symbol {symbol}, which cannot be a token; take it "
                    "out or write what is spoken"
                )
        lines += texts.values()
    return lines


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Train a tokenizer, and print how many tokens a word has."""
    arguments = make_parser().parse_args(argv)
    from dld.data import tokenizer

    writable_folder(arguments.output)
    lines = read_training_text(arguments.text)
    characters = {c for line in read_training_text(arguments.characters) for c in line}
    if new := sorted(characters.difference(" ", *lines)):
        logger.warning(
            "%s: %d characters are not in the training text, so that nothing trains their tokens: %s",
            *(" ".join(arguments.characters), len(new), " ".join(new)),
        )
    settings = (arguments.vocab_size, arguments.model_type, "".join(sorted(characters)))
    trained = tokenizer.train(lines, arguments.output, *settings)
    words = sum(len(line.split(" ")) for line in lines if line)
    tokens = sum(len(trained.encode(line)) for line in lines)
    print(f"{trained.path}: {len(trained)} tokens from {len(lines)} utterances, {tokens / words:.2f} tokens per word")


if __name__ == "__main__":
    sys.exit(main())
