"""Compile the blocks of an encoder by `torch.compile`."""

from __future__ import annotations

import os
import shutil

import torch

from dld.encoders import GatedEncoder
from dld.errors import DldError


def compile_blocks(encoder: GatedEncoder, device: str | torch.device, backend: str = "inductor") -> None:
    """Compile the forward pass of each block, in its place.

    All blocks share what is compiled. It depends neither on gate vectors, which are outside of it, nor on lengths; one
    version is for training, one for evaluation, and one more of each for batches of one utterance. Weights keep their
    names, so that checkpoints and models are the same with and without.

    Parameters
    ----------
    encoder : GatedEncoder
    device : str or device
        Where it runs.
    backend : str
        Of `torch.compile`.

    Raises
    ------
    DldError
        It is to run on a CPU, and there is no C++ compiler.
    """
    compiler = os.environ.get("CXX", "g++")
    if backend == "inductor" and torch.device(device).type == "cpu" and shutil.which(compiler) is None:
        raise DldError(f"compile: true needs a C++ compiler on a CPU, and there is no {compiler}; set it to false")
    for block in encoder.layers:
        block.compile(dynamic=True, backend=backend)
