"""Reading LibriSpeech's splits, chapter by chapter, and writing data directories."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from dld.data import kaldi, normalise
from dld.data.corpora.librispeech import Options, known
from dld.data.corpora.librispeech.known import splits_of
from dld.data.corpora.reading import Problems, check_recordings
from dld.errors import DldError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Transcript:
    """One line of a `trans.txt`: `id`, `speaker` (reader, chapter), `text`, `flac` (path) and `where` (file, line)."""

    id: str
    speaker: str
    text: str
    flac: Path
    where: str


def read_chapter(folder: Path, problems: Problems) -> list[Transcript]:
    """Return the transcripts of one chapter; what does not fit becomes problems.

    Parameters
    ----------
    folder : Path
        `SPLIT/READER/CHAPTER`.
    problems : Problems

    Returns
    -------
    list of Transcript
    """
    name = f"{folder.parent.name}-{folder.name}"
    path = folder / f"{name}.trans.txt"
    recorded = {flac.stem for flac in folder.glob("*.flac")}
    if not path.is_file():
        problems.add("no transcripts", path, f"no such file, for {len(recorded)} recordings")
        return []
    transcripts, named = [], set()
    for number, line in problems.lines(path):
        where = f"{path}:{number}"
        key, _, text = line.partition(" ")
        text = normalise.librispeech(text)
        if not text:
            problems.add("faulty line", where, f"'{line}' is not an utterance id and its words")
        elif not key.startswith(f"{name}-"):
            problems.add("faulty line", where, f"the id {key} is not of reader and chapter {name}")
        elif key in named:
            problems.add("duplicate utterance", where, f"the utterance {key} is also in an earlier line")
        elif key not in recorded:
            problems.add("no audio", where, f"{folder / key}.flac is missing")
        else:
            transcripts.append(Transcript(key, name, text, folder / f"{key}.flac", where))
        named.add(key)
    for key in sorted(recorded - named):
        problems.add("no transcript", folder / f"{key}.flac", f"no line for it in {path.name}")
    return transcripts


def write_sets(corpus: Path, destination: Path, options: Options) -> dict[str, dict]:
    """Write the data directories and return their counts; see `dld.data.corpora.librispeech.prepare`."""
    root, sets = read_sets(corpus, options)
    _check_joined(root, {kind: sets[kind] for kind in ("train", "dev") if kind in sets})
    counts = {}
    for name, utterances in sets.items():
        if not utterances:
            logger.warning("%s: no utterances of %s, so no data directory of it", root, name)
            continue
        kaldi.write(destination / name, utterances)
        counts[name] = {
            "speakers": len({u.speaker for u in utterances}),
            "utterances": len(utterances),
            "words": sum(len(u.words) for u in utterances),
            "seconds": sum(u.seconds for u in utterances),
        }
    return counts


def read_sets(corpus: Path, options: Options) -> tuple[Path, dict[str, list[kaldi.Utterance]]]:
    """Return the folder of the corpus, and data directory → utterances, which may be none."""
    root = _find_root(corpus)
    problems = Problems(root, options.allow_partial)
    genders = _read_genders(root)
    splits = {
        split: _read_split(root / split, genders, problems) for split in splits_of(options.sets, options.train_set)
    }
    if not all(u.gender for utterances in splits.values() for u in utterances):
        # Kaldi's spk2gender has all speakers, or is not there.
        if genders:
            logger.warning("%s: readers are missing, so no spk2gender", root / "SPEAKERS.TXT")
        splits = {split: [replace(u, gender=None) for u in utterances] for split, utterances in splits.items()}
    joined: dict[str, list[kaldi.Utterance]] = {
        kind: [u for split in splits_of((kind,), options.train_set) for u in splits[split]]
        for kind in ("train", "dev")
        if kind in options.sets
    }
    if options.held_out:
        joined = _hold_out(root, joined, options.held_out)
    problems.finish()
    return root, {**joined, **splits}


def _check_joined(root, joined):
    """Raise where there is nothing to train or to validate on, though `sets` has it."""
    if not all(joined.values()):
        found = " and ".join(f"{len(utterances)} utterances of {kind}" for kind, utterances in joined.items())
        hint = "--held-out N makes a dev set of N training readers, --sets leaves a set away"
        raise DldError(f"{root}: {found}; each set that is prepared needs some. {hint}")


def _find_root(corpus):
    for root in (corpus, corpus / "LibriSpeech"):
        if any((root / split).is_dir() for split in known.TOTALS):
            return root
    raise DldError(f"{corpus}: not LibriSpeech, none of its splits is there; give the folder LibriSpeech")


def _read_genders(root):
    """Return reader → `m` or `f`, of SPEAKERS.TXT where it is there: `14 | F | train-clean-360 | 25.03 | name`."""
    path = root / "SPEAKERS.TXT"
    if not path.is_file():
        logger.info("%s: no such file, so no spk2gender", path)
        return {}
    problems = Problems(path, allow_partial=True)
    genders = {}
    for _, line in problems.lines(path):
        fields = [field.strip() for field in line.split("|")]
        if not line.startswith(";") and len(fields) > 2 and fields[1].lower() in ("m", "f"):
            genders[fields[0]] = fields[1].lower()
    problems.finish()
    return genders


def _read_split(folder, genders, problems):
    if not folder.is_dir():
        problems.add("missing split", folder, "no such folder")
        return []
    chapters = [chapter for reader in _numbered(folder) for chapter in _numbered(reader)]
    transcripts = [line for chapter in chapters for line in read_chapter(chapter, problems)]
    lengths = check_recordings({t.id: str(t.flac) for t in transcripts}, problems)
    utterances, words = known.TOTALS[folder.name]
    if len(transcripts) != utterances:
        problems.add("incomplete", folder, f"{len(transcripts)} of {utterances} utterances")
    elif words is not None and (counted := sum(len(t.text.split()) for t in transcripts)) != words:
        problems.add("changed text", folder, f"{counted} words where {words} are known")
    return [
        kaldi.Utterance(
            id=t.id,
            speaker=t.speaker,
            text=t.text,
            recording=str(t.flac),
            duration=lengths[t.id],
            gender=genders.get(_reader(t.speaker)),
        )
        for t in transcripts
        if t.id in lengths
    ]


def _numbered(folder):
    """Return the subfolders with a number for a name (readers, chapters), in order of their names."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name.isdigit())


def _reader(speaker):
    return speaker.partition("-")[0]


def _hold_out(root, joined, readers):
    train, dev = joined.get("train"), joined.get("dev")
    if train is None or dev is None:
        raise DldError(f"{root}: --held-out makes dev of training readers; leave it away, or take --sets 'train dev'")
    if dev:
        raise DldError(f"{root}: has dev splits, so no training readers are held out; leave --held-out away")
    names = sorted({_reader(u.speaker) for u in train})
    if readers >= len(names):
        raise DldError(f"{root}: --held-out {readers}, but there are {len(names)} training readers")
    chosen = set(kaldi.spread(names, readers))
    parts = {"train": [], "dev": []}
    for u in train:
        parts["dev" if _reader(u.speaker) in chosen else "train"].append(u)
    return parts
