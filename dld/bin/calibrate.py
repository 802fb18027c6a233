"""Calibrate the confidences of words on the dev set, at each depth, and store the result with the model."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dld.bin import add_pipes_option, add_progress_option, command, options
from dld.bin.models import add_network_options, audio_settings, chosen_gates, load_experiment
from dld.decoding.settings import CONFIDENCE
from dld.errors import DldError
from dld.files import writable_folder
from dld.gates import format_gates

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from dld.decoding.confidence import Curve
    from dld.recognition.eager import EagerRecognizer

logger = logging.getLogger(__name__)


def make_parser() -> options.Parser:
    """Return the parser of the command line."""
    parser = options.Parser(prog="dld calibrate", description=__doc__)
    parser.add_argument("--exp", required=True, help=f"folder of a trained experiment; {CONFIDENCE} goes there")
    parser.add_argument("--data", required=True, help="Kaldi data directory to calibrate on: dev, never test")
    parser.add_argument(
        "--depths", help="such as 2,4,12, or all (default: all with a gate table, else decode_depths of the experiment)"
    )
    add_network_options(parser)
    add_pipes_option(parser)
    add_progress_option(parser)
    return parser


def fit_curves(
    recognizer: EagerRecognizer, loader: DataLoader, vectors: Sequence[Sequence[bool]], progress: bool
) -> list[Curve]:
    """Return the calibration of each gate vector, of the words of a data set's best paths."""
    import numpy as np
    from tqdm import tqdm

    from dld.decoding.alignment import best_path, words_of
    from dld.decoding.confidence import calibrate, raw_confidence
    from dld.scoring.alignment import CORRECT, GAP, align

    pieces = recognizer.tokenizer.tokens()
    # For each gate vector (confidence, whether the word is right, its utterance).
    rows: list[list[tuple[float, bool, int]]] = [[] for _ in vectors]
    utterance = 0
    bar = tqdm(loader, desc="calibrate", disable=not progress, dynamic_ncols=True)
    for batch, logits in recognizer.run_all(bar, vectors):
        for index, utterances in enumerate(logits):
            for number, (reference, of_frames) in enumerate(zip(batch.words, utterances, strict=True), utterance):
                words = words_of(best_path(of_frames), pieces)
                ops = align(reference.split(), [word.text for word in words]).ops
                right = [op == CORRECT for op, _, word in ops if word != GAP]
                rows[index] += [
                    (raw_confidence(word.scores), good, number) for word, good in zip(words, right, strict=True)
                ]
        utterance += len(batch.words)
    curves = []
    for gates, found in zip(vectors, rows, strict=True):
        if not found:
            logger.warning("gates %s give no word at all; their confidences stay raw", format_gates(gates))
            continue
        curves.append(calibrate(gates, *np.array(found, float).T))
    return curves


def earlier_curves(recognizer: EagerRecognizer, fingerprint: object, replaced: set[int]) -> list[Curve]:
    """Return the curves of other depths that were fitted on the same data; say so where they are of other data."""
    from dld.decoding.confidence import stored_calibration

    try:
        earlier = stored_calibration(recognizer.folder, recognizer.state_sha256)
    except DldError:  # of other weights, or not to be read: of no use to anybody
        earlier = None
    others = [curve for curve in earlier.curves if curve.depth not in replaced] if earlier else []
    if earlier and others and earlier.about.get("fingerprint") != fingerprint:
        names = ", ".join(str(curve.depth) for curve in others)
        logger.warning("the confidences of depths %s were fitted on other data and are removed", names)
        return []
    return others


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the network at each depth, fit, write and print."""
    arguments = make_parser().parse_args(argv)

    from dld.data import kaldi
    from dld.data.dataset import evaluation_loader, make_dataset
    from dld.data.feasibility import check_evaluation
    from dld.data.fingerprint import fingerprint
    from dld.decoding.confidence import Calibration

    recognizer = load_experiment(arguments.exp, arguments)
    path = writable_folder(arguments.exp) / CONFIDENCE
    if arguments.depths is None and recognizer.gate_table() is not None:
        arguments.depths = "all"
    gates_of, policy = chosen_gates(recognizer, arguments)
    utterances = kaldi.load(arguments.data)
    check_evaluation(utterances, max_seconds=recognizer.max_seconds, name=arguments.data)
    dataset = make_dataset(utterances, recognizer.tokenizer, **audio_settings(recognizer))
    loader = evaluation_loader(dataset, arguments.batch_seconds)
    curves = fit_curves(recognizer, loader, list(gates_of.values()), arguments.progress)
    about = {"data": arguments.data, "policy": policy, "fingerprint": fingerprint(utterances).to_json()}
    earlier = earlier_curves(recognizer, about["fingerprint"], set(gates_of))
    Calibration(recognizer.state_sha256, [*curves, *earlier], about).save(path)
    for curve in curves:
        logger.info(
            "depth %2d  %s  %d words, %.2f %% right; ECE raw %.2f %%, calibrated %.2f %%",
            curve.depth, curve.gates, curve.words, 100 * curve.accuracy,
            100 * curve.ece_before, 100 * curve.ece_after,
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
