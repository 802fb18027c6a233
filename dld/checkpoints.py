"""What a checkpoint holds beside weights, and the average of several."""

import random
from dataclasses import asdict, dataclass, field

import torch

from dld.files import read_json, write_json


@dataclass
class Progress:
    """How far a training run has come.

    Attributes
    ----------
    total_updates : int
        Updates planned when the run began; learning-rate schedules count towards it.
    train_seconds : float
        Time spent in training steps, without validation, over all starts of the run.
    history : list of dict
        One entry for each finished epoch.
    """

    total_updates: int = 0
    train_seconds: float = 0.0
    history: list = field(default_factory=list)

    def state_dict(self):
        """All fields."""
        return asdict(self)

    def load_state_dict(self, state):
        """Put back what `state_dict` gave."""
        vars(self).update(state)


def add_json(checkpointer, name, thing):
    """Checkpoint an object whose `state_dict` JSON can hold."""
    checkpointer.add_recoverable(
        name,
        thing,
        custom_save_hook=lambda thing, path: write_json(path, thing.state_dict()),
        custom_load_hook=lambda thing, path, end_of_epoch: thing.load_state_dict(read_json(path)),
    )


class RandomState:
    """The global random generators that augmentation and dropout draw from, as a recoverable of a checkpointer."""

    @staticmethod
    def save(_, path):
        """Write the state of Python's and torch's generators."""
        version, internal, gauss = random.getstate()
        state = {"python": [version, list(internal), gauss], "torch": torch.get_rng_state()}
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state_all()
        torch.save(state, path)

    @staticmethod
    def load(_, path, end_of_epoch):
        """Put the generators back."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))
        torch.set_rng_state(state["torch"])
        if "cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda"])


def average_states(states):
    """Mean of several state dicts; integers, and what all have in common, are taken from the first bit by bit.

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


def prune(checkpointer, min_key, best):
    """Delete all checkpoints but the most recent one and the `best` with the smallest `min_key`."""
    kept = {checkpointer.find_checkpoint().path}
    kept |= {c.path for c in best_checkpoints(checkpointer, min_key, best)}
    checkpointer.delete_checkpoints(num_to_keep=0, importance_keys=[], ckpt_predicate=lambda c: c.path not in kept)


def best_checkpoints(checkpointer, min_key, number):
    """The `number` checkpoints with the smallest `min_key`, the best first."""
    return checkpointer.find_checkpoints(min_key=min_key, max_num_checkpoints=number)
