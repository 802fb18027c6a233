"""`dld-mini-corpus`: synthesise the mini corpus of connected numbers."""

import argparse
import sys

from dld.bin import boolean, command
from dld.bin.options import Parser, of
from dld.checks import NOT_NEGATIVE, Number, Whole
from dld.data import mini
from dld.files import writable_folder


def parser():
    """The command's options."""
    defaults = mini.Settings()
    options = Parser(
        prog="dld-mini-corpus",
        description="Synthesise a small corpus of spoken numbers (many voices, noise) as Kaldi data directories.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    options.add_argument("destination", help="folder that receives train, dev, test and audio")
    options.add_argument("--seed", type=of(NOT_NEGATIVE), default=defaults.seed, help="of all that is drawn")
    options.add_argument(
        "--scale",
        type=of(Number(above=0, high=100)),
        default=defaults.scale,
        help="factor on the utterances per speaker",
    )
    options.add_argument(
        "--snr-low", type=of(Number(-30, 100)), default=defaults.snr_low, help="lowest signal-to-noise ratio, dB"
    )
    options.add_argument(
        "--snr-high", type=of(Number(-30, 100)), default=defaults.snr_high, help="highest signal-to-noise ratio, dB"
    )
    options.add_argument(
        "--noises",
        default=" ".join(defaults.noises),
        help="kinds of noise that are drawn from, separated by spaces; an empty string for clean speech",
    )
    options.add_argument(
        "--flite", type=boolean, default=False, metavar="BOOL", help="add the voices of an installed flite to train"
    )
    options.add_argument(
        "--jobs", type=of(Whole(1, 1024)), help="speakers made at a time (default: the number of processors)"
    )
    return options


@command
def main(argv=None):
    """Run the command with the arguments `argv` (None: those of the process)."""
    options = parser().parse_args(argv)
    settings = mini.Settings(
        seed=options.seed,
        scale=options.scale,
        snr_low=options.snr_low,
        snr_high=options.snr_high,
        noises=tuple(options.noises.split()),
        flite=options.flite,
    )
    writable_folder(options.destination)
    summary, reason = mini.make(options.destination, settings, options.jobs)
    print(f"{options.destination}: " + (f"made the corpus ({reason})" if reason else "kept the complete corpus"))
    print(f"{'split':6} {'speakers':>8} {'utterances':>10} {'minutes':>8} {'words':>6}")
    for split, counts in summary.items():
        minutes = counts["seconds"] / 60
        print(f"{split:6} {counts['speakers']:8} {counts['utterances']:10} {minutes:8.1f} {counts['words']:6}")


if __name__ == "__main__":
    sys.exit(main())
