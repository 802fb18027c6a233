"""Decode a test set at several depths of one model, features computed once for all of them."""

import argparse
import logging
import shutil
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from dld.bin import add_progress_option, command
from dld.budget.latency import real_time_factors
from dld.budget.macs import gmacs_per_second
from dld.data.dataset import evaluation_loader, make_dataset, unpack
from dld.decoding import greedy
from dld.errors import DldError
from dld.experiment import load_trained
from dld.files import atomic_write, write_json
from dld.gates import POLICIES, gates_for_depth, parse_depths
from dld.provenance import git_hash

logger = logging.getLogger(__name__)


def make_parser():
    """Command-line options."""
    parser = argparse.ArgumentParser(prog="dld-decode", description=__doc__, allow_abbrev=False)
    parser.add_argument("--exp", required=True, help="folder of a trained experiment")
    parser.add_argument("--data", required=True, help="Kaldi data directory")
    parser.add_argument("--depths", help="such as 2,4,12, or all (default: decode_depths of the experiment)")
    parser.add_argument("--policy", choices=POLICIES, help="gate policy (default: decode_policy of the experiment)")
    parser.add_argument("--policy-seed", type=int, default=0, help="of the policy random (%(default)s)")
    parser.add_argument("--batch-seconds", type=float, default=60.0, help="longest batch, in seconds (%(default)s)")
    parser.add_argument("--batch-size", type=int, help="largest number of utterances in a batch")
    parser.add_argument("--rtf-utterances", type=int, default=10, help="timed one by one for the RTF (%(default)s)")
    parser.add_argument("--output", help="where decode_SET_nDEPTH folders go (default: the experiment)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda … (%(default)s)")
    add_progress_option(parser)
    return parser


@torch.no_grad()
def transcribe(trained, loader, gate_vectors, device, progress=True):
    """Hypotheses of a data set under each gate vector.

    Returns
    -------
    list of dict
        Utterance id → text, in the order of `gate_vectors`.
    """
    network, tokenizer = trained.network, trained.tokenizer
    texts = [{} for _ in gate_vectors]
    for batch in tqdm(loader, desc="decode", disable=not progress, dynamic_ncols=True):
        features, frames = network.frontend(*unpack(batch.signal, device))
        logits, frames = network(features, frames, gate_vectors)
        for rows, scores in zip(texts, logits, strict=True):
            ids = greedy(scores, frames, network.blank)
            rows.update(zip(batch.id, map(tokenizer.decode, ids), strict=True))
    return texts


def timing_sample(dataset, number):
    """Waveforms of `number` utterances spread over a data set."""
    step = max(1, len(dataset) // max(1, number))
    return [dataset[place]["signal"] for place in range(0, len(dataset), step)][:number]


@command
def main(argv=None):
    arguments = make_parser().parse_args(argv)
    trained = load_trained(arguments.exp, arguments.device)
    network, sample_rate = trained.network, trained.settings["sample_rate"]
    depths = parse_depths(arguments.depths or trained.settings["decode_depths"], network.num_blocks)
    policy = arguments.policy or trained.settings["decode_policy"]
    table = trained.gate_table() if policy == "table" else None
    vectors = [gates_for_depth(policy, network.num_blocks, n, table, arguments.policy_seed) for n in depths]
    dataset = make_dataset(arguments.data, sample_rate=sample_rate, channel=trained.settings["channel"])
    loader = evaluation_loader(dataset, arguments.batch_seconds, arguments.batch_size)
    test_set = Path(arguments.data).resolve().name
    folders = [Path(arguments.output or trained.folder) / f"decode_{test_set}_n{n}" for n in depths]
    for folder in folders:
        # Scores of an earlier decoding must not stand beside new hypotheses.
        shutil.rmtree(folder, ignore_errors=True)

    texts = transcribe(trained, loader, vectors, arguments.device, not arguments.noprogressbar)
    audio_seconds = sum(dataset.data[key]["duration"] for key in dataset.data_ids)
    factors = real_time_factors(network, timing_sample(dataset, arguments.rtf_utterances), vectors, sample_rate)
    for n, gates, folder, rows, rtf in zip(depths, vectors, folders, texts, factors, strict=True):
        if len(rows) != len(dataset):
            raise DldError(f"{folder}: {len(rows)} hypotheses for {len(dataset)} utterances")
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
            "audio_seconds": audio_seconds,
            "model_sha256": trained.about["state_sha256"],
            "seed": trained.about["seed"],
            "updates": trained.about["updates"],
            "train_seconds": trained.about["train_seconds"],
            "git": git_hash(),
            "lm": None,
        }
        write_json(folder / "decode.json", about)
        logger.info("depth %2d of %d: %.3f GMAC/s, RTF %.4f → %s", n, network.num_blocks, gmacs, rtf, folder / "text")


if __name__ == "__main__":
    sys.exit(main())
