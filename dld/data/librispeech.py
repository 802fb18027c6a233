"""LibriSpeech (OpenSLR 12) as it is distributed → Kaldi data directories.

`SPLIT/READER/CHAPTER/*.flac` with one `READER-CHAPTER.trans.txt` per chapter; FLAC is read where it lies. As in Kaldi's
recipe a speaker is a chapter of a reader, and text stays upper-case.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from dld.data import kaldi, normalise
from dld.data.corpora import Problems, check_recordings, decoded_lines
from dld.errors import DldError

logger = logging.getLogger(__name__)

DEV_SPLITS = ("dev-clean", "dev-other")
TEST_SPLITS = ("test-clean", "test-other")
TRAIN_SETS = {
    "100": ("train-clean-100",),
    "460": ("train-clean-100", "train-clean-360"),
    "960": ("train-clean-100", "train-clean-360", "train-other-500"),
}
"""Hours → the splits that are trained on."""

#: Utterances and words of each split when it is whole (None: no published total).
TOTALS = {
    "train-clean-100": (28539, None),
    "train-clean-360": (104014, None),
    "train-other-500": (148688, None),
    "dev-clean": (2703, 54402),
    "dev-other": (2864, 50948),
    "test-clean": (2620, 52576),
    "test-other": (2939, 52343),
}

_ADDRESS = "https://www.openslr.org/resources/12"
ARCHIVES = {
    split: (f"{_ADDRESS}/{split}.tar.gz", digest)
    for split, digest in {
        "train-clean-100": "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
        "train-clean-360": "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
        "train-other-500": "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
        "dev-clean": "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
        "dev-other": "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
        "test-clean": "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
        "test-other": "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
    }.items()
}
"""Split → (address, SHA-256) of the archive that holds it."""

LANGUAGE_MODELS = {
    name: (f"https://www.openslr.org/resources/11/{name}.arpa.gz", digest)
    for name, digest in {
        "3-gram.pruned.3e-7": "8f67ec741827742eee05799ab7605b50",
        "3-gram.pruned.1e-7": "9a0f1325bcaf3a0f7b7be4be10823c2a",
        "3-gram": "74cbb837e582378c26c602e1c8cbcb9c",
        "4-gram": "6abdcd5b055bd482e4f9defe91d40408",
    }.items()
}
"""Name → (address, MD5) of the n-gram models that LibriSpeech comes with, in upper case as its text is."""


@dataclass(frozen=True)
class Transcript:
    """One line of a `trans.txt`: `id`, `speaker` (reader and chapter), `text`, `flac` (path) and `where` it stands."""

    id: str
    speaker: str
    text: str
    flac: Path
    where: str


def read_chapter(folder, problems):
    """Transcripts of one chapter; what does not fit becomes problems.

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
    for number, line in decoded_lines(path, problems):
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


def prepare(corpus, destination, train_set="960", held_out=0, allow_partial=False):
    """Write the data directories of LibriSpeech.

    One for each split, `train` (the splits of `train_set` together) and `dev` (dev-clean and dev-other together, for
    validation and tuning). Nothing is left out of them.

    Parameters
    ----------
    corpus : str or Path
        The folder `LibriSpeech`, or the one that holds it.
    destination : str or Path
        Where the data directories go.
    train_set : {"100", "460", "960"}
    held_out : int
        So many training readers become `dev`, where the corpus at hand has no dev split.
    allow_partial : bool
        Leave out what is faulty or missing.

    Returns
    -------
    dict of str to dict
        For each directory: speakers, utterances, words, seconds.

    Raises
    ------
    DldError
        The corpus is faulty or not whole and `allow_partial` is false; then nothing has been written.
    """
    if train_set not in TRAIN_SETS:
        raise DldError(f"train set {train_set!r}: there are {', '.join(TRAIN_SETS)}")
    root = _find_root(Path(corpus))
    problems = Problems(root, allow_partial)
    genders = _read_genders(root)
    sets = {split: [] for split in (*TRAIN_SETS[train_set], *DEV_SPLITS, *TEST_SPLITS)}
    for split in sets:
        sets[split] = _read_split(root / split, genders, problems)
    if not all(u.gender for utterances in sets.values() for u in utterances):
        # Kaldi's spk2gender knows all speakers, or is not there.
        if genders:
            logger.warning("%s: readers are missing, so no spk2gender", root / "SPEAKERS.TXT")
        sets = {split: [replace(u, gender=None) for u in utterances] for split, utterances in sets.items()}
    train = [u for split in TRAIN_SETS[train_set] for u in sets[split]]
    dev = [u for split in DEV_SPLITS for u in sets[split]]
    if held_out:
        train, dev = _hold_out(root, train, dev, held_out)
    problems.finish()
    sets = {"train": train, "dev": dev, **sets}
    if not train or not dev:
        raise DldError(
            f"{root}: {len(train)} utterances to train on, {len(dev)} for dev; both are needed. "
            "--held-out N makes a dev set of N training readers"
        )
    counts = {}
    for name, utterances in sets.items():
        if not utterances:
            logger.warning("%s: no utterances of %s, so no data directory of it", root, name)
            continue
        kaldi.write(Path(destination) / name, utterances)
        counts[name] = {
            "speakers": len({u.speaker for u in utterances}),
            "utterances": len(utterances),
            "words": sum(len(u.text.split()) for u in utterances),
            "seconds": sum(u.duration for u in utterances),
        }
    return counts


def _find_root(corpus):
    for root in (corpus, corpus / "LibriSpeech"):
        if any((root / split).is_dir() for split in TOTALS):
            return root
    raise DldError(f"{corpus}: not LibriSpeech, none of its splits is there; give the folder LibriSpeech")


def _read_genders(root):
    """Reader → `m` or `f`, of SPEAKERS.TXT where it is there: `14 | F | train-clean-360 | 25.03 | name`."""
    path = root / "SPEAKERS.TXT"
    if not path.is_file():
        logger.info("%s: no such file, so no spk2gender", path)
        return {}
    problems = Problems(path, allow_partial=True)
    genders = {}
    for _, line in decoded_lines(path, problems):
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
    utterances, words = TOTALS[folder.name]
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
    """Subfolders with a number for a name (readers, chapters), in order of their names."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name.isdigit())


def _reader(speaker):
    return speaker.partition("-")[0]


def _hold_out(root, train, dev, readers):
    if dev:
        raise DldError(f"{root}: has dev splits, so no training readers are held out; leave --held-out away")
    names = sorted({_reader(u.speaker) for u in train})
    if readers >= len(names):
        raise DldError(f"{root}: --held-out {readers}, but there are {len(names)} training readers")
    chosen = set(kaldi.spread(names, readers))
    parts = ([], [])
    for u in train:
        parts[_reader(u.speaker) in chosen].append(u)
    return parts
