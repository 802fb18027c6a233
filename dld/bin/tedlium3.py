"""`dld-tedlium3`: Kaldi data directories of TED-LIUM 3, downloaded or as it lies there."""

import sys

from dld.bin import add_corpus_options, boolean, command
from dld.bin.options import Parser, of
from dld.checks import AT_LEAST_0
from dld.data import corpora, download, tedlium3
from dld.files import writable_folder


def make_parser():
    """The command's options."""
    parser = Parser(
        prog="dld-tedlium3",
        description="Write Kaldi data directories of TED-LIUM 3 (legacy splits), with stm and glm for sclite.",
    )
    parser.add_argument("destination", help="folder that receives train, dev and test")
    add_corpus_options(parser, "TEDLIUM_release-3", 54)
    parser.add_argument("--splits", nargs="+", default=list(tedlium3.SPLITS), choices=tedlium3.SPLITS)
    parser.add_argument(
        "--start-padding", type=of(AT_LEAST_0), default=0.0, metavar="S", help="seconds before train segments"
    )
    parser.add_argument(
        "--end-padding", type=of(AT_LEAST_0), default=0.0, metavar="S", help="seconds after train segments"
    )
    parser.add_argument("--audio", metavar="DIR", help="tree of talks converted to WAV or FLAC")
    parser.add_argument("--sph2pipe", type=boolean, default=False, metavar="BOOL", help="let wav.scp call sph2pipe")
    return parser


@command
def main(argv=None):
    """Run the command with the arguments `argv` (None: those of the process)."""
    options = make_parser().parse_args(argv)
    writable_folder(options.destination)
    if options.download:
        writable_folder(options.download)
        download.download_all(tedlium3.ARCHIVES.values(), options.download)
    counts = tedlium3.prepare(
        options.corpus or options.download,
        options.destination,
        splits=options.splits,
        padding=(options.start_padding, options.end_padding),
        audio=options.audio,
        sph2pipe=options.sph2pipe,
        allow_partial=options.allow_partial,
    )
    print(corpora.format_counts(counts))


if __name__ == "__main__":
    sys.exit(main())
