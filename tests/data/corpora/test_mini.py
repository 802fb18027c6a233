"""The mini corpus: what is planned, and what a user finds after making it."""

import collections
import json
import shutil

import numpy as np
import pytest
import soundfile

from dld.bin.prepare import main
from dld.data import espeak, kaldi
from dld.data.corpora import mini
from dld.data.corpora.mini.plan import VOCABULARY, plan
from dld.data.corpora.mini.sound import Noise, active
from dld.data.corpora.settings import SETS
from dld.errors import DldError

SCALE = 0.02  # one utterance per speaker


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini") / "data"
    mini.prepare(folder, mini.Options(scale=SCALE))
    return folder


def test_the_default_plan_is_large_enough_and_speaker_disjoint():
    speakers = plan(mini.Options())
    variants = collections.defaultdict(set)
    words = collections.defaultdict(collections.Counter)
    for speaker in speakers:
        variants[speaker.split].add(speaker.voice.partition("+")[2])
        for line in speaker.lines:
            words[speaker.split].update(line.text.split())
    assert {split: len(names) for split, names in variants.items()} == {"train": 33, "dev": 6, "test": 9}
    assert len(set.union(*variants.values())) == 48
    assert sum(words["test"].values()) >= 1500
    for split in SETS:
        assert set(words[split]) == set(VOCABULARY)
    assert min(words["train"].values()) >= 20
    lengths = {len(line.text.split()) for speaker in speakers for line in speaker.lines}
    assert lengths >= set(range(1, 9))


def test_another_seed_says_other_things_with_other_speakers():
    first, second = (plan(mini.Options(seed=seed, scale=SCALE)) for seed in (1, 2))
    assert {s.id for s in first if s.split == "test"} != {s.id for s in second if s.split == "test"}
    assert [line.text for s in first for line in s.lines] != [line.text for s in second for line in s.lines]


def test_the_directories_are_valid_and_the_audio_is_speech(corpus):
    for split in SETS:
        assert kaldi.validate(corpus / split) == []
        for utterance in kaldi.load(corpus / split):
            signal, rate = soundfile.read(utterance.recording, dtype="int16")
            assert rate == 16000 and signal.ndim == 1
            assert utterance.duration == pytest.approx(signal.size / rate, abs=1e-4)
            assert 400 < np.abs(signal.astype(int)).max() < 32767
            assert 0.12 < signal.size / rate / len(utterance.text.split()) < 1.5
            assert utterance.id.startswith(utterance.speaker + "-")


def test_the_signal_to_noise_ratio_is_the_one_asked_for(corpus, tmp_path):
    # The same speech at the same level, without noise and with it: the difference is the noise.
    mini.prepare(tmp_path, mini.Options(scale=SCALE, noises=()))
    differences = {}
    for record in _records(corpus):
        noisy, clean = (
            soundfile.read(folder / "audio" / record["split"] / f"{record['id']}.flac")[0]
            for folder in (corpus, tmp_path)
        )
        gain = np.dot(noisy, clean) / np.dot(clean, clean)
        speech = active(gain * clean)
        measured = 10 * np.log10(np.mean(speech**2) / np.mean((noisy - gain * clean) ** 2))
        differences[record["id"]] = measured - float(record["snr"])
    assert np.median(np.abs(list(differences.values()))) < 0.3
    assert {record["noise"] for record in _records(corpus)} == set(mini.NOISES)
    assert {record["noise"] for record in _records(tmp_path)} == {"none"}


def test_the_same_seed_gives_the_same_bytes(corpus, tmp_path):
    mini.prepare(tmp_path, mini.Options(scale=SCALE, jobs=1))
    assert (tmp_path / "mini_corpus.tsv").read_bytes() == (corpus / "mini_corpus.tsv").read_bytes()
    for record in _records(corpus):
        audio = f"audio/{record['split']}/{record['id']}.flac"
        assert (tmp_path / audio).read_bytes() == (corpus / audio).read_bytes()


