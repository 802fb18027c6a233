"""Decode a test set at several depths of one model, features computed once for all of them."""

import contextlib
import dataclasses
import logging
import re
import sys
from pathlib import Path

from dld.bin import add_pipes_option, add_progress_option, command, options
from dld.checks import AT_LEAST_0, COUNT, POSITIVE, Number, Whole
from dld.decoding.settings import LM_WEIGHTS, BeamSettings
from dld.errors import DldError
from dld.files import atomic_write, remove_folder, writable_folder, write_json
from dld.gates import POLICIES, gates_for_depth, parse_depths
from dld.provenance import git_hash

logger = logging.getLogger(__name__)


def make_parser():
    """Command-line options."""
    parser = options.Parser(prog="dld decode", description=__doc__)
    parser.add_argument("--data", required=True, help="Kaldi data directory")
    add_model_options(parser)
    parser.add_argument(
        "--rtf-utterances", type=options.of(COUNT), default=10, help="timed one by one for the RTF (%(default)s)"
    )
    parser.add_argument("--output", help="where decode_SET_nDEPTH[_VARIANT] folders go (default: the experiment)")
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
        help="with --lm-alpha: log10 score of unknown words besides that of <unk>; 0: open vocabulary (%(default)s)",
    )
    parser.add_argument("--variant", help="end of the folders' names (default: lm, beam, bf16, as is decoded)")
    return parser


def add_model_options(parser):
    """Options by which a trained model is run, with or without beam search."""
    parser.add_argument("--exp", required=True, help="folder of a trained experiment")
    parser.add_argument("--depths", help="such as 2,4,12, or all (default: decode_depths of the experiment)")
    parser.add_argument("--policy", choices=POLICIES, help="gate policy (default: decode_policy of the experiment)")
    parser.add_argument("--policy-seed", type=options.of(Whole()), default=0, help="of the policy random (%(default)s)")
    parser.add_argument(
        "--batch-seconds", type=options.of(POSITIVE), default=60.0, help="longest batch, in seconds (%(default)s)"
    )
    parser.add_argument("--batch-size", type=options.of(COUNT), help="largest number of utterances in a batch")
    parser.add_argument("--device", type=options.device, default="cpu", help="cpu, cuda … (%(default)s)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the network (%(default)s)")
    limits = BeamSettings()
    parser.add_argument(
        "--beam-size",
        type=options.of(COUNT),
        help=f"beam search with this number of hypotheses (with --lm: {limits.size})",
    )
    parser.add_argument(
        "--beam-logp",
        type=options.of(Number(below=0)),
        default=limits.beam_logp,
        help="give up hypotheses so far below the best (%(default)s)",
    )
    parser.add_argument(
        "--token-logp",
        type=options.of(Number(below=0)),
        default=limits.token_logp,
        help="in a frame, leave out units below (%(default)s)",
    )
    parser.add_argument(
        "--jobs", type=options.of(Whole(1, 1024)), default=1, help="processes of the beam search (%(default)s)"
    )
    add_pipes_option(parser)
    add_progress_option(parser)


def beam_settings(arguments):
    """`BeamSettings` of the options."""
    size = BeamSettings.size if arguments.beam_size is None else arguments.beam_size
    return BeamSettings(size, arguments.beam_logp, arguments.token_logp)


def variant(arguments):
    """What the folders' names have after the depth, so that decodes with and without a model lie side by side."""
    if not arguments.lm:
        for name in ("lm_weights", "lm_alpha", "lm_beta"):
            if getattr(arguments, name) is not None:
                raise DldError(f"--{name.replace('_', '-')} needs --lm")
    chosen = arguments.variant
    if chosen is None:
        search = "lm" if arguments.lm else "beam" if arguments.beam_size is not None else ""
        chosen = "_".join(filter(None, (search, arguments.precision.replace("fp32", ""))))
    if not re.fullmatch(r"[\w.-]*", chosen):
        raise DldError(f"--variant {chosen!r}: letters, digits, '.', '-' and '_' only")
    return chosen


