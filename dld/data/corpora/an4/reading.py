"""Reading AN4's lists and transcriptions, splitting its speakers, and writing data directories."""

import re
from pathlib import Path

from dld.data import kaldi, normalise
from dld.data.corpora.an4 import Options, known
from dld.data.corpora.reading import Problems, check_recordings
from dld.errors import DldError

# <s> RUBOUT G M E F </s> (an406-fcaw-b)
_LINE = re.compile(r"(?P<text>.*\S)?\s*\((?P<id>[^\s()]+)\)")
# The number, the speaker, and a letter that all have.
_ID = re.compile(r"(?P<number>[^\s-]+)-(?P<speaker>[^\s-]+)-(?P<letter>[^\s-]+)")
_SUFFIXES = (".wav", ".sph")


def write_sets(corpus: Path, destination: Path, options: Options) -> dict[str, dict]:
    """Write the data directories and return their counts; see `dld.data.corpora.an4.prepare`."""
    root = find_root(corpus)
    problems = Problems(root, options.allow_partial)
    needed = [part for part in known.PARTS if _is_needed(part, options)]
    parts = {part: read_part(root, part, problems) for part in needed}
    problems.finish()
    sets = {"test": parts["test"]} if "test" in parts else {}
    if "train" in parts:
        sets |= split(root, parts["train"], options.fold)
    counts = {}
    for name in options.sets:
        if not sets[name]:
            raise DldError(f"{root}: no utterances of {name}; complete the corpus, or leave the set away with --sets")
        kaldi.write(destination / name, sets[name])
        counts[name] = {
            "speakers": len({u.speaker for u in sets[name]}),
            "utterances": len(sets[name]),
            "words": sum(len(u.words) for u in sets[name]),
            "seconds": sum(u.seconds for u in sets[name]),
        }
    return counts


def find_root(corpus: Path) -> Path:
    """Return the folder that has the corpus's lists: `corpus`, or `an4` in it."""
    for root in (corpus, corpus / "an4"):
        if (root / "etc").is_dir():
            return root
    raise DldError(f"{corpus}: not AN4, it has no folder etc; give the folder that {known.REPOSITORY} is cloned to")


def read_part(root: Path, part: str, problems: Problems) -> list[kaldi.Utterance]:
    """Return the utterances of a part in the order of its list; what does not fit becomes problems.

    Parameters
    ----------
    root : Path
        Folder of the corpus.
    part : {"train", "test"}
    problems : Problems
    """
    texts = _read_texts(root / f"etc/an4_{part}.transcription", problems)
    listed = _read_list(root, root / f"etc/an4_{part}.fileids", texts, problems)
    for key in sorted(texts.keys() - listed.keys()):
        problems.add("no audio", texts[key][1], f"the utterance {key} is not in an4_{part}.fileids")
    lengths = check_recordings({key: str(audio) for key, audio in listed.items()}, problems)
    words = sum(len(texts[key][0].split()) for key in listed)
    if (len(listed), words) != known.TOTALS[part]:
        utterances, known_words = known.TOTALS[part]
        found = (
            f"{len(listed)} utterances with {words} words of {part}, where {utterances} with {known_words} are known"
        )
        problems.add("incomplete", root, found)
    return [
        kaldi.Utterance(
            id=f"{speaker}-{number}-{letter}",
            speaker=speaker,
            text=texts[key][0],
            recording=str(listed[key]),
            duration=lengths[key],
        )
        for key in listed
        if key in lengths
        for number, speaker, letter in [_ID.fullmatch(key).groups()]
    ]


def split(root: Path, utterances: list[kaldi.Utterance], fold: int) -> dict[str, list[kaldi.Utterance]]:
    """Return train and dev of the training part's utterances, and of a fold test as well; whole speakers each.

    The speakers are sorted by name, and so, as it begins with f or m, by gender. Fold k is tested on every fifth of
    them from the k-th on; a tenth of all, evenly spread over the next fold's, are dev. Without a fold (0) dev is
    spread over all.

    Parameters
    ----------
    root : Path
        For messages.
    utterances : list of Utterance
    fold : int
        1 to 5, or 0.
    """
    speakers = sorted({u.speaker for u in utterances})
    least = known.FOLDS if fold else 2
    if len(speakers) < least:
        raise DldError(f"{root}: {len(speakers)} training speakers, at least {least} are needed; complete the corpus")
    sets = {"test": set(speakers[fold - 1 :: known.FOLDS])} if fold else {}
    of_dev = speakers[fold % known.FOLDS :: known.FOLDS] if fold else speakers
    sets["dev"] = set(kaldi.spread(of_dev, -(-len(speakers) // 10)))
    sets["train"] = set(speakers).difference(*sets.values())
    return {name: [u for u in utterances if u.speaker in chosen] for name, chosen in sets.items()}


def _is_needed(part, options):
    if part == "test":
        return "test" in options.sets and not options.fold
    return bool(options.fold) or bool({"train", "dev"} & set(options.sets))


def _read_texts(path, problems):
    """Return utterance → its text and where that is."""
    texts = {}
    for number, line in _lines(path, problems):
        where = f"{path}:{number}"
        match = _LINE.fullmatch(line)
        text = normalise.an4(match["text"] or "") if match else ""
        if not text or not _ID.fullmatch(match["id"]):
            problems.add("faulty line", where, f"'{line}' is not words and, in brackets, an id (number-speaker-letter)")
        elif match["id"] in texts:
            problems.add("duplicate utterance", where, f"the utterance {match['id']} is also in an earlier line")
        else:
            texts[match["id"]] = text, where
    return texts


def _read_list(root, path, texts, problems):
    """Return utterance → its audio file, of those that have a text."""
    found = {}
    for number, line in _lines(path, problems):
        where, key = f"{path}:{number}", line.rpartition("/")[2]
        audio = [root / "wav" / f"{line}{suffix}" for suffix in _SUFFIXES]
        there = [file for file in audio if file.is_file()]
        if key in found:
            problems.add("duplicate utterance", where, f"the utterance {key} is also in an earlier line")
        elif key not in texts:
            problems.add("no transcript", where, f"no line for {key} in {path.stem}.transcription")
        elif not there:
            raw = audio[0].with_suffix(".raw").is_file()
            what = "has no header (.raw); take the corpus with WAV or SPHERE files" if raw else "is missing"
            problems.add("no audio", where, f"{audio[0]} {what}")
        else:
            found[key] = there[0]
    return found


def _lines(path, problems):
    """Yield the lines of a file that are not empty; a missing file is a problem."""
    if not path.is_file():
        problems.add("missing file", path, "no such file")
        return
    for number, line in problems.lines(path):
        if line:
            yield number, line
