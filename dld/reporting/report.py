"""Results of an experiment folder: one row per scored decode, and comparisons of systems on the same utterances."""

import json
import logging
import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dld.errors import DldError
from dld.files import read_lines, read_record
from dld.scoring.alignment import ErrorCounts
from dld.scoring.bootstrap import paired_bootstrap, wer_interval
from dld.scoring.decodes import check_model
from dld.scoring.kaldi import scored_alignments

DECODE_KINDS = {
    "system": str,
    "test_set": str,
    "depth": int,
    "num_blocks": int,
    "gates": list,
    "policy": str,
    "params": int,
    "gmacs_per_s": (int, float),
    "rtf": (int, float),
}
REQUIRED = tuple(DECODE_KINDS)
OPTIONAL = ("params_active", "audio_seconds", "lm", "seed", "updates", "train_seconds", "model", "model_sha256",
            "trained_git", "git", "data_dir")  # fmt: skip
# The order in which a reader meets the systems: the reference, the baseline, the method; then the alphabet.
ORDER = ("static", "dedicated", "ld", "dld", "dld_plus")
# Words that a sample utterance has at least.
LONG_ENOUGH = 4


@dataclass
class Decode:
    """One scored decode directory.

    Attributes
    ----------
    directory : Path
        `exp/<system>/decode_<set>_n<depth>[_<variant>]`.
    info : dict
        Its `decode.json`.
    variant : str
        What the directory's name has after the depth; empty for the main decode.
    alignments : dict of str to Alignment
        By utterance.
    cer : float or None
        Character error rate in percent, where characters were scored.
    """

    directory: Path
    info: dict
    variant: str
    alignments: dict
    cer: float | None = None
    total: ErrorCounts = field(init=False)

    def __post_init__(self):
        self.total = sum((alignment.counts for alignment in self.alignments.values()), ErrorCounts())

    @property
    def key(self):
        """What two rows must not share."""
        return *self.group, self.info["depth"], self.info.get("seed")

    @property
    def group(self):
        """What the decodes of one line in a table or picture share; runs with several seeds are one line."""
        return self.info["test_set"], self.info["system"], self.variant

    @property
    def run(self):
        """Folder name of the training run."""
        return self.directory.parent.name

    @property
    def label(self):
        """System and variant, as tables and plots name a line."""
        return self.info["system"] + (f" ({self.variant})" if self.variant else "")

    def errors(self, utterances):
        """Errors of `utterances`, in that order: int array (utterances,)."""
        return np.array([self.alignments[utterance].errors for utterance in utterances])

    def words(self, utterances):
        """Reference words of `utterances`, in that order: int array (utterances,)."""
        return np.array([self.alignments[utterance].words for utterance in utterances])


def system_order(name):
    """Sort key of a system's name."""
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def collect(exp, systems=None):
    """Read every scored decode directory of an experiment folder.

    Parameters
    ----------
    exp : str or Path
        Holds `<system>/decode_<set>_n<depth>[_<variant>]/` with `decode.json`, `text` and the scores.
    systems : list of str, optional
        Only these (default: all that are there).

    Returns
    -------
    list of Decode
        Sorted by test set, system, variant, depth and seed.

    Raises
    ------
    DldError
        No decode directories, an unknown system, a directory without scores or with scores of other hypotheses, a
        `decode.json` that lacks a field or contradicts itself, two directories of one system, set and depth, or rows
        of one test set whose reference words differ.
    """
    exp = Path(exp)
    directories = sorted(path for path in exp.glob("*/decode_*") if path.is_dir())
    if not directories:
        raise DldError(
            f"{exp}: no decode directories (<system>/decode_<set>_n<depth>); run the decoding stage (stage 8)"
        )
    infos = {directory: _read_info(directory) for directory in directories}
    known = sorted({info["system"] for info in infos.values()}, key=system_order)
    unknown = [name for name in systems or () if name not in known]
    if unknown:
        raise DldError(f"{exp}: no decodes of system '{unknown[0]}'; there are {', '.join(known)}")
    decodes = [_read_decode(path, info) for path, info in infos.items() if not systems or info["system"] in systems]
    decodes.sort(
        key=lambda d: (
            *(d.info["test_set"], system_order(d.info["system"]), d.variant),
            *(d.info["depth"], d.info.get("seed") or 0, d.run),
        )
    )
    _check(decodes)
    return decodes


