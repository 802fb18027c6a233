"""Options by which commands run a trained model, and the objects that they describe; not a command."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from dld.bin import add_pipes_option, add_progress_option, options
from dld.checks import AT_LEAST_0, COUNT, POSITIVE, Number, Whole
from dld.decoding.settings import LM_WEIGHTS, BeamSettings, Search
from dld.errors import DldError
from dld.gates import POLICIES, parse_depths

if TYPE_CHECKING:
    from dld.decoding.lm import Weights
    from dld.decoding.lm_weights import LmWeights
    from dld.recognition.base import Recognizer
    from dld.recognition.eager import EagerRecognizer


def add_network_options(parser: ArgumentParser) -> None:
    """Add what decides how a network runs: policy, batches, device, precision."""
    parser.add_argument("--policy", choices=POLICIES, help="gate policy (default: decode_policy of the experiment)")
    parser.add_argument("--policy-seed", type=options.of(Whole()), default=0, help="of the policy random")
    parser.add_argument("--batch-seconds", type=options.of(POSITIVE), default=60.0, help="longest batch, in seconds")
    parser.add_argument("--device", type=options.device, default="cpu", help="cpu, cuda …")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the network")


def add_beam_options(parser: ArgumentParser) -> None:
    """Add the limits of the beam search."""
    limits = BeamSettings()
    parser.add_argument(
        "--beam-size",
        type=options.of(COUNT),
        help=f"beam search with this number of hypotheses (with --lm or --hotwords: {limits.size})",
    )
    parser.add_argument(
        "--beam-logp",
        type=options.of(Number(below=0)),
        default=limits.beam_logp,
        help="prune hypotheses so far below the best",
    )
    parser.add_argument(
        "--token-logp",
        type=options.of(Number(below=0)),
        default=limits.token_logp,
        help="in a frame, leave out tokens below",
    )
    parser.add_argument("--jobs", type=options.of(Whole(1, 1024)), default=1, help="processes of the beam search")


def add_set_options(parser: ArgumentParser) -> None:
    """Add the options by which a trained model is run over a data set at several depths."""
    parser.add_argument("--exp", required=True, help="folder of a trained experiment")
    parser.add_argument("--depths", help="such as 2,4,12, or all (default: decode_depths of the experiment)")
    add_network_options(parser)
    parser.add_argument("--batch-size", type=options.of(COUNT), help="largest number of utterances in a batch")
    add_beam_options(parser)
    add_pipes_option(parser)
    add_progress_option(parser)


def add_lm_options(parser: ArgumentParser) -> None:
    """Add a language model and its weights."""
    parser.add_argument("--lm", help="language model, ARPA or KenLM's binary format: beam search with it")
    parser.add_argument("--lm-weights", help=f"file of dld tune-lm (default: {LM_WEIGHTS} in the experiment)")
    parser.add_argument(
        "--lm-alpha", type=options.of(AT_LEAST_0), help="instead of --lm-weights: weight of the model, at every depth"
    )
    parser.add_argument("--lm-beta", type=options.of(Number()), help="with --lm-alpha: bonus per word, in nats")
    parser.add_argument(
        "--lm-unknown",
        type=options.of(Number()),
        default=0.0,
        help="with --lm-alpha: log10 score of unknown words in addition to that of <unk>; 0: open vocabulary",
    )


def add_hotword_options(parser: ArgumentParser) -> None:
    """Add hotwords and their weight."""
    parser.add_argument("--hotwords", help="file of phrases to expect, one a line, a weight after a tab: beam search")
    parser.add_argument(
        "--hotword-weight",
        type=options.of(POSITIVE),
        help=f"with --hotwords: nats per character, of phrases without a weight (default: {Search.hotword_weight:g})",
    )


def check_search_options(arguments: Namespace) -> None:
    """Raise if weights are given without what they weigh, or in two ways."""
    if arguments.hotword_weight is not None and not arguments.hotwords:
        raise DldError("--hotword-weight needs --hotwords")
    given = (arguments.lm_alpha, arguments.lm_beta)
    if not arguments.lm:
        for name in ("lm_weights", "lm_alpha", "lm_beta"):
            if getattr(arguments, name) is not None:
                raise DldError(f"--{name.replace('_', '-')} needs --lm")
    elif given == (None, None):
        if arguments.lm_unknown:
            raise DldError("--lm-unknown goes with --lm-alpha and --lm-beta; for tuned weights give it to dld tune-lm")
    elif None in given or arguments.lm_weights:
        raise DldError("give either --lm-weights or both --lm-alpha and --lm-beta")


def load(path: str, arguments: Namespace) -> Recognizer:
    """Return the `Recognizer` of an experiment or a pack as the options ask for."""
    from dld.recognition.loading import load_model

    return load_model(path, arguments.device, arguments.precision, arguments.threads)


def load_experiment(path: str, arguments: Namespace) -> EagerRecognizer:
    """Return the `Recognizer` of an experiment, whose network runs in PyTorch."""
    from dld.packs.metadata import is_pack

    if is_pack(path):
        raise DldError(f"{path}: is a pack; give the folder of the experiment that it was exported from")
    from dld.recognition.eager import load_experiment

    return load_experiment(path, arguments.device, arguments.precision)


def chosen_gates(recognizer: Recognizer, arguments: Namespace) -> tuple[dict[int, tuple[bool, ...]], str]:
    """Return the gate vector of each depth, by depth, and the policy that chose them."""
    blocks = recognizer.num_blocks
    depths = parse_depths(recognizer.depths if arguments.depths is None else arguments.depths, blocks)
    policy = arguments.policy or recognizer.policy
    return {n: recognizer.gate_vector(depth=n, policy=policy, seed=arguments.policy_seed) for n in depths}, policy


def beam_settings(arguments: Namespace) -> BeamSettings:
    """Return the `BeamSettings` of the options."""
    size = BeamSettings.size if arguments.beam_size is None else arguments.beam_size
    return BeamSettings(size, arguments.beam_logp, arguments.token_logp)


def chosen_search(recognizer: Recognizer, arguments: Namespace) -> Search | None:
    """Return the `Search` of the options, its weights read; None for best-path decoding."""
    check_search_options(arguments)
    if not arguments.lm and not arguments.hotwords and arguments.beam_size is None:
        return None
    weights: Weights | LmWeights | None = None
    if arguments.lm_alpha is not None:
        from dld.decoding.lm import Weights

        weights = Weights(arguments.lm_alpha, arguments.lm_beta, arguments.lm_unknown)
    elif arguments.lm:
        from dld.decoding.lm_weights import LmWeights

        weights = LmWeights.load(arguments.lm_weights or (recognizer.folder or Path()) / LM_WEIGHTS)
    return Search(
        arguments.lm or None,
        weights,
        beam_settings(arguments),
        arguments.hotwords or None,
        arguments.hotword_weight or Search.hotword_weight,
    )


def audio_settings(recognizer: Recognizer) -> dict[str, int | None]:
    """Return how `dld.data.dataset.make_dataset` reads audio for a model."""
    return {"sample_rate": recognizer.sample_rate, "channel": recognizer.channel}
