"""Weights of a language model, kept with the acoustic model that they were chosen for."""

from collections.abc import Sequence
from pathlib import Path

from dld.decoding.lm import LanguageModel, Weights
from dld.decoding.settings import LM_WEIGHTS
from dld.errors import DldError
from dld.files import check_keys, read_record, write_json
from dld.gates import depth, format_gates


class LmWeights:
    """Weights of a language model per depth, and what they were chosen for.

    Parameters
    ----------
    about : dict
        The content of `lm_weights.json`: `lm` (`LanguageModel.describe`), `model_sha256` (the acoustic model's),
        `policy`, `data`, `ids_sha256`, and `depths`: by depth `gates`, `alpha`, `beta`, `unknown`, `wer` and more.
    path : str or Path
        The file, for messages.
    """

    def __init__(self, about: dict, path: str | Path = LM_WEIGHTS):
        self.about = about
        self.path = Path(path)

    def save(self) -> None:
        """Write the file."""
        write_json(self.path, self.about)

    @classmethod
    def load(cls, path: str | Path) -> "LmWeights":
        """Read a file that `save` wrote."""
        if not Path(path).exists():
            raise DldError(f"{path}: no such file; choose weights on dev with dld tune-lm, or give weights yourself")
        again = "choose them again with dld tune-lm"
        about = read_record(
            path, {"lm": dict, "model_sha256": str, "depths": dict, "ids_sha256": str, "data": str}, again
        )
        check_keys(about["lm"], {"path": str, "sha256": str}, f"{path}: lm", again)
        number = (int, float)
        kinds: dict[str, type | tuple[type, ...]] = {"gates": str, "alpha": number, "beta": number, "unknown": number}
        for n, row in about["depths"].items():
            check_keys(row, kinds, f"{path}: depth {n}", again)
        return cls(about, path)

    def weights(self, model: LanguageModel, model_sha256: str, gates: Sequence[bool]) -> Weights:
        """Return the `Weights` for a gate vector.

        Raises
        ------
        DldError
            They were chosen for another language model, acoustic model or gate vector, or not at its depth.
        """
        n = depth(gates)
        again = "choose them again with dld tune-lm"
        if self.about["lm"]["sha256"] != model.sha256:
            raise DldError(f"{self.path}: chosen with another language model, {self.about['lm']['path']}; {again}")
        if self.about["model_sha256"] != model_sha256:
            raise DldError(f"{self.path}: chosen for other weights of the acoustic model; {again}")
        row = self.about["depths"].get(str(n))
        if row is None:
            raise DldError(
                f"{self.path}: no weights for depth {n}, only for {', '.join(self.about['depths'])}; {again}"
            )
        if row["gates"] != format_gates(gates):
            raise DldError(
                f"{self.path}: at depth {n} chosen with gates {row['gates']}, not {format_gates(gates)}; {again}"
            )
        return Weights(row["alpha"], row["beta"], row["unknown"])
