"""Load what was trained."""

import os

import torch

from dld.checks import shown
from dld.errors import DldError
from dld.experiment import load_trained
from dld.recognition.eager import EagerRecognizer


def load_model(path: str | os.PathLike, device: str = "cpu", precision: str = "fp32") -> EagerRecognizer:
    """Load a finished experiment as a `Recognizer`, without running anything that its files name.

    Only the network is built, and no random number is drawn.

    Parameters
    ----------
    path : str or Path
        Folder of the experiment.
    device : str
        Such as "cpu" or "cuda:0".
    precision : {"fp32", "bf16"}

    Raises
    ------
    DldError
        There is no finished model, or a file of it is damaged, hostile or of another model; or there is no such device.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise DldError(f"load_model takes the folder of a model, not {shown(path)}")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise DldError(f"device {device!r} is not available: {str(error).splitlines()[0]}") from None
    trained = load_trained(path, device)
    return EagerRecognizer(
        trained.network,
        trained.tokenizer,
        sample_rate=trained.settings["sample_rate"],
        channel=trained.settings["channel"],
        precision=precision,
        policy=trained.settings["decode_policy"],
        depths=trained.settings["decode_depths"],
        about=trained.about,
        folder=trained.folder,
    )
