"""From text to an ARPA file, by the estimator of this package or by KenLM's lmplz."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from dld.decoding.ngram.arpa import write_packed
from dld.decoding.ngram.counting import NO_WORDS, check_words
from dld.decoding.ngram.smoothing import check_order, estimate
from dld.errors import DldError

TOOLS = ("own", "lmplz")


def run_lmplz(text: Path, arpa: Path, order: int, prune: Sequence[int] = ()) -> None:
    """Estimate with lmplz; where a text is too small for discounts, take its fallback ones."""
    program = shutil.which("lmplz")
    if program is None:
        raise DldError("lmplz is not installed; build it from KenLM's sources, or take --tool own")
    command = [program, "--order", str(order), "--discount_fallback", "--text", str(text), "--arpa", str(arpa)]
    if prune:
        command += ["--prune", *map(str, prune)]
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [*command, "--temp_prefix", f"{scratch}/"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    if done.returncode:
        lines = [line.strip() for line in done.stderr.decode(errors="replace").split("\n") if re.search(r"\w", line)]
        raise DldError(f"{program} failed (status {done.returncode}): {lines[-1] if lines else 'it printed nothing'}")


def write_arpa(
    sentences: Iterable[list[str]], path: str | Path, order: int = 3, prune: Sequence[int] = (), tool: str = "own"
) -> dict:
    """Estimate a model and write it as ARPA.

    Parameters
    ----------
    sentences : iterable of list of str
    path : str or Path
        Ends in .arpa or .arpa.gz.
    order : int
    prune : sequence of int, optional
        See `estimate`.
    tool : {"own", "lmplz"}
        `estimate`, or KenLM's program where it is installed: it has the same probabilities and takes texts that do
        not fit into memory.

    Returns
    -------
    dict
        `tool`, `order`, `prune`, `sentences`, `words` (tokens of the text), `empty` (sentences without words) and, of
        `estimate`, `discounts`.

    Raises
    ------
    DldError
        As `estimate`, or the tool is not installed or fails; nothing is written then.
    """
    path = Path(path)
    if not path.name.endswith((".arpa", ".arpa.gz")):
        raise DldError(f"{path}: the model's name must end in .arpa or .arpa.gz")
    if tool not in TOOLS:
        raise DldError(f"unknown estimator {tool!r}; there are {' and '.join(TOOLS)}")
    check_order(order, prune)
    about = {"tool": tool, "order": order, "prune": list(prune), "sentences": 0, "words": 0, "empty": 0}

    def counted():
        for sentence in sentences:
            check_words(sentence)
            about["sentences" if sentence else "empty"] += 1
            about["words"] += len(sentence)
            yield sentence

    if tool == "own":
        model = estimate(counted(), order, prune)
        model.write(path)
        about["discounts"] = model.discounts
        return about
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".lm.") as scratch:
        text, arpa = Path(scratch) / "text", Path(scratch) / "lm.arpa"
        with open(text, "w", encoding="utf-8") as out:
            out.writelines(" ".join(sentence) + "\n" for sentence in counted() if sentence)
        if not about["words"]:
            raise DldError(NO_WORDS)
        run_lmplz(text, arpa, order, prune)
        with open(arpa, "rb") as source, write_packed(path) as packed:
            shutil.copyfileobj(source, packed)
    return about
