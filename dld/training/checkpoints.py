"""Save checkpoints that are whole or absent, with what they hold in addition to weights, and average several."""

import hashlib
import json
import logging
import os
import random
import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import speechbrain as sb
import torch
import yaml
from speechbrain.utils.checkpoints import METAFNAME, Checkpoint, Checkpointer

from dld.distributed import gathered, processes, rank
from dld.errors import DldError
from dld.files import read_json, remove_folder, sha256, sync, write_json
from dld.training.metrics import Means

logger = logging.getLogger(__name__)

#: Checkpoints that are kept whatever their error rate, so that two are whole while a third is written.
RECENT = 2

# Folders of other names, such as a copy that the user made, are not looked at.
_CHECKPOINT = re.compile(r"CKPT\+\d{4}-\d\d-\d\d\+\d\d-\d\d-\d\d\+\d+")
_SAVING = ".saving"
_DELETING = ".deleting-"
_DAMAGED = "damaged-"


class WholeCheckpointer(Checkpointer):
    """Save as SpeechBrain's checkpointer does, with checkpoints that are whole or not there.

    A checkpoint is written into a temporary folder, with the SHA-256 of every file in its `CKPT.yaml`, which is written
    last; all of it is flushed to the disk, and one rename makes it a checkpoint. It is removed by a rename, too.
    """

    def add_recoverable(self, name, obj, custom_load_hook=None, custom_save_hook=None, optional_load=False):
        """Register an object, see `Checkpointer.add_recoverable`; only the first process calls its save hook.

        Files of the others, later than the hashes of the first, would make the checkpoint a damaged one. SpeechBrain
        restricts only the hooks that classes register.
        """
        if custom_save_hook is not None:
            custom_save_hook = _by_the_first_process(custom_save_hook)
        super().add_recoverable(name, obj, custom_load_hook, custom_save_hook, optional_load)

    def save_checkpoint(self, meta=None, end_of_epoch=True, name=None, verbosity=logging.INFO):
        """Save all recoverables; see `Checkpointer.save_checkpoint`.

        Raises
        ------
        DldError
            It could not be written, as on a full disk; what was saved before is untouched.
        """
        meta = {"unixtime": self._later_than_all(), **(meta or {})}
        try:
            if sb.utils.distributed.if_main_process():
                remove_folder(self.checkpoints_dir / _SAVING)
            # SpeechBrain's own message would name the temporary folder.
            saved = super().save_checkpoint(meta, end_of_epoch, _SAVING, logging.DEBUG)
            return saved and self._finish(saved, name, verbosity)
        except OSError as error:
            shutil.rmtree(self.checkpoints_dir / _SAVING, ignore_errors=True)
            raise DldError(
                f"{self.checkpoints_dir}: a checkpoint could not be written: {error.strerror or error}. "
                f"{self._what_is_safe()} Make room, then give the same command again: it resumes from there"
            ) from error

    def _finish(self, saved, name, verbosity):
        temporary = Path(saved.path)
        files = {path.name: sha256(path) for path in sorted(temporary.iterdir()) if path.name != METAFNAME}
        meta = {**saved.meta, "files": files}
        meta["sha256"] = _meta_hash(meta)
        with open(temporary / METAFNAME, "w", encoding="utf-8") as out:
            out.write(yaml.dump(meta))
        for path in temporary.iterdir():
            sync(path)
        sync(temporary)
        final = super()._custom_checkpoint_dirpath(name) if name else self._new_checkpoint_dirpath()
        os.rename(temporary, final)
        sync(self.checkpoints_dir)
        logger.log(verbosity, "saved %s", final)
        return Checkpoint(final, meta, {key: final / path.name for key, path in saved.paramfiles.items()})

    def _custom_checkpoint_dirpath(self, name):
        # The temporary folder's name is not that of a checkpoint, so that nothing lists it.
        return self.checkpoints_dir / name if name == _SAVING else super()._custom_checkpoint_dirpath(name)

    def _list_checkpoint_dirs(self):
        folders = filter(_is_checkpoint, self.checkpoints_dir.iterdir())
        return [path for path in folders if (path / METAFNAME).is_file()]

    def _later_than_all(self):
        """Return a time after those of all checkpoints, also where the clock was set back: the newest is loaded."""
        times = [checkpoint.meta["unixtime"] for checkpoint in self.list_checkpoints()]
        return max([time.time(), *(known + 1e-3 for known in times)])

    def _what_is_safe(self):
        newest = self.find_checkpoint()
        if newest is None:
            return "Nothing was saved before."
        at = f"epoch {newest.meta['epoch']}" if "epoch" in newest.meta else "within an epoch"
        return f"{len(self.list_checkpoints())} earlier ones are safe, the newest of {at} ({newest.path.name})."

    def sweep(self):
        """Remove what a killed process left half-written or half-deleted, and set damaged checkpoints aside.

        Call it in the main process, before anything is loaded.

        Raises
        ------
        DldError
            There were checkpoints and none of them is whole, so that the run would silently begin again.
        """
        for path in self.checkpoints_dir.glob(".*"):
            if path.name.startswith((_SAVING, _DELETING)):
                remove_folder(path) if path.is_dir() else path.unlink()
        reasons = []
        for folder in sorted(path for path in self.checkpoints_dir.iterdir() if _is_checkpoint(path)):
            reason = damage(folder, self.recoverables)
            if reason:
                aside = folder.with_name(_DAMAGED + folder.name)
                shutil.rmtree(aside, ignore_errors=True)
                os.rename(folder, aside)
                reasons.append(f"{folder.name}: {reason}")
                logger.warning("%s is damaged (%s) and is not used; it is now %s", folder, reason, aside.name)
        if reasons and not self.list_checkpoints():
            raise DldError(
                f"{self.checkpoints_dir}: no checkpoint is whole ({'; '.join(reasons)}); "
                "copy one back from elsewhere, or --restart true trains again from the start"
            )

    def prune(self, min_key, best):
        """Delete all checkpoints but the most recent ones and the `best` with the smallest `min_key`."""
        kept = {c.path for c in self.find_checkpoints(max_num_checkpoints=RECENT)}
        kept |= {c.path for c in best_checkpoints(self, min_key, best)}
        for checkpoint in self.list_checkpoints():
            if checkpoint.path not in kept:
                self._delete_checkpoint(checkpoint)

    @staticmethod
    def _delete_checkpoint(checkpoint, verbosity=logging.DEBUG):
        path = Path(checkpoint.path)
        going = path.with_name(_DELETING + path.name)
        os.rename(path, going)
        shutil.rmtree(going)
        logger.log(verbosity, "deleted %s", path)


