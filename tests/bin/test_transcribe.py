"""`dld transcribe`: formats, folders, standard input, and bad input, none of which crashes, hangs or is lost."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from dld.bin import calibrate, transcribe
from dld.data import kaldi
from dld.recognition.loading import load_model


@pytest.fixture(scope="module")
def babbler(experiment, tmp_path_factory):
    """A network that was not trained and writes nonsense on every frame."""
    return experiment("ld", tmp_path_factory.mktemp("babbler"), lr=0.0, num_epochs=1, **{"network.blank_bias": -5.0})


@pytest.fixture(scope="module")
def model(babbler):
    return load_model(babbler)


@pytest.fixture
def folder(tiny_corpus, tmp_path):
    """A folder with two recordings, one of them further down, and a file that is not audio."""
    first, second = [utterance.recording for utterance in kaldi.load(tiny_corpus / "test")][:2]
    (tmp_path / "audio/deep").mkdir(parents=True)
    shutil.copy(first, tmp_path / "audio/b.flac")
    shutil.copy(second, tmp_path / "audio/deep/a.flac")
    (tmp_path / "audio/notes.txt").write_text("not audio")
    return tmp_path / "audio"


def run(model, *arguments):
    return transcribe.main([str(model), *map(str, arguments)])


def start(root, *arguments, **settings):
    command = [sys.executable, "-m", "dld", "transcribe", *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=root, **{**pipes, **settings})


# ---------------------------------------------------------------- formats


def test_json_has_the_words_where_times_are_asked_for(model, babbler, folder, capsys):
    path = str(folder / "b.flac")
    assert run(babbler, path, "--format", "json", "--times", "true", "--depth", "2", "--policy", "first-n") == 0
    record = json.loads(capsys.readouterr().out)
    found = model.transcribe(path, depth=2, policy="first-n", times=True)
    assert record == {"path": path, "depth": 2, "gates": "110", **found.to_json()}
    assert record["calibrated"] is False and len(record["words"]) > 1


@pytest.mark.parametrize("name", ["ctm", "srt", "vtt"])
def test_a_recording_is_printed_in_each_format(model, babbler, folder, capsys, name):
    assert run(babbler, folder / "b.flac", "--format", name) == 0
    found = model.transcribe(folder / "b.flac", times=True)
    expected = found.to_ctm("b") if name == "ctm" else getattr(found, f"to_{name}")()
    assert capsys.readouterr().out == expected != ""


def test_times_are_within_the_recording_and_do_not_overlap(model, folder):
    found = model.transcribe(folder / "b.flac", times=True)
    seconds = soundfile.info(folder / "b.flac").duration
    times = [time for word in found.words for time in (word.start, word.end)]
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= seconds + model.frame_seconds
    assert all(0 <= word.confidence <= 1 for word in found.words)
    assert " ".join(word.text for word in found.words) == found.text
    assert model.frame_seconds == pytest.approx(0.04)


def test_a_file_for_each_recording(model, babbler, folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(babbler, folder, "--out", out, "--format", "srt") == 0
    assert capsys.readouterr().out == ""
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == ["b.srt", "deep/a.srt"]
    assert (out / "deep/a.srt").read_text() == model.transcribe(folder / "deep/a.flac", times=True).to_srt()
    assert run(babbler, folder, "--out", out) == 0
    assert (out / "b.txt").read_text() == model.transcribe(folder / "b.flac") + "\n"


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--format", "srt"], 2, "--format srt of several recordings needs --out DIR"),
        (["--times", "true"], 2, "text has no times; take --format json"),
        (["--window", "0.5"], 2, "argument --window: '0.5' is not allowed; it must be a number of at least 1"),
        (["--out", "{folder}/b.flac"], 1, "is a file, a folder was expected"),
        (["{folder}/b.flac", "--format", "ctm"], 1, "2 recordings have the name b"),
        (["{folder}/b.flac", "--out", "{folder}/out"], 1, "2 recordings have the name b"),
        (["-", "-"], 1, "more than once"),
    ],
)
def test_wrong_options_are_one_line(babbler, folder, capsys, options, status, message):
    assert run(babbler, folder, *(option.format(folder=folder) for option in options)) == status
    captured = capsys.readouterr()
    assert captured.out == "" and message in captured.err.splitlines()[-1]


def test_a_calibration_is_used_and_that_of_another_model_refused(babbler, tiny_corpus, folder, tmp_path, capsys):
    shutil.copytree(babbler, tmp_path / "exp")
    raw = load_model(tmp_path / "exp").transcribe(folder / "b.flac", times=True, gates="110")
    options = ["--data", str(tiny_corpus / "dev"), "--policy", "first-n", "--depths", "2", "--progress", "false"]
    assert calibrate.main(["--exp", str(tmp_path / "exp"), *options]) == 0
    model = load_model(tmp_path / "exp")
    found = model.transcribe(folder / "b.flac", times=True, gates="110")
    curve = model.curve((True, True, False))
    assert (raw.calibrated, found.calibrated) == (False, True) and curve.words > 10
    for before, after in zip(raw.words, found.words, strict=True):
        assert (before.text, before.start, before.end) == (after.text, after.start, after.end)
        assert after.confidence == pytest.approx(curve(before.confidence), abs=2e-3)
    # Nothing was fitted for these gates.
    assert model.transcribe(folder / "b.flac", times=True, gates="111").calibrated is False
    content = json.loads((tmp_path / "exp/confidence.json").read_text())
    (tmp_path / "exp/confidence.json").write_text(json.dumps({**content, "state_sha256": "0" * 64}))
    capsys.readouterr()
    assert run(tmp_path / "exp", folder / "b.flac", "--format", "ctm") == 1
    assert "confidence.json: fitted for other weights" in capsys.readouterr().err


# ---------------------------------------------------------------- folders and pipes


def test_a_folder_is_read_in_order(model, babbler, folder, capsys):
    assert run(babbler, folder) == 0
    paths = [str(folder / "b.flac"), str(folder / "deep/a.flac")]
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [f"{path}\t{model.transcribe(path)}" for path in paths]


def test_standard_input_is_a_recording(root, model, babbler, folder):
    with start(root, babbler, "-", folder / "b.flac") as process:
        out, _ = process.communicate((folder / "deep/a.flac").read_bytes(), timeout=60)
    texts = [model.transcribe(folder / name) for name in ("deep/a.flac", "b.flac")]
    assert out.decode().splitlines() == [f"-\t{texts[0]}", f"{folder / 'b.flac'}\t{texts[1]}"]
    assert process.returncode == 0


def test_a_reader_that_leaves_ends_the_command_quietly(root, babbler, folder):
    with start(root, babbler, *[folder / "b.flac"] * 40, "--batch-seconds", "1") as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 141
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (0, "standard input is empty"),
        (20, "dld transcribe: error: -: audio cannot be read"),
        (0.5, "dld transcribe: error: -: audio c"),
    ],
)
def test_a_writer_that_breaks_off_is_one_error(root, babbler, folder, sent, message):
    data = (folder / "b.flac").read_bytes()
    with start(root, babbler, "-") as process:
        out, err = process.communicate(data[: sent if isinstance(sent, int) else int(len(data) * sent)], timeout=60)
    assert process.returncode == 1 and out == b""
    assert message in err.decode().splitlines()[-1] and str(os.sep) + "tmp" not in err.decode()


# ---------------------------------------------------------------- bad input


def broken(folder):
    """Write recordings that cannot be transcribed; return what is said of each."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 16000)
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("not audio at all\n" * 100)
    soundfile.write(folder / "header.wav", np.zeros(0), 16000)
    soundfile.write(folder / "nan.wav", np.where(np.arange(16000) == 8000, np.nan, noise), 16000, subtype="FLOAT")
    soundfile.write(folder / "loud.wav", noise * 1e12, 16000, subtype="FLOAT")
    soundfile.write(folder / "cut.wav", noise, 16000)
    data = (folder / "cut.wav").read_bytes()
    (folder / "cut.wav").write_bytes(data[:20000])
    (folder / "rate.wav").write_bytes(data[:24] + (7).to_bytes(4, "little") + data[28:])
    os.mkfifo(folder / "fifo.wav")
    return {
        "cut.wav": "audio is cut short",
        "empty.wav": "no audio in it",
        "fifo.wav": "not a regular file but a FIFO",
        "header.wav": "no audio in it",
        "loud.wav": "far above full scale",
        "nan.wav": "not finite numbers (first at 0.500 s)",
        "rate.wav": "7 Hz, which is not between 1000 and 768000",
        "text.wav": "audio cannot be read",
    }


