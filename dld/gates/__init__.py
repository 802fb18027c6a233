"""Gate vectors, drop schedules, gate policies and gate tables.

A gate vector holds one boolean for each encoder block: block *i* runs where it is True, and where it is False its
input passes unchanged, `y[i+1] = y[i] + g[i] f_i(y[i])`. Its depth is the number of open gates, `1 <= n <= N`.

A *drop schedule* draws gate vectors for training steps; a *gate policy* chooses one for a depth at inference. Nothing
in this package knows about networks.
"""

from dld.gates.schedules import (
    AllOpen,
    Bernoulli,
    Draw,
    DropSchedule,
    Exits,
    Fixed,
    Ramp,
    RisingDrop,
    Sandwich,
    UniformDepth,
    WithExits,
    value_at,
)
from dld.gates.table import GATE_TABLE, GateTable
from dld.gates.vectors import (
    POLICIES,
    check_depth,
    check_gates,
    depth,
    evenly_spaced,
    first_and_last,
    first_n,
    format_gates,
    gates_for_depth,
    parse_depths,
    parse_gates,
    random_subset,
    shallow_last,
)

__all__ = [
    "AllOpen",
    "Bernoulli",
    "Draw",
    "DropSchedule",
    "Exits",
    "Fixed",
    "GATE_TABLE",
    "GateTable",
    "POLICIES",
    "Ramp",
    "RisingDrop",
    "Sandwich",
    "UniformDepth",
    "WithExits",
    "check_depth",
    "check_gates",
    "depth",
    "evenly_spaced",
    "first_and_last",
    "first_n",
    "format_gates",
    "gates_for_depth",
    "parse_depths",
    "parse_gates",
    "random_subset",
    "shallow_last",
    "value_at",
]