def test_sets_are_made_alone_with_the_same_bytes_and_join_those_that_are_there(corpus, tmp_path, capsys):
    arguments = ["mini", str(tmp_path), "--scale", str(SCALE), "--sets"]
    assert main([*arguments, "test"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["audio", "test"]
    assert main([*arguments, "test dev"]) == 0
    assert "made the corpus (made without dev)" in capsys.readouterr().out
    assert main([*arguments, "dev"]) == 0
    assert "kept the complete corpus" in capsys.readouterr().out
    assert not (tmp_path / "train").exists()
    assert (tmp_path / "test" / "text").read_bytes() == (corpus / "test" / "text").read_bytes()
    made = [record for record in _records(corpus) if record["split"] != "train"]
    assert _records(tmp_path) == made
    for record in made:
        audio = f"audio/{record['split']}/{record['id']}.flac"
        assert (tmp_path / audio).read_bytes() == (corpus / audio).read_bytes()


def test_a_speaker_sounds_the_same_whatever_follows():
    lines = [{"text": text, "rate": 170, "pitch": 50, "range": 50, "gap": 0} for text in ("one two", "nine", "oh")]
    assert espeak.speak("en-us+f3", lines)[:2] == espeak.speak("en-us+f3", lines[:2])
    assert espeak.speak("en-us+f3", lines[:1]) != espeak.speak("en-gb-scotland+m3", lines[:1])


def test_a_complete_corpus_is_kept_and_a_broken_one_made_again(corpus, tmp_path, capsys):
    shutil.copytree(corpus, tmp_path / "data")
    data = tmp_path / "data"
    arguments = ["mini", str(data), "--scale", str(SCALE)]

    def run():
        assert main(arguments) == 0
        return capsys.readouterr().out

    # wav.scp names absolute paths: a copy elsewhere is not a working corpus.
    (data / "dev" / "wav.scp").write_text("")
    assert "wav.scp has changed" in run()
    assert "kept the complete corpus" in run()
    audio = next((data / "audio" / "test").iterdir())
    audio.write_bytes(audio.read_bytes()[:1000])
    assert f"{audio} has changed" in run()
    audio.unlink()
    assert f"{audio} is missing" in run()
    (data / "mini_corpus.json").unlink()
    assert "unfinished" in run()
    arguments += ["--snr-high", "25"]
    output = run()
    assert "made with other settings" in output
    assert ["train", "33", "33"] in [line.split()[:3] for line in output.splitlines()]
    assert not list(data.glob(".mini_corpus*"))


def test_a_failure_leaves_nothing_that_looks_finished(corpus, tmp_path, monkeypatch):
    shutil.copytree(corpus, tmp_path / "data")
    speak = espeak.speak

    def failing(voice, lines):
        if voice.endswith("+m3"):
            raise DldError(f"voice {voice}: espeak-ng failed: out of memory")
        return speak(voice, lines)

    monkeypatch.setattr(espeak, "speak", failing)
    with pytest.raises(DldError, match=r"\+m3: espeak-ng failed"):
        mini.prepare(tmp_path / "data", mini.Options(scale=SCALE, seed=3))
    assert not (tmp_path / "data" / "mini_corpus.json").exists()
    assert not (tmp_path / "data" / ".mini_corpus.partial").exists()


def test_the_summary_counts_what_was_written(corpus):
    splits = json.loads((corpus / "mini_corpus.json").read_text())["splits"]
    for split, counts in splits.items():
        utterances = kaldi.load(corpus / split)
        assert counts["utterances"] == len(utterances)
        assert counts["words"] == sum(len(utterance.text.split()) for utterance in utterances)
        assert counts["seconds"] == pytest.approx(sum(utterance.duration for utterance in utterances), abs=0.1)


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (
            ["--noises", "white brown"],
            "argument --noises: 'white brown' is not allowed; it must be words out of babble, hum, pink, shaped, white",
        ),
        (["--snr-low", "40"], "SNR range 40.0…30.0"),
        (["--scale", "0"], "argument --scale: '0' is not allowed; it must be a number above 0 and at most 100"),
    ],
)
def test_bad_settings_are_errors(tmp_path, capsys, arguments, complaint):
    # What the parser refuses is wrong usage.
    assert main(["mini", str(tmp_path / "data"), *arguments]) == (2 if "argument" in complaint else 1)
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_missing_synthesisers_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr(espeak, "available", lambda: False)
    with pytest.raises(DldError, match="pip install espeakng-loader"):
        mini.prepare(tmp_path, mini.Options(scale=SCALE))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(DldError, match="flite is not installed"):
        mini.prepare(tmp_path, mini.Options(scale=SCALE, flite=True))


@pytest.mark.skipif(not shutil.which("flite"), reason="flite is not installed")
def test_flite_adds_training_voices_only(corpus, tmp_path):
    summary = mini.prepare(tmp_path, mini.Options(scale=SCALE, flite=True)).counts
    assert {split: counts["speakers"] for split, counts in summary.items()} == {"train": 37, "dev": 6, "test": 9}
    # The speech of dev and test is the same; only their babble and shaped noise, made of training speech, differ.
    assert (tmp_path / "test" / "text").read_bytes() == (corpus / "test" / "text").read_bytes()


def test_babble_never_holds_the_speaker_itself():
    generator = np.random.RandomState(1)
    tones = {f"s{i}": [np.sin(2 * np.pi * 200 * (i + 1) * np.arange(32000) / 16000)] for i in range(8)}
    noise = Noise(mini.Options(), tones).make("babble", 16000, generator, "s3")
    spectrum = np.abs(np.fft.rfft(noise))
    assert spectrum[800] < 1e-3 * spectrum.max()
    assert sum(spectrum[200 * (i + 1)] > 0.1 * spectrum.max() for i in range(8)) == 6


def _records(folder):
    header, *lines = (folder / "mini_corpus.tsv").read_text().splitlines()
    return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]
