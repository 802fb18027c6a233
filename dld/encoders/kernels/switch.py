"""Where the kernels are used, and the switch that turns them off."""

import os

import torch
from torch import Tensor

_enabled = os.environ.get("DLD_KERNELS", "1").lower() not in ("0", "false", "no", "off")


class use:  # noqa: N801 - called like a function, as torch.set_grad_enabled is
    """Turn the kernels on or off, for the whole process.

    As a function it holds from now on; in a `with` statement, to its end.

    Parameters
    ----------
    enabled : bool

    Examples
    --------
    >>> with use(False):
    ...     applicable(torch.zeros(1))
    False
    """

    def __init__(self, enabled: bool):
        global _enabled
        self.before, _enabled = _enabled, enabled

    def __enter__(self) -> None:
        """Change nothing: they are on or off already."""

    def __exit__(self, *_: object) -> None:
        """Return to what was before."""
        global _enabled
        _enabled = self.before


def applicable(tensor: Tensor) -> bool:
    """Return whether kernels may compute on a tensor.

    They may where they are turned on, on a CPU, unless the model is being traced, exported or compiled.
    """
    if not _enabled or tensor.device.type != "cpu":
        return False
    return not (torch.jit.is_tracing() or torch.compiler.is_compiling())


def applicable_in_inference(tensor: Tensor) -> bool:
    """Return whether kernels may compute on a tensor that have no gradient or overwrite it."""
    return applicable(tensor) and not torch.is_grad_enabled()


def applicable_in_float32(*tensors: Tensor) -> bool:
    """Return whether kernels for float32 alone may compute on tensors: all are, and nothing lowers the precision."""
    float32 = all(tensor.dtype == torch.float32 for tensor in tensors)
    return float32 and applicable(tensors[0]) and not torch.is_autocast_enabled("cpu")
