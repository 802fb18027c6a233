"""What is measured while a network trains: running means, and the word error rate at each depth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from dld.distributed import in_order, processes, summed
from dld.scoring import error_counts


@dataclass
class Means:
    """Means of named values over batches.

    The sums stay on the device where the values are, in double precision: adding does not wait for the device.

    Attributes
    ----------
    sums : dict of str to Tensor () or float
    count : int
        Batches in the sums.
    latest : dict of str to Tensor ()
        The values of the last batch.

    Examples
    --------
    >>> means = Means()
    >>> for loss in (1.0, 2.0):
    ...     means.add({"loss": torch.tensor(loss)})
    >>> means.compute()
    {'loss': 1.5}
    """

    sums: dict[str, Any] = field(default_factory=dict)
    count: int = 0
    latest: dict[str, torch.Tensor] = field(default_factory=dict, repr=False, compare=False)

    def add(self, values: Mapping[str, torch.Tensor]) -> None:
        """Add the values of a batch."""
        self.latest = {name: value.detach() for name, value in values.items()}
        for name, value in self.latest.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.double()
        self.count += 1

    def reset(self) -> None:
        """Forget all batches."""
        self.sums, self.count, self.latest = {}, 0, {}

    def compute(self) -> dict[str, float]:
        """Return the mean of each value over the batches of all processes."""
        *sums, count = summed([*self._numbers(), float(self.count)], self._device())
        return {name: value / max(1.0, count) for name, value in zip(self.sums, sums, strict=True)}

    def share(self) -> None:
        """Set the sums of every process to the mean over all; a checkpoint keeps those of the first."""
        if processes() > 1:
            shared = summed(self._numbers(), self._device())
            self.sums = {name: value / processes() for name, value in zip(self.sums, shared, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """Return sums and count, as JSON can hold them."""
        return {"sums": dict(zip(self.sums, self._numbers(), strict=True)), "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` returned."""
        self.sums, self.count = dict(state["sums"]), state["count"]

    def _numbers(self):
        tensors = [value for value in self.sums.values() if isinstance(value, torch.Tensor)]
        # All at once, so that a device is waited for once.
        read = iter(torch.stack(tensors).tolist() if tensors else [])
        return [next(read) if isinstance(value, torch.Tensor) else value for value in self.sums.values()]

    def _device(self):
        return next((value.device for value in self.sums.values() if isinstance(value, torch.Tensor)), _home())


def _home():
    """Return a device that the processes can send from."""
    several_gpus = processes() > 1 and torch.distributed.get_backend() == "nccl"
    return torch.device("cuda" if several_gpus else "cpu")


def mean_in_order(values: Sequence[torch.Tensor]) -> float:
    """Return the mean of a value of each validation batch, the same whatever number of processes they were dealt to.

    Examples
    --------
    >>> mean_in_order([torch.tensor(0.5), torch.tensor(1.0)])
    0.75
    """
    every = in_order(torch.stack(list(values)).double().tolist() if values else [])
    total = 0.0
    for value in every:
        total += value
    return total / max(1, len(every))


def running_mean(losses: Sequence[torch.Tensor]) -> float:
    """Return the mean loss of the validation batches of all processes, without those that are not finite.

    Examples
    --------
    >>> running_mean([torch.tensor(1.0), torch.tensor(2.0)])
    1.5
    """
    mean = 0.0
    for step, loss in enumerate(in_order(torch.stack(list(losses)).tolist() if losses else []), 1):
        if math.isfinite(loss):
            mean -= mean / step
            mean += loss / step
    return mean


class WordErrors:
    """Word error rate at each of several depths.

    Parameters
    ----------
    depths : list of int

    Attributes
    ----------
    references : list of str
    hypotheses : list of list of str
        For each depth, in the order of the references.

    Examples
    --------
    >>> errors = WordErrors([2, 4])
    >>> errors.add(["one two"], [["one too"], ["one two"]])
    >>> errors.compute()
    {'2': 50.0, '4': 0.0}
    """

    def __init__(self, depths: Sequence[int]):
        self.depths = list(depths)
        self.reset()

    def reset(self) -> None:
        """Forget all sentences."""
        self.references: list[str] = []
        self.hypotheses: list[list[str]] = [[] for _ in self.depths]

    def add(self, references: Sequence[str], hypotheses: Sequence[Sequence[str]]) -> None:
        """Add the sentences of a batch, the hypotheses for each depth."""
        self.references += references
        for rows, texts in zip(self.hypotheses, hypotheses, strict=True):
            rows += texts

    def compute(self) -> dict[str, float]:
        """Return the rate in percent at each depth, of the sentences of all processes."""
        counts: list[float] = []
        for rows in self.hypotheses:
            total = error_counts((ref.split(), hyp.split()) for ref, hyp in zip(self.references, rows, strict=True))
            counts += [total.errors, total.words]
        counts = summed(counts, _home())
        return {str(n): _percent(*counts[2 * i : 2 * i + 2]) for i, n in enumerate(self.depths)}

    def sentences(self) -> int:
        """Return the number of sentences of all processes."""
        return int(summed([len(self.references)], _home())[0])

    def empty_share(self) -> float:
        """Return the fraction of empty hypotheses at the last depth, of the sentences of all processes."""
        empty, sentences = summed([sum(not text for text in self.hypotheses[-1]), len(self.references)], _home())
        return empty / sentences


def _percent(errors, words):
    if words:
        return 100.0 * errors / words
    return float("inf") if errors else 0.0
