"""NIST sclite on a decode directory: the independent second opinion on an error rate."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from dld.errors import DldError
from dld.scoring.alignment import ErrorCounts
from dld.scoring.kaldi import read_filtered_text, read_utt2spk, require_same_ids
from dld.scoring.times import Times

# Characters with a meaning in sclite's transcripts: alternations { / }, the empty word @, optional words and ids ( ),
# markup < >, comments ;; and gap marks *. They are written as %XX so that scoring still sees distinct words.
SPECIAL = re.compile(r"[%{}/@()<>;*\\]")
SUM_ROW = re.compile(r"^\s*\|\s*Sum\s*\|([\d\s|]+)\|\s*$", re.MULTILINE)


def find_sclite() -> list[str]:
    """Return the command that starts sclite, as a list: on PATH itself, or through Debian's `sctk`.

    Raises
    ------
    DldError
        It is not installed.
    """
    if shutil.which("sclite"):
        return ["sclite"]
    if shutil.which("sctk"):
        return ["sctk", "sclite"]
    raise DldError(
        "sclite is not installed: on Debian and Ubuntu 'apt-get install sctk', elsewhere build "
        "https://github.com/usnistgov/SCTK and put its bin folder in PATH"
    )


def escape(word: str) -> str:
    """Write characters that sclite reads as markup as %XX.

    Examples
    --------
    >>> escape("{a/b}"), escape("it's")
    ('%7Ba%2Fb%7D', "it's")
    """
    return SPECIAL.sub(lambda match: f"%{ord(match.group()):02X}", word)


def _trn_line(utterance, speaker, words):
    # `-i rm` takes the speaker to be what comes before the first dash.
    return " ".join([*map(escape, words), f"({escape(speaker).replace('-', '%2D')}-{escape(utterance)})"])


def _write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _run(command, what, **options):
    done = subprocess.run(command, capture_output=True, **options)
    if done.returncode:
        said = (done.stderr + done.stdout).decode("utf-8", "replace").strip().splitlines()
        raise DldError(f"{what} failed with status {done.returncode}: {' / '.join(said[-3:])}")
    return done.stdout


def _ctm_lines(hyps, data_dir):
    """Return hypotheses as CTM: greedy decoding keeps no word times, so each word gets an equal part of its segment.

    sclite puts a word into the reference segment that holds its middle; words spread inside their own segment
    therefore land in the right one.
    """
    of_directory = Times(data_dir)
    times, channels = of_directory.utterances(), of_directory.channels
    require_same_ids(hyps, {key: times[key] for key in times if key in hyps}, "the hypotheses", data_dir)
    rows = []
    for utterance, words in hyps.items():
        recording, start, end = times[utterance]
        name, channel = channels.get(recording, (recording, "1"))
        step = (end - start) / max(1, len(words))
        rows += [(name, channel, start + index * step, step, word) for index, word in enumerate(words)]
    rows.sort(key=lambda row: row[:3])
    return [f"{name} {channel} {begin:.3f} {length:.3f} {word}" for name, channel, begin, length, word in rows]


def read_totals(path: str | Path) -> ErrorCounts:
    """Read the `Sum` row of sclite's raw report (`*.raw`).

    Returns
    -------
    ErrorCounts

    Raises
    ------
    DldError
        The report has no such row.
    """
    match = SUM_ROW.search(Path(path).read_text(encoding="utf-8", errors="replace"))
    if not match:
        raise DldError(f"{path}: sclite's report has no Sum row")
    sentences, words, _, subs, dels, ins, _, wrong = map(int, match.group(1).replace("|", " ").split())
    return ErrorCounts(words, ins, dels, subs, sentences, wrong)


def score(
    data_dir: str | Path, decode_dir: str | Path, ref_filter: str | None = None, hyp_filter: str | None = None
) -> ErrorCounts:
    """Score a decode directory with sclite and keep the reports in `<decode_dir>/scoring_sclite/`.

    With `<data_dir>/stm` the reference is that file and the hypotheses become a CTM (`<decode_dir>/ctm` where the
    decoder wrote one); with `<data_dir>/glm` as well, both go through NIST's `csrfilt.sh`, and as NIST does letters'
    case is ignored. Otherwise both are trn files made of the `text` files, and case counts. sclite weighs a
    substitution 4 and an insertion or deletion 3, so its split of the errors can differ a little from compute-wer's.

    Parameters
    ----------
    data_dir : str or Path
        Holds `text` and `utt2spk` (or `stm`, optionally `glm`, `segments`, `reco2file_and_channel`).
    decode_dir : str or Path
        Holds `text`, the hypotheses.
    ref_filter, hyp_filter : str, optional
        Commands as in `dld.scoring.kaldi.read_filtered_text`; the reference's applies to `text`, not to `stm`.

    Returns
    -------
    ErrorCounts

    Raises
    ------
    DldError
        sclite is missing or fails, or the inputs do not match as in `dld.scoring.kaldi.score`.
    """
    data_dir, decode_dir = Path(data_dir), Path(decode_dir)
    output = decode_dir / "scoring_sclite"
    shutil.rmtree(output, ignore_errors=True)
    sclite = find_sclite()
    hyps = read_filtered_text(decode_dir / "text", hyp_filter)
    decode_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=decode_dir, prefix=".sclite.") as folder:
        work = Path(folder) / "reports"
        work.mkdir()
        if (data_dir / "stm").is_file():
            inputs = _prepare_stm(data_dir, decode_dir, hyps, work, csrfilt=[*sclite[:-1], "csrfilt.sh"])
        else:
            refs = read_filtered_text(data_dir / "text", ref_filter)
            require_same_ids(refs, hyps, data_dir / "text", decode_dir / "text")
            speakers = read_utt2spk(data_dir / "utt2spk", refs)
            _write(work / "ref.trn", (_trn_line(key, speakers[key], words) for key, words in refs.items()))
            _write(work / "hyp.trn", (_trn_line(key, speakers[key], hyps[key]) for key in refs))
            inputs = ["-r", "ref.trn", "trn", "-h", "hyp.trn", "trn", "-i", "rm", "-s"]
        reports = ["-o", "sum", "rsum", "pralign", "dtl", "-n", "score"]
        log = _run([*sclite, *inputs, "-e", "utf-8", *reports], "sclite", cwd=work)
        (work / "sclite.log").write_bytes(log)
        total = read_totals(work / "score.raw")
        work.rename(output)
    return total


def _prepare_stm(data_dir, decode_dir, hyps, work, csrfilt):
    _write(work / "ref.stm", Times(data_dir).stm_lines())
    if (decode_dir / "ctm").is_file():
        shutil.copyfile(decode_dir / "ctm", work / "hyp.ctm")
    else:
        _write(work / "hyp.ctm", _ctm_lines(hyps, data_dir))
    if not (data_dir / "glm").is_file():
        return ["-r", "ref.stm", "stm", "-h", "hyp.ctm", "ctm"]
    shutil.copyfile(data_dir / "glm", work / "glm")
    for name, kind, side in (("ref.stm", "stm", "ref"), ("hyp.ctm", "ctm", "hyp")):
        plain = (work / name).read_bytes()
        filtered = _run([*csrfilt, "-i", kind, "-t", side, "-dh", "glm"], "csrfilt.sh", input=plain, cwd=work)
        (work / f"{name}.filt").write_bytes(filtered)
    return ["-r", "ref.stm.filt", "stm", "-h", "hyp.ctm.filt", "ctm"]
