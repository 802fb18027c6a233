"""Scored decodes and training logs of an experiment folder, read and checked."""

import dataclasses
import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dld.config.plain import PlainSettings
from dld.errors import DldError
from dld.files import read_lines
from dld.profiling.records import AGAIN, Latency
from dld.reporting.lines import Lines, system_order
from dld.reporting.results import Curve, Row, system_label
from dld.scoring.alignment import Alignment, ErrorCounts
from dld.scoring.bootstrap import wer_interval
from dld.scoring.decodes import DecodeRecord, check_model
from dld.scoring.kaldi import scored_alignments

# What every line of a training log has.
LOGGED = ("epoch", "updates", "seconds", "mean_wer", "wer")
FURTHER = ("lr", "valid_loss")


@dataclass(frozen=True)
class ScoredDecode:
    """One scored decode directory.

    Attributes
    ----------
    directory : Path
        `exp/<run>/decode_<set>_n<depth>[_<variant>]`.
    record : DecodeRecord
        Its `decode.json`, with the name of its line as `system`, see `dld.reporting.lines`.
    variant : str
        What the directory's name has after the depth; empty for the main decode.
    alignments : dict of str to Alignment
        Alignments by utterance.
    cer : float or None
        Character error rate in percent, where characters were scored.
    total : ErrorCounts
        Sum over all utterances.
    """

    directory: Path
    record: DecodeRecord
    variant: str
    alignments: dict[str, Alignment]
    cer: float | None = None
    total: ErrorCounts = field(init=False)

    def __post_init__(self) -> None:
        """Add up the alignments."""
        object.__setattr__(self, "total", _total(self.alignments))

    @property
    def group(self) -> tuple[str, str, str]:
        """What the decodes of one line in a table or picture have in common; runs with several seeds are one line."""
        return self.record.test_set, self.record.system, self.variant

    @property
    def run(self) -> str:
        """Folder name of the training run."""
        return self.directory.parent.name

    @property
    def label(self) -> str:
        """System and variant, as tables and plots name a line."""
        return system_label(self.record.system, self.variant)

    def errors(self, utterances: Iterable[str]) -> np.ndarray:
        """Return the errors of `utterances`, in that order: int array (utterances,)."""
        return np.array([self.alignments[utterance].errors for utterance in utterances])

    def words(self, utterances: Iterable[str]) -> np.ndarray:
        """Return the reference words of `utterances`, in that order: int array (utterances,)."""
        return np.array([self.alignments[utterance].words for utterance in utterances])


def _total(alignments):
    return sum((alignment.counts for alignment in alignments.values()), ErrorCounts())


def group_lines(decodes: Iterable[ScoredDecode]) -> dict[tuple[str, str, str], dict[int, list[ScoredDecode]]]:
    """Return the decodes by (test set, system, variant), then by depth: the runs with different seeds."""
    groups: dict[tuple[str, str, str], dict[int, list[ScoredDecode]]] = {}
    for decode in decodes:
        groups.setdefault(decode.group, {}).setdefault(decode.record.depth, []).append(decode)
    return groups


def collect(exp: str | Path, systems: list[str] | None = None) -> list[ScoredDecode]:
    """Read every scored decode directory of an experiment folder.

    Parameters
    ----------
    exp : str or Path
        Holds `<run>/decode_<set>_n<depth>[_<variant>]/` with `decode.json`, `text` and the scores.
    systems : list of str, optional
        Only these, names of lines or of runs (default: all that are there).

    Returns
    -------
    list of ScoredDecode
        Sorted by test set, system, variant, depth and seed.

    Raises
    ------
    DldError
        No decode directories, an unknown system, a directory without scores or with scores of other hypotheses, a
        `decode.json` that lacks a field or contradicts itself, or decodes of one test set whose reference words differ.
    """
    exp = Path(exp)
    directories = sorted(path for path in exp.glob("*/decode_*") if path.is_dir())
    if not directories:
        raise DldError(
            f"{exp}: no decode directories (<run>/decode_<set>_n<depth>); run the decoding stage (stage 8) with "
            f"--exp {shlex.quote(str(exp))}, or give the folder that has the runs"
        )
    records = {directory: DecodeRecord.load(directory / "decode.json") for directory in directories}
    lines = Lines(records)
    chosen = {line for name in systems for line in lines.named(name)} if systems else set(lines.of_run.values())
    decodes = [
        _read_decode(path, dataclasses.replace(record, system=line))
        for path, record in records.items()
        if (line := lines.of_run[path.parent]) in chosen
    ]
    decodes.sort(
        key=lambda d: (
            *(d.record.test_set, system_order(d.record.system), d.variant),
            *(d.record.depth, d.record.seed or 0, d.run),
        )
    )
    _check(decodes)
    return decodes


def _read_decode(directory, record):
    prefix = f"decode_{record.test_set}_n{record.depth}"
    variant = directory.name.removeprefix(prefix)
    check_model(directory, record)
    if not directory.name.startswith(prefix) or (variant and variant[0] != "_"):
        raise DldError(f"{directory}: its decode.json says set {record.test_set}, depth {record.depth} ({prefix}…)")
    words = scored_alignments(directory)
    cer = None
    if (directory / "scoring_kaldi" / "best_cer").is_file():
        cer = _total(scored_alignments(directory, unit="char")).wer
    return ScoredDecode(directory, record, variant.removeprefix("_"), words, cer)