def test_each_broken_recording_is_one_error_and_the_good_one_is_transcribed(model, babbler, folder, capsys):
    expected = broken(folder)
    assert run(babbler, folder, "--progress", "false") == 1
    captured = capsys.readouterr()
    assert [line.split("\t")[0] for line in captured.out.splitlines()] == [
        str(folder / "b.flac"),
        str(folder / "deep/a.flac"),
    ]
    errors = [line for line in captured.err.splitlines() if line.startswith("dld transcribe: error: ")]
    assert len(errors) == len(expected)
    for line, (name, message) in zip(errors, expected.items(), strict=True):
        assert name in line and message in line


@pytest.mark.parametrize("rate", [1000, 8000, 11025, 44100, 192000])
@pytest.mark.parametrize("seconds", [0.01, 0.5])
def test_short_audio_of_any_rate_has_a_result(babbler, tmp_path, capsys, rate, seconds):
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, int(rate * seconds)), rate)
    for name in ("text", "json", "ctm", "srt", "vtt"):
        assert run(babbler, tmp_path / "a.wav", "--format", name) == 0
        assert capsys.readouterr().out or name in ("ctm", "srt")


def test_silence_has_a_result(trained_pair, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    assert run(trained_pair / "dld", tmp_path / "a.wav") == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'a.wav'}\t")


