"""Repairing a data directory."""

import logging
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

from dld.data.audio import TOLERANCE
from dld.data.kaldi.directory import make_utterance, measure, require_folder, write
from dld.data.kaldi.tables import INVISIBLE, TABLES, read_loosely, spaced, text_complaint
from dld.data.pipes import PipesRefused
from dld.errors import DldError

logger = logging.getLogger(__name__)


@dataclass
class FixReport:
    """What `fix` did: `kept` utterances, `removed` ids by reason, `repeated` lines, and where the `backup` is."""

    folder: Path
    backup: Path
    kept: int = 0
    removed: dict = field(default_factory=dict)
    repeated: list = field(default_factory=list)

    def __str__(self):
        removed = sum(map(len, self.removed.values()))
        lines = [f"{self.folder}: kept {self.kept} of {self.kept + removed} utterances (old files: {self.backup})"]
        lines += [
            f"  removed {len(ids)}: {reason} ({', '.join(ids[:3])}{', ...' if len(ids) > 3 else ''})"
            for reason, ids in sorted(self.removed.items())
        ]
        lines += [f"  {line}" for line in self.repeated[:10]]
        if len(self.repeated) > 10:
            lines.append(f"  ... and {len(self.repeated) - 10} more repeated lines")
        return "\n".join(lines)


def fix(folder, audio=True):
    """Repair a data directory as Kaldi's `fix_data_dir.sh` does, and make `spk2utt` and `utt2dur` anew.

    Tables are sorted; of lines with the same key the first stays; utterances stay that have a speaker, a valid
    text (if there is `text`) and audio that holds them. Odd whitespace in text becomes plain spaces. The old files go
    to `.backup` in the folder.

    Parameters
    ----------
    folder : str or Path
    audio : bool
        Open every recording and measure durations. Without it `utt2dur`, `reco2dur` and `segments` are believed.

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
    tables, broken = {}, {}
    for name in TABLES:
        if (folder / name).is_file():
            tables[name] = read_loosely(folder / name, broken, report.repeated)
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
    named = set(tables["utt2spk"]) | set(tables[source]) | set(tables.get("text", ()))
    kept = []
    for key in sorted(named):
        utterance, reason = _mend(key, folder, source, tables, recordings)
        if reason is None:
            kept.append(utterance)
        else:
            report.removed.setdefault(broken.get(key, reason), []).append(key)
    report.kept = len(kept)
    if not kept:
        raise DldError(f"{folder}: no utterance would be left, so nothing was changed. {' '.join(str(report).split())}")
    report.backup.mkdir(exist_ok=True)
    for name in tables:
        if (folder / name).is_file():
            shutil.copy2(folder / name, report.backup / name)
    write(folder, kept)
    return report


def _mend(key, folder, source, tables, recordings):
    """Return `(utterance, None)`, or `(None, reason)` where it cannot be kept.

    `recordings` maps recording ids to seconds or to errors; None believes the tables.
    """
    for name in ("utt2spk", "text", source):
        if name in tables and key not in tables[name]:
            return None, f"not in {name}"
    if "text" in tables:
        tables["text"][key] = spaced("".join(" " if c in INVISIBLE or c.isspace() else c for c in tables["text"][key]))
        complaint = text_complaint(tables["text"][key])
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
    return utterance, None
