"""Write Kaldi data directories of a corpus, as it is distributed or downloaded."""

import sys

from dld.bin import command
from dld.bin.options import Parser
from dld.data import corpora
from dld.data.corpora.settings import from_arguments
from dld.files import writable_folder


def make_parser():
    """Return the parser: a sub-command for each corpus of the catalogue."""
    parser = Parser(prog="dld prepare", description=__doc__)
    actions = parser.add_subparsers(dest="name", required=True, metavar="CORPUS")
    for name in corpora.names():
        about = corpora.load(name).__doc__
        action = actions.add_parser(name, help=about.partition("\n")[0], description=about)
        action.add_argument("destination", help="folder that receives the data directories")
        corpora.load(name).add_arguments(action)
    return parser


@command
def main(argv=None):
    """Run the command with the arguments `argv` (None: those of the process)."""
    arguments = make_parser().parse_args(argv)
    corpus = corpora.load(arguments.name)
    options = from_arguments(corpus.Options, arguments)
    writable_folder(arguments.destination)
    prepared = corpus.prepare(arguments.destination, options)
    for line in prepared.before:
        print(line)
    if prepared.counts:
        from dld.data.corpora.reading import format_counts

        print(format_counts(prepared.counts))
    for line in prepared.after:
        print(line)


if __name__ == "__main__":
    sys.exit(main())
