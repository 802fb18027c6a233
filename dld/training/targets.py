"""Where soft targets come from: a frozen teacher, or the network itself at full depth.

Objects of this module are built when an experiment file is read, so they hold settings only; `load` reads weights, when
training begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dld.checks import FLAG, Choice, require
from dld.errors import DldError
from dld.experiment import load_trained, state_hash
from dld.frontends.base import FrontEnd
from dld.gates import Draw
from dld.network import Output
from dld.training.objectives import SoftTarget


class Inputs(NamedTuple):
    """Features of a batch.

    Attributes
    ----------
    clean, features : Tensor (batch, time, size)
        As the front end computes them, and as the student receives them: augmented in training.
    lengths : LongTensor (batch,)
        Valid frames.
    """

    clean: Tensor
    features: Tensor
    lengths: Tensor


class TargetSource:
    """A source of soft targets; a subclass says which.

    Attributes
    ----------
    experiment : str or None
        Folder that it needs, a finished experiment.
    cache : bool
        Whether `fill` is to be called before training.
    sha256 : str or None
        Hash of the loaded weights.
    frontend : FrontEnd or None
        The front end that its features must come from.
    """

    experiment: str | None = None
    cache = False
    sha256: str | None = None
    frontend: FrontEnd | None = None

    def load(self, tokenizer) -> None:
        """Load what it needs, in main memory."""

    def to(self, device: str) -> None:
        """Move what was loaded to a device."""

    def check_draw(self, draw: Draw) -> None:
        """Raise a `DldError` where the gate vectors of a step do not have what it needs."""

    def check_unchanged(self) -> None:
        """Raise if what was loaded has changed."""

    def __call__(self, ids: Sequence[str], inputs: Inputs, draw: Draw, output: Output) -> SoftTarget:
        """Return the soft targets of a training batch.

        Parameters
        ----------
        ids : list of str
            Ids of the utterances.
        inputs : Inputs
        draw : Draw
            The gate vectors of the step.
        output : Output
            The student's output under them.
        """
        raise NotImplementedError


class FullDepth(TargetSource):
    """Take the full network's output of the same step: self-distillation, without a teacher.

    The schedule must draw the full network in every step, as `Sandwich` does (sandwich rule and in-place distillation:
    US-Nets, ICCV 2019; with CTC: arXiv 2406.07909). No gradient goes through the targets; for the full network itself
    divergence and gradient are zero.
    """

    def check_draw(self, draw: Draw) -> None:
        """Raise a `DldError` if no vector of the step is the full network."""
        if not any(map(all, draw.vectors)):
            raise DldError(
                "soft_targets: FullDepth needs a schedule that draws the full network in every step, such as "
                "dld.gates.Sandwich"
            )

    def __call__(self, ids: Sequence[str], inputs: Inputs, draw: Draw, output: Output) -> SoftTarget:
        """Return what the student computes at full depth, without gradients."""
        self.check_draw(draw)
        full = [all(gates) for gates in draw.vectors].index(True)
        return SoftTarget(output.logits[full].detach(), output.hidden[full].detach())


class FrozenTeacher(TargetSource):
    """Take the output of a trained static network at full depth, in evaluation mode, without gradients.

    It is not a `Module`, so it cannot become a child of what is trained: no optimizer sees it, and `modules.train()`
    cannot give it its dropout back.

    Parameters
    ----------
    experiment : str
        Folder of the teacher, a finished experiment.
    input : {"augmented", "clean"}
        What it receives: the student's own input, or features without augmentation.
    cache : bool
        Compute its output once, not in every epoch; needs the input "clean" and no speed perturbation.
    """

    def __init__(self, experiment: str, input: str = "augmented", cache: bool = False):
        if not experiment:
            raise DldError("FrozenTeacher needs a teacher: the folder of a trained static network")
        require(self, Choice("augmented", "clean"), input=input)
        require(self, FLAG, cache=cache)
        if cache and input != "clean":
            raise DldError(f"teacher_cache needs teacher_input: clean, not {input}")
        self.experiment: str = str(experiment)
        self.input = input
        self.cache = cache
        self.network: Any = None  # a GatedCTC once it is loaded
        self._kept: dict[str, list[Tensor]] = {}

    def load(self, tokenizer) -> None:
        """Load the teacher; its tokenizer must be the student's."""
        # Building a network draws random numbers, and the student's run must not depend on that.
        with torch.random.fork_rng():
            trained = load_trained(self.experiment)
        if trained.tokenizer.sha256 != tokenizer.sha256:
            raise DldError(
                f"teacher and student have different tokenizers: the student's is not {trained.folder / 'bpe.model'}; "
                "train the teacher again with the present lang_dir, or give the lang_dir that the teacher has"
            )
        self.network = trained.network.requires_grad_(False)
        self.frontend = self.network.frontend
        self.sha256 = trained.about.state_sha256

    def to(self, device: str) -> None:
        """Move the teacher."""
        self.network.to(device)

    def __call__(self, ids: Sequence[str], inputs: Inputs, draw: Draw, output: Output) -> SoftTarget:
        """Return what the teacher computes, or computed before if it is cached."""
        if self.cache:
            return self.recall(ids, inputs.features.device)
        features = inputs.clean if self.input == "clean" else inputs.features
        return self.target(features, inputs.lengths)[0]

    @torch.no_grad()
    def target(self, features: Tensor, lengths: Tensor) -> tuple[SoftTarget, Tensor]:
        """Return the teacher's output for features of its kind, and the number of valid frames."""
        self.network.eval()
        [logits], frames, [hidden] = self.network(features, lengths, [(True,) * self.network.num_blocks])
        return SoftTarget(logits, hidden), frames

    @torch.no_grad()
    def fill(self, batches: Iterable, with_hidden: bool = False) -> None:
        """Compute the output for audio without augmentation and keep it, in half precision in main memory.

        Augmentations that mask features leave frames where they are, so an utterance's logits can serve every epoch.

        Parameters
        ----------
        batches : iterable of (ids, waveforms (batch, samples), lengths (batch,))
        with_hidden : bool
            Keep the encoder's output, too.
        """
        for ids, waveforms, lengths in batches:
            target, frames = self.target(*self.network.frontend(waveforms, lengths))
            kept = [t.half().cpu() for t in target[: 2 if with_hidden else 1] if t is not None]
            for name, count, *rows in zip(ids, frames.tolist(), *kept, strict=True):
                self._kept[name] = [row[:count].clone() for row in rows]

    def recall(self, ids: Sequence[str], device: str | torch.device = "cpu") -> SoftTarget:
        """Return what `fill` kept of a batch, zero on padded frames."""
        columns = zip(*(self._kept[name] for name in ids), strict=True)
        pad = torch.nn.utils.rnn.pad_sequence
        return SoftTarget(*(pad(list(rows), batch_first=True).float().to(device) for rows in columns))

    def check_front_end(self, frontend: FrontEnd) -> None:
        """Raise if a student's front end computes other features than the teacher was trained with."""
        if not frontend.same_as(self.network.frontend) or state_hash(frontend) != state_hash(self.network.frontend):
            raise DldError(
                f"teacher {self.experiment} and student have different front ends, but both read the same "
                "features; give both the same frontend settings"
            )

    def check_unchanged(self) -> None:
        """Raise if a weight of the teacher has changed."""
        if state_hash(self.network) != self.sha256:
            raise RuntimeError(f"the teacher {self.experiment} changed while its student was trained")
