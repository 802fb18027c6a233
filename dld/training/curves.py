"""Curves of a run for TensorBoard and Weights & Biases, with updates as steps.

A run that resumes continues them: what was written after the checkpoint that it resumes from is not shown twice.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dld.errors import DldError
from dld.files import atomic_write, remove_folder

TENSORBOARD = "tensorboard"
#: Holds the id of the run at Weights & Biases.
WANDB_ID = "wandb_id.txt"

LOGGERS = ("tensorboard", "wandb")

Numbers = Mapping[str, float]


class Curves:
    """What takes the points of a run's curves."""

    def write(self, update: int, meta: Numbers, train: Numbers | None = None, valid: Numbers | None = None) -> None:
        """Add a point to each curve; of losses `loss/train` and `loss/valid`, of `meta` by its names."""
        raise NotImplementedError

    def flush(self) -> None:
        """See that what was written can be read."""

    def close(self) -> None:
        """Finish."""


def check_logger(kind: str | None) -> None:
    """Raise a `DldError` if the package that a logger needs is not installed."""
    try:
        if kind == "tensorboard":
            import tensorboard  # noqa: F401
        elif kind == "wandb":
            import wandb  # noqa: F401
    except ImportError as error:
        raise DldError(
            f"logger is {kind}, and the package {error.name or kind} is not installed; "
            f"pip install {kind} (in a checkout of dld: pip install -e '.[{kind}]'), or set logger to null"
        ) from None


def open_curves(kind: str | None, folder: str | Path, settings: Mapping[str, Any], done: int | None) -> Curves | None:
    """Return the curves of a run, None where `kind` is; those of an earlier run in the folder are forgotten.

    Parameters
    ----------
    kind : {"tensorboard", "wandb"} or None
    folder : str or Path
        The experiment's.
    settings : mapping
        Values of the experiment file; Weights & Biases shows those that are numbers and text.
    done : int or None
        Updates in the checkpoint that the run resumes from; 0: it begins; None: the checkpoint does not say.
    """
    folder = Path(folder)
    if done == 0:
        remove_folder(folder / TENSORBOARD)
        (folder / WANDB_ID).unlink(missing_ok=True)
    if kind is None:
        return None
    if kind == "tensorboard":
        return _tensorboard(folder / TENSORBOARD, done)
    return WandB(folder, settings)


def _tensorboard(folder: Path, done: int | None) -> Curves:
    # It warns of a package for pictures when it is imported.
    its = logging.getLogger("speechbrain.utils.train_logger")
    its.disabled = True
    from speechbrain.utils.train_logger import TensorboardLogger

    its.disabled = False
    from torch.utils.tensorboard import SummaryWriter

    class TensorBoard(TensorboardLogger, Curves):
        """SpeechBrain's logger, with updates as steps."""

        def __init__(self) -> None:
            # SpeechBrain's own writer cannot be told where a resumed run begins: points from there on are withdrawn.
            self.writer = SummaryWriter(str(folder), purge_step=None if done is None else done + 1)

        def write(self, update, meta, train=None, valid=None):
            # SpeechBrain counts calls, and adds 1 before each.
            before = update - 1
            self.global_step = {
                "meta": before,
                "train": dict.fromkeys(train or {}, before),
                "valid": dict.fromkeys(valid or {}, before),
            }
            self.log_stats(meta, train, valid)

        def flush(self) -> None:
            self.writer.flush()

        def close(self) -> None:
            self.writer.close()

    return TensorBoard()


class WandB(Curves):
    """A run of Weights & Biases, below the experiment's folder.

    SpeechBrain's `WandBLogger` has epochs as steps, and fails while it reports that a run could not begin.

    Parameters
    ----------
    folder : Path
        The experiment's; it keeps the run's id, by which a resumed run continues.
    settings : mapping
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        import wandb

        path = folder / WANDB_ID
        if not path.exists():
            with atomic_write(path) as out:
                out.write(uuid.uuid4().hex[:12] + "\n")
        plain = {name: value for name, value in settings.items() if isinstance(value, (int, float, str))}
        try:
            self.run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "dld"),
                name=str(folder),
                id=path.read_text(encoding="utf-8").strip(),
                resume="allow",
                dir=str(folder),
                config=plain,
                settings=wandb.Settings(console="off", silent=True),
            )
        except (wandb.Error, OSError) as error:
            reason = " ".join(str(error).split())
            raise DldError(
                f"Weights & Biases cannot begin a run: {reason} Log in (wandb login), or set WANDB_MODE=offline"
            ) from error
        # Points that the server has; a resumed run computes them again, with equal values.
        self.known = self.run.step

    def write(self, update, meta, train=None, valid=None):
        """Send a point; see `Curves.write`."""
        if update < self.known:
            return
        parts = {"train": train or {}, "valid": valid or {}}
        named = {f"{name}/{part}": value for part, values in parts.items() for name, value in values.items()}
        self.run.log({**meta, **named}, step=update)

    def close(self) -> None:
        """End the run."""
        self.run.finish()
