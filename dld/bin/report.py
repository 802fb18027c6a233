"""Write the table and picture of depth, compute and error rate of an experiment folder."""

import shlex
import sys

from dld.bin import command
from dld.bin.options import Parser, of
from dld.checks import COUNT, NOT_NEGATIVE
from dld.files import writable_folder


def parser():
    """Return the command's parser."""
    options = Parser(prog="dld report", description=__doc__)
    source = options.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--exp",
        nargs="+",
        metavar="DIR",
        help="folder with <run>/decode_<set>_n<depth>/, scored; several: the folds of a cross-validation, with the "
        "same runs, whose test sets count together",
    )
    source.add_argument("--results", help="a results.json of this command: its page and pictures again, nothing else")
    options.add_argument("--output", required=True, help="folder for README.md, results.json, tradeoff.png, …")
    options.add_argument("--systems", help="separated by commas or blanks (default: all that are there)")
    options.add_argument(
        "--baseline", help="what the others are compared with, as in --systems (default: ld, where it is there)"
    )
    options.add_argument("--title", help="of page and pictures (default: Error rate and compute at every depth)")
    options.add_argument(
        "--notes", help="Markdown file for the page, after its head (default: notes.md in --output, where it is there)"
    )
    options.add_argument("--transcripts", type=of(NOT_NEGATIVE), default=8, help="sample utterances per test set")
    options.add_argument("--replicates", type=of(COUNT), default=10000, help="draws of the bootstrap")
    options.add_argument("--seed", type=of(NOT_NEGATIVE), default=0, help="seed of the bootstrap")
    return options


def names(text):
    """Return the names of a list with commas or blanks, None where the option was not given."""
    return text.replace(",", " ").split() if text else None


@command
def main(argv=None):
    """Write the report; print where it is."""
    args = parser().parse_args(argv)
    output = writable_folder(args.output)
    import dataclasses

    from dld.reporting.report import PAGE, ReportOptions, make_report, read_notes, render
    from dld.reporting.results import Results

    notes = read_notes(args.notes, output)
    if args.results:
        results = Results.load(args.results)
        render(dataclasses.replace(results, title=args.title or results.title), output, notes)
    else:
        options = ReportOptions(
            systems=names(args.systems),
            baselines=names(args.baseline),
            title=args.title or ReportOptions.title,
            transcripts=args.transcripts,
            replicates=args.replicates,
            seed=args.seed,
        )
        made_by = shlex.join(["dld", "report", *(sys.argv[1:] if argv is None else argv)])
        results = make_report(args.exp, output, options, made_by, notes)
    systems = ", ".join(dict.fromkeys(row.system for row in results.rows))
    print(f"{len(results.rows)} decodes of {systems}: {output / PAGE}")


if __name__ == "__main__":
    sys.exit(main())
