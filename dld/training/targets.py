"""Where soft targets come from: a frozen teacher, or the network itself at full depth.

Objects of this module are built when an experiment file is read, so they hold settings only; `load` reads weights, when
training begins.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dld.checks import COUNT, Choice, FlagOrFolder, require
from dld.errors import DldError
from dld.experiment import load_trained, state_hash
from dld.frontends.base import FrontEnd
from dld.gates import Draw
from dld.network import Output
from dld.training.objectives import SoftTarget
from dld.training.posteriors import POSTERIORS, PosteriorCache


class Inputs(NamedTuple):
    """Features of a batch.

    Attributes
    ----------
    clean, features : Tensor (batch, time, size)
        As the front end computes them, and as the student receives them: augmented in training.
    lengths : LongTensor (batch,)
        Valid frames.
    speed : float
        At which the audio was played.
    """

    clean: Tensor
    features: Tensor
    lengths: Tensor
    speed: float = 1.0


class TargetSource:
    """A source of soft targets; a subclass says which.

    Attributes
    ----------
    experiment : str or None
        Folder that it needs, a finished experiment.
    cache : bool or str
        Whether it reads caches, which `dld.training.caching.fill_caches` fills before training, or their folder.
    sha256 : str or None
        Hash of the loaded weights.
    frontend : FrontEnd or None
        The front end that its features must come from.
    """

    experiment: str | None = None
    cache: bool | str = False
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
    cache : bool or str
        Read its posteriors from a cache on disk, which is filled once, for each speed of the speed perturbation, and
        shared by all students; needs the input "clean". True: in the teacher's folder; or another folder.
    top_k : int
        Tokens of a frame whose posteriors the cache keeps; the others are kept as their sum, see `MaskedKL`.
    """

    def __init__(self, experiment: str, input: str = "augmented", cache: bool | str = False, top_k: int = 8):
        if not experiment:
            raise DldError("FrozenTeacher needs a teacher: the folder of a trained static network")
        require(self, Choice("augmented", "clean"), input=input)
        require(self, FlagOrFolder(), cache=cache)
        require(self, COUNT, top_k=top_k)
        if cache and input != "clean":
            raise DldError(f"teacher_cache needs teacher_input: clean, not {input}")
        self.experiment: str = str(experiment)
        self.input = input
        self.cache = cache
        self.top_k = top_k
        self.network: Any = None  # a GatedCTC once it is loaded
        self.settings_sha256 = ""
        self.caches: dict[float, PosteriorCache] = {}

    @property
    def cache_folder(self) -> Path:
        """The folder of its caches."""
        return Path(self.experiment) / POSTERIORS if isinstance(self.cache, bool) else Path(self.cache)

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
        settings = json.dumps(trained.settings["network"], sort_keys=True, default=str)
        self.settings_sha256 = hashlib.sha256(settings.encode()).hexdigest()

    def to(self, device: str) -> None:
        """Move the teacher."""
        self.network.to(device)

    def __call__(self, ids: Sequence[str], inputs: Inputs, draw: Draw, output: Output) -> SoftTarget:
        """Return what the teacher computes, or computed before if it is cached."""
        if self.cache:
            return self.caches[inputs.speed].recall(ids, inputs.features.device)
        features = inputs.clean if self.input == "clean" else inputs.features
        return self.target(features, inputs.lengths)[0]

    @torch.no_grad()
    def target(self, features: Tensor, lengths: Tensor) -> tuple[SoftTarget, Tensor]:
        """Return the teacher's output for features of its kind, and the number of valid frames."""
        self.network.eval()
        [logits], frames, [hidden] = self.network(features, lengths, [(True,) * self.network.num_blocks])
        return SoftTarget(logits, hidden), frames

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
