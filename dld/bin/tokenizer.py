"""Train SentencePiece units on the text of data directories (`dld-tokenizer`)."""

import sys

from dld.bin import command
from dld.bin.options import Parser, of
from dld.checks import Whole
from dld.data import kaldi, tokenizer
from dld.data.symbols import reserved_symbol
from dld.errors import DldError
from dld.files import writable_folder


@command
def main(argv=None):
    """Run the command; see `dld-tokenizer --help`."""
    parser = Parser(
        prog="dld-tokenizer",
        description="Train SentencePiece units; write bpe.model, bpe.vocab and units.txt. Unit 0 is the CTC blank.",
    )
    parser.add_argument("--text", nargs="+", required=True, metavar="FILE", help="Kaldi text tables of training data")
    parser.add_argument("--output", required=True, metavar="LANG", help="folder to write, such as data/lang")
    parser.add_argument(
        "--vocab-size",
        type=of(Whole(3, 2**20)),
        metavar="N",
        help="units, blank and unknown included (not for char)",
    )
    parser.add_argument("--model-type", choices=("bpe", "unigram", "char"), default="bpe", help="kind of units (bpe)")
    args = parser.parse_args(argv)
    writable_folder(args.output)
    lines = []
    for path in args.text:
        texts = kaldi.read_text(path)
        for utterance, text in texts.items():
            if symbol := reserved_symbol(text):
                raise DldError(
                    f"{path}: utterance {utterance} has the reserved symbol {symbol}, which cannot be a unit; take it "
                    "out or write what is spoken"
                )
        lines += texts.values()
    trained = tokenizer.train(lines, args.output, args.vocab_size, args.model_type)
    words = sum(len(line.split(" ")) for line in lines if line)
    units = sum(len(trained.encode(line)) for line in lines)
    print(f"{trained.path}: {len(trained)} units from {len(lines)} utterances, {units / words:.2f} units per word")


if __name__ == "__main__":
    sys.exit(main())
