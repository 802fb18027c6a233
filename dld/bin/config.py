"""Show an experiment file with its layers, overrides and references worked in."""

import sys

from dld.bin import command
from dld.bin.options import Parser
from dld.config import load_config, parse_overrides
from dld.errors import DldError


def make_parser():
    """Command-line options."""
    parser = Parser(
        prog="dld-config",
        description=__doc__,
        allow_abbrev=False,
        usage="dld-config EXPERIMENT.yaml [--get KEY] [--KEY VALUE …]",
    )
    parser.add_argument("experiment", help="HyperPyYAML file")
    parser.add_argument("--get", metavar="KEY", help="print the value of one key only")
    return parser


@command
def main(argv=None):
    arguments, rest = make_parser().parse_known_args(argv)
    config = load_config(arguments.experiment, parse_overrides(rest))
    if arguments.get is None:
        print(config.text, end="")
        return
    if arguments.get not in config.values:
        raise DldError(f"{arguments.experiment}: no key {arguments.get!r}")
    print(config.values[arguments.get])


if __name__ == "__main__":
    sys.exit(main())
