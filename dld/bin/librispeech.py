"""`dld-librispeech`: Kaldi data directories of LibriSpeech, downloaded or as it lies there."""

import sys
from pathlib import Path

from dld.bin import add_corpus_options, command
from dld.bin.options import Parser, of
from dld.checks import NOT_NEGATIVE
from dld.data import corpora, download, librispeech
from dld.files import writable_folder


def make_parser():
    """The command's options."""
    parser = Parser(
        prog="dld-librispeech",
        description="Write Kaldi data directories of LibriSpeech: train, dev, and one for each split.",
    )
    parser.add_argument("destination", help="folder that receives them, or the language model")
    source = add_corpus_options(parser, "LibriSpeech", 60)
    source.add_argument(
        "--language-model", choices=librispeech.LANGUAGE_MODELS, help="download this model instead, print its path"
    )
    parser.add_argument(
        "--train-set", default="960", choices=librispeech.TRAIN_SETS, help="hours of train (%(default)s)"
    )
    parser.add_argument(
        "--held-out", type=of(NOT_NEGATIVE), default=0, metavar="N", help="make dev of N training readers"
    )
    return parser


@command
def main(argv=None):
    """Run the command with the arguments `argv` (None: those of the process)."""
    options = make_parser().parse_args(argv)
    writable_folder(options.destination)
    if options.language_model:
        address, digest = librispeech.LANGUAGE_MODELS[options.language_model]
        print(download.fetch(address, Path(options.destination) / address.rpartition("/")[2], digest))
        return
    if options.download:
        writable_folder(options.download)
        splits = (*librispeech.TRAIN_SETS[options.train_set], *librispeech.DEV_SPLITS, *librispeech.TEST_SPLITS)
        download.download_all([librispeech.ARCHIVES[split] for split in splits], options.download)
    counts = librispeech.prepare(
        options.corpus or options.download,
        options.destination,
        train_set=options.train_set,
        held_out=options.held_out,
        allow_partial=options.allow_partial,
    )
    print(corpora.format_counts(counts))


if __name__ == "__main__":
    sys.exit(main())
