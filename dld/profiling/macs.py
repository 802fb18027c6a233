"""Compute of a network under a gate vector."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

SECONDS = 10


@torch.no_grad()
def gmacs_per_second(network, gates, sample_rate, seconds=SECONDS):
    """Multiply-accumulates for each second of audio, in thousands of millions (GMAC/s).

    Counted by running the network once, one utterance of `seconds`, and adding up its matrix products and convolutions
    (torch's flop counter, two flops to a MAC). The front end's spectrum counts as little as it does there: Fourier
    transforms and element-wise work are left out, as papers do.

    Parameters
    ----------
    network : GatedCTC
    gates : gate vector
    sample_rate : int
        Hz.
    seconds : float
        Attention grows with the square of the length, so the figure is for this length: 10 s unless told.

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