def _is_checkpoint(path):
    return _CHECKPOINT.fullmatch(path.name) is not None and path.is_dir() and not path.is_symlink()


def has_checkpoints(folder):
    """Return whether a folder holds checkpoints, whole or not."""
    return folder.is_dir() and any(map(_is_checkpoint, folder.iterdir()))


def epochs_begun(folder):
    """Return the latest epoch that checkpoints in a folder are of, at its end or within it; 0 where there are none."""
    found = [0]
    for path in filter(_is_checkpoint, folder.iterdir() if folder.is_dir() else ()):
        try:
            meta = yaml.safe_load((path / METAFNAME).read_text(encoding="utf-8"))
            found.append(int(meta.get("epoch") or meta.get("within_epoch") or 0))
        except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError):
            continue  # a damaged one, which `sweep` reports
    return max(found)


def remove_checkpoints(folder):
    """Remove the checkpoints in a folder, damaged and half-written ones too; anything else in it stays."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        left = path.name.startswith((_SAVING, _DELETING, _DAMAGED)) and path.is_dir() and not path.is_symlink()
        if left or _is_checkpoint(path):
            shutil.rmtree(path)
    if not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()


def damage(folder, names=()):
    """Say what is wrong with a checkpoint, None if it is whole.

    Parameters
    ----------
    folder : Path
    names : iterable of str
        Recoverables that must be in it.
    """
    try:
        meta = yaml.safe_load((folder / METAFNAME).read_text(encoding="utf-8"))
        if meta.pop("sha256") != _meta_hash(meta):
            return f"{METAFNAME} is not what was written"
        files = meta["files"]
    except OSError as error:
        return f"{METAFNAME}: {error.strerror}"
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError, ValueError):
        return f"{METAFNAME} does not list the files and their hashes"
    missing = sorted({f"{name}.ckpt" for name in names} - set(files))
    if missing:
        return f"it has no {missing[0]}"
    for name, expected in files.items():
        try:
            if sha256(folder / name) != expected:
                return f"{name} is not what was written"
        except OSError as error:
            return f"{name}: {error.strerror}"
    return None


def _meta_hash(meta):
    """Return the hash of what `CKPT.yaml` says."""
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def whole(checkpoints):
    """Return those of several checkpoints that are whole; warn of the others."""
    kept = []
    for checkpoint in checkpoints:
        reason = damage(Path(checkpoint.path))
        if reason:
            logger.warning("%s is damaged (%s) and is left out", checkpoint.path, reason)
        else:
            kept.append(checkpoint)
    return kept


def save_state(thing, path):
    """Save an object's `state_dict`; save hook of a checkpointer.

    Through a file object: writing to a path by itself, torch ends the process when the disk is full.
    """
    with open(path, "wb") as out:
        _save(thing.state_dict(), out)


def _save(state, out):
    try:
        torch.save(state, out)
    except RuntimeError as error:
        # torch reports what the file object raised in its own words.
        raise OSError(str(error.__context__ or error)) from error


def load_state(thing, path, end_of_epoch):
    """Load what `save_state` wrote; load hook of a checkpointer."""
    thing.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))


@dataclass
class Progress:
    """How far a training run has come.

    Attributes
    ----------
    total_updates : int
        Updates planned, for the number of epochs that the run has; learning-rate schedules count towards it.
    train_seconds : float
        Time spent in training steps, without validation, over all starts of the run.
    history : list of dict
        One entry for each finished epoch.
    means : Means
        Means of the losses over the batches of the present epoch, so that they are those of the whole epoch in a run
        that was resumed within it.
    processes : int
        Number on which the run began; batches and schedule are planned for that.
    """

    total_updates: int = 0
    train_seconds: float = 0.0
    history: list = field(default_factory=list)
    means: Means = field(default_factory=Means)
    processes: int = 1

    def state_dict(self):
        """Return all fields."""
        return {**vars(self), "means": self.means.state_dict()}

    def load_state_dict(self, state):
        """Put back what `state_dict` returned."""
        self.means.load_state_dict(state["means"])
        vars(self).update({**state, "means": self.means})


def _by_the_first_process(save):
    def saved(thing, path):
        if sb.utils.distributed.if_main_process():
            save(thing, path)

    return saved


def add_json(checkpointer, name, thing):
    """Checkpoint an object whose `state_dict` JSON can hold."""
    checkpointer.add_recoverable(
        name,
        thing,
        custom_save_hook=lambda thing, path: write_json(path, thing.state_dict()),
        custom_load_hook=lambda thing, path, end_of_epoch: thing.load_state_dict(read_json(path)),
    )


class RandomState:
    """The global random generators that augmentation and dropout draw from, as a recoverable of a checkpointer.

    Processes that train together differ in them once their batches have had different lengths.
    """

    def __init__(self):
        self.states = []

    def share(self):
        """Collect the states of all processes, for the next `save` of the first one; all have to call it."""
        self.states = gathered(self.capture()) if processes() > 1 else []

    @staticmethod
    def capture():
        """Return the state of Python's and torch's generators."""
        version, internal, gauss = random.getstate()
        state = {"python": [version, list(internal), gauss], "torch": torch.get_rng_state()}
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state_all()
        return state

    @staticmethod
    def restore(state):
        """Put the generators back."""
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))
        torch.set_rng_state(state["torch"])
        if "cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda"])

    @classmethod
    def save(cls, shared, path):
        """Write the states of all processes, or of this one; save hook of a checkpointer."""
        with open(path, "wb") as out:
            _save(shared.states or [cls.capture()], out)

    @classmethod
    def load(cls, _, path, end_of_epoch):
        """Put back what was written of this process; load hook of a checkpointer."""
        cls.restore(torch.load(path, map_location="cpu", weights_only=True)[rank()])


def average_states(states):
    """Return the mean of several state dicts; integers, and what all have in common, are those of the first.

    Examples
    --------
    >>> average_states([{"w": torch.tensor(1.0), "n": torch.tensor(3)}, {"w": torch.tensor(2.0), "n": torch.tensor(4)}])
    {'w': tensor(1.5000), 'n': tensor(3)}
    """
    states = list(states)
    mean = {}
    for name, first in states[0].items():
        if first.is_floating_point() and not all(torch.equal(state[name], first) for state in states):
            total = sum(state[name].double() for state in states)
            mean[name] = (total / len(states)).to(first.dtype)
        else:
            mean[name] = first.clone()
    return mean


def best_checkpoints(checkpointer, min_key, number):
    """Return the `number` checkpoints with the smallest `min_key`, the best first."""
    return checkpointer.find_checkpoints(min_key=min_key, max_num_checkpoints=number)
