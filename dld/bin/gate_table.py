"""Search a gate table on the dev set and store it with the model."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from dld.bin import add_pipes_option, add_progress_option, command, options
from dld.bin.models import audio_settings
from dld.checks import POSITIVE
from dld.files import writable_folder

logger = logging.getLogger(__name__)

#: What an interrupted search leaves in the experiment's folder.
PARTIAL = "gate_table.partial.json"
LOG_INTERVAL = 60.0


def make_parser() -> options.Parser:
    """Return the parser of the command line."""
    parser = options.Parser(prog="dld gates", description=__doc__)
    parser.add_argument("--exp", required=True, help="folder of a trained experiment; the table goes there")
    parser.add_argument("--data", required=True, help="Kaldi data directory to search on: dev, never test")
    parser.add_argument("--batch-seconds", type=options.of(POSITIVE), default=60.0, help="longest batch, in seconds")
    parser.add_argument("--device", type=options.device, default="cpu", help="cpu, cuda …")
    add_pipes_option(parser)
    add_progress_option(parser)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Search the gate table, store and print it; under torchrun the processes share the batches of each pass."""
    arguments = make_parser().parse_args(argv)

    from dld.distributed import joined

    with joined(arguments.device) as device:
        search(arguments, device)


def search(arguments: argparse.Namespace, device: str) -> None:
    """Search on a device, with the other processes where there are any."""
    import torch

    from dld.data import kaldi
    from dld.data.dataset import evaluation_loader, make_dataset
    from dld.data.feasibility import check_evaluation
    from dld.data.fingerprint import fingerprint
    from dld.decoding.evaluation import Evaluator
    from dld.distributed import rank
    from dld.experiment import state_hash
    from dld.gates import GATE_TABLE
    from dld.gates.partial import Partial
    from dld.gates.search import search_gate_table
    from dld.recognition.loading import load_model

    recognizer = load_model(arguments.exp, device)
    network = recognizer.network
    folder = writable_folder(Path(arguments.exp))
    utterances = kaldi.load(arguments.data)
    check_evaluation(utterances, max_seconds=network.encoder.max_seconds, name=arguments.data)
    dataset = make_dataset(utterances, recognizer.tokenizer, **audio_settings(recognizer))
    data = fingerprint(utterances)
    made_from = {
        "state_sha256": state_hash(network),
        "data": data.to_json(),
        "batch_seconds": arguments.batch_seconds,
        "device": torch.device(device).type,
    }
    logger.info(
        "searching gates for %d depths of %s on %s: %d utterances, %.2f h",
        *(network.num_blocks, arguments.exp, arguments.data, data.utterances, data.hours),
    )
    loader = evaluation_loader(dataset, arguments.batch_seconds, deal=True)
    evaluator = Evaluator(recognizer, loader, 0.0 if arguments.progress else LOG_INTERVAL)
    if rank() != 0:
        evaluator.serve()
        return
    partial = Partial(folder / PARTIAL, made_from)
    table = search_gate_table(evaluator, network.num_blocks, arguments.progress, partial)
    evaluator.finish()
    sha256 = recognizer.about and recognizer.about.state_sha256
    table.about.update(data=arguments.data, utterances=len(dataset), state_sha256=sha256)
    table.save(folder / GATE_TABLE)
    partial.remove()
    for n, row in table.about["depths"].items():
        logger.info(
            "depth %2s  %s  %6.2f %%  (%s; evenly spaced %.2f %%)",
            n, row["gates"], row["wer"], row["source"], row["evenly_spaced_wer"],
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
