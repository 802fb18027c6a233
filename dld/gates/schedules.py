"""Drop schedules: what draws the gate vectors of each training step.

Nothing here knows about networks, and nothing draws from a global random generator: each schedule owns one, whose
state is saved with the checkpoint, so that a resumed run sees the gates that an uninterrupted one would have.
"""

import math
import random
from dataclasses import dataclass

from dld.checks import AT_LEAST_0, COUNT, FLAG, NOT_NEGATIVE, RATE, Choice, Number, Whole, complaint, is_whole, require
from dld.errors import DldError
from dld.gates.vectors import (  # depth and format_gates are for the examples
    check_depth,
    depth,  # noqa: F401
    first_n,
    format_gates,  # noqa: F401
    gates_for_depth,
    parse_depths,
    random_subset,
)


@dataclass(frozen=True)
class Ramp:
    """A value that goes linearly from `start` to `end` over the first `epochs` epochs and then stays.

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
        require(self, Number(), start=self.start, end=self.end)
        require(self, AT_LEAST_0, epochs=self.epochs)

    def at(self, epoch):
        """Value after `epoch` epochs; a fraction is a place within one."""
        share = 1.0 if self.epochs <= 0 else min(1.0, max(0.0, epoch / self.epochs))
        return self.start + (self.end - self.start) * share


class DropSchedule:
    """Draws the gate vectors of each training step.

    `draw()` returns a list: most schedules put one vector in it, the sandwich several; `draw_weighted()` gives their
    shares in the loss, too. Where `shares_blocks` is true, vectors that begin alike are one run with several exits, the
    blocks of their common beginning computed once, with one draw of dropout.

    Parameters
    ----------
    num_blocks : int
        Blocks of the encoder.
    seed : int
        Of the schedule's own generator. Ranks of one distributed run share it and so draw the same gates.
    """

    shares_blocks = False

    def __init__(self, num_blocks, seed=0):
        require(self, COUNT, num_blocks=num_blocks)
        require(self, Whole(), seed=seed)
        self.num_blocks = num_blocks
        self.generator = random.Random(seed)
        self.epoch = 0.0

    def set_epoch(self, epoch):
        """Tell the schedule how many epochs have gone by (a fraction is allowed), for what ramps over them."""
        self.epoch = float(epoch)

    def draw(self):
        """Gate vectors of the next training step, a non-empty list of tuples of booleans."""
        raise NotImplementedError

    def draw_weighted(self):
        """What `draw` gives, and the share of each vector in the loss; the shares sum to 1."""
        vectors = self.draw()
        return vectors, [1.0 / len(vectors)] * len(vectors)

    def state_dict(self):
        """State of the generator, as JSON can hold it."""
        version, internal, gauss = self.generator.getstate()
        return {"version": version, "internal": list(internal), "gauss": gauss, "epoch": self.epoch}

    def load_state_dict(self, state):
        """Put back what `state_dict` gave."""
        self.generator.setstate((state["version"], tuple(state["internal"]), state["gauss"]))
        self.epoch = state["epoch"]


class AllOpen(DropSchedule):
    """Every block runs in every step: a static network.

    Examples
    --------
    >>> AllOpen(num_blocks=3).draw()
    [(True, True, True)]
    """

    def draw(self):
        return [(True,) * self.num_blocks]


class Fixed(DropSchedule):
    """The same gate vector in every step: a static network of a smaller depth, cut out of a larger one.

    Parameters
    ----------
    num_blocks, n : int
        Blocks of the encoder, and how many of them run.
    policy : {"evenly-spaced", "first-n", "random"}
        Which ones.

    Examples
    --------
    >>> [format_gates(gates) for gates in Fixed(num_blocks=4, n=2).draw()]
    ['1001']
    """

    def __init__(self, num_blocks, n, policy="evenly-spaced", seed=0):
        super().__init__(num_blocks, seed)
        require(self, Choice("evenly-spaced", "first-n", "random"), policy=policy)
        self.vector = gates_for_depth(policy, num_blocks, n, seed=seed)

    def draw(self):
        return [self.vector]


class Exits(DropSchedule):
    """Early exit (arXiv 2309.09546): one run of all blocks, with a loss at each of several depths.

    Parameters
    ----------
    num_blocks : int
    depths : list of int or "all"
        Blocks before each exit; the last is at `num_blocks`, whether named or not.

    Examples
    --------
    >>> [format_gates(gates) for gates in Exits(num_blocks=4, depths=[2]).draw()]
    ['1100', '1111']
    """

    shares_blocks = True

    def __init__(self, num_blocks, depths, seed=0):
        super().__init__(num_blocks, seed)
        chosen = sorted({*parse_depths(depths, num_blocks), num_blocks})
        self.vectors = [first_n(num_blocks, n) for n in chosen]

    def draw(self):
        return list(self.vectors)


class WithExits(DropSchedule):
    """Another schedule's gate vectors, each with additional losses in the middle of its run (InterCTC).

    An exit after block k sees what the first k blocks gave under the drawn gates; it is left out of a step in which all
    of these are closed. With `RisingDrop` or `Bernoulli` inside, this is InterCTC with stochastic depth (arXiv
    2106.09216): `(1 - w) L_CTC + w / K · sum of the K intermediate L_CTC`.

    Parameters
    ----------
    schedule : DropSchedule
    exits : list of int, or int
        Blocks before each exit, below `num_blocks`; or how many exits, spread evenly.
    weight : float
        w, the share of the exits in the loss, 0 < w < 1.

    Examples
    --------
    >>> schedule = WithExits(AllOpen(num_blocks=4), exits=1, weight=0.3)
    >>> vectors, shares = schedule.draw_weighted()
    >>> [format_gates(gates) for gates in vectors], shares
    (['1111', '1100'], [0.7, 0.3])
    """

    shares_blocks = True

    def __init__(self, schedule, exits, weight=0.5):
        if not isinstance(schedule, DropSchedule):
            raise DldError("WithExits: schedule must be a drop schedule, a class of dld.gates")
        super().__init__(schedule.num_blocks)
        require(self, Number(above=0, below=1), weight=weight)
        self.schedule = schedule
        if is_whole(exits):
            require(self, COUNT, exits=exits)
            places = (round(k * schedule.num_blocks / (exits + 1)) for k in range(1, exits + 1))
            exits = sorted({max(1, place) for place in places})
        self.exits = parse_depths(exits, schedule.num_blocks - 1)
        self.weight = weight

    def set_epoch(self, epoch):
        self.schedule.set_epoch(epoch)

    def draw(self):
        return self.draw_weighted()[0]

    def draw_weighted(self):
        vectors, shares = [], []
        for gates, share in zip(*self.schedule.draw_weighted(), strict=True):
            cut = [tuple(gate and place < k for place, gate in enumerate(gates)) for k in self.exits]
            exits = [vector for vector in cut if any(vector)]
            inside = self.weight if exits else 0.0
            vectors += [gates, *exits]
            shares += [share * (1.0 - inside), *[share * inside / max(1, len(exits))] * len(exits)]
        return vectors, shares

    def state_dict(self):
        return self.schedule.state_dict()

    def load_state_dict(self, state):
        self.schedule.load_state_dict(state)


def _check_rate(rate, name):
    values = (rate.start, rate.end) if isinstance(rate, Ramp) else (rate,)
    for value in values:
        wrong = complaint(f"the drop probability {name}", value, RATE)
        if wrong:
            raise DldError(wrong)
    return rate


class _IndependentDrop(DropSchedule):
    """Each gate is drawn by itself; a draw that closes all of them is drawn again, so that 1 ≤ n."""

    def drop_rates(self):
        """Probability of each gate to be closed, `num_blocks` floats."""
        raise NotImplementedError

    def draw(self):
        rates = self.drop_rates()
        while True:
            gates = tuple(self.generator.random() >= rate for rate in rates)
            if any(gates):
                return [gates]


class Bernoulli(_IndependentDrop):
    """Each block is dropped with probability p, independently (LDASR, EUSIPCO 2024; DLD, arXiv 2601.16117, p = 0.5).

    Parameters
    ----------
    num_blocks : int
    p : float or Ramp
        Probability that a gate is closed.
    seed : int

    Examples
    --------
    >>> schedule = Bernoulli(num_blocks=4, p=0.5, seed=1)
    >>> all(1 <= depth(gates) <= 4 for _ in range(100) for gates in schedule.draw())
    True
    """

    def __init__(self, num_blocks, p=0.5, seed=0):
        super().__init__(num_blocks, seed)
        self.p = _check_rate(p, "p")

    def drop_rates(self):
        p = self.p.at(self.epoch) if isinstance(self.p, Ramp) else self.p
        return [p] * self.num_blocks


class RisingDrop(_IndependentDrop):
    """The drop rate rises with depth, `p_max (exp(i ln 2 / (N - 1)) - 1)` for block i.

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

    def __init__(self, num_blocks, p_max=0.5, seed=0):
        super().__init__(num_blocks, seed)
        self.p_max = _check_rate(p_max, "p_max")

    def drop_rates(self):
        p_max = self.p_max.at(self.epoch) if isinstance(self.p_max, Ramp) else self.p_max
        last = max(1, self.num_blocks - 1)
        return [p_max * (math.exp(block * math.log(2.0) / last) - 1.0) for block in range(self.num_blocks)]


