"""Measure models at each depth: time, latency, memory, size of the files, and start; all take turns in one run.

Measured are packs, experiment folders (the network in PyTorch) and, for each pack, its graphs joined to one. Ratios are
to the first MODEL.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dld.bin import add_pipes_option, boolean, command, options
from dld.bin.latency import sample_ids
from dld.checks import COUNT, POSITIVE, Whole
from dld.errors import DldError
from dld.files import writable_folder
from dld.gates import POLICIES, parse_depths

if TYPE_CHECKING:
    from dld.profiling.bench import Sample
    from dld.profiling.bench_records import Bench
    from dld.recognition.base import Recognizer

logger = logging.getLogger(__name__)


def thread_numbers(text: str) -> list[int]:
    """Read the value of `--threads`: 1,2."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if not all(COUNT.accepts(number) for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; it must be numbers from 1, such as 1,2")
    return sorted(set(numbers))


def make_parser() -> options.Parser:
    """Return the parser of the command line."""
    parser = options.Parser(prog="dld bench", description=__doc__)
    parser.add_argument(
        "models", metavar="MODEL", nargs="+", help="packs of dld export, folders of trained experiments"
    )
    parser.add_argument("--data", required=True, help="Kaldi data directory; utterances spread over it are timed")
    parser.add_argument("--output", metavar="DIR", help="write bench.json, bench.md and bench.png there")
    parser.add_argument("--depths", help="such as 2,4,12, or all (default: the four quarters); full depth is added")
    parser.add_argument("--policy", choices=POLICIES, help="gate policy (default: that of each model)")
    parser.add_argument("--threads", type=thread_numbers, default=[1, 2], help="numbers of threads (default: 1,2)")
    parser.add_argument("--utterances", type=options.of(COUNT), default=10, help="size of the sample")
    parser.add_argument("--rounds", type=options.of(COUNT), default=5, help="rounds over the sample")
    parser.add_argument(
        "--seconds",
        type=options.of(POSITIVE),
        default=60.0,
        help="of a number of threads: begin no round after this time, but time two",
    )
    parser.add_argument(
        "--starts", type=options.of(Whole(0)), default=1, help="new processes for each model, depth and threads"
    )
    parser.add_argument(
        "--one-graph",
        type=boolean,
        help="measure the graphs of each pack joined to one, too (default: where onnx is installed)",
    )
    add_pipes_option(parser)
    return parser


def chosen_depths(text: str | None, num_blocks: int) -> list[int]:
    """Return the depths to measure.

    Examples
    --------
    >>> chosen_depths(None, 12), chosen_depths("2,4", 12)
    ([3, 6, 9, 12], [2, 4])
    """
    if text is None:
        return sorted({max(1, round(num_blocks * quarter / 4)) for quarter in (1, 2, 3, 4)})
    return parse_depths(text, num_blocks)


def read_sample(recognizer: Recognizer, arguments: Namespace) -> Sample:
    """Return the utterances of the command line, as a model takes them."""
    from dld.data import kaldi
    from dld.data.audio import read_audio
    from dld.profiling.bench import Sample
    from dld.scoring.decodes import name_of_set

    utterances = {utterance.id: utterance for utterance in kaldi.load(arguments.data, ("wav.scp",))}
    ids = sample_ids(list(utterances), arguments.utterances)
    waveforms = [
        read_audio(one.recording, one.start, one.end, recognizer.sample_rate, recognizer.channel, one.id)
        for one in map(utterances.__getitem__, ids)
    ]
    return Sample(name_of_set(arguments.data), ids, waveforms, recognizer.sample_rate)


def measure(arguments: Namespace) -> Bench:
    """Measure the models of the command line."""
    from dld.profiling.bench import Plan, bench
    from dld.recognition.loading import load_model

    first = load_model(arguments.models[0])
    plan = Plan(
        depths=chosen_depths(arguments.depths, first.num_blocks),
        policy=arguments.policy,
        threads=arguments.threads,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        starts=arguments.starts,
        whole=arguments.one_graph,
    )
    return bench(arguments.models, read_sample(first, arguments), plan)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table, and write the files."""
    arguments = make_parser().parse_args(argv)
    has_onnx = importlib.util.find_spec("onnx") is not None
    if arguments.one_graph and not has_onnx:
        raise DldError("--one-graph needs onnx: pip install 'dld[export]'")
    if arguments.one_graph is None:
        arguments.one_graph = has_onnx
        if not has_onnx:
            logger.info("single graphs are not measured: they need onnx, pip install 'dld[export]'")
    if arguments.output:
        writable_folder(arguments.output)
    found = measure(arguments)
    from dld.reporting.bench import page

    if arguments.output:
        from dld.files import atomic_write
        from dld.reporting.plots_bench import plot_bench

        output = Path(arguments.output)
        found.save(output / "bench.json")
        picture = plot_bench(found, output)
        with atomic_write(output / "bench.md") as out:
            out.write(page(found, picture))
    print(page(found))
    if warning := found.warning():
        logger.warning("%s", warning)


if __name__ == "__main__":
    sys.exit(main())
