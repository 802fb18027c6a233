"""The mini corpus: connected numbers spoken by dozens of synthetic voices in noise, in the manner of TIDIGITS.

Everything is drawn from one seed: who speaks, what is said, how fast and how high, which noise at which
signal-to-noise ratio. Same settings and same versions of the libraries give the same bytes, whatever the number of
jobs.
"""

import contextlib
import functools
import os
import random
import shutil
import subprocess
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly
from tqdm import tqdm

from dld.data import espeak, kaldi
from dld.errors import DldError
from dld.files import atomic_write, read_json, sha256, write_json

SAMPLE_RATE = 16000
SPLITS = ("train", "dev", "test")
NOISES = ("babble", "hum", "pink", "shaped", "white")

DIGITS = ["zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEENS = ["ten", "eleven", "twelve"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
VOCABULARY = (*DIGITS, *TEENS, *TENS, "hundred", "double", "point")

# Raise it when the same settings shall give another corpus, so that an older one is made again.
_REVISION = 2

# Speakers of each split (female, male) and utterances per speaker at scale 1.
_SPEAKERS = {"train": (8, 25), "dev": (2, 4), "test": (3, 6)}
_UTTERANCES = {"train": 36, "dev": 24, "test": 42}

# Variants of espeak-ng: formants, pitch, glottal source. Each is a speaker, so no voice is heard in two splits. Left
# out are those that whisper, croak, echo like a robot or copy another, and eight that are hard to make out:
# pocketsphinx, with its model of US English and the vocabulary as grammar, got 80 % or more of their words wrong in
# clean speech, as it did with two accents that are left out too.
# fmt: off
_FEMALE = (
    "f1", "f2", "f3", "f4", "f5", "Andrea", "Annie", "anika", "aunty", "belinda", "grandma", "linda",
    "steph",
)
_MALE = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "Alex", "Andy", "Denis", "Diogo", "Gene", "Gene2", "Hugo",
    "Mario", "Mike", "Nguyen", "Reed", "Storm", "adam", "antonio", "benjamin",
    "ed", "edward", "grandpa", "john", "klatt", "klatt2", "klatt3", "max", "michel",
    "mike2", "paul", "quincy",
)
# fmt: on
_ACCENTS = {
    "us": "en-us",
    "gb": "en",
    "rp": "en-gb-x-rp",
    "scot": "en-gb-scotland",
    "lanc": "en-gb-x-gbclan",
    "nyc": "en-us-nyc",
}
_FLITE = ("awb", "kal16", "rms", "slt")


@dataclass(frozen=True)
class Settings:
    """What decides every byte of the corpus.

    Parameters
    ----------
    seed : int
        Of all that is drawn.
    scale : float
        Factor on the number of utterances per speaker; each speaker keeps at least one.
    snr_low, snr_high : float
        Range of the signal-to-noise ratio in dB, drawn uniformly for each utterance; the signal's power is that of its
        active parts.
    noises : tuple of str
        Kinds of noise that are drawn from, out of `NOISES`; empty for clean speech.
    flite : bool
        Add the voices of an installed `flite` to the training speakers.

    Raises
    ------
    DldError
        A value is outside its range, or a noise is not known.
    """

    seed: int = 1
    scale: float = 1.0
    snr_low: float = 20.0
    snr_high: float = 30.0
    noises: tuple = NOISES
    flite: bool = False

    def __post_init__(self):
        unknown = sorted(set(self.noises) - set(NOISES))
        if unknown:
            raise DldError(f"unknown noise {', '.join(unknown)}; choose from {', '.join(NOISES)}")
        if not 0 < self.scale <= 100:
            raise DldError(f"scale {self.scale} is outside 0…100")
        if not -30 <= self.snr_low <= self.snr_high <= 100:
            raise DldError(f"SNR range {self.snr_low}…{self.snr_high} dB: needs -30 ≤ low ≤ high ≤ 100")


@dataclass(frozen=True)
class Line:
    """One utterance to be spoken: what, and how."""

    id: str
    text: str
    spoken: str
    rate: int
    pitch: int
    range: int
    gap: int


@dataclass(frozen=True)
class Speaker:
    """One voice, the split that it belongs to, and its utterances."""

    id: str
    split: str
    engine: str
    voice: str
    lines: list = field(repr=False)


