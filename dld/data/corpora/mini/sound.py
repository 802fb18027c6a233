"""Speech and noise of the mini corpus, as signals of 16 kHz."""

import subprocess
import tempfile
import zlib
from pathlib import Path

import numpy as np
import soundfile

from dld.data import espeak
from dld.data.audio import resample
from dld.data.corpora.mini import Options
from dld.data.corpora.mini.plan import Speaker
from dld.errors import DldError

SAMPLE_RATE = 16000


def synthesise(speaker: Speaker) -> list[np.ndarray]:
    """Return the clean speech of one speaker: a list of 16 kHz float32 signals, one per line."""
    if speaker.engine == "flite":
        return [_flite(speaker.voice, line) for line in speaker.lines]
    lines = [
        {"text": line.spoken, "rate": line.rate, "pitch": line.pitch, "range": line.range, "gap": line.gap}
        for line in speaker.lines
    ]
    speech = [np.frombuffer(pcm, np.int16) for pcm in espeak.speak(speaker.voice, lines)]
    return [resample(pcm / np.float32(32768), espeak.SAMPLE_RATE, SAMPLE_RATE) for pcm in speech]


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
    return resample(signal, rate, SAMPLE_RATE)


def active(signal: np.ndarray) -> np.ndarray:
    """Return the frames of 20 ms within 40 dB of the loudest one, joined."""
    frames = signal[: signal.size // 320 * 320].reshape(-1, 320)
    power = (frames**2).mean(axis=1)
    return frames[power > power.max() * 1e-4].ravel()


def rms(signal: np.ndarray) -> float:
    """Return the root of the mean square of a signal."""
    return float(np.sqrt(np.mean(np.square(signal, dtype=np.float64))))


class Noise:
    """Noises of the kinds in `NOISES`, each made to length.

    Babble sums six excerpts of the training speakers; shaped noise has their long-term spectrum. Neither ever holds
    speech of the speaker that it is added to.

    Parameters
    ----------
    options : Options
    speech : dict
        Training speaker → list of clean signals; the first few of each are kept.
    """

    _TALKERS = 6

    def __init__(self, options: Options, speech: dict[str, list[np.ndarray]]):
        self.options = options
        self._speech = {}
        spectrum = 0.0
        for speaker, signals in speech.items():
            loud = np.concatenate([active(signal) for signal in signals[:6]])
            self._speech[speaker] = loud / rms(loud)
            frames = self._speech[speaker][: loud.size // 1024 * 1024].reshape(-1, 1024)
            spectrum = spectrum + (np.abs(np.fft.rfft(frames * np.hanning(1024))) ** 2).mean(axis=0)
        self._spectrum = np.sqrt(spectrum)

    def draw(self, utterance):
        """Return the generator of an utterance, its kind of noise and its SNR (dB); ("none", inf) for clean speech."""
        # RandomState: its streams are promised to stay the same in all versions of numpy.
        generator = np.random.RandomState(zlib.crc32(f"{self.options.seed} {utterance}".encode()))
        kinds = sorted(self.options.noises)
        # Drawn for clean speech too, so that level and silences do not depend on the chosen noises.
        position, ratio = generator.uniform(), generator.uniform(self.options.snr_low, self.options.snr_high)
        return (generator, kinds[int(position * len(kinds))], round(ratio, 1)) if kinds else (generator, "none", np.inf)

    def make(self, kind, size, generator, speaker):
        """Return noise of unit power.

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
        return noise / rms(noise)

    def _babble(self, size, generator, speaker):
        others = sorted(set(self._speech) - {speaker})
        chosen = generator.choice(len(others), self._TALKERS, replace=False)
        noise = np.zeros(size)
        for index in chosen:
            talk = self._speech[others[index]]
            noise += np.take(talk, generator.randint(talk.size) + np.arange(size), mode="wrap")
        return noise

    def _hum(self, size, generator):
        """Return the mains and its harmonics, over a little white noise."""
        time = np.arange(size) / SAMPLE_RATE
        mains = generator.choice((50.0, 60.0)) * generator.uniform(0.995, 1.005)
        noise = 0.1 * generator.standard_normal(size)
        for harmonic in range(1, 25):
            phase = generator.uniform(0, 2 * np.pi)
            noise += generator.uniform(0.3, 1) / harmonic * np.sin(2 * np.pi * mains * harmonic * time + phase)
        return noise
