"""Repairing a data directory."""

import logging
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

from dld.data.audio import TOLERANCE
from dld.data.kaldi.directory import make_utterance, measure, require_folder, write
from dld.data.kaldi.tables import (
    INVISIBLE,
    SHORTEST,
    TABLES,
    file_complaints,
    has_table,
    read_loosely,
    shown,
    spaced,
    text_complaint,
)
from dld.data.pipes import PipesRefused
from dld.errors import DldError

logger = logging.getLogger(__name__)

EMPTY = "empty text"


@dataclass
class FixReport:
    """What `fix` did.

    Attributes
    ----------
    folder, backup : Path
        The directory, and where its old files are.
    kept : int
    removed : dict of str to list of str
        Ids by reason.
    repeated, repaired : list of str
        Lines that were dropped since their key was there already; faults of whole files.
    """

    folder: Path
    backup: Path
    kept: int = 0
    removed: dict = field(default_factory=dict)
    repeated: list = field(default_factory=list)
    repaired: list = field(default_factory=list)

    def __str__(self):
        """Return the summary that `fix` prints."""
        removed = sum(map(len, self.removed.values()))
        lines = [f"{self.folder}: kept {self.kept} of {self.kept + removed} utterances (old files: {self.backup})"]
        lines += [
            f"  removed {len(ids)}: {reason} ({', '.join(map(shown, ids[:3]))}{', ...' if len(ids) > 3 else ''})"
            for reason, ids in sorted(self.removed.items())
        ]
        if EMPTY in self.removed:
            lines.append(
                "  scoring counts utterances with an empty reference: for a test set, copy .backup/text back and "
                "keep them with --allow-empty true"
            )
        lines += [f"  repaired: {line}" for line in self.repaired]
        lines += [f"  {line}" for line in self.repeated[:10]]
        if len(self.repeated) > 10:
            lines.append(f"  ... and {len(self.repeated) - 10} more repeated lines")
        return "\n".join(lines)


def fix(folder: str | Path, audio: bool = True, allow_empty: bool = False) -> FixReport:
    """Repair a data directory as Kaldi's `fix_data_dir.sh` does, and make `spk2utt` and `utt2dur` again.

    Tables are sorted; of lines with the same key the first stays; utterances stay that have a speaker, a valid
    text (if there is `text`) and audio that holds them. Odd whitespace in text becomes plain spaces; byte order marks
    and Windows line ends go. The old files go to `.backup` in the folder.

    An utterance without words teaches nothing, so by default it is removed, and `validate` reports it. In a test set
    it counts: what is recognised in it are insertions. Removing it would change the error rate silently, so
    test sets are repaired and validated with `allow_empty`.

    Parameters
    ----------
    folder : str or Path
    audio : bool
        Open every recording and measure durations. Without it `utt2dur`, `reco2dur` and `segments` are believed.
    allow_empty : bool
        Keep utterances whose text is empty.

    Returns
    -------
    FixReport
        `kept` and `removed` together are all ids that any file named.

    Raises
    ------
    DldError
        A file is missing or not UTF-8, or no utterance would be left; then nothing has been changed.
    """
    folder = Path(folder)
    require_folder(folder)
    report = FixReport(folder, folder / ".backup")
    tables: dict[str, dict[str, str]] = {}
    broken: dict[str, dict[str, str]] = {}
    for name in TABLES:
        if has_table(folder, name):
            tables[name] = read_loosely(folder / name, broken.setdefault(name, {}), report.repeated)
            report.repaired += [f"{folder / name} {complaint}" for _, complaint in file_complaints(folder / name)]
    if "wav.scp" not in tables:
        raise DldError(f"{folder / 'wav.scp'}: no such file; a data directory needs it")
    if "utt2spk" not in tables:
        if "spk2utt" not in tables:
            raise DldError(f"{folder / 'utt2spk'}: no such file, nor spk2utt; a data directory needs it")
        tables["utt2spk"] = {u: speaker for speaker, ids in tables["spk2utt"].items() for u in ids.split()}
    recordings = measure(tables["wav.scp"].items()) if audio else None
    for error in (recordings or {}).values():
        if isinstance(error, PipesRefused):
            raise error
    unreadable = [error for error in (recordings or {}).values() if isinstance(error, DldError)]
    for error in unreadable[:10]:
        logger.warning("%s", error)
    if len(unreadable) > 10:
        logger.warning("%s: %d more recordings cannot be read", folder, len(unreadable) - 10)
    source = "segments" if "segments" in tables else "wav.scp"
    # Ids of malformed lines count: whatever leaves the directory is reported.
    named = {key for name in ("utt2spk", source, "text") for part in (tables, broken) for key in part.get(name, ())}
    reasons = {key: reason for name in broken for key, reason in broken[name].items()}
    kept = []
    for key in sorted(named):
        utterance, reason = _mend(key, folder, source, tables, recordings, allow_empty)
        if reason is None:
            kept.append(utterance)
        else:
            report.removed.setdefault(reasons.get(key, reason), []).append(key)
    report.kept = len(kept)
    if not kept:
        raise DldError(f"{folder}: no utterance would be left, so nothing was changed. {' '.join(str(report).split())}")
    if not all(u.gender for u in kept):
        # Kaldi's spk2gender has all speakers, or is not there.
        if "spk2gender" in tables:
            report.repaired.append(f"{folder / 'spk2gender'} does not state the gender of every speaker: removed")
        kept = [replace(u, gender=None) for u in kept]
    report.backup.mkdir(exist_ok=True)
    for name in tables:
        if (folder / name).is_file():
            shutil.copy2(folder / name, report.backup / name)
    write(folder, kept)
    return report


def _mend(key, folder, source, tables, recordings, allow_empty):
    """Return `(utterance, None)`, or `(None, reason)` where it cannot be kept.

    `recordings` maps recording ids to seconds or to errors; None believes the tables.
    """
    for name in ("utt2spk", "text", source):
        if name in tables and key not in tables[name]:
            return None, f"not in {name}"
    if "text" in tables:
        tables["text"][key] = spaced("".join(" " if c in INVISIBLE or c.isspace() else c for c in tables["text"][key]))
        complaint = text_complaint(tables["text"][key], allow_empty)
        if complaint:
            return None, complaint[0]
    recording = tables[source][key].split()[0] if source == "segments" else key
    if recording not in tables["wav.scp"]:
        return None, "its recording is not in wav.scp"
    if recordings is None:
        believed = {n: t for n, t in tables.items() if n != "utt2dur" or key in t}
        utterance = make_utterance(folder, key, source, believed)
        length = utterance.recording_duration
        if utterance.duration is None:
            return None, "no duration known without reading audio"
    else:
        length = recordings[recording]
        if isinstance(length, DldError):
            return None, "its audio cannot be read"
        measured = {n: t for n, t in tables.items() if n != "utt2dur"}
        utterance = make_utterance(folder, key, source, measured)
        end = length if utterance.end is None else utterance.end
        known = round(length, 6) if "reco2dur" in tables else None
        utterance = replace(utterance, duration=end - utterance.start, recording_duration=known)
    if length is not None and (utterance.start >= length or (utterance.end or 0) > length + TOLERANCE):
        return None, "its segment is not inside its recording"
    if utterance.duration < SHORTEST:
        return None, f"shorter than {SHORTEST:g} s"
    return utterance, None