def _read_info(directory):
    path = directory / "decode.json"
    info = read_record(path, DECODE_KINDS, "decode again (stage 8)")
    gates = info["gates"]
    if any(gate not in (0, 1) for gate in gates):
        raise DldError(f"{path}: gates is not a list of 0 and 1; decode again (stage 8)")
    if len(gates) != info["num_blocks"] or sum(map(int, gates)) != info["depth"]:
        raise DldError(
            f"{path}: {sum(map(int, gates))} of {len(gates)} gates are open, but depth is {info['depth']} "
            f"and num_blocks {info['num_blocks']}"
        )
    if not isinstance(info.get("seed"), int | None):
        raise DldError(f"{path}: seed is {info['seed']!r}, a whole number was expected; decode again (stage 8)")
    for name in ("gmacs_per_s", "rtf"):
        if not (isinstance(info[name], int | float) and math.isfinite(info[name]) and info[name] > 0):
            raise DldError(f"{path}: {name} is {info[name]!r}, a positive number was expected")
    return info


def _read_decode(directory, info):
    prefix = f"decode_{info['test_set']}_n{info['depth']}"
    variant = directory.name.removeprefix(prefix)
    check_model(directory, info)
    if not directory.name.startswith(prefix) or (variant and variant[0] != "_"):
        raise DldError(f"{directory}: its decode.json says set {info['test_set']}, depth {info['depth']} ({prefix}…)")
    words = scored_alignments(directory)
    cer = None
    if (directory / "scoring_kaldi" / "best_cer").is_file():
        alignments = scored_alignments(directory, unit="char").values()
        cer = sum((alignment.counts for alignment in alignments), ErrorCounts()).wer
    return Decode(directory, info, variant.removeprefix("_"), words, cer)


def _check(decodes):
    first_of_key, first_of_set = {}, {}
    for decode in decodes:
        other = first_of_key.setdefault(decode.key, decode)
        if other is not decode:
            raise DldError(
                f"{decode.directory}: same system, test set, depth and seed as {other.directory}; "
                "give one of them another system name, seed or variant"
            )
        other = first_of_set.setdefault(decode.info["test_set"], decode)
        words, expected = ({key: value.words for key, value in d.alignments.items()} for d in (decode, other))
        if words != expected:
            differing = sorted(key for key in words.keys() | expected.keys() if words.get(key) != expected.get(key))
            raise DldError(
                f"{decode.directory}: {sum(words.values())} reference words, but {sum(expected.values())} in "
                f"{other.directory} (first difference: utterance {differing[0]}); score both against the same text"
            )


def row(decode, replicates=10000, seed=0):
    """One entry of `results.json`'s `rows`: a decode's identity, cost and error rate with its interval (percent)."""
    total, info = decode.total, decode.info
    low, high = _interval([decode], replicates, seed)
    return {
        **{name: info[name] for name in REQUIRED},
        "gates": [int(gate) for gate in info["gates"]],
        "variant": decode.variant,
        "run": decode.run,
        "wer": round(total.wer, 4),
        "wer_low": round(low, 4),
        "wer_high": round(high, 4),
        "ins": total.ins,
        "del": total.dels,
        "sub": total.subs,
        "words": total.words,
        "utterances": total.sentences,
        "ser": round(total.ser, 4),
        "cer": None if decode.cer is None else round(decode.cer, 4),
        **{name: info[name] for name in OPTIONAL if name in info},
    }


def _interval(decodes, replicates, seed):
    """Interval of the mean error rate of several runs, the same utterances drawn for all of them."""
    utterances = list(decodes[0].alignments)
    errors = sum(decode.errors(utterances) for decode in decodes)
    return wer_interval(errors, len(decodes) * decodes[0].words(utterances), replicates, seed)


