"""Kaldi `text` files in, and the files that Kaldi's scoring leaves in a decode directory out."""

import codecs
import re
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dld.data.kaldi.tables import read_entries, read_table, shown
from dld.errors import DldError
from dld.files import atomic_write, read_json, read_lines, sha256, write_json
from dld.scoring.alignment import CORRECT, DELETION, INSERTION, SUBSTITUTION, Alignment, ErrorCounts, align
from dld.scoring.bootstrap import wer_interval

# Kaldi splits at ASCII white space only: a no-break space is part of a word.
SPACE = re.compile(r"[ \t\r\f\v]+")
UNBROKEN = re.compile(r"\[.*\]|<.*>")
UNITS = {"word": "wer", "char": "cer"}
SUFFIXES = {"word": ".txt", "char": ".chars.txt"}


def read_text(path: str | Path) -> dict[str, list[str]]:
    r"""Read a Kaldi `text` file.

    Parameters
    ----------
    path : str or Path
        Lines `utterance-id word word …`; an id alone is an utterance without words.

    Returns
    -------
    dict of str to list of str
        Words by utterance, in the file's order.

    Raises
    ------
    DldError
        Missing or empty file, a line without an id, an id that comes twice, text that is not UTF-8.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "text"
    >>> _ = path.write_text("utt1 one two\nutt2\n")
    >>> read_text(path)
    {'utt1': ['one', 'two'], 'utt2': []}
    """
    return _words(Path(path))


def _words(path, numbered=None):
    """Return the words by utterance of a `text` table; see `dld.data.kaldi.tables.scan`."""
    table = read_entries(path, 0, None, numbered)
    return {utterance: [word for word in SPACE.split(text) if word] for utterance, text in table.items()}


