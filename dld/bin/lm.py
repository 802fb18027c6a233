"""Estimate an n-gram language model (ARPA) from text, and measure its perplexity."""

import itertools
import logging
import sys
from pathlib import Path

from dld.bin import boolean, command
from dld.bin.options import Parser, of
from dld.checks import Whole
from dld.errors import DldError
from dld.files import sha256, writable_file, write_json
from dld.progress import bar

logger = logging.getLogger(__name__)


def make_parser():
    """Return the command's parser."""
    parser = Parser(prog="dld lm", description=__doc__)
    parser.add_argument("--text", nargs="+", default=[], metavar="FILE", help="Kaldi text tables to estimate from")
    parser.add_argument(
        "--sentences",
        nargs="+",
        default=[],
        metavar="FILE",
        help="plain text to estimate from, a sentence a line (.gz)",
    )
    parser.add_argument("--lowercase", type=boolean, default=False, help="make the text lower-case, as transcripts are")
    parser.add_argument(
        "--output", required=True, metavar="ARPA", help="such as data/lm/3gram.arpa; without text: the model to measure"
    )
    parser.add_argument("--order", type=of(Whole(2, 6)), default=3, help="longest n-grams, 2 to 6 (%(default)s)")
    parser.add_argument(
        "--prune", default="", metavar="0,0,1", help="per order, leave out n-grams seen so often or less"
    )
    parser.add_argument(
        "--tool",
        choices=("own", "lmplz"),
        default="own",
        help="estimator; KenLM's lmplz is for texts that do not fit into memory, its model is the same (%(default)s)",
    )
    parser.add_argument("--dev", nargs="+", default=[], metavar="FILE", help="Kaldi text tables for the perplexity")
    return parser


def words_of(text_files, sentence_files, lowercase=False):
    """Yield the words of every utterance of Kaldi text tables, then of every line of plain text."""
    from dld.data import kaldi
    from dld.decoding.ngram import read_sentences

    tables = ((text.split() for text in kaldi.read_text(path).values()) for path in text_files)
    for words in bar(itertools.chain(*tables, *map(read_sentences, sentence_files)), "text", unit=" lines"):
        yield [word.lower() for word in words] if lowercase else words


def thresholds(text):
    """Return the thresholds of `--prune` as integers."""
    try:
        return [int(value) for value in text.replace(",", " ").split()]
    except ValueError:
        raise DldError(f"--prune {text}: whole numbers separated by commas were expected, such as 0,0,1") from None


@command
def main(argv=None):
    """Estimate a model, measure its perplexity and print its record."""
    arguments = make_parser().parse_args(argv)
    from dld.decoding.lm import LanguageModel, require_kenlm
    from dld.decoding.ngram import arpa_counts, write_arpa

    path, has_text = Path(arguments.output), bool(arguments.text or arguments.sentences)
    if not has_text and not arguments.dev:
        raise DldError("nothing to do; give --text or --sentences to estimate from, or --dev to measure on")
    if has_text:
        writable_file(path)
    if arguments.dev:
        require_kenlm()
    about = {}
    if has_text:
        source = words_of(arguments.text, arguments.sentences, arguments.lowercase)
        about = write_arpa(source, path, arguments.order, thresholds(arguments.prune), arguments.tool)
        about["text"] = arguments.text + arguments.sentences
        if about["empty"]:
            logger.info("%d lines without words passed over", about["empty"])
        about["ngrams"] = arpa_counts(path)
        print(
            f"{path}: {about['order']}-gram model of {about['ngrams'][0]:,} words (<unk> and sentence ends included), "
            f"{sum(about['ngrams']):,} n-grams, from {about['words']:,} words by {about['tool']}"
        )
    if arguments.dev:
        model = LanguageModel(path)
        about["dev"] = measured = model.perplexity(words_of(arguments.dev, (), arguments.lowercase))
        measured["text"] = arguments.dev
        known = measured["perplexity_known"]
        print(
            f"{path}: order {model.order}, perplexity {measured['perplexity']:.2f} on {measured['words']:,} words of "
            f"{', '.join(arguments.dev)} ({known:.2f} without the {measured['oov']:,} unknown ones)"
        )
    if has_text:
        write_json(path.with_name(path.name + ".json"), {**about, "sha256": sha256(path)})


if __name__ == "__main__":
    sys.exit(main())