def plan(settings):
    """Draw who says what; synthesises nothing.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    list of Speaker
        In the order of their splits; every speaker is in one split only.

    Examples
    --------
    >>> speakers = plan(Settings(scale=0.1))
    >>> len(speakers), len({speaker.id for speaker in speakers})
    (48, 48)
    >>> plan(Settings(scale=0.1)) == speakers
    True
    """
    draw = random.Random(f"{settings.seed} speakers")
    female, male = draw.sample(_FEMALE, len(_FEMALE)), draw.sample(_MALE, len(_MALE))
    speakers = []
    for split in SPLITS:
        women, men = _SPEAKERS[split]
        voices = [female.pop() for _ in range(women)] + [male.pop() for _ in range(men)]
        accents = []
        for variant in voices:
            accents = accents or draw.sample(sorted(_ACCENTS), len(_ACCENTS))
            accent = accents.pop()
            speakers.append((f"{variant.lower()}-{accent}", split, "espeak", f"{_ACCENTS[accent]}+{variant}"))
    if settings.flite:
        speakers += [(f"{voice}-flite", "train", "flite", voice) for voice in _FLITE]
    return [Speaker(*speaker, _lines(settings, *speaker[:2])) for speaker in speakers]


def _lines(settings, speaker, split):
    """The utterances of one speaker, drawn on the speaker's own generator."""
    draw = random.Random(f"{settings.seed} {speaker}")
    # A speaker has habits, each utterance deviates a little from them.
    rate, pitch, span, gap = (
        draw.uniform(145, 225),
        draw.uniform(35, 65),
        draw.uniform(30, 75),
        draw.choice((0, 0, 1, 2)),
    )
    lines = []
    for number in range(max(1, round(_UTTERANCES[split] * settings.scale))):
        groups = _number(draw)
        lines.append(
            Line(
                id=f"{speaker}-{number + 1:04d}",
                text=" ".join(groups),
                spoken=(", " if draw.random() < 0.25 else " ").join(groups),
                rate=round(rate * draw.uniform(0.88, 1.14)),
                pitch=round(pitch + draw.uniform(-6, 6)),
                range=round(span + draw.uniform(-8, 8)),
                gap=gap,
            )
        )
    return lines


def _number(draw):
    """One number as people read it out: a list of word groups, between which a speaker may pause."""
    kind = draw.choices(("digits", "cardinal", "decimal", "pair"), (50, 15, 15, 20))[0]
    if kind == "digits":
        return _digits(draw, draw.randint(1, 8))
    if kind == "cardinal":
        return [_cardinal(draw)]
    if kind == "decimal":
        return [f"{_cardinal(draw)} point {draw.choice(DIGITS)}", *_digits(draw, draw.randint(0, 2))]
    return [_cardinal(draw), _cardinal(draw)]


def _digits(draw, count):
    """A string of digits in groups of three; sometimes two equal ones are read as “double”."""
    words = [draw.choice(DIGITS) for _ in range(count)]
    if count > 1 and draw.random() < 0.3:
        words[draw.randrange(count)] = f"double {draw.choice(DIGITS)}"
    return [" ".join(words[start : start + 3]) for start in range(0, count, 3)]


def _cardinal(draw):
    """A whole number from 1 to 999."""
    digit, other = draw.sample(DIGITS[2:], 2)
    below = draw.choice((digit, draw.choice(TEENS), draw.choice(TENS), f"{draw.choice(TENS)} {digit}"))
    return draw.choice((below, below, f"{other} hundred", f"{other} hundred {below}"))


def make(destination, settings=None, jobs=None):
    """Make the corpus, or keep the one that is already there with the same settings.

    Leaves `train`, `dev` and `test` (Kaldi data directories), the audio (16 kHz, 16-bit FLAC) under `audio/<split>`,
    `mini_corpus.tsv` (voice, noise, SNR, length and SHA-256 of each utterance) and, last of all, `mini_corpus.json`
    (settings and counts), without which a corpus counts as unfinished and is made again.

    Parameters
    ----------
    destination : str or Path
        Folder that receives all this.
    settings : Settings, optional
    jobs : int, optional
        How many speakers are made at a time; by default the number of processors.

    Returns
    -------
    summary : dict
        Split → `speakers`, `utterances`, `seconds`, `words`.
    reason : str
        Why the corpus was made; empty if the one already there was kept.

    Raises
    ------
    DldError
        A synthesiser is missing or fails, or what was written does not agree with the plan.
    """
    settings = settings or Settings()
    destination = Path(destination).absolute()
    stamp = destination / "mini_corpus.json"
    reason = _unfinished(destination, settings)
    if not reason:
        return read_json(stamp)["splits"], ""
    if settings.flite and not shutil.which("flite"):
        raise DldError("flite was asked for but is not installed; install it or leave `--flite true` out")

    speakers = plan(settings)
    staging = destination / ".mini_corpus.partial"
    stamp.unlink(missing_ok=True)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:

        def each(title, function, *columns):
            results = pool.map(function, speakers, *columns)
            return list(tqdm(results, title, len(speakers), unit="voice", disable=None))

        try:
            clean = each("speech", _synthesise)
            noise = Noise(settings, {s.id: c for s, c in zip(speakers, clean, strict=True) if s.split == "train"})
            records = sum(each("noise", functools.partial(_write_speaker, staging, noise), clean), [])
        except BaseException:
            # Speakers that have not begun are not worth waiting for.
            pool.shutdown(cancel_futures=True)
            shutil.rmtree(staging, ignore_errors=True)
            raise

    _publish(destination, staging, records)
    summary = _summary(speakers, records)
    write_json(
        stamp,
        {
            **_identity(settings),
            "splits": summary,
            "files": {str(path.relative_to(destination)): sha256(path) for path in _tables(destination)},
        },
    )
    return summary, reason


