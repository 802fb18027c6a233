"""Compute of a network under a gate vector."""

from collections.abc import Sequence

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dld.gates import first_n

SECONDS = 10


@torch.no_grad()
def gmacs_per_second(
    network: torch.nn.Module, gates: Sequence[bool], sample_rate: int, seconds: float = SECONDS
) -> float:
    """Return the multiply-accumulates for each second of audio, in thousands of millions (GMAC/s).

    They are counted by running the network once, one utterance of `seconds`, and adding up its matrix products and
    convolutions (torch's flop counter, two flops to a MAC). Fourier transforms, so the front end's spectrum, and
    element-wise work are left out, as papers do.

    Parameters
    ----------
    network : GatedCTC
    gates : gate vector
    sample_rate : int
        Hz.
    seconds : float
        Attention grows with the square of the length, so the figure is for this length.

    Returns
    -------
    float
    """
    device = next(network.parameters()).device
    waveform = torch.randn(1, int(seconds * sample_rate), generator=torch.Generator().manual_seed(0)).to(device)
    lengths = torch.tensor([waveform.shape[1]], device=device)
    network.eval()
    # The counter does not know the CPU's fused attention; the plain one it sees as the matrix products it is made of.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        features, frames = network.frontend(waveform, lengths)
        network(features, frames, [gates])
    return counter.get_total_flops() / 2 / seconds / 1e9


def relative_compute(network: torch.nn.Module, sample_rate: int) -> dict[int, float]:
    """Return the compute of each depth, as a part of full depth.

    Blocks of an encoder take the same, so that two depths are counted.
    """
    blocks = network.num_blocks
    training = network.training
    least, most = (gmacs_per_second(network, first_n(blocks, n), sample_rate) for n in (1, blocks))
    network.train(training)
    block = (most - least) / max(1, blocks - 1)
    return {n: 1.0 if n == blocks else (least + (n - 1) * block) / most for n in range(1, blocks + 1)}
