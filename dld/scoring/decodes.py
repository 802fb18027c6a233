"""Which decodes an experiment has of a test set: `decode.json` says so, names of folders only begin alike."""

import os
from pathlib import Path

from dld.errors import DldError
from dld.files import read_record


def name_of_set(data):
    """Return the name of a data directory as the user gave it; one that is a symbolic link has its own name."""
    return os.path.basename(os.path.abspath(data))


def decodes_of(exp, data):
    """Find the decodes of one test set.

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
            raise DldError(f"{path}: lacks decode.json or text, its decoding did not end; decode again (stage 8)")
        about = read_record(path / "decode.json", {"test_set": str, "depth": int}, "decode again (stage 8)")
        if about["test_set"] == test_set:
            check_model(path, about)
            _check_origin(path, about.get("data_dir"), data)
            found.append((about["depth"], path))
    if not found:
        raise DldError(f"{exp} has no decodes of {test_set}; stage 8 makes them: ./run.sh --stage 8 --stop-stage 8")
    return [path for _, path in sorted(found)]


def of_another_set(origin, data):
    """Return whether a decode's data directory is another one than `data`; one that was moved is taken by its name."""
    there = isinstance(origin, str) and os.path.isdir(origin) and os.path.isdir(data)
    return there and not os.path.samefile(origin, data)


def refuse_other_set(decode, data):
    """Raise if a decode directory that is to be written holds the results of another test set of this name."""
    path = Path(decode) / "decode.json"
    origin = read_record(path, {}).get("data_dir") if path.is_file() else None
    if of_another_set(origin, data):
        raise DldError(
            f"{decode} holds the results of {origin}, which has the same name as {data}; "
            "give --variant or --output, or remove it"
        )


def check_model(decode, about):
    """Raise if a decode is of other weights than the experiment has now, as after training again."""
    path = decode.parent / "model.json"
    present = read_record(path, {}).get("state_sha256") if path.is_file() else None
    if present and about.get("model_sha256") not in (None, present):
        raise DldError(
            f"{decode}: decoded with other weights than {decode.parent} has now; decode again (stage 8), or remove it"
        )


def _check_origin(decode, origin, data):
    if of_another_set(origin, data):
        raise DldError(
            f"{decode}: was decoded from {origin}, not from {data}; decode again (stage 8), or score it alone: "
            f"local/score.sh {data} LANG {decode}"
        )
