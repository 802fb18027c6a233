"""Choose the weights of a language model on a dev set, for each depth, and store them with the model."""

import argparse
import dataclasses
import logging
import math
import sys

from dld.bin import command, options
from dld.bin.decode import add_model_options, beam_settings, chosen_gates
from dld.checks import COUNT, Number
from dld.decoding.settings import ALPHAS, BETAS, LM_WEIGHTS
from dld.errors import DldError
from dld.files import writable_file
from dld.gates import format_gates
from dld.provenance import git_hash

logger = logging.getLogger(__name__)


def make_parser():
    """Command-line options."""
    parser = options.Parser(prog="dld tune-lm", description=__doc__)
    parser.add_argument("--data", required=True, help="Kaldi data directory to choose on: dev, never test")
    parser.add_argument("--lm", required=True, help="language model: ARPA, or KenLM's binary format")
    add_model_options(parser)
    grid = ",".join(map(str, ALPHAS)), ",".join(map(str, BETAS))
    parser.add_argument("--alphas", default=grid[0], help="weights of the model to try (%(default)s)")
    parser.add_argument(
        "--betas", default=grid[1], help="bonuses per word to try, in nats, as --betas=-1,0,1 (%(default)s)"
    )
    parser.add_argument(
        "--lm-unknown", type=options.of(Number()), default=0.0, help="see dld decode; not searched (%(default)s)"
    )
    parser.add_argument(
        "--max-utterances", type=options.of(COUNT), help="take this number of utterances, evenly spread (default: all)"
    )
    for name in ("--rtf-utterances", "--variant"):
        # Of dld decode: recipes give both commands the same options.
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--output", help=f"file to write (default: {LM_WEIGHTS} in the experiment)")
    return parser


def run_network(trained, loader, gates, device, precision="fp32"):
    """Run a data set under one gate vector.

    Returns
    -------
    log_probs : dict of str to float32 array (frames, units)
        By utterance.
    texts : dict of str to str
        Greedy hypotheses.
    """
    import torch

    from dld.data.dataset import unpack
    from dld.decoding import greedy
    from dld.decoding.beam import valid_log_probs
    from dld.network import precision_context

    log_probs, texts = {}, {}
    for batch in loader:
        with torch.no_grad():
            features, frames = trained.network.frontend(*unpack(batch.signal, device))
        with torch.no_grad(), precision_context(device, precision):
            [logits], frames, _ = trained.network(features, frames, [gates])
        log_probs.update(zip(batch.id, valid_log_probs(logits, frames), strict=True))
        ids = greedy(logits, frames, trained.network.blank)
        texts.update(zip(batch.id, map(trained.tokenizer.decode, ids), strict=True))
    return log_probs, texts


@command
def main(argv=None):
    arguments = make_parser().parse_args(argv)
    from tqdm import tqdm

    from dld.data.dataset import evaluation_loader, make_dataset
    from dld.decoding.beam import SearchPool
    from dld.decoding.tuning import LmWeights, check_vocabulary, choose_weights, ids_sha256, parse_grid
    from dld.experiment import load_trained
    from dld.scoring import wer

    alphas, betas = parse_grid(arguments.alphas, "--alphas"), parse_grid(arguments.betas, "--betas")
    settings = beam_settings(arguments)
    if not all(map(math.isfinite, (*alphas, *betas))):
        raise DldError("--alphas and --betas: finite numbers were expected, such as 0.2,0.4")
    trained = load_trained(arguments.exp, arguments.device)
    path = writable_file(arguments.output or trained.folder / LM_WEIGHTS)
    gates_of, policy = chosen_gates(trained, arguments)
    dataset = make_dataset(
        arguments.data,
        trained.tokenizer,
        sample_rate=trained.settings["sample_rate"],
        channel=trained.settings["channel"],
        max_utterances=arguments.max_utterances,
    )
    references = [dataset.data[key]["words"] for key in dataset.data_ids]
    loader = evaluation_loader(dataset, arguments.batch_seconds, arguments.batch_size)
    with SearchPool(trained.tokenizer.units(), arguments.lm, settings, arguments.jobs) as pool:
        oov = check_vocabulary(pool.model, references, arguments.data)
        measured = pool.model.perplexity(text.split() for text in references)
        depths, weights = {}, None
        bar = tqdm(desc="tune LM", unit="decode", disable=arguments.noprogressbar, dynamic_ncols=True)
        # Depth by depth: of a large dev set the log probabilities of all depths would not fit the memory.
        for n, gates in gates_of.items():
            log_probs, greedy_texts = run_network(trained, loader, gates, arguments.device, arguments.precision)
            utterances = [log_probs[key] for key in dataset.data_ids]
            greedy_wer = wer(references, [greedy_texts[key] for key in dataset.data_ids])

            def texts_of(weights, utterances=utterances):
                bar.update()
                return pool.texts(utterances, weights)

            # The best weights of one depth are near those of the next.
            weights, error, tried = choose_weights(texts_of, references, alphas, betas, arguments.lm_unknown, weights)
            depths[str(n)] = {
                "gates": format_gates(gates),
                **dataclasses.asdict(weights),
                "wer": error,
                "greedy_wer": greedy_wer,
                "tried": tried,
            }
            logger.info(
                "depth %2d: alpha %g, beta %g: %.2f %% on %s (greedy %.2f %%)",
                n, weights.alpha, weights.beta, error, arguments.data, greedy_wer,
            )  # fmt: skip
        bar.close()
        about = {
            "lm": pool.model.describe(),
            "model_sha256": trained.about["state_sha256"],
            "policy": policy,
            "data": arguments.data,
            "utterances": len(dataset),
            "ids_sha256": ids_sha256(dataset.data_ids),
            "oov_percent": oov,
            "perplexity": measured["perplexity"],
            "beam": dataclasses.asdict(settings),
            "grid": {"alpha": alphas, "beta": betas},
            "depths": depths,
            "git": git_hash(),
        }
    LmWeights(about, path).save()
    logger.info("%s: perplexity %.2f, %.2f %% unknown words on %s", path, measured["perplexity"], oov, arguments.data)


if __name__ == "__main__":
    sys.exit(main())
