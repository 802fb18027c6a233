"""`dld-queen`: make the queen corpus, voice acting of *Flight of the Amazon Queen*, into data directories."""

import sys

from dld.bin import command
from dld.bin.options import Parser, of
from dld.checks import Whole
from dld.data import queen
from dld.files import writable_folder


def parser():
    """The command's options."""
    options = Parser(
        prog="dld-queen",
        description="Make Kaldi data directories from the speech and texts of Flight of the Amazon Queen.",
    )
    options.add_argument("destination", help="folder that receives train, dev, test and audio")
    options.add_argument(
        "--corpus",
        metavar="FILE",
        help=f"a local {queen.CORPUS}, or the Debian package {queen.PACKAGE} (default: fetch the package)",
    )
    options.add_argument(
        "--jobs", type=of(Whole(1, 1024)), help="clips decoded at a time (default: the number of processors)"
    )
    return options


@command
def main(argv=None):
    """Run the command with the arguments `argv` (None: those of the process)."""
    options = parser().parse_args(argv)
    writable_folder(options.destination)
    summary, reason = queen.make(options.destination, options.corpus, options.jobs)
    print(f"{options.destination}: " + (f"made the corpus ({reason})" if reason else "kept the complete corpus"))
    print(f"{'split':6} {'characters':>10} {'utterances':>10} {'minutes':>8} {'words':>6}")
    for split, counts in summary["splits"].items():
        minutes = counts["seconds"] / 60
        print(f"{split:6} {counts['characters']:10} {counts['utterances']:10} {minutes:8.1f} {counts['words']:6}")
    left_out = ", ".join(f"{number} ({reason})" for reason, number in summary["left_out"].items())
    print(f"of {summary['clips']} clips left out: {left_out}")


if __name__ == "__main__":
    sys.exit(main())