def chosen_gates(trained, arguments):
    """Gate vector of each depth, by depth, and the policy that chose them."""
    blocks = trained.network.num_blocks
    depths = parse_depths(trained.settings["decode_depths"] if arguments.depths is None else arguments.depths, blocks)
    policy = arguments.policy or trained.settings["decode_policy"]
    table = trained.gate_table() if policy == "table" else None
    return {n: gates_for_depth(policy, blocks, n, table, arguments.policy_seed) for n in depths}, policy


def chosen_weights(trained, model, gates, arguments):
    """Language-model `Weights` of each depth, in the order of `gates`, and the file of them if there is one."""
    from dld.decoding.lm import Weights
    from dld.decoding.tuning import LmWeights

    given = (arguments.lm_alpha, arguments.lm_beta)
    if given != (None, None):
        if None in given or arguments.lm_weights:
            raise DldError("give either --lm-weights or both --lm-alpha and --lm-beta")
        return [Weights(*given, arguments.lm_unknown)] * len(gates), None
    if arguments.lm_unknown:
        raise DldError("--lm-unknown goes with --lm-alpha and --lm-beta; for tuned weights give it to dld tune-lm")
    stored = LmWeights.load(arguments.lm_weights or trained.folder / LM_WEIGHTS)
    return [stored.weights(model, trained.about["state_sha256"], n, vector) for n, vector in gates.items()], stored


def make_searches(trained, pool, gates, dataset, arguments):
    """What finds the best text at each depth, and what `decode.json` is to say of it.

    Returns
    -------
    list of callable
        (logits, frames, blank) → texts, over all processes; in the order of `gates`.
    list of BeamSearch
        The same in this process alone, for timing.
    list of dict
    """
    from dld.decoding.beam import valid_log_probs
    from dld.decoding.tuning import check_vocabulary, ids_sha256

    weights, stored, about = [None] * len(gates), None, {}
    if pool.model is not None:
        weights, stored = chosen_weights(trained, pool.model, gates, arguments)
        references = [dataset.data[key]["words"] for key in dataset.data_ids]
        if any(references):
            about["lm_oov_percent"] = check_vocabulary(pool.model, references, arguments.data)
        about.update(lm=pool.model.name, lm_order=pool.model.order, lm_sha256=pool.model.sha256)
        about["lm_tuned_on"] = stored.about["data"] if stored else None
        if stored and stored.about["ids_sha256"] == ids_sha256(dataset.data_ids):
            logger.warning(
                "%s: the weights were chosen on this very set; its error rates are an oracle's", arguments.data
            )
    about["beam"] = dataclasses.asdict(beam_settings(arguments))

    def spread(weights):
        return lambda logits, frames, blank: pool.texts(valid_log_probs(logits, frames), weights)

    # Kaldi's insertion penalty is what a bonus per word is with the other sign.
    rows = [
        about if w is None else {**about, "lmwt": w.alpha, "wip": -w.beta, "lm_unknown": w.unknown} for w in weights
    ]
    return list(map(spread, weights)), list(map(pool.search, weights)), rows


def transcribe(trained, loader, gate_vectors, device, progress=True, searches=None, precision="fp32"):
    """Hypotheses of a data set under each gate vector.

    Parameters
    ----------
    trained : Trained
    loader : iterable of PaddedBatch
    gate_vectors : list of gate vectors
    device : str
    progress : bool
    searches : list of callable, optional
        One for each gate vector, (logits, frames, blank) → texts (default: greedy decoding).
    precision : {"fp32", "bf16"}

    Returns
    -------
    list of dict
        Utterance id → text, in the order of `gate_vectors`.
    """
    import torch
    from tqdm import tqdm

    from dld.data.dataset import unpack
    from dld.decoding import greedy
    from dld.network import precision_context

    network, tokenizer = trained.network, trained.tokenizer

    def best_path(*arguments):
        return map(tokenizer.decode, greedy(*arguments))

    searches = searches or [best_path] * len(gate_vectors)
    texts = [{} for _ in gate_vectors]
    for batch in tqdm(loader, desc="decode", disable=not progress, dynamic_ncols=True):
        with torch.no_grad():
            features, frames = network.frontend(*unpack(batch.signal, device))
        with torch.no_grad(), precision_context(device, precision):
            logits, frames, _ = network(features, frames, gate_vectors)
        for rows, scores, search in zip(texts, logits, searches, strict=True):
            rows.update(zip(batch.id, search(scores.float(), frames, network.blank), strict=True))
    return texts


