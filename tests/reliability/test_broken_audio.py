"""Broken and odd audio: what validating and reading make of it, and that neither hangs, nor raises but `DldError`."""

import importlib
import os
import random
import re
import shutil
import signal
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dld.bin import command
from dld.data import kaldi, pipes, recordings
from dld.data.audio import allow_pipes, decode_check, info, read_audio
from dld.data.dataset import make_dataset, make_loader
from dld.data.kaldi import Utterance
from dld.errors import DldError

from .audio_cases import CASES, SAME
from .audio_makers import encoded, flac_total, stored

TABLE = "broken audio"
RECORDINGS = "egs_data/librispeech/LibriSpeech/test-clean/1089/134686"


@pytest.fixture(scope="session")
def samples(root):
    """Real recordings, one after the other: int16 at 16 kHz, 3 to 4 s."""
    paths = sorted((root / RECORDINGS).glob("*.flac"))
    return np.concatenate([soundfile.read(path, dtype="int16")[0] for path in paths])


@pytest.fixture(autouse=True)
def limits(monkeypatch, tmp_path):
    """Limits of pipes that a test can wait for, and a current folder for relative paths."""
    monkeypatch.setenv(pipes.ALLOW, "true")
    monkeypatch.setenv(pipes.TIMEOUT, "30")
    monkeypatch.setenv(pipes.MEGABYTES, "2")
    monkeypatch.setattr(recordings, "_said", set())
    monkeypatch.chdir(tmp_path)


def directory(folder, value, seconds=1.0):
    """A data directory of one utterance."""
    folder.mkdir()
    tables = {"wav.scp": value, "utt2spk": "u1", "spk2utt": "u1", "text": "one", "utt2dur": f"{seconds:.6f}"}
    for name, text in tables.items():
        (folder / name).write_text(f"u1 {text}\n")
    return folder


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_comes_of_it(case, outcome, samples, tmp_path, monkeypatch):
    if "0\\.3 s" in (case.validate or ""):
        monkeypatch.setenv(pipes.TIMEOUT, "0.3")
    (tmp_path / "wav").mkdir()
    value = case.make(tmp_path / "wav", samples)
    seconds = 1.0 if case.validate else info(value).duration
    result = outcome("data", ["validate", directory(tmp_path / "data", value, seconds)], TABLE)
    if case.validate is None:
        assert result.kind == "accepted", result.err
    else:
        assert result.kind == "error" and "1 of 1 directories not valid" in result.message
        [complaint] = [line for line in result.err.splitlines() if "wav.scp:1: u1: " in line]
        assert re.search(case.validate, complaint), complaint
    read_alike(case, value, samples)


@pytest.mark.parametrize("name", ["./wav/u.wav", "{}//u.wav", "{}/./u.wav", "wav/../wav/u.wav"])
def test_names_as_find_writes_them_are_mended_too(name, outcome, samples, tmp_path):
    (tmp_path / "wav").mkdir()
    (tmp_path / "wav/u.wav").write_bytes(encoded(samples))
    folder = directory(tmp_path / "data", name.format(tmp_path / "wav"), 7)
    assert outcome("data", ["fix", folder], TABLE).kind == "accepted"
    assert float((folder / "utt2dur").read_text().split()[1]) == pytest.approx(len(samples) / 16000)


def read_alike(case, value, samples):
    """Reading, whole and checked in blocks, does what the case says."""
    for read in (read_audio, decode_check):
        if case.read in (SAME, ""):
            read(value, utterance="u1")
        else:
            with pytest.raises(DldError, match=case.read) as caught:
                read(value, utterance="u1")
            assert "(utterance u1): " in str(caught.value) and "\n" not in str(caught.value)
    if case.read == SAME:
        assert np.array_equal(read_audio(value), samples / np.float32(32768))
        assert np.array_equal(read_audio(value, 0.25, 1.25), samples[4000:20000] / np.float32(32768))
        assert decode_check(value, [(0.25, 1.25), (1.5, None)]) == len(samples) / 16000