def test_clipped_audio_is_transcribed_with_a_warning(babbler, tmp_path, capsys, caplog):
    samples = np.clip(np.random.default_rng(0).normal(0, 2, 16000), -1, 1)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    assert run(babbler, tmp_path / "a.wav") == 0
    assert "a.wav: clipped, " in caplog.text and capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize("name", [b"\xff\xfe.flac", b"tab\tand\nline.flac", b";;comment.flac", b"x" * 250 + b".flac"])
def test_files_with_strange_names_lose_nothing(babbler, folder, tmp_path, capsys, name):
    path = os.path.join(os.fsencode(tmp_path), name)
    shutil.copy(next(folder.rglob("*.flac")), path)
    path = os.fsdecode(path)
    assert transcribe.main([str(babbler), path]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    for form in ("json", "ctm", "srt", "vtt"):
        assert transcribe.main([str(babbler), path, "--format", form, "--out", str(tmp_path / form)]) == 0
        [written] = os.listdir(tmp_path / form)
        text = (tmp_path / form / written).read_text("utf-8")
        if form == "json":
            assert json.loads(text)["path"] == path
        if form == "ctm":
            lines = text.splitlines()
            assert lines and all(len(line.split()) == 6 and not line.startswith(";;") for line in lines)


def test_recordings_that_would_have_one_name_in_a_ctm_are_refused(babbler, folder, tmp_path, capsys):
    for name in ("one two.flac", "one_two.flac"):
        shutil.copy(next(folder.rglob("*.flac")), tmp_path / name)
    assert transcribe.main([str(babbler), str(tmp_path / "one two.flac"), str(tmp_path / "one_two.flac"),
                            "--format", "ctm"]) == 1  # fmt: skip
    assert "2 recordings have the name one_two" in capsys.readouterr().err
