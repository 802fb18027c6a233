"""dld-report: the depth, compute and error-rate table and plot of an experiment folder."""

import argparse
import datetime
import shlex
import sys
from pathlib import Path

from dld import provenance
from dld.bin import command
from dld.errors import DldError
from dld.files import atomic_write, write_json
from dld.scoring import plots, report, tables


def parser():
    """The command's options."""
    options = argparse.ArgumentParser(prog="dld-report", description=__doc__.partition(": ")[2])
    options.add_argument("--exp", required=True, help="folder with <system>/decode_<set>_n<depth>/, scored")
    options.add_argument("--output", required=True, help="folder for results.json, results.md, tradeoff.png, …")
    options.add_argument("--systems", help="comma-separated (default: all that are there)")
    options.add_argument("--baseline", help="what the others are compared with (default: ld, where it is there)")
    options.add_argument("--title", default="Error rate and compute at every depth")
    options.add_argument("--transcripts", type=int, default=8, help="sample utterances per test set (default: 8)")
    options.add_argument("--replicates", type=int, default=10000, help="draws of the bootstrap (default: 10000)")
    options.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    return options


@command
def main(argv=None):
    """Write the report; print where it is."""
    args = parser().parse_args(argv)
    if args.replicates < 1:
        raise DldError(f"--replicates {args.replicates}: must be at least 1")
    systems = [name.strip() for name in args.systems.split(",")] if args.systems else None
    output = Path(args.output)
    decodes = report.collect(args.exp, systems)
    present = sorted({decode.info["system"] for decode in decodes}, key=report.system_order)
    if args.baseline and args.baseline not in present:
        raise DldError(f"--baseline {args.baseline}: no decodes of that system; there are {', '.join(present)}")
    rows = [report.row(decode, args.replicates, args.seed) for decode in decodes]
    results = {
        "rows": rows,
        "comparisons": report.comparisons(decodes, args.baseline or "ld", args.replicates, args.seed),
        "environment": {
            "git": provenance.git_hash(),
            "date": datetime.date.today().isoformat(),
            "versions": provenance.versions(),
            "cpu": provenance.processor(),
            "command": shlex.join(["dld-report", *(sys.argv[1:] if argv is None else argv)]),
            "replicates": args.replicates,
            "seed": args.seed,
        },
    }
    curves = report.training_curves(args.exp, present)
    pictures = plots.plot_tradeoff(rows, present, output, args.title)[:1]
    if curves:
        pictures += plots.plot_training(curves, present, output, "Training")[:1]
    page = tables.results_markdown(results, report.twins(decodes), args.title, pictures)
    for name, text in (
        ("transcripts.md", tables.transcripts_markdown(decodes, args.title, args.transcripts)),
        ("results.md", page),
    ):
        with atomic_write(output / name) as out:
            out.write(text)
    # Last: whoever finds it finds a whole report.
    write_json(output / "results.json", results)
    print(f"{len(rows)} decodes of {', '.join(present)}: {output / 'results.md'}")


if __name__ == "__main__":
    sys.exit(main())
