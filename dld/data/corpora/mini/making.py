"""Making the mini corpus: plan, speech, noise, data directories."""

import functools
import itertools
import shutil
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import soundfile

from dld.data import kaldi
from dld.data.corpora.mini import Options
from dld.data.corpora.mini.plan import plan
from dld.data.corpora.mini.sound import SAMPLE_RATE, Noise, active, rms, synthesise
from dld.data.corpora.staging import Made, in_parallel
from dld.errors import DldError
from dld.files import read_json, sha256

# Raise it when the same settings must produce another corpus, so that an older one is made again.
_REVISION = 2


def make(destination: str | Path, options: Options) -> tuple[dict[str, dict], str]:
    """Make the corpus, or keep the one that is already there with the same settings.

    Returns
    -------
    summary : dict
        Split → `speakers`, `utterances`, `seconds`, `words`.
    reason : str
        Why the corpus was made; empty if the one already there was kept.
    """
    made = Made(Path(destination).absolute(), "mini_corpus", _audio_of, options.sets)
    reason = made.outdated(_identity(options), ("splits",))
    if not reason:
        return read_json(made.stamp)["splits"], ""
    if options.flite and not shutil.which("flite"):
        raise DldError("flite is not installed; install it or leave `--flite true` out")
    made = made.with_present(_identity(options))
    # Babble takes the voices of train, whichever sets are made.
    speakers = [speaker for speaker in plan(options) if speaker.split in {*made.sets, "train"}]
    with made.staged() as staging:
        clean = in_parallel(options.jobs, "speech", "voice", synthesise, speakers)
        training = {s.id: signals for s, signals in zip(speakers, clean, strict=True) if s.split == "train"}
        write = functools.partial(_write_speaker, staging, Noise(options, training))
        wanted = [(s, signals) for s, signals in zip(speakers, clean, strict=True) if s.split in made.sets]
        speakers = [speaker for speaker, _ in wanted]
        records = list(itertools.chain(*in_parallel(options.jobs, "noise", "voice", write, *zip(*wanted, strict=True))))
        utterances = {split: _utterances(made.folder, records, split) for split in made.sets}
        made.publish(staging, utterances, sorted(records, key=lambda record: record["id"].encode()))
    summary = _summary(made.sets, speakers, records)
    made.finish({**_identity(options), "splits": summary})
    return summary, reason


def _identity(options):
    """Return what must be equal for a corpus to be kept."""
    try:
        engine = version("espeakng_loader")
    except PackageNotFoundError:
        engine = "unknown"
    settings = {**asdict(options), "noises": sorted(options.noises)}
    del settings["jobs"], settings["sets"]
    return {"revision": _REVISION, "espeakng_loader": engine, "settings": settings}


def _audio_of(row):
    return Path(row["split"], f"{row['id']}.flac")


def _write_speaker(staging, noise, speaker, signals):
    """Add noise to one speaker's signals and write them; return one record per line."""
    records = []
    for line, signal in zip(speaker.lines, signals, strict=True):
        generator, kind, ratio = noise.draw(line.id)
        level = generator.uniform(-32, -22)
        before, after = generator.uniform(0.08, 0.25, 2)
        signal = signal * (10 ** (level / 20) / rms(active(signal)))
        signal = np.pad(signal, (round(before * SAMPLE_RATE), round(after * SAMPLE_RATE)))
        if kind != "none":
            signal = signal + noise.make(kind, signal.size, generator, speaker.id) * 10 ** ((level - ratio) / 20)
        # Loud noise at a low SNR: turn everything down rather than clip.
        signal = signal * min(1, 0.98 / np.abs(signal).max())
        path = staging / speaker.split / f"{line.id}.flac"
        soundfile.write(path, np.round(signal * 32767).astype(np.int16), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        records.append(
            {
                "id": line.id,
                "split": speaker.split,
                "speaker": speaker.id,
                "voice": speaker.voice,
                "text": line.text,
                "noise": kind,
                "snr": f"{ratio:.1f}",
                "samples": signal.size,
                "bytes": path.stat().st_size,
                "sha256": sha256(path),
            }
        )
    return records


def _utterances(folder, records, split):
    """Return the utterances of a split, whose audio will be below `folder`."""
    return [
        kaldi.Utterance(
            id=record["id"],
            speaker=record["speaker"],
            text=record["text"],
            recording=str(folder / "audio" / split / f"{record['id']}.flac"),
            duration=record["samples"] / SAMPLE_RATE,
        )
        for record in records
        if record["split"] == split
    ]


def _summary(sets, speakers, records):
    """Return the counts of each split; raise if what was written is not what was planned."""
    summary = {}
    for split in sets:
        planned = {line.id: line.text for speaker in speakers if speaker.split == split for line in speaker.lines}
        written = [record for record in records if record["split"] == split]
        if planned != {record["id"]: record["text"] for record in written}:
            raise DldError(f"{split}: {len(written)} utterances written, {len(planned)} planned; run the command again")
        summary[split] = {
            "speakers": len({record["speaker"] for record in written}),
            "utterances": len(written),
            "seconds": round(sum(record["samples"] for record in written) / SAMPLE_RATE, 2),
            "words": sum(len(record["text"].split()) for record in written),
        }
    return summary
