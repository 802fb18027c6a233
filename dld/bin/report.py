"""Write the depth, compute and error-rate table and plot of an experiment folder."""

import datetime
import shlex
import sys

from dld import provenance
from dld.bin import command
from dld.bin.options import Parser, of
from dld.checks import COUNT, NOT_NEGATIVE
from dld.errors import DldError
from dld.files import atomic_write, read_lines, read_record, writable_folder, write_json

TITLE = "Error rate and compute at every depth"
# Keys of results.json.
LISTS = ("comparisons", "convergence", "rows", "summary", "training", "twins")
CONTENT = {**dict.fromkeys(LISTS, list), "environment": dict, "title": str}


def parser():
    """The command's options."""
    options = Parser(prog="dld report", description=__doc__)
    source = options.add_mutually_exclusive_group(required=True)
    source.add_argument("--exp", help="folder with <run>/decode_<set>_n<depth>/, scored")
    source.add_argument("--results", help="a results.json of this command: its page and pictures again, nothing else")
    options.add_argument("--output", required=True, help="folder for results.json, results.md, tradeoff.png, …")
    options.add_argument("--name", default="results", help="of the page and the JSON file (default: results)")
    options.add_argument("--systems", help="comma-separated (default: all that are there)")
    options.add_argument("--baseline", default="ld", help="what the others are compared with, comma-separated (ld)")
    options.add_argument("--title", help="of page and pictures (default: Error rate and compute at every depth)")
    options.add_argument("--notes", help="Markdown file that is put in after the page's head")
    options.add_argument(
        "--transcripts", type=of(NOT_NEGATIVE), default=8, help="sample utterances per test set (default: 8)"
    )
    options.add_argument("--replicates", type=of(COUNT), default=10000, help="draws of the bootstrap (default: 10000)")
    options.add_argument("--seed", type=of(NOT_NEGATIVE), default=0, help="seed of the bootstrap")
    return options


def measure(decodes, args, command_line):
    """Content of `results.json`."""
    from dld.reporting import report

    present = sorted({decode.info["system"] for decode in decodes}, key=report.system_order)
    baselines = [name.strip() for name in args.baseline.split(",")]
    missing = [name for name in baselines if name not in present]
    # The default is what a folder need not have.
    if missing and args.baseline != parser().get_default("baseline"):
        raise DldError(f"--baseline {missing[0]}: no decodes of that system; there are {', '.join(present)}")
    curves = report.training_curves(args.exp, decodes)
    sampling = (args.replicates, args.seed)
    return {
        "title": args.title or TITLE,
        "rows": [report.row(decode, *sampling) for decode in decodes],
        "summary": report.summary(decodes, *sampling),
        "comparisons": [entry for name in baselines for entry in report.comparisons(decodes, name, *sampling)],
        "training": curves,
        "convergence": report.convergence(curves, baselines[0]),
        "twins": report.twins(decodes),
        "environment": {
            "git": provenance.git_hash(),
            "date": datetime.date.today().isoformat(),
            "versions": provenance.versions(),
            "cpu": provenance.processor(),
            "command": command_line,
            "replicates": args.replicates,
            "seed": args.seed,
        },
    }


def render(results, output, name, notes=""):
    """Write the page and the pictures of what `results.json` holds."""
    from dld.reporting import plots, report, tables

    systems = list(dict.fromkeys(entry["system"] for entry in results["summary"]))
    systems.sort(key=report.system_order)
    pictures = plots.plot_tradeoff(results["summary"], systems, output, results["title"], _file(name, "tradeoff"))[:1]
    if results["training"]:
        pictures += plots.plot_training(results["training"], systems, output, "Training", _file(name, "training"))[:1]
    with atomic_write(output / f"{name}.md") as out:
        out.write(tables.results_markdown(results, pictures, notes))


def _file(name, kind):
    """What lies beside a page with a name of its own has that name too."""
    return kind if name.lower() == "results" else f"{name.lower()}_{kind}"


@command
def main(argv=None):
    """Write the report; print where it is."""
    args = parser().parse_args(argv)
    output = writable_folder(args.output)
    notes = "\n".join(line for _, line in read_lines(args.notes)) + "\n" if args.notes else ""
    if args.results:
        results = read_record(args.results, CONTENT, "it is not a results.json of this version; make it again")
        try:
            render({**results, "title": args.title or results["title"]}, output, args.name, notes)
        except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, IndexError) as error:
            raise DldError(
                f"{args.results}: not as this command writes it ({error!r}); make it again (--exp)"
            ) from error
    else:
        systems = [name.strip() for name in args.systems.split(",")] if args.systems else None
        from dld.reporting import report, tables

        decodes = report.collect(args.exp, systems)
        command_line = shlex.join(["dld", "report", *(sys.argv[1:] if argv is None else argv)])
        results = measure(decodes, args, command_line)
        with atomic_write(output / f"{_file(args.name, 'transcripts')}.md") as out:
            out.write(tables.transcripts_markdown(decodes, results["title"], args.transcripts))
        render(results, output, args.name, notes)
        # Last: whoever finds it finds a whole report.
        write_json(output / f"{args.name}.json", results)
    systems = ", ".join(dict.fromkeys(row["system"] for row in results["rows"]))
    print(f"{len(results['rows'])} decodes of {systems}: {output / args.name}.md")


if __name__ == "__main__":
    sys.exit(main())