def test_pipes_are_refused_where_they_are_switched_off(outcome, tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    folder = directory(tmp_path / "data", f"touch {ran} |")
    refused = f"touch {ran} |: this pipe is a command, and none is run .*; write its output to a file, or allow pipes"
    for arguments in (["validate"], ["fix"]):
        result = outcome("data", [*arguments, "--allow-pipes", "false", folder], TABLE)
        assert result.kind == "error" and re.search(refused.replace("|", r"\|"), result.err)
    monkeypatch.setenv(pipes.ALLOW, "true")
    allow_pipes(False)
    with pytest.raises(DldError, match="none is run"):
        read_audio(f"touch {ran} |", utterance="u1")
    dataset = make_dataset(folder)
    with pytest.raises(DldError, match=r"\(utterance u1\): this pipe is a command, and none is run"):
        list(make_loader(dataset, [[0]], num_workers=1))
    assert not ran.exists()
    for value in ("no", "False", ""):
        monkeypatch.setenv(pipes.ALLOW, value)
        with pytest.raises(DldError, match=f"DLD_ALLOW_PIPES is '{value}'; it must be true or false"):
            read_audio(f"touch {ran} |")
    assert not ran.exists()


@pytest.mark.parametrize("name", ["data", "decode", "gate_table", "tune_lm", "train"])
def test_help_says_that_pipes_run_commands(name, capsys):
    with pytest.raises(SystemExit):
        importlib.import_module(f"dld.bin.{name}").main(["validate", "--help"] if name == "data" else ["--help"])
    out = capsys.readouterr().out
    assert "--allow-pipes" in out and "run as commands" in " ".join(out.split())


@pytest.mark.parametrize("name", [pipes.TIMEOUT, pipes.MEGABYTES])
@pytest.mark.parametrize("value", ["many", "0", "-1", "nan", "inf", ""])
def test_limits_of_pipes_are_positive_numbers(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(DldError, match=f"{name} is '{value}'; it must be a positive number"):
        read_audio("true |")


def test_what_a_stopped_pipe_has_started_is_stopped_too(tmp_path, monkeypatch):
    monkeypatch.setenv(pipes.TIMEOUT, "1")
    with pytest.raises(DldError, match="was stopped"):
        read_audio(f"sh -c 'sleep 1000 & echo $! > {tmp_path}/pid; wait' |")
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]:
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} still runs")


def test_a_failure_of_a_pipe_is_not_kept(samples, tmp_path):
    path = tmp_path / "late.wav"
    with pytest.raises(DldError, match="the pipe ended with status 1"):
        read_audio(f"cat {path} |")
    path.write_bytes(encoded(samples))
    assert len(read_audio(f"cat {path} |")) == len(samples)


def test_a_pipe_is_run_once_for_its_segments(samples, tmp_path):
    (tmp_path / "u.flac").write_bytes(flac_total(0)(bytearray(encoded(samples, "FLAC"))))
    command = f"echo >> {tmp_path}/runs; cat {tmp_path}/u.flac |"
    for start in (0.0, 1.0, 0.5):
        part = read_audio(command, start, start + 0.5)
        assert np.array_equal(part, samples[int(start * 16000) :][:8000] / np.float32(32768))
    assert (tmp_path / "runs").read_text() == "\n"


def test_flac_of_unknown_length(shared, outcome, tmp_path, caplog, monkeypatch):
    decoded, blocks_of = [], recordings.Recording.blocks_of

    def noted(self, frames=None):
        decoded.append(frames)
        return blocks_of(self, frames)

    monkeypatch.setattr(recordings.Recording, "blocks_of", noted)
    monkeypatch.setattr(recordings, "_counted", {})
    path = shared / "cases/flac_unknown_total.flac"
    folder = directory(tmp_path / "data", path)
    assert outcome("data", ["fix", folder], TABLE).kind == "accepted"
    assert (folder / "utt2dur").read_text() == "u1 2.069437\n"
    assert outcome("data", ["validate", folder], TABLE).kind == "accepted"
    assert caplog.text.count("does not state its length is decoded to count it") == 1
    for start in (0.0, 0.5, 1.0, 1.5):
        assert len(read_audio(path, start, start + 0.5)) == 8000
    assert decoded.count(None) == 1