def _identity(settings):
    """What must be equal for a corpus to be kept."""
    try:
        engine = version("espeakng_loader")
    except PackageNotFoundError:
        engine = "unknown"
    settings = {**asdict(settings), "noises": sorted(settings.noises)}
    return {"revision": _REVISION, "espeakng_loader": engine, "settings": settings}


def _tables(destination):
    """The files whose SHA-256 the stamp holds."""
    split_files = [destination / split / name for split in SPLITS for name in ("wav.scp", "text", "utt2spk")]
    return [destination / "mini_corpus.tsv", *split_files]


def _unfinished(destination, settings):
    """Why the corpus at `destination` cannot be kept; empty if it can."""
    stamp = destination / "mini_corpus.json"
    if not stamp.exists():
        return "unfinished" if (destination / "audio").exists() else "not there yet"
    found = read_json(stamp)
    for key, value in _identity(settings).items():
        if found.get(key) != value:
            return f"made with other settings ({key} was {found.get(key)})"
    for path in _tables(destination):
        if not path.exists():
            return f"{path} is missing"
        if sha256(path) != found["files"].get(str(path.relative_to(destination))):
            return f"{path} has changed"
    with open(destination / "mini_corpus.tsv", encoding="utf-8") as table:
        columns = next(table).rstrip("\n").split("\t")
        for line in table:
            record = dict(zip(columns, line.rstrip("\n").split("\t"), strict=True))
            audio = destination / _audio(record["split"], record["id"])
            if not audio.exists():
                return f"{audio} is missing"
            if audio.stat().st_size != int(record["bytes"]):
                return f"{audio} has changed"
    return ""


def _audio(split, utterance):
    return Path("audio", split, f"{utterance}.flac")


def _synthesise(speaker):
    """Clean speech of one speaker: a list of 16 kHz float32 signals, one per line."""
    if speaker.engine == "flite":
        return [_flite(speaker.voice, line) for line in speaker.lines]
    lines = [
        {"text": line.spoken, "rate": line.rate, "pitch": line.pitch, "range": line.range, "gap": line.gap}
        for line in speaker.lines
    ]
    speech = [np.frombuffer(pcm, np.int16) for pcm in espeak.speak(speaker.voice, lines)]
    return [_resample(pcm / np.float32(32768), espeak.SAMPLE_RATE) for pcm in speech]


