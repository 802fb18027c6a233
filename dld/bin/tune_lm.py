"""Choose the weights of a language model on a dev set, for each depth, and store them with the model."""

import argparse
import dataclasses
import logging
import math
import sys

from dld.bin import command, options
from dld.bin.models import add_set_options, audio_settings, beam_settings, chosen_gates, load_experiment
from dld.checks import COUNT, Number
from dld.decoding.settings import ALPHAS, BETAS, LM_WEIGHTS, Search
from dld.errors import DldError
from dld.files import writable_file
from dld.gates import format_gates

logger = logging.getLogger(__name__)


def make_parser():
    """Return the parser of the command line."""
    parser = options.Parser(prog="dld tune-lm", description=__doc__)
    parser.add_argument("--data", required=True, help="Kaldi data directory to choose on: dev, never test")
    parser.add_argument("--lm", required=True, help="language model: ARPA, or KenLM's binary format")
    add_set_options(parser)
    grid = ",".join(map(str, ALPHAS)), ",".join(map(str, BETAS))
    parser.add_argument("--alphas", default=grid[0], help="weights of the model to try")
    parser.add_argument("--betas", default=grid[1], help="bonuses per word to try, in nats, as --betas=-1,0,1")
    parser.add_argument("--lm-unknown", type=options.of(Number()), default=0.0, help="see dld decode; not searched")
    parser.add_argument(
        "--max-utterances", type=options.of(COUNT), help="take this number of utterances, evenly spread (default: all)"
    )
    for name in ("--rtf-utterances", "--variant"):
        # Of dld decode: recipes give both commands the same options.
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--output", help=f"file to write (default: {LM_WEIGHTS} in the experiment)")
    return parser


def run_depth(recognizer, loader, gates):
    """Run a data set under one gate vector.

    Returns
    -------
    logits : dict of str to float32 array (frames, tokens)
        By utterance.
    texts : dict of str to str
        Best-path hypotheses.
    """
    found, texts = {}, {}
    for batch, [rows] in recognizer.run_all(loader, [gates]):
        found.update(zip(batch.id, rows, strict=True))
        texts.update(zip(batch.id, recognizer.texts(rows), strict=True))
    return found, texts


def tune(recognizer, loader, references, pool, gates_of, grid, arguments):
    """Return the entry of `lm_weights.json` for each depth; `references` are by utterance id."""
    from tqdm import tqdm

    from dld.decoding.tuning import choose_weights
    from dld.scoring import wer

    depths, weights, words = {}, None, list(references.values())
    with tqdm(desc="tune LM", unit="decode", disable=not arguments.progress, dynamic_ncols=True) as bar:
        # Depth by depth: of a large dev set the logits of all depths would not fit into memory.
        for n, gates in gates_of.items():
            logits, best_path = run_depth(recognizer, loader, gates)
            utterances = [logits[key] for key in references]
            greedy_wer = wer(words, [best_path[key] for key in references])

            def texts_of(weights, utterances=utterances):
                bar.update()
                return pool.texts(utterances, weights)

            # The best weights of one depth are near those of the next.
            weights, error, tried = choose_weights(texts_of, words, *grid, arguments.lm_unknown, weights)
            entry = {"gates": format_gates(gates), **dataclasses.asdict(weights)}
            depths[str(n)] = {**entry, "wer": error, "greedy_wer": greedy_wer, "tried": tried}
            logger.info(
                "depth %2d: alpha %g, beta %g: %.2f %% on %s (greedy %.2f %%)",
                n, weights.alpha, weights.beta, error, arguments.data, greedy_wer,
            )  # fmt: skip
    return depths


@command
def main(argv=None):
    """Run the network at each depth, choose, write."""
    arguments = make_parser().parse_args(argv)

    from dld.data.dataset import evaluation_loader, make_dataset
    from dld.decoding.beam import SearchPool
    from dld.decoding.lm_weights import LmWeights
    from dld.decoding.tuning import check_vocabulary, ids_sha256, parse_grid
    from dld.provenance import git_hash

    grid = parse_grid(arguments.alphas, "--alphas"), parse_grid(arguments.betas, "--betas")
    if not all(map(math.isfinite, (*grid[0], *grid[1]))):
        raise DldError("--alphas and --betas: finite numbers were expected, such as 0.2,0.4")
    search = Search(arguments.lm, beam=beam_settings(arguments))
    recognizer = load_experiment(arguments.exp, arguments)
    path = writable_file(arguments.output or recognizer.folder / LM_WEIGHTS)
    gates_of, policy = chosen_gates(recognizer, arguments)
    dataset = make_dataset(
        arguments.data, recognizer.tokenizer, **audio_settings(recognizer), max_utterances=arguments.max_utterances
    )
    references = {key: dataset.data[key]["words"] for key in dataset.data_ids}
    loader = evaluation_loader(dataset, arguments.batch_seconds, arguments.batch_size)
    with SearchPool(recognizer.tokenizer.tokens(), search, arguments.jobs) as pool:
        oov = check_vocabulary(pool.model, list(references.values()), arguments.data)
        measured = pool.model.perplexity(text.split() for text in references.values())
        depths = tune(recognizer, loader, references, pool, gates_of, grid, arguments)
    about = {
        "lm": search.model.describe(),
        "model_sha256": recognizer.about.state_sha256,
        "policy": policy,
        "data": arguments.data,
        "utterances": len(dataset),
        "ids_sha256": ids_sha256(dataset.data_ids),
        "oov_percent": oov,
        "perplexity": measured["perplexity"],
        "beam": dataclasses.asdict(search.beam),
        "grid": {"alpha": grid[0], "beta": grid[1]},
        "depths": depths,
        "git": git_hash(),
    }
    LmWeights(about, path).save()
    logger.info("%s: perplexity %.2f, %.2f %% unknown words on %s", path, measured["perplexity"], oov, arguments.data)


if __name__ == "__main__":
    sys.exit(main())
