"""Search a gate table on the dev set and store it with the model."""

import logging
import sys

from dld.bin import add_pipes_option, add_progress_option, command, options
from dld.checks import POSITIVE
from dld.files import writable_folder

logger = logging.getLogger(__name__)


def make_parser():
    """Command-line options."""
    parser = options.Parser(prog="dld gates", description=__doc__)
    parser.add_argument("--exp", required=True, help="folder of a trained experiment; the table goes there")
    parser.add_argument("--data", required=True, help="Kaldi data directory to search on: dev, never test")
    parser.add_argument(
        "--batch-seconds", type=options.of(POSITIVE), default=60.0, help="longest batch, in seconds (%(default)s)"
    )
    parser.add_argument("--device", type=options.device, default="cpu", help="cpu, cuda … (%(default)s)")
    add_pipes_option(parser)
    add_progress_option(parser)
    return parser


@command
def main(argv=None):
    arguments = make_parser().parse_args(argv)
    from dld.data import kaldi
    from dld.data.dataset import evaluation_loader, make_dataset
    from dld.data.feasibility import check_evaluation
    from dld.experiment import GATE_TABLE, load_trained
    from dld.gates.search import Evaluator, search_gate_table

    trained = load_trained(arguments.exp, arguments.device)
    writable_folder(trained.folder)
    utterances = kaldi.load(arguments.data)
    check_evaluation(utterances, max_seconds=trained.network.encoder.max_seconds, name=arguments.data)
    dataset = make_dataset(
        utterances,
        trained.tokenizer,
        sample_rate=trained.settings["sample_rate"],
        channel=trained.settings["channel"],
    )
    loader = evaluation_loader(dataset, arguments.batch_seconds)
    evaluator = Evaluator(trained.network, trained.tokenizer, loader)
    table = search_gate_table(evaluator, trained.network.num_blocks, progress=not arguments.noprogressbar)
    table.about.update(data=arguments.data, utterances=len(dataset), state_sha256=trained.about["state_sha256"])
    table.save(trained.folder / GATE_TABLE)
    for n, row in table.about["depths"].items():
        logger.info(
            "depth %2s  %s  %6.2f %%  (%s; evenly spaced %.2f %%)",
            n,
            row["gates"],
            row["wer"],
            row["source"],
            row["evenly_spaced_wer"],
        )


if __name__ == "__main__":
    sys.exit(main())
