"""Train, decode, score and report the runs of a comparison; the same command resumes one that was broken off."""

import dataclasses
import os
import shlex
import sys

from dld.bin import boolean, command, options
from dld.checks import Whole
from dld.errors import DldError, UsageError


def make_parser():
    """Return the parser of the options."""
    parser = options.Parser(
        prog="dld compare",
        description=f"{__doc__} What is done is not done again. The keys of such a list are in dld/comparison/runs.py.",
    )
    parser.add_argument("list", help="YAML file of the runs, such as recipes/mini/runs/comparison.yaml")
    parser.add_argument(
        "--jobs", type=options.of(Whole(1, 1024)), default=1, help="runs at a time, each with one thread"
    )
    parser.add_argument("--exp", metavar="DIR", help="folder of the runs, instead of the list's")
    parser.add_argument("--data", metavar="DIR", help="folder of the data directories, instead of the list's")
    parser.add_argument("--runs", metavar="A,B", help="only these, and no report")
    parser.add_argument(
        "--folds", type=_numbers, metavar="1,2", help="only these folds of a list with folds, and no report"
    )
    parser.add_argument("--device", type=options.device, help="cpu, cuda …, instead of the list's")
    for name, what in (
        ("train", "settings of all runs, as '--num_epochs 8'"),
        ("decode", "options of dld decode, as '--beam-size 8'"),
        ("corpus", "options of the recipe's run.sh, which makes the data where they are missing"),
    ):
        parser.add_argument(f"--{name}-args", type=_words(name), metavar="'ARGS'", help=what)
    parser.add_argument("--dry-run", type=boolean, default=False, help="print the commands of all runs and stop")
    return parser


def _numbers(text):
    try:
        return tuple(dict.fromkeys(map(int, text.split(","))))
    except ValueError:
        raise UsageError(f"--folds takes numbers, separated by commas, not {text!r}") from None


def _words(name):
    def read(text):
        try:
            return tuple(shlex.split(text))
        except ValueError:
            raise UsageError(f"--{name}-args: a quote is not closed: {text}") from None

    return read


@command
def main(argv=None):
    """Make the runs, then the report; return the exit status."""
    from dld.comparison.driver import Driver, Options, Status
    from dld.comparison.processes import Interrupted
    from dld.comparison.runs import read_comparison

    arguments = make_parser().parse_args(argv)
    comparison = read_comparison(arguments.list)
    changes = {name: _folder(getattr(arguments, name), comparison) for name in ("exp", "data")}
    changes["device"] = arguments.device
    comparison = dataclasses.replace(comparison, **{name: value for name, value in changes.items() if value})
    names = list(dict.fromkeys(arguments.runs.split(","))) if arguments.runs else [run.name for run in comparison.runs]
    runs = [comparison.run(name) for name in names]
    added = (arguments.train_args, arguments.decode_args, arguments.corpus_args)
    given = Options(arguments.jobs, *(words or () for words in added))
    parts = _parts(comparison, arguments.folds)
    for run in runs:
        Driver(parts[0], given).check(run)
    if arguments.dry_run:
        print(f"cd {shlex.quote(str(comparison.recipe))}")
        for driver in (Driver(part, given) for part in parts):
            for run in runs:
                print(f"# {run.name} (a gate table only where its decode_policy is table)")
                print("\n".join(map(shlex.join, driver.commands(run))))
        return 0
    if comparison.device is None:
        comparison = dataclasses.replace(comparison, device=_device())
    try:
        for part in _parts(comparison, arguments.folds):
            driver = Driver(part, given)
            if comparison.folds:
                print(f"== {part.exp}", flush=True)
            _raise_first(driver.make(names, Status(driver.logs)))
        if not (arguments.runs or arguments.folds):
            driver = Driver(comparison, given)
            _raise_first(driver.make_report(Status(driver.logs)))
            print(f"the report is in {driver.recipe / driver.report_folder}")
        else:
            print("all of these are done; the report follows where neither --runs nor --folds is given")
    except Interrupted as stopped:
        print(f"dld compare: {stopped}", file=sys.stderr)
        return 128 + stopped.signal
    return 0


def _parts(comparison, folds):
    """Return the comparisons of the folds that were asked for."""
    parts = comparison.parts()
    if folds is None:
        return parts
    if not comparison.folds:
        raise UsageError(f"--folds: {comparison.path} has no folds")
    for number in folds:
        if not 1 <= number <= len(parts):
            raise UsageError(f"--folds: {comparison.path} has no fold {number}; there are 1 to {len(parts)}")
    return [parts[number - 1] for number in folds]


def _raise_first(progress):
    for error in progress.failed.values():
        more = len(progress.failed) - 1
        raise DldError(f"{error} ({more} more failed)" if more else str(error))


def _folder(path, comparison):
    """Return a path that is given relative to the present folder, relative to the recipe."""
    if path is None:
        return None
    path, recipe = os.path.abspath(path), os.path.realpath(comparison.recipe)
    inside = os.path.commonpath([os.path.realpath(path), recipe]) == recipe
    return os.path.relpath(os.path.realpath(path), recipe) if inside else path


def _device():
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    sys.exit(main())