@pytest.mark.parametrize("kind, subtype", [("FLAC", None), ("WAV", "GSM610"), ("AU", "G721_32"), ("OGG", None)])
def test_segments_without_a_length_or_without_seeking(kind, subtype, samples, tmp_path):
    path = tmp_path / "u"
    data = bytearray(encoded(samples, kind, subtype))
    path.write_bytes(flac_total(0)(data) if kind == "FLAC" else data)
    whole = read_audio(path)
    assert len(whole) == info(path).frames >= len(samples)
    for start, end in ((0.3, 0.4), (0.0, 1.0), (2.0, None), (1.23456, 2.34567)):
        last = None if end is None else round(end * 16000)
        assert np.array_equal(read_audio(path, start, end), whole[round(start * 16000) : last])


@pytest.mark.parametrize("start, end", [(0.5, 0.50001), (0.5, 99), (99, None), (-1, 1), (1, 0.5), (1, float("nan"))])
def test_segments_that_decoding_refuses(start, end, samples, tmp_path):
    (tmp_path / "u.wav").write_bytes(encoded(samples))
    for read in (lambda *span: read_audio("u.wav", *span), lambda *span: decode_check("u.wav", [(0, 1), span])):
        with pytest.raises(DldError, match=r"u\.wav: (no|the) segment from .*; correct segments"):
            read(start, end)


def test_silence_is_only_said(samples, tmp_path, caplog):
    soundfile.write(tmp_path / "u.wav", samples * 0, 16000)
    assert decode_check("u.wav", utterance="u1") == len(samples) / 16000
    assert f"u.wav (utterance u1): silent, all {len(samples)} samples are 0" in caplog.text


def test_segments_of_mp3_are_said_to_differ_once(samples, tmp_path, caplog):
    (tmp_path / "u.mp3").write_bytes(encoded(samples, "MP3"))
    read_audio("u.mp3")
    assert "MP3" not in caplog.text
    for start in (0.5, 1.0):
        read_audio("u.mp3", start, start + 1)
    assert len(re.findall(r"MP3 can differ .* first 9 ms.*; convert .*u\.mp3", caplog.text)) == 1


def test_samples_after_those_that_a_header_tells_are_left_out(samples, tmp_path, caplog):
    path = stored(lambda data: data.replace(b"sample_count -i %d" % len(samples), b"sample_count -i 16000"), "NIST")
    assert info(path(tmp_path, samples)).frames == len(read_audio(path(tmp_path, samples))) == 16000
    assert "left out" in caplog.text


def memory_of(read):
    """The most memory in MB that Python and NumPy take for a call."""
    tracemalloc.start()
    try:
        with pytest.raises(DldError):
            read()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("number", [0, 6 * 86400 * 16000, (1 << 36) - 1])
@pytest.mark.parametrize("read", [read_audio, decode_check, lambda source: read_audio(source, 5, 500000)])
def test_a_header_that_lies_costs_no_memory(read, number, samples, tmp_path):
    data = flac_total(number)(bytearray(encoded(samples, "FLAC")))
    (tmp_path / "u.flac").write_bytes(data[:-3000])
    assert memory_of(lambda: read(tmp_path / "u.flac")) < 30


def test_checking_a_long_recording_takes_little_memory(tmp_path):
    with soundfile.SoundFile(tmp_path / "long.flac", "w", 16000, 1) as out:
        for _ in range(20):
            out.write(np.zeros(16000 * 60, np.int16))
    tracemalloc.start()
    try:
        assert decode_check("long.flac") == 1200
        # All of it would be 77 MB.
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


KINDS = {
    "WAV": ("WAV", None), "WAV of 24 bits": ("WAV", "PCM_24"), "ADPCM": ("WAV", "IMA_ADPCM"), "FLAC": ("FLAC", None),
    "SPH": ("NIST", None), "OGG": ("OGG", None), "AIFF": ("AIFF", None), "AU": ("AU", None), "CAF": ("CAF", None),
    "W64": ("W64", None), "RF64": ("RF64", None),
}  # fmt: skip


def mutated(data, draw):
    """A file with one to four faults, most of them in its header."""
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        at = draw.randrange(min(len(data), 120) if draw.random() < 0.7 else len(data))
        fault = draw.randrange(5)
        if fault == 0:
            data[at] = draw.randrange(256)
        elif fault == 1:
            number = draw.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, draw.getrandbits(32)])
            data[at : at + 4] = number.to_bytes(4, "little")
        elif fault == 2:
            del data[at : at + draw.randint(1, 40)]
        elif fault == 3:
            data[at:at] = draw.randbytes(draw.randint(1, 8))
        else:
            data = data[: draw.randint(1, len(data))]
        data = data or bytearray(b"x")
    return data