def _flite(voice, line):
    """Speak one line with the installed `flite`."""
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder, "speech.wav")
        stretch, mean = 165 / line.rate, 60 + 1.2 * line.pitch
        done = subprocess.run(
            ["flite", "-voice", voice, "--setf", f"duration_stretch={stretch:.3f}"]
            + ["--setf", f"int_f0_target_mean={mean:.1f}", "-t", line.spoken, "-o", str(wav)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not wav.exists():
            reason = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise DldError(f"flite voice {voice}: cannot speak “{line.spoken}”: {reason[-1]}")
        signal, rate = soundfile.read(wav, dtype="float32")
    return _resample(signal, rate)


def _resample(signal, rate):
    divisor = np.gcd(rate, SAMPLE_RATE)
    return resample_poly(signal, SAMPLE_RATE // divisor, rate // divisor).astype(np.float32)


def _active(signal):
    """The frames of 20 ms within 40 dB of the loudest one, joined."""
    frames = signal[: signal.size // 320 * 320].reshape(-1, 320)
    power = (frames**2).mean(axis=1)
    return frames[power > power.max() * 1e-4].ravel()


def _rms(signal):
    return float(np.sqrt(np.mean(np.square(signal, dtype=np.float64))))


class Noise:
    """Noises of the kinds in `NOISES`, each made to length.

    Babble sums six excerpts of the training speakers; shaped noise has their long-term spectrum. Neither ever holds
    speech of the speaker that it is added to.

    Parameters
    ----------
    settings : Settings
    speech : dict
        Training speaker → list of clean signals; the first few of each are kept.
    """

    _TALKERS = 6

    def __init__(self, settings, speech):
        self.settings = settings
        self._speech = {}
        spectrum = 0.0
        for speaker, signals in speech.items():
            active = np.concatenate([_active(signal) for signal in signals[:6]])
            self._speech[speaker] = active / _rms(active)
            frames = self._speech[speaker][: active.size // 1024 * 1024].reshape(-1, 1024)
            spectrum = spectrum + (np.abs(np.fft.rfft(frames * np.hanning(1024))) ** 2).mean(axis=0)
        self._spectrum = np.sqrt(spectrum)

    def draw(self, utterance):
        """The generator of an utterance, its kind of noise and its SNR (dB); ("none", inf) for clean speech."""
        # RandomState: its streams are promised to stay the same in all versions of numpy.
        generator = np.random.RandomState(zlib.crc32(f"{self.settings.seed} {utterance}".encode()))
        kinds = sorted(self.settings.noises)
        # Drawn for clean speech too, so that level and silences do not depend on the noises that are asked for.
        share, ratio = generator.uniform(), generator.uniform(self.settings.snr_low, self.settings.snr_high)
        return (generator, kinds[int(share * len(kinds))], round(ratio, 1)) if kinds else (generator, "none", np.inf)

    def make(self, kind, size, generator, speaker):
        """Noise of unit power.

        Parameters
        ----------
        kind : str
            One of `NOISES`.
        size : int
            Length in samples.
        generator : numpy.random.RandomState
        speaker : str
            Whose speech must not be part of it.

        Returns
        -------
        numpy.ndarray
            (size,)
        """
        if kind == "babble":
            noise = self._babble(size, generator, speaker)
        elif kind == "hum":
            noise = self._hum(size, generator)
        else:
            noise = generator.standard_normal(size)
            if kind != "white":
                frequencies = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
                if kind == "pink":
                    gains = 1 / np.sqrt(np.maximum(frequencies, 40))
                else:
                    gains = np.interp(frequencies, np.fft.rfftfreq(1024, 1 / SAMPLE_RATE), self._spectrum)
                noise = np.fft.irfft(np.fft.rfft(noise) * gains, size)
        return noise / _rms(noise)

    def _babble(self, size, generator, speaker):
        others = sorted(set(self._speech) - {speaker})
        chosen = generator.choice(len(others), self._TALKERS, replace=False)
        noise = np.zeros(size)
        for index in chosen:
            talk = self._speech[others[index]]
            noise += np.take(talk, generator.randint(talk.size) + np.arange(size), mode="wrap")
        return noise

    def _hum(self, size, generator):
        """The mains and its harmonics, over a little white noise."""
        time = np.arange(size) / SAMPLE_RATE
        mains = generator.choice((50.0, 60.0)) * generator.uniform(0.995, 1.005)
        noise = 0.1 * generator.standard_normal(size)
        for harmonic in range(1, 25):
            phase = generator.uniform(0, 2 * np.pi)
            noise += generator.uniform(0.3, 1) / harmonic * np.sin(2 * np.pi * mains * harmonic * time + phase)
        return noise


def _write_speaker(staging, noise, speaker, signals):
    """Add noise to one speaker's signals and write them; returns one record per line."""
    records = []
    for line, signal in zip(speaker.lines, signals, strict=True):
        generator, kind, ratio = noise.draw(line.id)
        level, before, after = generator.uniform(-32, -22), *generator.uniform(0.08, 0.25, 2)
        signal = signal * (10 ** (level / 20) / _rms(_active(signal)))
        signal = np.pad(signal, (round(before * SAMPLE_RATE), round(after * SAMPLE_RATE)))
        if kind != "none":
            signal = signal + noise.make(kind, signal.size, generator, speaker.id) * 10 ** ((level - ratio) / 20)
        # Loud noise at a low SNR: turn everything down rather than clip.
        signal = signal * min(1, 0.98 / np.abs(signal).max())
        path = staging / _audio(speaker.split, line.id)
        path.parent.mkdir(parents=True, exist_ok=True)
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


def _publish(destination, staging, records):
    """Move the audio into place and write the data directories and the table."""
    for folder in ("audio", *SPLITS):
        shutil.rmtree(destination / folder, ignore_errors=True)
    os.replace(staging / "audio", destination / "audio")
    with contextlib.suppress(OSError):
        staging.rmdir()
    for split in SPLITS:
        kaldi.write(
            destination / split,
            [
                kaldi.Utterance(
                    id=record["id"],
                    speaker=record["speaker"],
                    text=record["text"],
                    recording=str(destination / _audio(split, record["id"])),
                    start=0.0,
                    end=None,
                    duration=record["samples"] / SAMPLE_RATE,
                )
                for record in records
                if record["split"] == split
            ],
        )
    with atomic_write(destination / "mini_corpus.tsv") as table:
        table.write("\t".join(records[0]) + "\n")
        for record in sorted(records, key=lambda record: record["id"].encode()):
            table.write("\t".join(map(str, record.values())) + "\n")


def _summary(speakers, records):
    """Counts of each split; an error if what was written is not what was planned."""
    summary = {}
    for split in SPLITS:
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