class UniformDepth(DropSchedule):
    """Draw the depth uniformly, then which blocks.

    Bernoulli gates make depths near N·(1 - p) common and the ends rare; this one gives every depth the same share.

    Parameters
    ----------
    num_blocks : int
    min_depth : int
    spacing : {"random", "evenly-spaced", "first-n"}
        How the blocks of a depth are chosen.
    seed : int
    depths : list of int, or "all"
        Those to draw from, such as the ones that will be run: with a fixed spacing no other is of use. By default
        `min_depth`…N.

    Examples
    --------
    >>> [gates] = UniformDepth(num_blocks=6, min_depth=6).draw()
    >>> depth(gates)
    6
    """

    def __init__(self, num_blocks, min_depth=1, spacing="random", seed=0, depths="all"):
        super().__init__(num_blocks, seed)
        min_depth = check_depth(min_depth, num_blocks, "min_depth")
        self.depths = sorted(n for n in parse_depths(depths, num_blocks) if n >= min_depth)
        if not self.depths:
            raise DldError(f"none of the depths {depths} is at least min_depth, {min_depth}")
        require(self, Choice("random", "evenly-spaced", "first-n"), spacing=spacing)
        self.spacing = spacing

    def draw(self):
        return [self.vector(self.generator.choice(self.depths))]

    def vector(self, n):
        """A gate vector of depth `n`."""
        if self.spacing == "random":
            return random_subset(self.num_blocks, n, self.generator)
        return gates_for_depth(self.spacing, self.num_blocks, n)


