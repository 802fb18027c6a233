"""The gate table: the best gate vector of each depth, stored with the model."""

import logging
from dataclasses import dataclass, field

from dld.checks import COUNT, require
from dld.errors import DldError
from dld.files import read_record, write_json
from dld.gates.vectors import check_gates, depth, format_gates, parse_gates

logger = logging.getLogger(__name__)

#: Its file in the folder of a model.
GATE_TABLE = "gate_table.json"


@dataclass
class GateTable:
    """Depth → gate vector, searched on the dev set and stored with the model.

    Parameters
    ----------
    num_blocks : int
    vectors : dict of int to tuple of bool
        One gate vector for each depth that the table serves.
    about : dict
        How the table was found: data, search, error rates. Kept in the file, not used otherwise.
    """

    num_blocks: int
    vectors: dict
    about: dict = field(default_factory=dict)

    def __post_init__(self):
        """Raise a `DldError` if a vector does not have its depth."""
        require(self, COUNT, num_blocks=self.num_blocks)
        for n, gates in self.vectors.items():
            if depth(check_gates(gates, self.num_blocks)) != n:
                raise DldError(f"gate table: the vector {format_gates(gates)} at depth {n} opens {depth(gates)} gates")

    def gates(self, n):
        """Return the gate vector for depth `n`; a `DldError` names the depths in the table."""
        if n not in self.vectors:
            raise DldError(f"the gate table has no depth {n}; it has {', '.join(map(str, sorted(self.vectors)))}")
        return self.vectors[n]

    def save(self, path):
        """Write the table as JSON."""
        table = {str(n): format_gates(self.vectors[n]) for n in sorted(self.vectors)}
        write_json(path, {"num_blocks": self.num_blocks, "table": table, "about": self.about})

    @classmethod
    def load(cls, path, num_blocks=None, model_sha256=None):
        """Read a table that `save` wrote.

        Parameters
        ----------
        path : str or Path
        num_blocks : int, optional
            Blocks of the network that it is for.
        model_sha256 : str, optional
            Hash of that network's weights. A table that was searched for other weights is refused; one that does not
            state its weights, as the first version of this program wrote them, is accepted with a warning.

        Raises
        ------
        DldError
            The file is not a gate table, or it is another model's.
        """
        again = "search it again (dld gates)"
        content = read_record(path, {"num_blocks": int, "table": dict}, again)
        try:
            vectors = {int(n): parse_gates(text, content["num_blocks"]) for n, text in content["table"].items()}
            table = cls(content["num_blocks"], vectors, content.get("about", {}))
        except (TypeError, ValueError, AttributeError) as error:
            raise DldError(f"{path}: not a gate table ({error}); {again}") from None
        except DldError as error:
            raise DldError(f"{path}: {error}; {again}") from None
        if not vectors:
            raise DldError(f"{path}: a gate table without depths; {again}")
        if num_blocks not in (None, table.num_blocks):
            raise DldError(f"{path}: for {table.num_blocks} blocks, the network has {num_blocks}; {again}")
        searched_for = table.about.get("state_sha256") if isinstance(table.about, dict) else None
        if model_sha256 is not None and searched_for is None:
            logger.warning("%s does not say which weights it was searched for; to be sure, %s", path, again)
        elif model_sha256 not in (None, searched_for):
            raise DldError(f"{path}: searched for other weights than this model's (by their hashes); {again}")
        return table
