"""What a training run was made from, in a few hashes, so that a resumed run notices that its data changed."""

import hashlib
import itertools
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace  # noqa: F401, replace is for the example

from dld.data.audio import is_pipe, source_path
from dld.data.kaldi import spread
from dld.errors import DldError
from dld.progress import bar
from dld.records import Record

#: Recordings whose audio is looked at, evenly spread; of a larger corpus the others are known by their table entries.
RECORDINGS = 2000

_SAMPLE = 4096

#: Field of a fingerprint → what changed where it differs.
MEANINGS = {
    "ids": "utterance ids",
    "texts": "texts",
    "spans": "durations or segments",
    "audio": "audio",
}


@dataclass(frozen=True)
class Fingerprint(Record):
    """Counts and hashes of the utterances of a data directory, as `run.json` holds them.

    Attributes
    ----------
    utterances : int
    ids, texts, spans, audio : str
        Hexadecimal hashes.
    hours : float
    path : str
        Where the data were; for messages.
    """

    utterances: int
    ids: str
    texts: str
    spans: str
    audio: str
    hours: float = 0.0
    path: str = ""


def fingerprint(utterances: list, path: str = "") -> Fingerprint:
    """Return counts and hashes of the utterances of a data directory.

    Paths play no part, so a corpus may move. Of each recording the size and three samples of 4 KiB are hashed, at the
    beginning (where a FLAC file has the MD5 of its audio), in the middle and at the end; of a pipe its command.

    Parameters
    ----------
    utterances : list of Utterance
    path : str
        Their data directory, kept for messages.

    Returns
    -------
    Fingerprint
    """
    seconds = sum(u.duration for u in utterances)
    recordings = list({str(u.recording): u for u in utterances}.values())
    ends = _entry_ends(recordings)
    chosen = spread(recordings, min(RECORDINGS, len(recordings)))
    with ThreadPoolExecutor(8) as pool:
        hashes = pool.map(lambda u: _audio_hash(u, ends), chosen)
        audio = list(bar(hashes, "looking at the audio", len(chosen), "file"))
    return Fingerprint(
        utterances=len(utterances),
        ids=_hash(u.id for u in utterances),
        texts=_hash(f"{u.id} {u.text}" for u in utterances),
        spans=_hash(f"{u.id} {u.start} {u.end} {u.duration}" for u in utterances),
        audio=_hash(audio),
        hours=round(seconds / 3600, 4),
        path=path,
    )


def changes(before: Fingerprint, now: Fingerprint) -> str | None:
    """Say how the data of two fingerprints differ, None if they do not.

    Examples
    --------
    >>> old = Fingerprint(utterances=3, ids="a", texts="b", spans="c", audio="d")
    >>> changes(old, replace(old, texts="e"))
    'other texts'
    >>> changes(old, replace(old, utterances=2, ids="f", texts="e"))
    '2 utterances where there were 3'
    """
    if before.utterances != now.utterances:
        return f"{now.utterances} utterances where there were {before.utterances}"
    if before.ids != now.ids:
        return f"other {MEANINGS['ids']}"
    others = [meaning for name, meaning in MEANINGS.items() if getattr(before, name) != getattr(now, name)]
    return f"other {' and '.join(others)}" if others else None


def _hash(lines):
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def _entry_ends(utterances):
    """Return where entries of archives end at the latest, `(path, offset) → position`: where the next one begins."""
    offsets = {}
    for utterance in utterances:
        path, offset = _located(str(utterance.recording))
        if offset:
            offsets.setdefault(path, []).append(offset)
    pairs = ((path, itertools.pairwise(sorted(known))) for path, known in offsets.items())
    return {(path, offset): end for path, neighbours in pairs for offset, end in neighbours}


def _located(source):
    """Return the file of a `wav.scp` value and the offset in it, 0 for a whole file; (None, 0) for a pipe."""
    path = source_path(source)
    if path is None or os.path.exists(source):
        return path, 0
    offset = source.rpartition(":")[2]
    return path, int(offset) if offset.isdigit() and len(offset) < 20 else 0


def _audio_hash(utterance, ends):
    source = str(utterance.recording)
    if is_pipe(source):
        return source
    path, begin = _located(source)
    digest = hashlib.sha256()
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DldError(f"{path} (utterance {utterance.id}): not a regular file; wav.scp must name the audio file")
        with open(path, "rb") as stream:
            end = ends.get((path, begin)) or os.fstat(stream.fileno()).st_size
            digest.update(str(end - begin).encode())
            for position in (begin, (begin + end) // 2, max(begin, end - _SAMPLE)):
                stream.seek(position)
                digest.update(stream.read(_SAMPLE))
    except OSError as error:
        raise DldError(f"{path} (utterance {utterance.id}): {error.strerror}") from None
    return digest.hexdigest()
