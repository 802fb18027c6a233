"""Show an experiment file with its layers, overrides and references worked in. Nothing in the file is run."""

import sys

from dld.bin import command
from dld.bin.options import Parser
from dld.errors import DldError
from dld.files import read_bytes


def make_parser():
    """Return the parser of the options."""
    parser = Parser(
        prog="dld config",
        description=__doc__,
        usage="dld config EXPERIMENT.yaml [--get KEY] [--KEY VALUE …]",
    )
    parser.add_argument("experiment", help="HyperPyYAML file, or the hyperparams.yaml of an experiment")
    parser.add_argument("--get", metavar="KEY", help="print the value of one key only")
    return parser


def show(path, overrides):
    """Return the resolved text of a file, and its values; objects are not built.

    Parameters
    ----------
    path : str or Path
    overrides : dict
        See `dld.config.load_config`.

    Returns
    -------
    str
    Settings
    """
    from dld.config import RESOLVED, layered, replace_references
    from dld.saved import MOST_BYTES, Settings, one_line

    raw = read_bytes(path, MOST_BYTES)
    if raw.startswith(RESOLVED.encode()) and not overrides:
        return raw.decode("utf-8", "replace"), Settings(path, raw)
    Settings(path, raw, finished=False)
    text = layered(path, overrides)
    Settings(path, text.encode(), finished=False)
    try:
        text = replace_references(text)
    except (AttributeError, TypeError, ValueError, KeyError, ArithmeticError, RecursionError) as error:
        raise DldError(f"{path}: cannot resolve the references: {one_line(error)}") from None
    return f"{RESOLVED}\n{text.removeprefix(RESOLVED).lstrip()}", Settings(path, text.encode(), finished=False)


@command
def main(argv=None):
    arguments, rest = make_parser().parse_known_args(argv)
    from dld.config import parse_overrides

    text, settings = show(arguments.experiment, parse_overrides(rest))
    if arguments.get is None:
        print(text, end="")
    else:
        print(settings.text_of(arguments.get))


if __name__ == "__main__":
    sys.exit(main())
