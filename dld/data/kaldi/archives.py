"""Audio of a data directory in one archive, for corpora of many small files."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from dld.data.kaldi.directory import Utterance, load, write
from dld.data.recordings import opened
from dld.errors import DldError
from dld.files import atomic_write

FORMATS = ("flac", "wav")
_MOST_16_BIT = {"PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW"}


def archive(source: str | Path, destination: str | Path, audio_format: str = "flac") -> list[Utterance]:
    """Write a copy of a data directory whose recordings are entries of one Kaldi archive, `DESTINATION/audio.ark`.

    Entries are written by kaldiio. Samples stay as they are, rate and channels too; a recording of more than 16 bits
    (24-bit, float, MP3, OGG) is stored with 24.

    Parameters
    ----------
    source, destination : str or Path
        Data directories.
    audio_format : {"flac", "wav"}
        FLAC is about half as large; Kaldi's own tools read WAV only.

    Returns
    -------
    list of Utterance
        Those of the new directory.

    Raises
    ------
    DldError
        A recording cannot be read, or has more than 16 bits and is to be WAV; then nothing has been written.
    """
    import kaldiio  # only this needs it: reading a data directory does not

    destination = Path(destination).absolute()
    if destination.resolve() == Path(source).resolve():
        raise DldError(f"{destination}: is source and destination; choose another destination")
    utterances = load(source, need=("utt2spk", "utt2dur"))
    path, names = destination / "audio.ark", {}
    with atomic_write(path, "wb") as out:
        for key, recording in {u.recording_id: u.recording for u in utterances}.items():
            data, subtype = _samples(recording, f"{recording} (recording {key})", audio_format)
            names[key] = f"{path}:{out.tell() + len(key.encode()) + 1}"
            how = {"write_function": "soundfile", "write_kwargs": {"format": "FLAC", "subtype": subtype}}
            kaldiio.save_ark(out, {key: data}, **(how if audio_format == "flac" else {}))
    utterances = [replace(u, recording=names[u.recording_id]) for u in utterances]
    write(destination, utterances)
    return utterances


def _samples(source, where, audio_format):
    """Return `(rate, samples)` of a whole recording as kaldiio takes them, and the subtype for FLAC."""
    with opened(source, where) as recording:
        samples = np.concatenate(list(recording.blocks_of(recording.length)))
        rate, short = recording.samplerate, recording.subtype in _MOST_16_BIT
    if len(samples) != recording.length:
        raise DldError(f"{where}: audio is cut short ({len(samples)} of {recording.length} frames); copy it again")
    if not np.isfinite(samples).all():
        raise DldError(f"{where}: audio has values that are not finite numbers; convert the file again")
    if not short and audio_format == "wav":
        raise DldError(f"{where}: has more than 16 bits, which WAV entries cannot hold; take flac")
    samples = samples[:, 0] if samples.shape[1] == 1 else samples
    most = 2**15 if short else 2**23
    whole = np.clip(np.round(samples.astype(np.float64) * most), -most, most - 1)
    if short:
        return (rate, whole.astype(np.int16)), "PCM_16"
    return (rate, whole.astype(np.int32) << 8), "PCM_24"
