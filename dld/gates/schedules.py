"""Draw the gate vectors of each training step: drop schedules.

Nothing here knows about networks, and nothing draws from a global random generator: each schedule owns one, whose
state is saved with the checkpoint, so that a resumed run sees the gates that an uninterrupted one would have.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dld.checks import AT_LEAST_0, COUNT, FLAG, NOT_NEGATIVE, RATE, Choice, Number, Whole, complaint, is_whole, require
from dld.errors import DldError
from dld.gates.vectors import (  # depth and format_gates are for the examples
    FIXED_POLICIES,
    check_depth,
    depth,  # noqa: F401
    format_gates,  # noqa: F401
    gates_for_depth,
    parse_depths,
    random_subset,
)


@dataclass(frozen=True)
class Ramp:
    """Go linearly from `start` to `end` over the first `epochs` epochs, then stay there.

    Examples
    --------
    >>> ramp = Ramp(start=0.0, end=0.5, epochs=10)
    >>> [ramp.at(epoch) for epoch in (0, 5, 10, 20)]
    [0.0, 0.25, 0.5, 0.5]
    """

    start: float
    end: float
    epochs: float

    def __post_init__(self):
        """Raise a `DldError` for a value out of its range."""
        require(self, Number(), start=self.start, end=self.end)
        require(self, AT_LEAST_0, epochs=self.epochs)

    def at(self, epoch: float) -> float:
        """Return the value after `epoch` epochs, of which there may be a fraction."""
        done = 1.0 if self.epochs <= 0 else min(1.0, max(0.0, epoch / self.epochs))
        return self.start + (self.end - self.start) * done


def value_at(value: float | Ramp, epoch: float) -> float:
    """Return a number as it is, and a `Ramp` after `epoch` epochs.

    Examples
    --------
    >>> value_at(0.5, epoch=3), value_at(Ramp(start=0.0, end=1.0, epochs=4), epoch=3)
    (0.5, 0.75)
    """
    return value.at(epoch) if isinstance(value, Ramp) else value


class Draw(NamedTuple):
    """The gate vectors of one training step.

    Attributes
    ----------
    vectors : list of tuple of bool
        At least one.
    weights : list of float
        Weight of each vector in the loss; they sum to 1.
    share_prefix : bool or None
        Run the blocks of a common prefix of the vectors once, with one draw of dropout: one run with several exits.
        None: in evaluation only.
    """

    vectors: list[tuple[bool, ...]]
    weights: list[float]
    share_prefix: bool | None = False

    @classmethod
    def even(cls, vectors: Sequence[tuple[bool, ...]], share_prefix: bool | None = False) -> Draw:
        """Give all vectors the same weight.

        Examples
        --------
        >>> Draw.even([(True, True), (True, False)]).weights
        [0.5, 0.5]
        """
        return cls(list(vectors), [1.0 / len(vectors)] * len(vectors), share_prefix)


class DropSchedule:
    """Draw the gate vectors of each training step.

    Parameters
    ----------
    num_blocks : int
        Blocks of the encoder.
    seed : int
        Seed of the schedule's own generator. All ranks of a distributed run have the same and so draw the same gates.
    """

    def __init__(self, num_blocks: int, seed: int = 0):
        require(self, COUNT, num_blocks=num_blocks)
        require(self, Whole(), seed=seed)
        self.num_blocks = num_blocks
        self.generator = random.Random(seed)
        self.epoch = 0.0

    def set_epoch(self, epoch: float) -> None:
        """Set the number of epochs that have passed (a fraction is allowed), for values that ramp over them."""
        self.epoch = float(epoch)

    def draw(self) -> Draw:
        """Return the gate vectors of the next training step."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the generator, as JSON can hold it."""
        version, internal, gauss = self.generator.getstate()
        return {"version": version, "internal": list(internal), "gauss": gauss, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` returned."""
        self.generator.setstate((state["version"], tuple(state["internal"]), state["gauss"]))
        self.epoch = state["epoch"]


class AllOpen(DropSchedule):
    """Run every block in every step: a static network.

    Examples
    --------
    >>> AllOpen(num_blocks=3).draw().vectors
    [(True, True, True)]
    """

    def draw(self) -> Draw:
        """Return one vector, with all gates open."""
        return Draw.even([(True,) * self.num_blocks])


class Fixed(DropSchedule):
    """Draw the same gate vector in every step: a static network of a smaller depth, cut out of a larger one.

    Parameters
    ----------
    num_blocks, n : int
        Blocks of the encoder, and how many of them run.
    policy : {"evenly-spaced", "first-n", "first-and-last", "shallow-last", "random"}
        Which ones.

    Examples
    --------
    >>> [format_gates(gates) for gates in Fixed(num_blocks=4, n=2).draw().vectors]
    ['1001']
    """

    def __init__(self, num_blocks: int, n: int, policy: str = "evenly-spaced", seed: int = 0):
        super().__init__(num_blocks, seed)
        require(self, Choice(*FIXED_POLICIES), policy=policy)
        self.vector = gates_for_depth(policy, num_blocks, n, seed=seed)

    def draw(self) -> Draw:
        """Return the one vector."""
        return Draw.even([self.vector])


class Exits(DropSchedule):
    """Run all blocks once, with a loss at each of several depths: early exit (arXiv 2309.09546).

    Parameters
    ----------
    num_blocks : int
    depths : list of int or "all"
        Of the exits; the last is at `num_blocks`, whether named or not.
    spacing : {"first-n", "first-and-last", "shallow-last", "evenly-spaced"}
        Which blocks a network of each depth has. With another than the first, there is a loss for these networks in
        addition to the exits; what they do not share with the run of all blocks runs once more.

    Examples
    --------
    >>> [format_gates(gates) for gates in Exits(num_blocks=4, depths=[2]).draw().vectors]
    ['1100', '1111']
    >>> [format_gates(gates) for gates in Exits(num_blocks=4, depths=[2], spacing="first-and-last").draw().vectors]
    ['1100', '1001', '1111']
    """

    def __init__(self, num_blocks: int, depths: str | int | Sequence[int], spacing: str = "first-n", seed: int = 0):
        super().__init__(num_blocks, seed)
        require(self, Choice(*[name for name in FIXED_POLICIES if name != "random"]), spacing=spacing)
        chosen = sorted({*parse_depths(depths, num_blocks), num_blocks})
        networks = (gates_for_depth(policy, num_blocks, n) for n in chosen for policy in ("first-n", spacing))
        self.vectors = list(dict.fromkeys(networks))

    def draw(self) -> Draw:
        """Return the vector of every exit, and of every other network."""
        return Draw.even(self.vectors, share_prefix=True)


class WithExits(DropSchedule):
    """Add losses in the middle of the run of another schedule's gate vectors (InterCTC).

    An exit after block k reads the output of the first k blocks under the drawn gates; it is left out of a step in
    which all of these are closed. With `RisingDrop` or `Bernoulli` inside, this is InterCTC with stochastic depth
    (arXiv 2106.09216): `(1 - w) L_CTC + w / K · sum of the K intermediate L_CTC`.

    Parameters
    ----------
    schedule : DropSchedule
    exits : list of int, or int
        Blocks before each exit, below `num_blocks`; or how many exits, spread evenly.
    weight : float
        w, the weight of all exits of a vector together, 0 < w < 1.

    Examples
    --------
    >>> schedule = WithExits(AllOpen(num_blocks=4), exits=1, weight=0.3)
    >>> vectors, weights, _ = schedule.draw()
    >>> [format_gates(gates) for gates in vectors], weights
    (['1111', '1100'], [0.7, 0.3])
    """

    def __init__(self, schedule: DropSchedule, exits: int | Sequence[int], weight: float = 0.5):
        if not isinstance(schedule, DropSchedule):
            raise DldError("WithExits: schedule must be a drop schedule, a class of dld.gates")
        super().__init__(schedule.num_blocks)
        require(self, Number(above=0, below=1), weight=weight)
        self.schedule = schedule
        if isinstance(exits, int) and is_whole(exits):
            require(self, COUNT, exits=exits)
            spread = (round(k * schedule.num_blocks / (exits + 1)) for k in range(1, exits + 1))
            exits = sorted({max(1, block) for block in spread})
        self.exits = parse_depths(exits, schedule.num_blocks - 1)
        self.weight = weight

    def set_epoch(self, epoch: float) -> None:
        """Set the epoch of the wrapped schedule."""
        self.schedule.set_epoch(epoch)

    def draw(self) -> Draw:
        """Return the wrapped schedule's vectors, each followed by its exits."""
        vectors, weights = [], []
        drawn = self.schedule.draw()
        for gates, weight in zip(drawn.vectors, drawn.weights, strict=True):
            cut = [tuple(gate and index < k for index, gate in enumerate(gates)) for k in self.exits]
            exits = [vector for vector in cut if any(vector)]
            inside = self.weight if exits else 0.0
            vectors += [gates, *exits]
            weights += [weight * (1.0 - inside), *[weight * inside / max(1, len(exits))] * len(exits)]
        # A cut vector begins as the whole one does, so that its blocks need not run again.
        return Draw(vectors, weights, share_prefix=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the wrapped schedule."""
        return self.schedule.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` returned."""
        self.schedule.load_state_dict(state)


def _check_rate(rate, name):
    values = (rate.start, rate.end) if isinstance(rate, Ramp) else (rate,)
    for value in values:
        wrong = complaint(f"the drop probability {name}", value, RATE)
        if wrong:
            raise DldError(wrong)
    return rate


class _IndependentDrop(DropSchedule):
    """Draw each gate by itself; a draw that closes all of them is drawn again, so that 1 ≤ n."""

    def drop_rates(self) -> list[float]:
        """Return the probability of each gate to be closed."""
        raise NotImplementedError

    def draw(self) -> Draw:
        rates = self.drop_rates()
        while True:
            gates = tuple(self.generator.random() >= rate for rate in rates)
            if any(gates):
                return Draw.even([gates])


class Bernoulli(_IndependentDrop):
    """Drop each block with probability p, independently (LDASR, EUSIPCO 2024; DLD, arXiv 2601.16117, p = 0.5).

    Parameters
    ----------
    num_blocks : int
    p : float or Ramp
        Probability that a gate is closed.
    seed : int

    Examples
    --------
    >>> schedule = Bernoulli(num_blocks=4, p=0.5, seed=1)
    >>> all(1 <= depth(gates) <= 4 for _ in range(100) for gates in schedule.draw().vectors)
    True
    """

    def __init__(self, num_blocks: int, p: float | Ramp = 0.5, seed: int = 0):
        super().__init__(num_blocks, seed)
        self.p = _check_rate(p, "p")

    def drop_rates(self) -> list[float]:
        """Return the same drop probability for every block."""
        return [value_at(self.p, self.epoch)] * self.num_blocks


class RisingDrop(_IndependentDrop):
    """Drop the later blocks more often, with probability `p_max (exp(i ln 2 / (N - 1)) - 1)` for block i.

    The rule of LayerSkip (arXiv 2404.16710, section 4.1).
    The first block is never dropped, the last with probability `p_max`.

    Parameters
    ----------
    num_blocks : int
    p_max : float or Ramp
        Drop probability of the last block; a `Ramp` is the paper's curriculum.
    seed : int

    Examples
    --------
    >>> [round(rate, 2) for rate in RisingDrop(num_blocks=3, p_max=0.5).drop_rates()]
    [0.0, 0.21, 0.5]
    """

    def __init__(self, num_blocks: int, p_max: float | Ramp = 0.5, seed: int = 0):
        super().__init__(num_blocks, seed)
        self.p_max = _check_rate(p_max, "p_max")

    def drop_rates(self) -> list[float]:
        """Return drop probabilities that rise from 0 to `p_max`."""
        p_max = value_at(self.p_max, self.epoch)
        last = max(1, self.num_blocks - 1)
        return [p_max * (math.exp(block * math.log(2.0) / last) - 1.0) for block in range(self.num_blocks)]


class UniformDepth(DropSchedule):
    """Draw the depth uniformly, then which blocks.

    Bernoulli gates make depths near N·(1 - p) common and the ends rare; this one draws every depth as often.

    Parameters
    ----------
    num_blocks : int
    min_depth : int
    spacing : {"random", "evenly-spaced", "first-n", "first-and-last", "shallow-last"}
        How the blocks of a depth are chosen.
    seed : int
    depths : list of int, or "all"
        Those to draw from, such as the ones that will be run: with a fixed spacing no other is of use. By default
        `min_depth`…N.

    Examples
    --------
    >>> [gates] = UniformDepth(num_blocks=6, min_depth=6).draw().vectors
    >>> depth(gates)
    6
    """

    def __init__(
        self,
        num_blocks: int,
        min_depth: int = 1,
        spacing: str = "random",
        seed: int = 0,
        depths: str | int | Sequence[int] = "all",
    ):
        super().__init__(num_blocks, seed)
        min_depth = check_depth(min_depth, num_blocks, "min_depth")
        self.depths = sorted(n for n in parse_depths(depths, num_blocks) if n >= min_depth)
        if not self.depths:
            raise DldError(f"none of the depths {depths} is at least min_depth, {min_depth}")
        require(self, Choice(*FIXED_POLICIES), spacing=spacing)
        self.spacing = spacing

    def draw(self) -> Draw:
        """Return one vector of a random depth."""
        return Draw.even([self.vector(self.generator.choice(self.depths))])

    def vector(self, n: int) -> tuple[bool, ...]:
        """Return a gate vector of depth `n`."""
        if self.spacing == "random":
            return random_subset(self.num_blocks, n, self.generator)
        return gates_for_depth(self.spacing, self.num_blocks, n)


class Sandwich(UniformDepth):
    """Draw the full network, the smallest one and some in between in every step (US-Nets, ICCV 2019, sandwich rule).

    Parameters
    ----------
    num_blocks : int
    min_depth : int
        Depth of the smallest network.
    num_random : int
        Gate vectors of uniformly drawn depth between the two; no depth comes twice in a step before all came once.
    spacing : {"random", "evenly-spaced", "first-n", "first-and-last", "shallow-last"}
        How the blocks of a depth are chosen, the smallest one's included.
    seed : int
    depths : list of int, or "all"
        As in `UniformDepth`; the smallest of them is that of the smallest network.
    share_prefix : bool
        Run the blocks of a common prefix once, all with the same dropout there. Without dropout only the time
        changes.

    Examples
    --------
    >>> [depth(gates) for gates in Sandwich(num_blocks=12, min_depth=2, num_random=0).draw().vectors]
    [12, 2]
    """

    def __init__(
        self,
        num_blocks: int,
        min_depth: int = 1,
        num_random: int = 1,
        spacing: str = "random",
        seed: int = 0,
        depths: str | int | Sequence[int] = "all",
        share_prefix: bool = False,
    ):
        super().__init__(num_blocks, min_depth, spacing, seed, depths)
        require(self, NOT_NEGATIVE, num_random=num_random)
        require(self, FLAG, share_prefix=share_prefix)
        self.num_random = num_random
        self.share_prefix = share_prefix
        # The ends are in every step already, unless there is nothing between them.
        self.between = [n for n in self.depths[1:] if n < num_blocks] or self.depths

    def draw(self) -> Draw:
        """Return the full network, the smallest depth and random depths between them."""
        vectors = [(True,) * self.num_blocks, self.vector(self.depths[0])]
        pool: list[int] = []
        for _ in range(self.num_random):
            pool = pool or list(self.between)
            n = self.generator.choice(pool)
            pool.remove(n)
            vectors.append(self.vector(n))
        return Draw.even(vectors, self.share_prefix)