def _check(decodes):
    first_of_set = {}
    for decode in decodes:
        other = first_of_set.setdefault(decode.record.test_set, decode)
        words, expected = ({key: value.words for key, value in d.alignments.items()} for d in (decode, other))
        if words != expected:
            differing = sorted(key for key in words.keys() | expected.keys() if words.get(key) != expected.get(key))
            raise DldError(
                f"{decode.directory}: {sum(words.values())} reference words, but {sum(expected.values())} in "
                f"{other.directory} (first difference: utterance {differing[0]}); score both against the same text"
            )


def interval(decodes: list[ScoredDecode], replicates: int, seed: int) -> tuple[float, float]:
    """Return the interval of the mean error rate of several runs, the same utterances drawn for all of them."""
    utterances = list(decodes[0].alignments)
    errors = np.sum([decode.errors(utterances) for decode in decodes], axis=0)
    return wer_interval(errors, len(decodes) * decodes[0].words(utterances), replicates, seed)


def start_of(run: Path) -> str | None:
    """Return the name of the run or published model from whose weights a run started; "scratch" without one.

    None where the run's settings are not there, as in results that were copied alone.
    """
    path = run / "hyperparams.yaml"
    if not path.is_file():
        return None
    values = PlainSettings(path).values
    start = values.get("init_from") or values.get("pretrained")
    return Path(str(start)).name if start else "scratch"


def latencies(exp: str | Path, decodes: Iterable[ScoredDecode]) -> list[Latency]:
    """Read `latency_<set>.json` of the test sets that were decoded; runs that were not decoded are left out.

    Raises
    ------
    DldError
        A file is damaged, or one of its runs has other weights now.
    """
    decodes, found = list(decodes), []
    hashes = {decode.run: decode.record.model_sha256 for decode in decodes}
    for test_set in dict.fromkeys(decode.record.test_set for decode in decodes):
        path = Path(exp) / f"latency_{test_set}.json"
        if not path.is_file():
            continue
        latency = Latency.load_file(path)
        timings = [timing for timing in latency.timings if timing.run in hashes]
        for timing in timings:
            if None not in (timing.model_sha256, hashes[timing.run]) and timing.model_sha256 != hashes[timing.run]:
                raise DldError(f"{path}: {timing.run} was measured with other weights than were decoded; {AGAIN}")
        if timings:
            found.append(dataclasses.replace(latency, timings=timings))
    return found


def row(decode: ScoredDecode, replicates: int = 10000, seed: int = 0) -> Row:
    """Return a decode's record, cost and error rate with its interval as one row of `results.json`."""
    total = decode.total
    low, high = interval([decode], replicates, seed)
    return Row(
        **dataclasses.asdict(decode.record),
        variant=decode.variant,
        run=decode.run,
        start=start_of(decode.directory.parent),
        wer=round(total.wer, 4),
        wer_low=round(low, 4),
        wer_high=round(high, 4),
        ins=total.ins,
        del_=total.dels,
        sub=total.subs,
        words=total.words,
        utterances=total.sentences,
        ser=round(total.ser, 4),
        cer=None if decode.cer is None else round(decode.cer, 4),
    )


def training_curves(exp: str | Path, decodes: Iterable[ScoredDecode]) -> list[Curve]:
    """Read the training logs of the runs that were decoded; runs without a log are left out.

    Parameters
    ----------
    exp : str or Path
        Holds `<run>/train_log.jsonl`, one JSON object per epoch with `epoch`, `updates`, `seconds`, `wer` (by depth)
        and `mean_wer`.
    decodes : iterable of ScoredDecode

    Raises
    ------
    DldError
        A line that is not JSON or lacks one of these.
    """
    curves = []
    for run, record in {decode.run: decode.record for decode in decodes}.items():
        path = Path(exp) / run / "train_log.jsonl"
        entries = []
        for number, line in read_lines(path) if path.is_file() else ():
            try:
                entry = json.loads(line)
                entry["wer"] = {str(n): entry["wer"][str(n)] for n in sorted(map(int, entry["wer"]))}
                entries.append({name: entry[name] for name in LOGGED} | entry)
            except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
                raise DldError(f"{path}:{number}: not a line of a training log ({error})") from None
        if entries:
            about = {
                "run": run,
                "system": record.system,
                "seed": record.seed,
                "policy": _validation_policy(path.parent),
            }
            curves.append(Curve.from_json({**about, **_columns(entries)}, str(path), "train again, or remove the log"))
    return curves


def _columns(entries):
    """Return the lines of a training log as columns."""
    depths = list(entries[-1]["wer"])
    further = dict.fromkeys(key for entry in entries for key in entry if key.startswith("train_") or key in FURTHER)
    return {
        **{name: [entry[name] for entry in entries] for name in LOGGED if name != "wer"},
        "depths": list(map(int, depths)),
        "wer": {n: [entry["wer"].get(n) for entry in entries] for n in depths},
        "logged": {name: [entry.get(name) for entry in entries] for name in further if name != "train_loss"},
    }


def _validation_policy(run):
    path = run / "hyperparams.yaml"
    policy = PlainSettings(path).values.get("eval_policy") if path.is_file() else None
    return policy if isinstance(policy, str) else None
