"""Load what was trained or exported."""

import os

from dld.checks import shown
from dld.errors import DldError
from dld.packs.metadata import is_pack
from dld.recognition.base import Recognizer


def load_model(
    path: str | os.PathLike, device: str = "cpu", precision: str = "fp32", threads: int | None = None
) -> Recognizer:
    """Load a finished experiment or a pack as a `Recognizer`, without running anything that its files name.

    Of an experiment, only the network is built, and no random number is drawn. A pack needs no torch.

    Parameters
    ----------
    path : str or Path
        Folder of the experiment, or of the pack.
    device : str
        Such as "cpu" or "cuda:0"; packs run on "cpu".
    precision : {"fp32", "bf16"}
        Of an experiment; a pack has the one that it was exported with.
    threads : int, optional
        Of a pack (default: 1); for an experiment `torch.set_num_threads` sets them.

    Raises
    ------
    DldError
        There is no finished model, or a file of it is damaged, hostile or of another model; or there is no such device.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise DldError(f"load_model takes the folder of a model, not {shown(path)}")
    if is_pack(path):
        if device != "cpu" or precision != "fp32":
            raise DldError(f"{path}: is a pack, which runs on the CPU in the precision that it was exported with")
        from dld.recognition.pack import PackRecognizer

        return PackRecognizer(path, 1 if threads is None else threads)
    if threads is not None:
        raise DldError(f"{path}: threads are for packs; for an experiment, call torch.set_num_threads")
    try:
        from dld.recognition.eager import load_experiment
    except ImportError as error:
        raise DldError(
            f"{path}: an experiment needs {error.name}, which is not installed: pip install 'dld[train]'; or export it "
            "to a pack (dld export) where that is"
        ) from None
    return load_experiment(path, device, precision)
