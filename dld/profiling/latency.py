"""Real-time factor of a network under gate vectors."""

import contextlib
import statistics
import time

import torch

from dld.decoding import greedy
from dld.network import precision_context


@contextlib.contextmanager
def threads(number):
    """Run the block with `number` intra-operation threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def real_time_factors(
    network, waveforms, gate_vectors, sample_rate, repeats=3, num_threads=1, decoders=None, precision="fp32"
):
    """Processing time over audio time under each gate vector, from waveform to units or text, one utterance at a time.

    The gate vectors take turns on each utterance, so that a drift of the machine's speed meets all of them alike.

    Parameters
    ----------
    network : GatedCTC
    waveforms : list of Tensor (samples,)
    gate_vectors : list of gate vectors
    sample_rate : int
        Hz.
    repeats : int
        Rounds over the utterances; the median round counts.
    num_threads : int
    decoders : list of callable, optional
        One for each gate vector, (logits, frames, blank) → whatever it finds (default: `greedy`).
    precision : {"fp32", "bf16"}

    Returns
    -------
    list of float, in the order of `gate_vectors`
    """
    device = next(network.parameters()).device
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    network.eval()
    decoders = decoders or [greedy] * len(gate_vectors)
    audio = sum(len(w) for w in waveforms) / sample_rate
    rounds = [[0.0] * len(gate_vectors) for _ in range(repeats)]
    with threads(num_threads):
        for totals in [[0.0] * len(gate_vectors), *rounds]:  # the first round warms up
            for waveform in waveforms:
                batch = waveform[None].to(device)
                lengths = torch.tensor([len(waveform)], device=device)
                for place, (gates, decode) in enumerate(zip(gate_vectors, decoders, strict=True)):
                    synchronize()
                    began = time.perf_counter()
                    features, frames = network.frontend(batch, lengths)
                    with precision_context(device, precision):
                        [logits], frames, _ = network(features, frames, [gates])
                    decode(logits, frames, network.blank)
                    synchronize()
                    totals[place] += time.perf_counter() - began
    return [statistics.median(column) / audio for column in zip(*rounds, strict=True)]