@pytest.mark.parametrize("kind", KINDS)
def test_files_with_faults_at_random(kind, samples, tmp_path):
    original, draw, refused = encoded(samples[:8000], *KINDS[kind]), random.Random(kind), 0
    reads = (info, read_audio, decode_check, lambda source: read_audio(source, 0.1, 0.2))
    for number in range(40):
        in_archive = number % 4 == 3
        data = mutated(original, draw)
        (tmp_path / "u").write_bytes(b"key " + data if in_archive else data)
        for read in reads:
            try:
                read(f"{tmp_path}/u:4" if in_archive else tmp_path / "u")
            except DldError as error:
                refused += 1
                assert "\n" not in str(error)
    assert 0 < refused < 40 * len(reads)


def test_a_faulty_recording_is_the_same_with_workers(samples, tmp_path):
    utterances = []
    for i in range(6):
        path = tmp_path / f"u{i}.wav"
        path.write_bytes(encoded(samples)[: 9000 if i == 4 else None])
        utterances.append(Utterance(f"u{i}", "u", "one", str(path), duration=1.0))
    dataset, said = make_dataset(utterances), set()
    for workers in (0, 2):
        with pytest.raises(DldError) as caught:
            for batch in make_loader(dataset, [[0, 1], [2, 3], [4, 5]], workers):
                assert "u4" not in batch.id
        said.add(str(caught.value))
    [message] = said
    assert re.search(r"/u4\.wav \(utterance u4\): audio is cut short .*; copy it again$", message)


def test_workers_without_shared_memory_do_not_leave_training_waiting(samples, tmp_path, monkeypatch):
    def full(tensor):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr("torch.Tensor.share_memory_", full)
    (tmp_path / "u.wav").write_bytes(encoded(samples))
    dataset = make_dataset([Utterance("u1", "u1", "one", "u.wav", duration=1.0)])
    with pytest.raises(DldError, match=r"no shared memory \(/dev/shm\) .*No space left on device.*--num_workers"):
        list(make_loader(dataset, [[0]], num_workers=1))


class _Deadly:
    """A dataset whose worker is killed, as one is that takes too much memory."""

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_told_in_one_line():
    with pytest.raises(DldError, match=r"loads data \(pid \d+\) .*: memory .*use fewer .*--num_workers"):
        list(make_loader(_Deadly(), [[0]], num_workers=1))


def test_a_worker_that_is_killed_while_something_else_is_done(capsys):
    @command
    def main(argv):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that …")

    assert main([]) == 1
    [line] = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert re.search(r"dld.*: error: a process that loads data \(pid 7\) was killed \(Bus error\): memory", line)


def test_training_with_workers_tells_of_a_faulty_recording(outcome, tiny_corpus, files, tmp_path):
    data = tmp_path / "corpus"
    shutil.copytree(tiny_corpus, data)
    table = kaldi.load(data / "train")
    faulty = table[len(table) // 2]
    path = tmp_path / "cut.wav"
    path.write_bytes(b"RIFF\xff\xff\0\0WAVE")
    text = (data / "train/wav.scp").read_text().replace(faulty.recording, str(path))
    (data / "train/wav.scp").write_text(text)
    options = {"data": data, "exp": tmp_path / "exp", "num_blocks": 2, "d_model": 16, "num_workers": 2}
    options.update(valid_depths="[2]", decode_depths="[2]", max_batch_seconds=20, device="cpu")
    options = [text for key, value in options.items() for text in (f"--{key}", value)]
    result = outcome("train", [*files("mini/static"), *options], TABLE)
    assert result.kind == "error", result
    assert re.search(rf"cut\.wav \(utterance {faulty.id}\): audio cannot be read", result.message)


def test_decoding_tells_of_what_is_not_a_file(outcome, trained_pair, tmp_path):
    exp = next(path.parent for path in trained_pair.rglob("model.json"))
    os.mkfifo(tmp_path / "u.wav")
    result = outcome("decode", ["--exp", exp, "--data", directory(tmp_path / "data", tmp_path / "u.wav")], TABLE)
    assert (
        result.kind == "error"
        and "(utterance u1): audio cannot be read: not a regular file but a FIFO" in result.message
    )
