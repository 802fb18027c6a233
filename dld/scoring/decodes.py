"""What `decode.json` says of a decode, and which decodes an experiment has of a test set."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dld.errors import DldError
from dld.files import read_json, read_record, write_json
from dld.records import Record, optional

AGAIN = "decode again (stage 8)"


@dataclass(frozen=True, kw_only=True)
class DecodeRecord(Record):
    """One decode of a test set at one depth, as its `decode.json` describes it.

    Attributes
    ----------
    system, test_set : str
        Names; `data_dir` is the directory of the test set.
    depth, num_blocks : int
    gates : str
        The gate vector, such as `101100`.
    policy : str
        What chose the gates.
    params, params_active : int
        Parameters of the network, and those of what ran.
    gmacs_per_s, rtf : float
        10⁹ multiply-accumulates per second of audio; decoding time over audio time, of this model alone, search and
        language model included (`dld latency` compares models).
    train_seconds : float
        How long the training took; `updates` is how many updates it had.
    epochs, num_epochs : int
        Epochs of the training, and those that were planned: fewer than these where it was stopped.
    lm : str
        Name of the language model, None without one; the fields after it describe the search.
    hotwords : dict
        `path` and `sha256` of the file of hotwords, and the `weight` of those that have none of their own.
    lmwt, wip : float
        Kaldi's names for the weight of the language model and for the insertion penalty.

    Examples
    --------
    >>> record = DecodeRecord(
    ...     system="ld", test_set="test", depth=1, num_blocks=3, gates="100", policy="first-n", params=9,
    ...     gmacs_per_s=0.1, rtf=0.01,
    ... )
    >>> path = getfixture("tmp_path") / "decode.json"
    >>> record.save(path)
    >>> DecodeRecord.load(path) == record
    True
    """

    system: str
    test_set: str
    data_dir: str | None = None
    depth: int
    num_blocks: int
    gates: str
    policy: str
    params: int
    params_active: int | None = None
    gmacs_per_s: float
    rtf: float
    rtf_threads: int | None = optional()
    precision: str | None = optional()
    audio_seconds: float | None = None
    model: str | None = None
    model_sha256: str | None = None
    seed: int | None = None
    updates: int | None = None
    train_seconds: float | None = None
    epochs: int | None = optional()
    num_epochs: int | None = optional()
    trained_git: str | None = optional()
    git: str | None = None
    lm: str | None = None
    lm_order: int | None = optional()
    lm_sha256: str | None = optional()
    lm_tuned_on: str | None = optional()
    lm_oov_percent: float | None = optional()
    beam: dict | None = optional()
    lmwt: float | None = optional()
    wip: float | None = optional()
    lm_unknown: float | None = optional()
    hotwords: dict | None = optional()

    def __post_init__(self) -> None:
        """Raise a `DldError` if the fields contradict each other."""
        opened = self.gates.count("1")
        if opened + self.gates.count("0") != len(self.gates):
            raise DldError(f"gates is {self.gates[:40]!r}, not a row of 0 and 1; {AGAIN}")
        if (len(self.gates), opened) != (self.num_blocks, self.depth):
            raise DldError(
                f"{opened} of {len(self.gates)} gates are open, but depth is {self.depth} and num_blocks "
                f"{self.num_blocks}"
            )
        for name in ("gmacs_per_s", "rtf"):
            if getattr(self, name) <= 0:
                raise DldError(f"{name} is {getattr(self, name)!r}, a positive number was expected")

    @property
    def stopped(self) -> str:
        """Where the training was stopped whose model this is of, `epoch 12 of 60`; "" where it reached its end."""
        return stopped_at(self.epochs, self.num_epochs)

    @classmethod
    def from_json(cls, content: Any, where: str, advice: str = AGAIN):
        """Return the record that JSON describes; gates may be a list, as the first version of dld wrote them."""
        if isinstance(content, dict) and isinstance(content.get("gates"), list):
            gates = content["gates"]
            if any(gate not in (0, 1) for gate in gates):
                raise DldError(f"{where}: gates is not a list of 0 and 1; {advice}")
            content = {**content, "gates": "".join(str(int(gate)) for gate in gates)}
        return super().from_json(content, where, advice)

    @classmethod
    def load(cls, path: str | Path) -> "DecodeRecord":
        """Read a `decode.json`; a `DldError` names what it lacks or what is wrong in it."""
        return cls.from_json(read_json(path), str(path))

    def save(self, path: str | Path) -> None:
        """Write a `decode.json`."""
        write_json(path, self.to_json())


def stopped_at(epochs: int | None, num_epochs: int | None) -> str:
    """Return where a training was stopped, "" where it reached its end or that is not known.

    Examples
    --------
    >>> stopped_at(12, 60), stopped_at(60, 60), stopped_at(None, None)
    ('epoch 12 of 60', '', '')
    """
    return f"epoch {epochs} of {num_epochs}" if epochs and num_epochs and epochs < num_epochs else ""


def name_of_set(data: str | Path) -> str:
    """Return the name of a data directory as the user wrote it; one that is a symbolic link has its own name."""
    return os.path.basename(os.path.abspath(data))


def decodes_of(exp: str | Path, data: str | Path) -> list[Path]:
    """Return the decodes of one test set.

    The test set is read from `decode.json`, not from the folder's name: one name may be the beginning of another.

    Parameters
    ----------
    exp : str or Path
        An experiment's folder; holds `decode_<set>_n<depth>[_<variant>]/` with `decode.json` and `text`.
    data : str or Path
        The test set, a Kaldi data directory.

    Returns
    -------
    list of Path
        Sorted by depth and name.

    Raises
    ------
    DldError
        There are none, one was broken off, or one was made of another directory of this name.
    """
    test_set, found = name_of_set(data), []
    for path in sorted(Path(exp).glob("decode_*")):
        if not path.is_dir():
            continue
        if not (path / "decode.json").is_file() or not (path / "text").is_file():
            raise DldError(f"{path}: lacks decode.json or text, its decoding did not end; {AGAIN}")
        record = DecodeRecord.load(path / "decode.json")
        if record.test_set == test_set:
            check_model(path, record)
            _check_origin(path, record.data_dir, data)
            found.append((record.depth, path))
    if not found:
        command = shlex.join(["dld", "decode", "--exp", str(exp), "--data", str(data)])
        raise DldError(f"{exp} has no decodes of {test_set}; stage 8 makes them, or {command}")
    return [path for _, path in sorted(found)]


def of_another_set(origin: object, data: str | Path) -> bool:
    """Return whether a decode's data directory is another one than `data`; one that was moved is taken by its name."""
    if not isinstance(origin, str) or not os.path.isdir(origin) or not os.path.isdir(data):
        return False
    return not os.path.samefile(origin, data)


def refuse_other_set(decode: str | Path, data: str | Path) -> None:
    """Raise if a decode directory that is to be written holds the results of another test set of this name."""
    path = Path(decode) / "decode.json"
    origin = read_record(path, {}).get("data_dir") if path.is_file() else None
    if of_another_set(origin, data):
        raise DldError(
            f"{decode} holds the results of {origin}, which has the same name as {data}; "
            "give --variant or --output, or remove it"
        )


def check_model(decode: Path, record: DecodeRecord) -> None:
    """Raise if a decode is of other weights than the experiment has now, as after training again."""
    path = decode.parent / "model.json"
    present = read_record(path, {}).get("state_sha256") if path.is_file() else None
    if present and record.model_sha256 not in (None, present):
        raise DldError(f"{decode}: decoded with other weights than {decode.parent} has now; {AGAIN}, or remove it")


def _check_origin(decode, origin, data):
    if of_another_set(origin, data):
        raise DldError(
            f"{decode}: was decoded from {origin}, not from {data}; {AGAIN}, or score it alone: "
            f"local/score.sh {data} LANG {decode}"
        )