def read_filtered_text(path: str | Path, command: str | None = None) -> dict[str, list[str]]:
    """Read a Kaldi `text` file through a filter.

    Parameters
    ----------
    path : str or Path
        The `text` file.
    command : str, optional
        Shell command that reads the file's lines, ids included, and writes the lines to score (Kaldi's
        `local/wer_hyp_filter`).

    Raises
    ------
    DldError
        As `read_text`, or the command fails, or it loses or makes up utterances.
    """
    plain = read_text(path)
    if not command:
        return plain
    # A byte order mark would become part of the first id in what the filter writes.
    raw = Path(path).read_bytes().removeprefix(codecs.BOM_UTF8)
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], input=raw, capture_output=True)
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise DldError(f"{path}: filter '{command}' failed with status {done.returncode}: {' '.join(reason[-1:])}")
    try:
        # Not str.splitlines, which would also split at U+2028 and its like inside a line.
        lines = done.stdout.decode("utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise DldError(f"{path}: filter '{command}' wrote text that is not UTF-8 ({error.reason})") from None
    output = Path(f"output of '{command}' on {path}")
    filtered = _words(output, ((n, line.rstrip("\r")) for n, line in enumerate(lines, 1)))
    require_same_ids(plain, filtered, path, f"the output of filter '{command}'")
    return filtered


def require_same_ids(expected, given, expected_name, given_name):
    """Raise a `DldError` that lists the utterances which only one of two dictionaries has."""
    missing = [utterance for utterance in expected if utterance not in given]
    extra = [utterance for utterance in given if utterance not in expected]
    parts = []
    for ids, what in ((missing, "missing"), (extra, "not in the reference")):
        if ids:
            more = ", …" if len(ids) > 5 else ""
            parts.append(f"{len(ids)} {what} ({', '.join(map(shown, ids[:5]))}{more})")
    if parts:
        raise DldError(
            f"{given_name}: utterances do not match {expected_name}: {'; '.join(parts)}; "
            "every utterance needs exactly one line, an id alone where nothing was recognised"
        )


def read_utt2spk(path: str | Path, utterances: Iterable[str]) -> dict[str, str]:
    """Read the speaker of each of `utterances` from a Kaldi `utt2spk` file; one without a speaker is an error."""
    speakers = read_table(path, columns=1)
    unknown = [utterance for utterance in utterances if utterance not in speakers]
    if unknown:
        raise DldError(f"{path}: no speaker for {len(unknown)} utterances, the first is {unknown[0]}")
    return speakers


def to_characters(words: list[str]) -> list[str]:
    """Split words into characters as Kaldi's CER scoring does: no spaces, `<unk>` and `[noise]` stay whole.

    Examples
    --------
    >>> to_characters(["two", "<unk>"])
    ['t', 'w', 'o', '<unk>']
    """
    return [unit for word in words for unit in ([word] if UNBROKEN.fullmatch(word) else word)]


def score_name(name: str, value: str | float) -> str:
    """Return a language-model weight or an insertion penalty as text, checked, since it becomes part of a file name.

    Examples
    --------
    >>> score_name("lmwt", 0.5), score_name("wip", "-1.0")
    ('0.5', '-1.0')
    >>> score_name("lmwt", "../7")
    Traceback (most recent call last):
    dld.errors.DldError: lmwt is '../7'; a number from -1000 to 1000 was expected, such as 0.5
    """
    text = value if isinstance(value, str) else repr(value)
    number = re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?", text)
    if isinstance(value, bool) or not number or len(text) > 30 or abs(float(text)) > 1000:
        raise DldError(f"{name} is {shown(repr(value))}; a number from -1000 to 1000 was expected, such as 0.5")
    return text


def remove_scores(directory: str | Path, unit: str = "word") -> None:
    """Remove what an earlier scoring left, so that no old result is next to new hypotheses."""
    rate, suffix = UNITS[unit], SUFFIXES[unit]
    directory = Path(directory)
    scoring = directory / "scoring_kaldi"
    old = [*directory.glob(f"{rate}_*"), scoring / f"best_{rate}", scoring / f"test_filt{suffix}"]
    old += [path for path in scoring.glob("penalty_*/*.txt") if path.name.endswith(".chars.txt") == (unit == "char")]
    for path in old:
        if path.is_file():
            path.unlink()
    shutil.rmtree(scoring / f"{rate}_details", ignore_errors=True)


@dataclass(frozen=True)
class ScoreOptions:
    """How hypotheses are scored.

    Attributes
    ----------
    unit : {"word", "char"}
        What is counted; characters as in `to_characters`.
    utt2spk : str or Path, optional
        Speakers, for `per_spk`; without it that file is not written.
    ref_filter, hyp_filter : str, optional
        Commands as in `read_filtered_text`.
    lmwt, wip : str or float
        Language-model weight and word insertion penalty of the decode, for the names; see `score_name`.
    replicates, seed : int
        Draws and seed of the bootstrap interval in `wer_bootci`.
    """

    unit: str = "word"
    utt2spk: str | Path | None = None
    ref_filter: str | None = None
    hyp_filter: str | None = None
    lmwt: str | float = "0"
    wip: str | float = "0.0"
    replicates: int = 10000
    seed: int = 0


def _is_of(details: Path, hyp_path: str | Path) -> bool:
    """Return whether the scores in a folder are those of a file of hypotheses."""
    try:
        return read_json(details / "inputs.json")["hyp"] == sha256(hyp_path)
    except (DldError, OSError, KeyError, TypeError):
        return False


def score(
    ref_path: str | Path, hyp_path: str | Path, directory: str | Path, options: ScoreOptions | None = None
) -> ErrorCounts:
    """Score hypotheses against references and write Kaldi's score files.

    Files of a decode without a language model are named `wer_0_0.0`: Kaldi's `wer_<lmwt>_<wip>` with weight 0 and
    penalty 0, so that whatever globs or parses Kaldi's names works. CER files are named in the same way.

    Parameters
    ----------
    ref_path, hyp_path : str or Path
        Kaldi `text` files.
    directory : str or Path
        The decode directory to write `wer_*` (or `cer_*`) and `scoring_kaldi/` into; `scoring_kaldi/best_wer` is
        written last. Results of an earlier scoring of the same unit are removed, those of the same hypotheses only when
        this one succeeds.
    options : ScoreOptions, optional
        Default: words, without filters and speakers.

    Raises
    ------
    DldError
        Unreadable, duplicate, missing or extra utterances, a filter that fails, no reference words.
    """
    options = options or ScoreOptions()
    rate, suffix = UNITS[options.unit], SUFFIXES[options.unit]
    lmwt, wip = score_name("lmwt", options.lmwt), score_name("wip", options.wip)
    directory = Path(directory)
    details = directory / "scoring_kaldi" / f"{rate}_details"
    # An earlier result of these very hypotheses stays where this scoring fails; any other goes.
    if not _is_of(details, hyp_path):
        remove_scores(directory, options.unit)
    refs, hyps = _read_pair(ref_path, hyp_path, options)
    speakers = read_utt2spk(options.utt2spk, refs) if options.utt2spk else None
    alignments = {utterance: align(words, hyps[utterance]) for utterance, words in refs.items()}
    total = sum((alignment.counts for alignment in alignments.values()), ErrorCounts())
    remove_scores(directory, options.unit)

    scoring = directory / "scoring_kaldi"
    _write_text(scoring / f"test_filt{suffix}", refs)
    _write_text(scoring / f"penalty_{wip}" / f"{lmwt}{suffix}", hyps)
    write_per_utt(details / "per_utt", alignments)
    if speakers:
        _write_per_spk(details / "per_spk", alignments, speakers)
    _write_ops(details / "ops", alignments)
    _write_lines(details / "lmwt", [lmwt])
    _write_lines(details / "wip", [wip])
    _write_lines(details / f"{rate}_bootci", [f"Set1: %WER {total.wer:.2f} {_interval(alignments, options)}"])
    # Lets the report see that the hypotheses it finds are the ones that were scored.
    filters = {"ref_filter": options.ref_filter, "hyp_filter": options.hyp_filter}
    write_json(details / "inputs.json", {"ref": sha256(ref_path), "hyp": sha256(hyp_path), **filters})
    result = directory / f"{rate}_{lmwt}_{wip}"
    ser = f"%SER {total.ser:.2f} [ {total.sentence_errors} / {total.sentences} ]"
    _write_lines(result, [str(total), ser, f"Scored {total.sentences} sentences, 0 not present in hyp."])
    _write_lines(scoring / f"best_{rate}", [f"{total} {result}"])
    return total


def _read_pair(ref_path, hyp_path, options):
    """Read references and hypotheses, in the unit that is counted."""
    refs = read_filtered_text(ref_path, options.ref_filter)
    hyps = read_filtered_text(hyp_path, options.hyp_filter)
    require_same_ids(refs, hyps, ref_path, hyp_path)
    if options.unit == "char":
        refs, hyps = ({key: to_characters(words) for key, words in side.items()} for side in (refs, hyps))
    if not any(refs.values()):
        raise DldError(f"{ref_path}: no utterance has any words, so there is no error rate")
    return refs, hyps


def _interval(alignments, options):
    counts = zip(*((alignment.errors, alignment.words) for alignment in alignments.values()), strict=True)
    low, high = wer_interval(*counts, options.replicates, options.seed)
    return f"95% Conf Interval [ {low:.2f}, {high:.2f} ]"


def _write_lines(path, lines):
    with atomic_write(path) as out:
        out.writelines(f"{line}\n" for line in lines)


def _write_text(path, texts):
    _write_lines(path, (" ".join([utterance, *words]) for utterance, words in texts.items()))


def write_per_utt(path: str | Path, alignments: dict[str, Alignment]) -> None:
    """Write `per_utt`: for each utterance the aligned `ref`, `hyp` and `op` rows and `#csid`, the four counts."""
    id_width = max(len(utterance) for utterance in alignments)
    lines = []
    for utterance, alignment in alignments.items():
        widths = [max(len(ref), len(hyp)) for _, ref, hyp in alignment.ops]
        columns = {
            "ref": [ref for _, ref, _ in alignment.ops],
            "hyp": [hyp for _, _, hyp in alignment.ops],
            "op": [op for op, _, _ in alignment.ops],
        }
        for name, cells in columns.items():
            row = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
            lines.append(f"{utterance:<{id_width}} {name:<5} {row}".rstrip())
        counts = (alignment.correct, alignment.subs, alignment.ins, alignment.dels)
        lines.append(f"{utterance:<{id_width}} #csid {' '.join(map(str, counts))}")
    _write_lines(path, lines)


def read_per_utt(path: str | Path) -> dict[str, Alignment]:
    """Read a `per_utt` file back.

    Returns
    -------
    dict of str to Alignment
        Alignments by utterance, in the file's order.

    Raises
    ------
    DldError
        The file is missing or its rows do not fit together.
    """
    rows = defaultdict(dict)
    for number, line in read_lines(path):
        fields = SPACE.split(line)
        if len(fields) < 2:
            raise DldError(f"{path}:{number}: not a row of aligned words; score again")
        utterance, kind, *cells = fields
        rows[utterance][kind] = cells
        if kind != "#csid":
            continue
        row = rows[utterance]
        widths = {len(row.get(name, ())) for name in ("op", "ref", "hyp")}
        counts = Counter(row.get("op", ()))
        if len(widths) > 1 or cells != [str(counts[op]) for op in (CORRECT, SUBSTITUTION, INSERTION, DELETION)]:
            raise DldError(f"{path}:{number}: the rows of {utterance} do not fit together; score again")
    unfinished = [utterance for utterance, row in rows.items() if "#csid" not in row]
    if unfinished or not rows:
        raise DldError(f"{path}: {unfinished[0] + ' has no #csid row' if unfinished else 'is empty'}; score again")
    columns = {utterance: zip(row["op"], row["ref"], row["hyp"], strict=True) for utterance, row in rows.items()}
    return {utterance: Alignment(tuple(cells)) for utterance, cells in columns.items()}


def _is_fresh(directory, hyp_name, unit):
    inputs = directory / "scoring_kaldi" / f"{UNITS[unit]}_details" / "inputs.json"
    return inputs.is_file() and read_json(inputs).get("hyp") == sha256(directory / hyp_name)


def remove_stale_scores(directory: str | Path, hyp_name: str = "text") -> None:
    """Remove the scores of a unit that were made from other hypotheses than are there now."""
    for unit in UNITS:
        if not _is_fresh(Path(directory), hyp_name, unit):
            remove_scores(directory, unit)


def scored_alignments(directory: str | Path, hyp_name: str = "text", unit: str = "word") -> dict[str, Alignment]:
    """Read the alignments of a scored decode directory.

    Raises
    ------
    DldError
        The directory was not scored, or its hypotheses changed since.
    """
    directory = Path(directory)
    rate = UNITS[unit]
    if not (directory / "scoring_kaldi" / f"best_{rate}").is_file():
        raise DldError(f"{directory}: not scored yet; run the scoring stage (stage 9) or local/score.sh first")
    if not _is_fresh(directory, hyp_name, unit):
        raise DldError(f"{directory / hyp_name}: changed since it was scored; run the scoring stage (stage 9) again")
    return read_per_utt(directory / "scoring_kaldi" / f"{rate}_details" / "per_utt")


def _write_per_spk(path, alignments, speakers):
    totals = defaultdict(ErrorCounts)
    for utterance, alignment in alignments.items():
        totals[speakers[utterance]] += alignment.counts
    rows = sorted(totals.items(), key=lambda item: item[0].encode())
    rows.append(("SUM", sum(totals.values(), ErrorCounts())))
    width = max(7, *(len(speaker) for speaker, _ in rows))
    heads = ("#SENT", "#WORD", "Corr", "Sub", "Ins", "Del", "Err", "S.Err")
    lines = [f"{'SPEAKER':<{width}}  id " + "".join(f"{head:>11}" for head in heads)]
    for speaker, total in rows:
        correct = total.words - total.subs - total.dels
        counts = (correct, total.subs, total.ins, total.dels, total.errors)
        raw = (total.sentences, total.words, *counts, total.sentence_errors)
        # A speaker without words has no rates; 0.00 keeps the column numeric, the raw row shows the counts.
        rates = [100.0 * count / total.words if total.words else 0.0 for count in counts] + [total.ser]
        lines.append(f"{speaker:<{width}}  raw" + "".join(f"{count:>11}" for count in raw))
        percents = "".join(f"{value:>11.2f}" for value in rates)
        lines.append(f"{speaker:<{width}}  sys{total.sentences:>11}{total.words:>11}{percents}")
    _write_lines(path, lines)


def _write_ops(path, alignments):
    names = {CORRECT: "correct", SUBSTITUTION: "substitution", INSERTION: "insertion", DELETION: "deletion"}
    counts = Counter(op for alignment in alignments.values() for op in alignment.ops)
    width = max((len(word) for _, *words in counts for word in words), default=0)
    rows = sorted(counts.items(), key=lambda item: (names[item[0][0]], -item[1], item[0]))
    _write_lines(path, (f"{names[op]:<13} {ref:<{width}} {hyp:<{width}} {count:>6}" for (op, ref, hyp), count in rows))
