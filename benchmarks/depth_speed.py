"""How much time closed gates save: the network's time at each depth, as a fraction of its time at full depth.

The depths take turns in every round, so that a drift of the machine's speed affects all equally; what is reported
are ratios of medians, which other machines can be compared with.

    python benchmarks/depth_speed.py --output benchmarks/results/depth_speed.json
"""

import argparse
import statistics
import time

import torch

from dld.encoders import GatedConformer
from dld.files import write_json
from dld.gates import evenly_spaced, format_gates
from dld.profiling.latency import threads
from dld.provenance import git_hash, processor, versions

SIZES = {
    "mini": {"d_model": 64, "d_ffn": 256, "num_heads": 4, "kernel_size": 15},
    "paper": {"d_model": 256, "d_ffn": 2048, "num_heads": 8, "kernel_size": 31},
}


@torch.no_grad()
def measure(encoder, seconds, depths, rounds):
    """Median milliseconds of the front (subsampling), and of the blocks at each depth."""
    frames = int(seconds * 100)
    features, lengths = torch.randn(1, frames, 80), torch.tensor([frames])
    times = {n: [] for n in (0, *depths)}
    for _ in range(rounds + 1):
        began = time.perf_counter()
        embedded = encoder.embed(features, lengths)
        times[0].append(time.perf_counter() - began)
        for n in depths:
            began = time.perf_counter()
            encoder.encode(embedded, [evenly_spaced(encoder.num_blocks, n)])
            times[n].append(time.perf_counter() - began)
    # The first round warms up.
    return {n: 1000 * statistics.median(row[1:]) for n, row in times.items()}


def main():
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the utterance (%(default)s)")
    parser.add_argument("--rounds", type=int, default=30, help="timed rounds (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--output", required=True, help="JSON file")
    arguments = parser.parse_args()
    rows = []
    depths = [1, 2, 4, 6, 8, 10, 12]
    for size, settings in SIZES.items():
        encoder = GatedConformer(num_blocks=12, **settings).eval()
        with threads(arguments.threads):
            medians = measure(encoder, arguments.seconds, depths, arguments.rounds)
        for n in depths:
            rows.append(
                {
                    "model": size,
                    "depth": n,
                    "gates": format_gates(evenly_spaced(12, n)),
                    "block_ms": medians[n],
                    "block_share": medians[n] / medians[12],
                    "encoder_share": (medians[0] + medians[n]) / (medians[0] + medians[12]),
                }
            )
            print(
                f"{size:6} depth {n:2}: blocks {medians[n]:8.2f} ms, {rows[-1]['block_share']:.3f} of full depth "
                f"(n/12 = {n / 12:.3f}), encoder {rows[-1]['encoder_share']:.3f}"
            )
    about = {"git": git_hash(), "processor": processor(), "versions": versions()}
    write_json(arguments.output, {**vars(arguments), **about, "rows": rows})


if __name__ == "__main__":
    main()
