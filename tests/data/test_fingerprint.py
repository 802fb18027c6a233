"""Fingerprints of data: what changes them, what does not, and how a change is reported."""

import os
from dataclasses import replace

import pytest

from dld.data import fingerprint as module
from dld.data.fingerprint import changes, fingerprint
from dld.data.kaldi import Utterance
from dld.errors import DldError

SIZE = 40000


@pytest.fixture
def utterances(tmp_path):
    """Three utterances of two recordings, as bytes: a fingerprint does not decode audio."""
    for seed, name in enumerate(("one.flac", "two.flac")):
        (tmp_path / name).write_bytes(bytes((7 * i + seed) % 251 for i in range(SIZE)))
    spans = [("a", "one.flac", 0.0, 1.5), ("b", "one.flac", 1.5, 3.0), ("c", "two.flac", 0.0, 4.2)]
    return [
        Utterance(key, "s", f"text {key}", str(tmp_path / name), start, end, duration=end - start)
        for key, name, start, end in spans
    ]


def overwrite(path, position):
    with open(path, "r+b") as stream:
        stream.seek(position)
        [byte] = stream.read(1)
        stream.seek(position)
        stream.write(bytes([byte ^ 1]))


def test_counts_and_hours_are_those_of_the_utterances(utterances):
    found = fingerprint(utterances * 100)
    assert (found.utterances, found.hours) == (300, 0.2)
    assert changes(found, fingerprint(utterances * 100)) is None


def test_a_corpus_may_move(utterances, tmp_path):
    before = fingerprint(utterances)
    (tmp_path / "moved").mkdir()
    for name in ("one.flac", "two.flac"):
        os.rename(tmp_path / name, tmp_path / "moved" / name)
    moved = [replace(u, recording=u.recording.replace(str(tmp_path), f"{tmp_path}/moved")) for u in utterances]
    assert fingerprint(moved) == before
    assert changes(before, fingerprint(moved)) is None


@pytest.mark.parametrize(
    "change, said",
    [
        ({"id": "z"}, "other utterance ids"),
        ({"text": "another"}, "other texts"),
        ({"start": 0.25}, "other durations or segments"),
        ({"end": 1.25}, "other durations or segments"),
        ({"duration": 1.5001}, "other durations or segments"),
        ({"text": "another", "duration": 1.5001}, "other texts and durations or segments"),
    ],
)
def test_a_change_of_one_utterance_is_told(utterances, change, said):
    changed = [replace(utterances[0], **change), *utterances[1:]]
    assert changes(fingerprint(utterances), fingerprint(changed)) == said


def test_another_number_or_order_of_utterances_is_told(utterances):
    before = fingerprint(utterances)
    assert changes(before, fingerprint(utterances[:2])) == "2 utterances where there were 3"
    assert changes(before, fingerprint(utterances[::-1])) == "other utterance ids"


@pytest.mark.parametrize("position", [0, 4095, SIZE // 2, SIZE // 2 + 4095, SIZE - 4096, SIZE - 1])
@pytest.mark.parametrize("name", ["one.flac", "two.flac"])
def test_changed_audio_is_told(utterances, tmp_path, name, position):
    before = fingerprint(utterances)
    overwrite(tmp_path / name, position)
    assert changes(before, fingerprint(utterances)) == "other audio"


@pytest.mark.parametrize("position", [4096, SIZE // 2 - 1, SIZE // 2 + 4096, SIZE - 4097])
def test_what_lies_between_the_samples_is_not_looked_at(utterances, tmp_path, position):
    before = fingerprint(utterances)
    overwrite(tmp_path / "one.flac", position)
    assert changes(before, fingerprint(utterances)) is None


def test_audio_of_another_size_is_told(utterances, tmp_path):
    (tmp_path / "two.flac").write_bytes(bytes(SIZE))
    before = fingerprint(utterances)
    (tmp_path / "two.flac").write_bytes(bytes(SIZE + 1))
    assert changes(before, fingerprint(utterances)) == "other audio"


def test_short_audio_is_looked_at_whole(utterances, tmp_path):
    (tmp_path / "one.flac").write_bytes(bytes(100))
    before = fingerprint(utterances)
    overwrite(tmp_path / "one.flac", 60)
    assert changes(before, fingerprint(utterances)) == "other audio"


def test_of_many_recordings_some_are_looked_at_evenly_spread(utterances, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RECORDINGS", 2)
    third = Utterance("d", "s", "text d", str(tmp_path / "three.flac"), 0.0, 1.0, duration=1.0)
    fourth = replace(third, id="e", recording=str(tmp_path / "four.flac"))
    for name in ("three.flac", "four.flac"):
        (tmp_path / name).write_bytes(bytes(100))
    before = fingerprint([*utterances, third, fourth])
    for name, told in [("two.flac", None), ("four.flac", None), ("three.flac", "other audio")]:
        overwrite(tmp_path / name, 50)
        assert changes(before, fingerprint([*utterances, third, fourth])) == told


def test_a_pipe_is_its_command_and_an_archives_entry_its_offset(utterances, tmp_path):
    def with_recording(recording):
        return fingerprint([replace(utterances[0], recording=recording)])

    pipe = with_recording("flac -dc /nowhere/a.flac |")
    assert pipe == with_recording("flac -dc /nowhere/a.flac |")
    assert changes(pipe, with_recording("flac -dc /nowhere/b.flac |")) == "other audio"
    archive = with_recording(f"{tmp_path}/one.flac:10")
    assert changes(archive, with_recording(f"{tmp_path}/one.flac:11")) == "other audio"
    assert changes(archive, with_recording(f"{tmp_path}/one.flac")) == "other audio"


def test_audio_that_cannot_be_read_is_named_with_its_utterance(utterances, tmp_path):
    (tmp_path / "two.flac").unlink()
    with pytest.raises(DldError, match=r"two\.flac \(utterance c\): No such file"):
        fingerprint(utterances)
    os.mkfifo(tmp_path / "two.flac")
    with pytest.raises(DldError, match=r"two\.flac \(utterance c\): not a regular file"):
        fingerprint(utterances)
