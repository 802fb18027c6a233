"""Decode a test set at several depths of one model, features computed once for all of them."""

import contextlib
import dataclasses
import itertools
import logging
import re
import sys
from pathlib import Path

from dld.bin import command, options
from dld.bin.models import (
    add_hotword_options,
    add_lm_options,
    add_set_options,
    audio_settings,
    check_search_options,
    chosen_gates,
    chosen_search,
    load,
)
from dld.checks import COUNT
from dld.errors import DldError
from dld.files import atomic_write, remove_folder, writable_folder
from dld.gates import format_gates

logger = logging.getLogger(__name__)


def make_parser():
    """Return the parser of the command line."""
    parser = options.Parser(prog="dld decode", description=__doc__)
    parser.add_argument("--data", required=True, help="Kaldi data directory")
    add_set_options(parser)
    parser.add_argument("--rtf-utterances", type=options.of(COUNT), default=10, help="timed one by one for the RTF")
    parser.add_argument("--output", help="where decode_SET_nDEPTH[_VARIANT] folders go (default: the experiment)")
    add_lm_options(parser)
    add_hotword_options(parser)
    parser.add_argument(
        "--variant", help="end of the folders' names (default: lm, hotwords, beam, bf16, as is decoded)"
    )
    return parser


def variant(arguments):
    """Return the end of the folders' names, after the depth: decodes with and without a model have different ones."""
    chosen = arguments.variant
    if chosen is None:
        parts = ["lm" if arguments.lm else "", "hotwords" if arguments.hotwords else ""]
        if not any(parts) and arguments.beam_size is not None:
            parts = ["beam"]
        chosen = "_".join(filter(None, (*parts, arguments.precision.replace("fp32", ""))))
    if not re.fullmatch(r"[\w.-]*", chosen):
        raise DldError(f"--variant {chosen!r}: letters, digits, '.', '-' and '_' only")
    return chosen


def find_texts(recognizer, search, loader, vectors, arguments):
    """Search the texts of a data set under each gate vector, in one pass.

    Returns
    -------
    texts : list of dict
        Utterance id → text.
    timed : list of callable or None
        The searches in this process alone, for timing; None for best-path decoding.
    about : list of dict
        See `describe_search`.
    """
    from tqdm import tqdm

    from dld.decoding.beam import SearchPool
    from dld.distributed import rank

    finds, timed, about = None, None, [{}] * len(vectors)
    with contextlib.ExitStack() as stack:
        if search is not None:
            pool = stack.enter_context(SearchPool(recognizer.tokenizer.tokens(), search, arguments.jobs))
            weights = [recognizer.lm_weights(search, gates) for gates in vectors]
            about = describe_search(search, weights, loader.dataset, arguments.data)
            finds, timed = list(map(pool.spread, weights)), list(map(pool.search, weights))
        bar = tqdm(loader, desc="decode", disable=not arguments.progress or rank() != 0, dynamic_ncols=True)
        return recognizer.decode(bar, vectors, finds), timed, about


def describe_model(recognizer):
    """Return what `decode.json` is to say of the model."""
    about, network = recognizer.about, recognizer.network
    return {
        "system": about.system,
        "num_blocks": network.num_blocks,
        "precision": recognizer.precision,
        "model": network.encoder.description,
        "model_sha256": about.state_sha256,
        "seed": about.seed,
        "updates": about.updates,
        "train_seconds": about.train_seconds,
        "epochs": about.epochs,
        "num_epochs": about.num_epochs,
        "trained_git": about.git,
    }


def describe_search(search, weights, dataset, data):
    """Return what `decode.json` is to say of the search at each depth; `weights` are those of its language model."""
    from dld.decoding.lm_weights import LmWeights
    from dld.decoding.tuning import check_vocabulary, ids_sha256
    from dld.files import sha256

    about = {}
    if search.model is not None:
        references = [dataset.data[key]["words"] for key in dataset.data_ids]
        if any(references):
            about["lm_oov_percent"] = check_vocabulary(search.model, references, data)
        about.update(lm=search.model.name, lm_order=search.model.order, lm_sha256=search.model.sha256)
        stored = search.weights.about if isinstance(search.weights, LmWeights) else None
        about["lm_tuned_on"] = stored["data"] if stored else None
        if stored and stored["ids_sha256"] == ids_sha256(dataset.data_ids):
            logger.warning("%s: the weights were chosen on this very set; its error rates are an oracle's", data)
    if search.hotwords is not None:
        path, weight = search.hotwords, search.hotword_weight
        about["hotwords"] = {"path": str(path), "sha256": sha256(path), "weight": weight}
    about["beam"] = dataclasses.asdict(search.beam)
    # Kaldi's insertion penalty is what a bonus per word is with the other sign.
    return [
        about if w is None else {**about, "lmwt": w.alpha, "wip": -w.beta, "lm_unknown": w.unknown} for w in weights
    ]


