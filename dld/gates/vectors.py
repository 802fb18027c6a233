"""Gate vectors, and the policies that choose one for a depth at inference."""

import math
import random

from dld.checks import Depths, complaint, is_whole
from dld.errors import DldError


def depth(gates):
    """Return the number of open gates.

    Examples
    --------
    >>> depth((True, False, True))
    2
    """
    return sum(map(bool, gates))


def check_gates(gates, num_blocks):
    """Return `gates` as a tuple of booleans, or raise a `DldError` if it does not fit an encoder of `num_blocks`."""
    try:
        given = tuple(gates)
        # True, 1 and what NumPy and torch have for them; a text such as "0" would be true.
        if any(isinstance(gate, str) or gate not in (0, 1) for gate in given):
            raise TypeError
        gates = tuple(map(bool, given))
    except (TypeError, ValueError):
        raise DldError(f"gate vector {gates!r}: {num_blocks} booleans were expected, or text such as 1011") from None
    if len(gates) != num_blocks:
        raise DldError(f"gate vector {format_gates(gates)} has {len(gates)} gates, the encoder has {num_blocks} blocks")
    if not any(gates):
        raise DldError(f"gate vector {format_gates(gates)} closes every block; at least one must stay open")
    return gates


def check_depth(value, num_blocks, name="depth"):
    """Return `value` as an integer depth in 1…`num_blocks`, or raise a `DldError` that calls it `name`."""
    number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
    if not is_whole(number):
        raise DldError(f"{name} {value!r} is not a whole number")
    if not 1 <= number <= num_blocks:
        raise DldError(f"{name} {number} is outside 1…{num_blocks}, the number of blocks of this encoder")
    return number


def parse_depths(text, num_blocks):
    """Return depths from a list or from text such as `"2,4,12"` or `"all"`, each checked against the encoder.

    Examples
    --------
    >>> parse_depths("2,4", num_blocks=6)
    [2, 4]
    >>> parse_depths("all", num_blocks=3)
    [1, 2, 3]
    """
    if text == "all":
        return list(range(1, num_blocks + 1))
    values = str(text).replace(",", " ").split() if isinstance(text, (str, int)) else text
    if not isinstance(values, (list, tuple, range)):
        raise DldError(complaint("depths", text, Depths()))
    depths = [check_depth(value, num_blocks) for value in values]
    if not depths:
        raise DldError("the list of depths is empty")
    if len(set(depths)) != len(depths):
        raise DldError(f"the list of depths {depths} names one twice")
    return depths


def format_gates(gates):
    """Return a gate vector as text, one digit per block.

    Examples
    --------
    >>> format_gates((True, False, True))
    '101'
    """
    return "".join("1" if gate else "0" for gate in gates)


def parse_gates(text, num_blocks=None):
    """Return the gate vector that a text of ones and zeros stands for, the inverse of `format_gates`.

    Examples
    --------
    >>> parse_gates("101")
    (True, False, True)
    """
    if not text or set(text) - {"0", "1"}:
        raise DldError(f"gate vector {text!r} is not made of 0 and 1")
    gates = tuple(digit == "1" for digit in text)
    return check_gates(gates, len(gates) if num_blocks is None else num_blocks)


# ---------------------------------------------------------------- policies


def evenly_spaced(num_blocks, n):
    """Open `n` of `num_blocks` gates as evenly as whole numbers allow, the first and the last block included.

    Examples
    --------
    >>> format_gates(evenly_spaced(12, 4)), format_gates(evenly_spaced(12, 1))
    ('100010010001', '100000000000')
    """
    n = check_depth(n, num_blocks)
    if n == 1:
        return first_n(num_blocks, 1)
    step = (num_blocks - 1) / (n - 1)
    chosen = {math.floor(k * step + 0.5) for k in range(n)}
    return tuple(block in chosen for block in range(num_blocks))


def first_n(num_blocks, n):
    """Open the first `n` gates, as an early exit would.

    Examples
    --------
    >>> format_gates(first_n(6, 2))
    '110000'
    """
    n = check_depth(n, num_blocks)
    return tuple(block < n for block in range(num_blocks))


def first_and_last(num_blocks, n):
    """Open the first `n - 1` gates and the last one: all depths share a prefix, and the block that ends it.

    Decoding at all depths runs one block more for each depth than at the largest, and so does training in a sandwich;
    and how deep to go can be decided while a network runs.

    Examples
    --------
    >>> format_gates(first_and_last(6, 3)), format_gates(first_and_last(6, 1))
    ('110001', '000001')
    """
    n = check_depth(n, num_blocks)
    return tuple(block < n - 1 or block == num_blocks - 1 for block in range(num_blocks))


def shallow_last(num_blocks, n):
    """Open the gates of `first_and_last` up to a third of the blocks, those of `first_n` above.

    A few blocks write better with the last one among them. Above, a loss at every depth needs each block once.

    Examples
    --------
    >>> [format_gates(shallow_last(6, n)) for n in (1, 2, 3)]
    ['000001', '100001', '111000']
    """
    n = check_depth(n, num_blocks)
    return first_and_last(num_blocks, n) if 3 * n <= num_blocks else first_n(num_blocks, n)


def random_subset(num_blocks, n, generator):
    """Open `n` gates drawn without replacement by `generator` (a `random.Random`)."""
    chosen = set(generator.sample(range(num_blocks), check_depth(n, num_blocks)))
    return tuple(block in chosen for block in range(num_blocks))


#: Those that need no gate table, so no trained network.
FIXED_POLICIES = ("evenly-spaced", "first-n", "first-and-last", "shallow-last", "random")
POLICIES = (*FIXED_POLICIES, "table")


def gates_for_depth(policy, num_blocks, n, table=None, seed=0):
    """Return the gate vector that a policy chooses for a depth.

    Parameters
    ----------
    policy : {"evenly-spaced", "first-n", "first-and-last", "shallow-last", "random", "table"}
        "random" is the same vector for the same `num_blocks`, `n` and `seed`.
    num_blocks, n : int
        Blocks of the encoder and blocks to run, 1 ≤ n ≤ num_blocks.
    table : GateTable, optional
        Needed by the policy "table".
    seed : int
        Used by the policy "random".

    Returns
    -------
    tuple of bool

    Examples
    --------
    >>> format_gates(gates_for_depth("first-n", 4, 2))
    '1100'
    """
    if policy == "evenly-spaced":
        return evenly_spaced(num_blocks, n)
    if policy == "first-n":
        return first_n(num_blocks, n)
    if policy == "first-and-last":
        return first_and_last(num_blocks, n)
    if policy == "shallow-last":
        return shallow_last(num_blocks, n)
    if policy == "random":
        return random_subset(num_blocks, n, random.Random(f"{seed}/{num_blocks}/{n}"))
    if policy == "table":
        if table is None:
            raise DldError("the gate policy 'table' needs a gate table; stage 7 (dld gates) makes one")
        return table.gates(check_depth(n, num_blocks))
    raise DldError(f"unknown gate policy {policy!r}; known are {', '.join(POLICIES)}")