class Sandwich(UniformDepth):
    """The full network, the smallest one and some in between in every step (US-Nets, ICCV 2019, sandwich rule).

    Parameters
    ----------
    num_blocks : int
    min_depth : int
        Depth of the smallest network.
    num_random : int
        Gate vectors of uniformly drawn depth between the two; no depth comes twice in a step before all came once.
    spacing : {"random", "evenly-spaced", "first-n"}
        How the blocks of a depth are chosen, the smallest one's included.
    seed : int
    depths : list of int, or "all"
        As in `UniformDepth`; the smallest of them is that of the smallest network.
    share_blocks : bool
        Run the blocks of a common beginning once, all with the same dropout there. Without dropout nothing but the time
        changes.

    Examples
    --------
    >>> [depth(gates) for gates in Sandwich(num_blocks=12, min_depth=2, num_random=0).draw()]
    [12, 2]
    """

    def __init__(
        self, num_blocks, min_depth=1, num_random=1, spacing="random", seed=0, depths="all", share_blocks=False
    ):
        super().__init__(num_blocks, min_depth, spacing, seed, depths)
        require(self, NOT_NEGATIVE, num_random=num_random)
        require(self, FLAG, share_blocks=share_blocks)
        self.num_random = num_random
        self.shares_blocks = share_blocks
        # The ends are in every step already, unless there is nothing between them.
        self.between = [n for n in self.depths[1:] if n < num_blocks] or self.depths

    def draw(self):
        vectors, pool = [(True,) * self.num_blocks, self.vector(self.depths[0])], []
        for _ in range(self.num_random):
            pool = pool or list(self.between)
            n = self.generator.choice(pool)
            pool.remove(n)
            vectors.append(self.vector(n))
        return vectors