def timing_sample(dataset, number):
    """Waveforms of `number` utterances spread over a data set."""
    step = max(1, len(dataset) // max(1, number))
    return [dataset[place]["signal"] for place in range(0, len(dataset), step)][:number]


@command
def main(argv=None):
    arguments = make_parser().parse_args(argv)
    from dld.data import kaldi
    from dld.data.dataset import evaluation_loader, make_dataset
    from dld.data.feasibility import check_evaluation
    from dld.decoding.beam import SearchPool
    from dld.experiment import load_trained
    from dld.profiling.latency import real_time_factors
    from dld.profiling.macs import gmacs_per_second
    from dld.scoring.decodes import name_of_set, refuse_other_set

    trained = load_trained(arguments.exp, arguments.device)
    network, sample_rate = trained.network, trained.settings["sample_rate"]
    gates_of, policy = chosen_gates(trained, arguments)
    vectors = list(gates_of.values())
    settings, suffix = beam_settings(arguments), variant(arguments)
    utterances = kaldi.load(arguments.data, ("wav.scp", "utt2spk", "utt2dur"))
    check_evaluation(utterances, max_seconds=network.encoder.max_seconds, name=arguments.data)
    dataset = make_dataset(utterances, sample_rate=sample_rate, channel=trained.settings["channel"])
    loader = evaluation_loader(dataset, arguments.batch_seconds, arguments.batch_size)
    test_set = name_of_set(arguments.data)
    names = [f"decode_{test_set}_n{n}" + (f"_{suffix}" if suffix else "") for n in gates_of]
    folders = [writable_folder(Path(arguments.output or trained.folder) / name) for name in names]
    for folder in folders:
        refuse_other_set(folder, arguments.data)
    searches, timed, about_search = None, None, [{}] * len(vectors)
    with contextlib.ExitStack() as stack:
        if arguments.lm or arguments.beam_size is not None:
            pool = stack.enter_context(SearchPool(trained.tokenizer.units(), arguments.lm, settings, arguments.jobs))
            searches, timed, about_search = make_searches(trained, pool, gates_of, dataset, arguments)
        progress, precision = not arguments.noprogressbar, arguments.precision
        texts = transcribe(trained, loader, vectors, arguments.device, progress, searches, precision)
    audio_seconds = sum(dataset.data[key]["duration"] for key in dataset.data_ids)
    sample = timing_sample(dataset, arguments.rtf_utterances)
    factors = real_time_factors(network, sample, vectors, sample_rate, decoders=timed, precision=precision)
    for (n, gates), folder, rows, rtf, search in zip(
        gates_of.items(), folders, texts, factors, about_search, strict=True
    ):
        if len(rows) != len(dataset):
            raise DldError(f"{folder}: {len(rows)} hypotheses for {len(dataset)} utterances")
        # Scores of an earlier decoding must not stand next to new hypotheses.
        remove_folder(folder)
        with atomic_write(folder / "text") as out:
            out.writelines(f"{key} {rows[key]}".rstrip() + "\n" for key in sorted(rows, key=str.encode))
        params, active = network.parameter_counts(gates)
        gmacs = gmacs_per_second(network, gates, sample_rate)
        about = {
            "system": trained.about["system"],
            "test_set": test_set,
            "data_dir": arguments.data,
            "depth": n,
            "num_blocks": network.num_blocks,
            "gates": [int(gate) for gate in gates],
            "policy": policy,
            "params": params,
            "params_active": active,
            "gmacs_per_s": gmacs,
            "rtf": rtf,
            "rtf_threads": 1,
            "precision": precision,
            "audio_seconds": audio_seconds,
            "model": network.encoder.description,
            "model_sha256": trained.about["state_sha256"],
            "seed": trained.about["seed"],
            "updates": trained.about["updates"],
            "train_seconds": trained.about["train_seconds"],
            "trained_git": trained.about.get("git"),
            "git": git_hash(),
            "lm": None,
            **search,
        }
        write_json(folder / "decode.json", about)
        logger.info("depth %2d of %d: %.3f GMAC/s, RTF %.4f → %s", n, network.num_blocks, gmacs, rtf, folder / "text")


if __name__ == "__main__":
    sys.exit(main())