def summary(decodes, replicates=10000, seed=0):
    """Error rate of every system, variant and depth: the mean over its seeds, with the interval of that mean.

    The interval tells how far the mean over these seeds would vary with other utterances. What other seeds would do it
    does not tell; `wers`, the error rate of each seed, gives an idea of that.

    Returns
    -------
    list of dict
        test_set, system, variant, depth, num_blocks, seeds, wers, wer, wer_low, wer_high, gmacs_per_s (mean).
    """
    found = []
    for (test_set, system, variant), by_depth in group_lines(decodes).items():
        for depth, runs in by_depth.items():
            low, high = _interval(runs, replicates, seed)
            wers = [decode.total.wer for decode in runs]
            found.append(
                {
                    "test_set": test_set,
                    "system": system,
                    "variant": variant,
                    "depth": depth,
                    "num_blocks": runs[0].info["num_blocks"],
                    "seeds": [decode.info.get("seed") for decode in runs],
                    "wers": [round(value, 4) for value in wers],
                    "wer": round(sum(wers) / len(wers), 4),
                    "wer_low": round(low, 4),
                    "wer_high": round(high, 4),
                    "gmacs_per_s": sum(decode.info["gmacs_per_s"] for decode in runs) / len(runs),
                }
            )
    return found


def group_lines(decodes):
    """Decodes by (test set, system, variant), then by depth: the runs with different seeds."""
    groups = defaultdict(lambda: defaultdict(list))
    for decode in decodes:
        groups[decode.group][decode.info["depth"]].append(decode)
    return groups


