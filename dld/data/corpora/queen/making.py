"""Making the queen corpus: clips decoded, texts normalised, data directories."""

import io
import logging
import shutil
from pathlib import Path

import numpy as np
import soundfile

from dld.data import kaldi, normalise
from dld.data.audio import resample
from dld.data.corpora.queen import archive
from dld.data.corpora.queen.archive import Archive, Clip
from dld.data.corpora.queen.package import PACKAGE, obtain
from dld.data.corpora.settings import SETS
from dld.data.corpora.staging import Made, in_parallel
from dld.errors import DldError
from dld.files import atomic_write, read_json, sha256

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000

# Raise it when the same file must produce other data directories, so that older ones are made again.
_REVISION = 1
_NOTICE = """The recordings and texts in this folder are taken from the game Flight of the Amazon Queen.
All game content is (C) 1995 John Passfield and Steven Stamatiadis.

They may be distributed for free on any medium, and in aggregate with a larger software distribution, as long as the
game's read-me and all its copyright notices and disclaimers stay with them; no fee may be charged for the game itself.
The files {notices} hold the terms in full.

THIS IS A MODIFIED VERSION: the speech clips of the file {corpus} (SHA-256 {digest}) were decoded, resampled to
16 kHz and stored as FLAC, one file to a clip, and their texts turned into lower-case words.
THE GAME DATA IS PROVIDED "AS IS" AND WITHOUT ANY EXPRESS OR IMPLIED WARRANTIES.
"""


def make(
    destination: str | Path,
    corpus: str | Path | None = None,
    jobs: int | None = None,
    sets: tuple[str, ...] = SETS,
) -> tuple[dict, str]:
    """Make the corpus, or keep the one that is already there from the same file.

    Parameters
    ----------
    destination : str or Path
        Folder that receives all this; a package is unpacked into its folder `source`.
    corpus : str or Path, optional
        See `obtain`.
    jobs : int, optional
        Clips that are decoded at a time; by default the number of processors.
    sets : tuple of str
        Those of train, dev and test that are made.

    Returns
    -------
    summary : dict
        `clips`, `texts`, `left_out` (reason → number) and `splits` (split → `characters`, `utterances`, `seconds`,
        `words`).
    reason : str
        Why the corpus was made; empty if the one already there was kept.
    """
    if corpus is not None and not Path(corpus).is_file():
        raise DldError(f"{corpus}: no such file; give {archive.CORPUS} or the Debian package {PACKAGE}")
    made = Made(Path(destination).absolute(), "queen", _audio_of, sets)
    identity: dict[str, int | str] = {"revision": _REVISION}
    if corpus is not None and not str(corpus).endswith(".deb") and made.stamp.exists():
        identity["sha256"] = sha256(corpus)
    reason = made.outdated(identity, ("summary",))
    if not reason:
        return read_json(made.stamp)["summary"], ""
    path, notices = obtain(corpus, made.folder / "source")
    digest = sha256(path)
    game = Archive(path)
    clips = game.clips()
    if not clips:
        raise DldError(f"{path}: no clip in it has a text; it is not the talkie version of the game")
    texts = {name: normalise.queen(clip.text) for name, clip in clips.items()}
    spoken = [clip for clip in clips.values() if texts[clip.name]]
    if digest == archive.CORPUS_SHA256:
        _check_counts(game, clips, spoken)
    else:
        logger.warning("%s: SHA-256 %s is not the known one; the counts may differ from those stated", path, digest)
    made = made.with_present({"revision": _REVISION, "sha256": digest})
    left_out = {"no text": len(game.names(".SB")) - len(clips), "noise, or words not written": len(clips) - len(spoken)}
    spoken = [clip for clip in spoken if clip.split in made.sets]
    with made.staged() as staging:
        write = _writer(game, staging)
        lengths = in_parallel(jobs, "clips", "clip", write, spoken)
        samples = dict(zip((clip.name for clip in spoken), lengths, strict=True))
        _write_notices(staging, notices, digest)
        there = [clip for clip in clips.values() if clip.name in samples or not texts[clip.name]]
        rows = [_row(staging, clip, texts, samples) for clip in there]
        made.publish(staging, _utterances(made, spoken, texts, samples), rows)
    summary = {"clips": len(game.names(".SB")), "texts": len(clips), "left_out": left_out}
    summary["splits"] = {split: _counts(split, spoken, texts, samples) for split in made.sets}
    made.finish({"revision": _REVISION, "sha256": digest, "summary": summary})
    return summary, reason


