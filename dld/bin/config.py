"""Show an experiment, one file or several, with layers merged and references resolved. Nothing in it is run."""

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
        usage="dld config BASE.yaml SYSTEM.yaml … [--get KEY] [--KEY VALUE …]",
    )
    parser.add_argument(
        "experiments",
        nargs="+",
        help="HyperPyYAML files, each of which extends those before it; or the hyperparams.yaml of an experiment",
    )
    parser.add_argument("--get", metavar="KEY", help="print the value of one key only, such as lr or encoder.dropout")
    return parser


def show(paths, overrides):
    """Return the resolved text of files, and their values; objects are not built.

    That the classes of dld exist is checked by their names in its sources.

    Parameters
    ----------
    paths : str, Path or sequence of them
        One file or several, each of which extends those before it.
    overrides : dict
        See `dld.config.load_config`.

    Returns
    -------
    str
    PlainSettings
    """
    from dld.config import RESOLVED, described, layered, listed, replace_references
    from dld.config.classes import missing_class
    from dld.config.plain import MOST_BYTES, PlainSettings, one_line

    paths = listed(paths)
    raws = {path: read_bytes(path, MOST_BYTES) for path in paths}
    for path, raw in raws.items():
        resolved = raw.startswith(RESOLVED.encode())
        if resolved and not overrides and len(paths) == 1:
            return raw.decode("utf-8", "replace"), PlainSettings(path, raw)
        PlainSettings(path, raw, finished=False)
    path = described(paths)
    text = layered(paths, overrides)
    PlainSettings(path, text.encode(), finished=False)
    try:
        text = replace_references(text)
    except (AttributeError, TypeError, ValueError, KeyError, ArithmeticError, RecursionError) as error:
        raise DldError(f"{path}: cannot resolve the references: {one_line(error)}") from None
    settings = PlainSettings(path, text.encode(), finished=False)
    for name, _ in settings.objects():
        if wrong := missing_class(name):
            raise DldError(f"{path}: {wrong}")
    return f"{RESOLVED}\n{text.removeprefix(RESOLVED).lstrip()}", settings


@command
def main(argv=None):
    """Run `dld config`."""
    arguments, rest = make_parser().parse_known_args(argv)
    from dld.config import parse_overrides

    text, settings = show(arguments.experiments, parse_overrides(rest))
    if arguments.get is None:
        print(text, end="")
    else:
        print(settings.text_of(arguments.get))


if __name__ == "__main__":
    sys.exit(main())