def comparisons(decodes, baseline, replicates=10000, seed=0):
    """Compare every system with `baseline` by paired bootstrap, wherever both have the same set, variant and depth.

    Beside each depth there are two aggregates, as in arXiv 2601.16117: "high dropping", the mean error rate over the
    depths n ≤ N/3 that both have, and "no dropping", depth N. The mean over depths is resampled over utterances with
    all their depths together, since one utterance's errors at two depths are not independent. Of a system with several
    seeds it is the mean over the seeds that is compared.

    Parameters
    ----------
    decodes : list of Decode
        From `collect`.
    baseline : str
        System name.

    Returns
    -------
    list of dict
        `system, baseline, test_set, variant, range` ("depth", "high dropping" or "no dropping"), `depths`, `wer`,
        `baseline_wer` and what `paired_bootstrap` returns.
    """
    lines = group_lines(decodes)
    found = []
    for (test_set, system, variant), ours in lines.items():
        theirs = lines.get((test_set, baseline, variant), {})
        depths = sorted(ours.keys() & theirs.keys())
        if system == baseline or not depths:
            continue
        blocks = {d.info["num_blocks"] for depth in depths for d in (*ours[depth], *theirs[depth])}
        ranges = [("depth", [depth]) for depth in depths]
        if len(blocks) == 1:
            size = blocks.pop()
            ranges.append(("high dropping", [depth for depth in depths if 3 * depth <= size]))
            ranges.append(("no dropping", [depth for depth in depths if depth == size]))
        for name, chosen in ranges:
            if not chosen:
                continue
            utterances = list(ours[chosen[0]][0].alignments)
            # Whole numbers throughout: every depth counts as often as the sides' numbers of seeds have a multiple.
            times = math.lcm(*(len(side[depth]) for side in (ours, theirs) for depth in chosen))
            a, b = (
                sum(times // len(side[depth]) * d.errors(utterances) for depth in chosen for d in side[depth])
                for side in (ours, theirs)
            )
            words = times * len(chosen) * ours[chosen[0]][0].words(utterances)
            found.append(
                {
                    "system": system,
                    "baseline": baseline,
                    "test_set": test_set,
                    "variant": variant,
                    "range": name,
                    "depths": chosen,
                    "wer": 100.0 * int(a.sum()) / int(words.sum()),
                    "baseline_wer": 100.0 * int(b.sum()) / int(words.sum()),
                    **paired_bootstrap(a, b, words, replicates, seed),
                }
            )
    return found


def twins(decodes):
    """Pairs of decodes of one run, with different gates, whose hypotheses are equal word for word.

    At a high error rate that means that the gates did not reach the model. Perfect transcripts are left out.

    Returns
    -------
    list of dict
        test_set, label, depths.
    """
    seen, pairs = {}, []
    for decode in decodes:
        hypotheses = tuple(tuple(op[2] for op in alignment.ops) for alignment in decode.alignments.values())
        other = seen.setdefault((decode.run, decode.info["test_set"], hypotheses), decode)
        if other.info["gates"] != decode.info["gates"] and decode.total.errors:
            pairs.append(
                {
                    "test_set": decode.info["test_set"],
                    "label": other.label,
                    "depths": [other.info["depth"], decode.info["depth"]],
                }
            )
            logging.warning("%s and %s: different gates, equal hypotheses", other.directory, decode.directory)
    return pairs


def training_curves(exp, decodes):
    """Read the training logs of the runs that were decoded.

    Parameters
    ----------
    exp : str or Path
        Holds `<run>/train_log.jsonl`, one JSON object per epoch with `epoch`, `updates`, `seconds`, `wer` (by depth)
        and `mean_wer`.
    decodes : list of Decode

    Returns
    -------
    list of dict
        run, system, seed, depths (those whose mean `mean_wer` is), and the lists epoch, updates, seconds, mean_wer.
        Runs without a log are left out.

    Raises
    ------
    DldError
        A line that is not JSON or lacks one of these.
    """
    curves = []
    for run, info in {decode.run: decode.info for decode in decodes}.items():
        path = Path(exp) / run / "train_log.jsonl"
        if not path.is_file():
            continue
        names = ("epoch", "updates", "seconds", "mean_wer")
        curve = {"run": run, "system": info["system"], "seed": info.get("seed"), **{name: [] for name in names}}
        for number, line in read_lines(path):
            try:
                entry = json.loads(line)
                curve["depths"] = sorted(map(int, entry["wer"]))
                for name in names:
                    curve[name].append(entry[name])
            except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
                raise DldError(f"{path}:{number}: not a line of a training log ({error})") from None
        if curve["epoch"]:
            curves.append(curve)
    return curves


def convergence(curves, baseline):
    """How much of the baseline's training each run needed to come down to the baseline's last validation error rate.

    A run is measured against the baseline's run of the same seed, or else its first, and at ends of epochs, so what is
    found is an upper bound. The time of a separate teacher is not counted.

    Returns
    -------
    list of dict
        run, system, seed, target (percent, mean over depths), epoch, updates, seconds (None where the rate was not
        reached), and the shares of the baseline's whole run, updates_share and seconds_share.
    """
    goals = [curve for curve in curves if curve["system"] == baseline]
    found = []
    for curve in curves:
        same = [goal for goal in goals if goal["seed"] == curve["seed"]] or goals
        if not same or curve["depths"] != same[0]["depths"]:
            continue
        goal = same[0]
        target = goal["mean_wer"][-1]
        place = next((i for i, value in enumerate(curve["mean_wer"]) if value <= target), None)
        entry = {"run": curve["run"], "system": curve["system"], "seed": curve["seed"], "target": target}
        for name in ("epoch", "updates", "seconds"):
            entry[name] = None if place is None else curve[name][place]
        for name in ("updates", "seconds"):
            entry[f"{name}_share"] = None if place is None else curve[name][place] / goal[name][-1]
        found.append(entry)
    return found


def choose_utterances(decodes, number=8):
    """Pick utterances spread evenly over the error rates (all decodes together), from the easiest to the hardest.

    Utterances that every decode gets right are represented once, the rest by quantiles of their error rate. One word or
    two show little: where enough utterances are longer, only those are taken.
    """
    words = {utterance: alignment.words for utterance, alignment in decodes[0].alignments.items() if alignment.words}
    longer = {utterance: count for utterance, count in words.items() if count >= LONG_ENOUGH}
    rates = {
        utterance: sum(decode.alignments[utterance].errors for decode in decodes) / count
        for utterance, count in (longer if len(longer) >= number else words).items()
    }
    ranked = sorted(rates, key=lambda utterance: (rates[utterance], utterance))
    perfect = [utterance for utterance in ranked if rates[utterance] == 0]
    wrong = ranked[len(perfect) :]
    room = min(len(wrong), number - len(perfect[:1]))
    places = np.linspace(0, len(wrong) - 1, room).round().astype(int) if room else []
    return perfect[:1] + [wrong[place] for place in places]