def _check_counts(game, clips, spoken):
    found = {"clips": len(game.names(".SB")), "texts": len(clips), "utterances": len(spoken)}
    if found != archive.KNOWN_COUNTS:
        raise DldError(
            f"{game.path}: read {found} instead of {archive.KNOWN_COUNTS}; this is a fault of the reader, report it"
        )


def _audio(clip):
    return Path(clip.split, f"{clip.id}.flac")


def _audio_of(row):
    """Return the audio of a row of the manifest, None where the clip was left out."""
    if row["split"] not in SETS:
        return None
    return _audio(Clip(row["clip"], row["speaker"], row["source"], row["text"]))


def _writer(game, staging):
    return lambda clip: _write_clip(game, clip, staging / _audio(clip))


def _write_clip(game, clip, path):
    """Decode a clip, write it and return its number of samples."""
    try:
        signal, rate = soundfile.read(io.BytesIO(game.read(f"{clip.name}.SB")), dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise DldError(f"{game.path}: clip {clip.name} cannot be decoded: {error}") from None
    if not len(signal):
        raise DldError(f"{game.path}: clip {clip.name} is empty")
    signal = resample(signal.mean(axis=1), rate, SAMPLE_RATE)
    # Decoding and resampling may overshoot full scale: turn the clip down rather than cut its peaks.
    signal *= min(1.0, 0.999 / max(np.abs(signal).max(), 1e-9))
    soundfile.write(path, np.round(signal * 32767).astype(np.int16), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return len(signal)


def _write_notices(staging, notices, digest):
    for notice in notices:
        shutil.copyfile(notice, staging / notice.name)
    names = ", ".join(notice.name for notice in notices) or "readme.txt and copyright of the game or its package"
    with atomic_write(staging / "NOTICE.txt") as out:
        out.write(_NOTICE.format(notices=names, corpus=archive.CORPUS, digest=digest))


def _row(staging, clip, texts, samples):
    """Return the row of a clip in the manifest: where it went, or that it was left out."""
    row = {"clip": clip.name, "speaker": clip.speaker, "source": clip.source}
    row |= {"split": "left out", "seconds": "0", "bytes": "0", "words": ""}
    if clip.name in samples:
        size = (staging / _audio(clip)).stat().st_size
        row |= {"split": clip.split, "seconds": f"{samples[clip.name] / SAMPLE_RATE:.3f}", "bytes": str(size)}
        row["words"] = texts[clip.name]
    return {**row, "text": clip.text}


def _utterances(made, spoken, texts, samples):
    """Return the utterances of each split, whose audio will be in the folder of the corpus."""
    utterances = {split: [] for split in made.sets}
    for clip in spoken:
        utterances[clip.split].append(
            kaldi.Utterance(
                id=clip.id,
                speaker=clip.kaldi_speaker,
                text=texts[clip.name],
                recording=str(made.folder / "audio" / _audio(clip)),
                duration=samples[clip.name] / SAMPLE_RATE,
            )
        )
    return utterances


def _counts(split, spoken, texts, samples):
    there = [clip for clip in spoken if clip.split == split]
    return {
        "characters": len({clip.character for clip in there} - {archive.SCENES}),
        "utterances": len(there),
        "seconds": round(sum(samples[clip.name] for clip in there) / SAMPLE_RATE, 2),
        "words": sum(len(texts[clip.name].split()) for clip in there),
    }