def timing_sample(dataset, number):
    """Return the waveforms of `number` utterances spread over a data set."""
    step = max(1, len(dataset) // max(1, number))
    return [dataset[index]["signal"] for index in range(0, len(dataset), step)][:number]


def write_decode(folder, rows, record):
    """Write the hypotheses of one depth, utterance id → text, and the record of the decode."""
    # Scores of an earlier decoding must not stand next to new hypotheses.
    remove_folder(folder)
    with atomic_write(folder / "text") as out:
        out.writelines(f"{key} {rows[key]}".rstrip() + "\n" for key in sorted(rows, key=str.encode))
    record.save(folder / "decode.json")


@command
def main(argv=None):
    """Decode a test set, measure the time and write the results; under torchrun the processes share the batches."""
    arguments = make_parser().parse_args(argv)
    check_search_options(arguments)

    from dld.distributed import joined

    with joined(arguments.device) as arguments.device:
        decode(arguments, variant(arguments))


def decode(arguments, suffix):
    """Decode with the options of the command line, into folders whose names end in `suffix`."""
    from dld.data import kaldi
    from dld.data.dataset import evaluation_loader, make_dataset
    from dld.data.feasibility import check_evaluation
    from dld.distributed import gathered, rank
    from dld.profiling.latency import real_time_factors
    from dld.profiling.macs import gmacs_per_second
    from dld.provenance import git_hash
    from dld.scoring.decodes import DecodeRecord, name_of_set, refuse_other_set

    recognizer = load(arguments.exp, arguments)
    network = recognizer.network
    gates_of, policy = chosen_gates(recognizer, arguments)
    vectors = list(gates_of.values())
    search = chosen_search(recognizer, arguments)
    utterances = kaldi.load(arguments.data, ("wav.scp", "utt2spk", "utt2dur"))
    check_evaluation(utterances, max_seconds=network.encoder.max_seconds, name=arguments.data)
    dataset = make_dataset(utterances, **audio_settings(recognizer))
    loader = evaluation_loader(dataset, arguments.batch_seconds, arguments.batch_size, deal=True)
    test_set = name_of_set(arguments.data)
    names = [f"decode_{test_set}_n{n}" + (f"_{suffix}" if suffix else "") for n in gates_of]
    folders = [writable_folder(Path(arguments.output or recognizer.folder) / name) for name in names]
    for folder in folders:
        refuse_other_set(folder, arguments.data)
    texts, timed, about_search = find_texts(recognizer, search, loader, vectors, arguments)
    texts = [dict(itertools.chain(*map(dict.items, rows))) for rows in zip(*gathered(texts), strict=True)]
    if rank() != 0:
        return
    factors = real_time_factors(recognizer, timing_sample(dataset, arguments.rtf_utterances), vectors, timed)
    common = {
        **describe_model(recognizer),
        "test_set": test_set,
        "data_dir": arguments.data,
        "policy": policy,
        "rtf_threads": 1,
        "audio_seconds": sum(dataset.data[key]["duration"] for key in dataset.data_ids),
        "git": git_hash(),
    }
    for (n, gates), folder, rows, rtf, about in zip(
        gates_of.items(), folders, texts, factors, about_search, strict=True
    ):
        if len(rows) != len(dataset):
            raise DldError(f"{folder}: {len(rows)} hypotheses for {len(dataset)} utterances")
        params, active = network.parameter_counts(gates)
        gmacs = gmacs_per_second(network, gates, recognizer.sample_rate)
        figures = {"params": params, "params_active": active, "gmacs_per_s": gmacs, "rtf": rtf}
        write_decode(folder, rows, DecodeRecord(**common, **figures, **about, depth=n, gates=format_gates(gates)))
        logger.info("depth %2d of %d: %.3f GMAC/s, RTF %.4f → %s", n, network.num_blocks, gmacs, rtf, folder / "text")


if __name__ == "__main__":
    sys.exit(main())
