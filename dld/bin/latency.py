"""Measure the time of an utterance, all given models and depths taking turns, and write latency_SET.json."""

from __future__ import annotations

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dld.bin import command, options
from dld.bin.models import audio_settings, load_experiment
from dld.checks import COUNT, POSITIVE
from dld.errors import DldError
from dld.files import writable_folder
from dld.gates import POLICIES, depth, parse_depths, parse_gates

if TYPE_CHECKING:
    import torch

    from dld.profiling.latency import Times
    from dld.profiling.records import Latency, Timing
    from dld.recognition.eager import EagerRecognizer

logger = logging.getLogger(__name__)


class Timed(NamedTuple):
    """A model, the depth and gate vector under which it is timed, and the waveforms as it takes them."""

    run: str
    recognizer: EagerRecognizer
    depth: int
    gates: tuple[bool, ...]
    policy: str
    waveforms: list[torch.Tensor]


def make_parser() -> options.Parser:
    """Return the parser of the command line."""
    parser = options.Parser(prog="dld latency", description=__doc__)
    parser.add_argument("models", metavar="MODEL", nargs="+", help="folders of trained experiments, compared")
    parser.add_argument("--data", required=True, help="Kaldi data directory; utterances spread over it are timed")
    parser.add_argument("--output", help="file to write (default: latency_SET.json next to the experiments' folders)")
    parser.add_argument("--depths", help="such as 2,4,12, or all (default: what was decoded, or else decode_depths)")
    parser.add_argument(
        "--policy", choices=POLICIES, help="gate policy (default: what was decoded, or else decode_policy)"
    )
    parser.add_argument("--utterances", type=options.of(COUNT), default=10, help="size of the sample")
    parser.add_argument("--rounds", type=options.of(COUNT), default=5, help="rounds over the sample")
    parser.add_argument(
        "--seconds", type=options.of(POSITIVE), default=40.0, help="begin no round after this time, but time two"
    )
    parser.add_argument("--device", type=options.device, default="cpu", help="cpu, cuda …")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the networks")
    return parser


def output_path(arguments: Namespace, test_set: str) -> Path:
    """Return the file to write."""
    if arguments.output:
        return Path(arguments.output)
    parents = {os.path.realpath(Path(model).absolute().parent) for model in arguments.models}
    if len(parents) > 1:
        raise DldError(f"the models are in several folders ({', '.join(sorted(parents))}); give --output FILE")
    return Path(arguments.models[0]).absolute().parent / f"latency_{test_set}.json"


def sample_ids(ids: Sequence[str], number: int) -> list[str]:
    """Return `number` utterances spread evenly over a data set, all where it has fewer.

    Examples
    --------
    >>> sample_ids(["a", "b", "c", "d", "e"], 2)
    ['a', 'c']
    """
    number = min(number, len(ids))
    return [ids[index * len(ids) // number] for index in range(number)]


def chosen_vectors(
    model: str, recognizer: EagerRecognizer, arguments: Namespace, test_set: str
) -> dict[tuple[bool, ...], str]:
    """Return the gate vectors under which a model is timed, and the policy that chose each.

    Those of the options, or else those with which the test set was decoded, or else those that would be.
    """
    from dld.scoring.decodes import DecodeRecord

    if arguments.depths is None and arguments.policy is None:
        files = sorted(Path(model).glob(f"decode_{test_set}_n*/decode.json"))
        decoded = [record for record in map(DecodeRecord.load, files) if record.test_set == test_set]
        decoded.sort(key=lambda record: record.depth)
        if decoded:
            return {parse_gates(record.gates): record.policy for record in decoded}
    policy = arguments.policy or recognizer.policy
    depths = recognizer.depths if arguments.depths is None else arguments.depths
    chosen = parse_depths(depths, recognizer.num_blocks)
    return {recognizer.gate_vector(depth=n, policy=policy): policy for n in chosen}


def timing(entry: Timed, times: Times, index: int) -> Timing:
    """Return the record of one model and depth."""
    from dld.gates import format_gates
    from dld.profiling.records import Timing

    about = entry.recognizer.about
    assert about is not None, "load_model describes every model"
    return Timing(
        run=entry.run,
        system=about.system,
        seed=about.seed,
        model_sha256=about.state_sha256,
        depth=entry.depth,
        num_blocks=entry.recognizer.num_blocks,
        gates=format_gates(entry.gates),
        policy=entry.policy,
        median_ms=round(times.median_ms(index), 3),
        p95_ms=round(times.percentile_ms(index, 95), 3),
        cpu_ms=round(times.cpu_ms(index), 3),
        spread_percent=round(times.spread_percent(index), 2),
        round_medians_ms=[round(value, 3) for value in times.round_medians_ms(index)],
    )


def measure(arguments: Namespace, test_set: str) -> Latency:
    """Time the models of the command line."""
    import datetime

    from dld import provenance
    from dld.data import kaldi
    from dld.data.dataset import make_dataset
    from dld.data.feasibility import check_evaluation
    from dld.profiling.latency import take_turns, threads, transcribing
    from dld.profiling.records import Latency

    utterances = kaldi.load(arguments.data, ("wav.scp", "utt2spk", "utt2dur"))
    load_average = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    entries, ids, seconds = [], [], []
    for model in arguments.models:
        recognizer = load_experiment(model, arguments)
        network = recognizer.network
        check_evaluation(utterances, max_seconds=network.encoder.max_seconds, name=arguments.data)
        dataset = make_dataset(utterances, **audio_settings(recognizer))
        ids = sample_ids(dataset.data_ids, arguments.utterances)
        seconds = [dataset.data[key]["duration"] for key in ids]
        waveforms = [dataset[dataset.data_ids.index(key)]["signal"] for key in ids]
        run = Path(os.path.abspath(model)).name
        for gates, policy in chosen_vectors(model, recognizer, arguments, test_set).items():
            entries.append(Timed(run, recognizer, depth(gates), gates, policy, waveforms))
    calls = [transcribing(entry.recognizer, entry.waveforms, entry.gates) for entry in entries]
    with threads(1):
        times = take_turns(calls, len(ids), arguments.rounds, arguments.seconds)
    return Latency(
        test_set=test_set,
        utterances=ids,
        seconds=[round(value, 3) for value in seconds],
        rounds=len(times.wall),
        threads=1,
        device=arguments.device,
        precision=arguments.precision,
        cpu=provenance.processor(),
        load=load_average,
        wall_over_cpu=round(float(times.wall.sum() / times.cpu.sum()), 4),
        versions=provenance.versions(),
        git=provenance.git_hash(),
        date=datetime.date.today().isoformat(),
        timings=[timing(entry, times, index) for index, entry in enumerate(entries)],
    )


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the record; print the times."""
    arguments = make_parser().parse_args(argv)
    from dld.scoring.decodes import name_of_set

    test_set = name_of_set(arguments.data)
    output = output_path(arguments, test_set)
    writable_folder(output.parent)
    latency = measure(arguments, test_set)
    latency.save(output)
    for entry in latency.timings:
        logger.info(
            "%s, depth %2d of %d: median %.1f ms, 95th percentile %.1f ms, rounds within %.1f %%",
            *(entry.run, entry.depth, entry.num_blocks, entry.median_ms, entry.p95_ms, entry.spread_percent),
        )
    if warning := latency.warning():
        logger.warning("%s: %s", output, warning)
    print(f"{len(latency.utterances)} utterances, {latency.rounds} rounds: {output}")


if __name__ == "__main__":
    sys.exit(main())
