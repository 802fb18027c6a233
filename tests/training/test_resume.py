"""What may change between the starts of one run, and what may not."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dld.data import kaldi
from dld.data.fingerprint import changes, fingerprint
from dld.errors import DldError
from dld.files import alone_in, read_json
from dld.training import folder as folders


@pytest.fixture(scope="module")
def trained(experiment, tiny_corpus, tmp_path_factory):
    """A finished static network and the folder of its data, which has its own copies of the audio."""
    top = tmp_path_factory.mktemp("resume")
    data = top / "data"
    shutil.copytree(tiny_corpus, data)
    move_audio(data, tiny_corpus, data)
    experiment("static", top / "exp", data=str(data), num_epochs=1)
    return top


def move_audio(data, before, after):
    for table in data.glob("*/wav.scp"):
        table.write_text(table.read_text().replace(str(before), str(after)))


@pytest.fixture
def copy(trained, tmp_path):
    """Everything of `trained` at another path."""
    shutil.copytree(trained, tmp_path / "moved")
    move_audio(tmp_path / "moved/data", trained, tmp_path / "moved")
    return tmp_path / "moved"


def lines_of(path):
    return path.read_text().splitlines(keepends=True)


def edit_texts(data):
    lines = lines_of(data / "train/text")
    first, second = (line.split(" ", 1) for line in lines[:2])
    (data / "train/text").write_text("".join([f"{first[0]} {second[1]}", f"{second[0]} {first[1]}", *lines[2:]]))


def drop(data, name, number):
    for table in ("text", "wav.scp", "utt2spk", "utt2dur"):
        (data / name / table).write_text("".join(lines_of(data / name / table)[number:]))
    speakers = {}
    for line in lines_of(data / name / "utt2spk"):
        key, speaker = line.split()
        speakers.setdefault(speaker, []).append(key)
    (data / name / "spk2utt").write_text("".join(f"{s} {' '.join(keys)}\n" for s, keys in sorted(speakers.items())))


def replace_audio(data):
    path = lines_of(data / "train/wav.scp")[0].split(" ", 1)[1].strip()
    samples, rate = soundfile.read(path)
    soundfile.write(path, np.roll(samples, 1000) * 0.5, rate)


def shorten(data):
    lines = lines_of(data / "train/utt2dur")
    key, value = lines[0].split()
    (data / "train/utt2dur").write_text("".join([f"{key} {float(value) - 0.01:.3f}\n", *lines[1:]]))


@pytest.mark.parametrize(
    "change, message",
    [
        (edit_texts, "train_data .* changed since .* other texts"),
        (lambda data: drop(data, "train", 2), r"train_data .* utterances where there were \d+"),
        (replace_audio, "train_data .* other audio"),
        (shorten, "train_data .* other durations or segments"),
        (lambda data: drop(data, "dev", 2), r"dev_data .* utterances where there were \d+"),
    ],
    ids=["texts edited", "utterances removed", "audio replaced", "duration changed", "dev cut"],
)
def test_a_corpus_that_changed_is_noticed(experiment, copy, change, message):
    change(copy / "data")
    with pytest.raises(DldError, match=message + ".*put the data back, or give another exp_dir"):
        experiment("static", copy / "exp", data=str(copy / "data"), num_epochs=1)


def test_the_run_says_what_it_was_trained_on(trained):
    made_from = read_json(trained / "exp/static/run.json")["made_from"]
    for name in ("train", "dev"):
        described = made_from[f"{name}_data"]
        assert described["path"] == str(trained / "data" / name)
        assert described["utterances"] == len(lines_of(trained / "data" / name / "text"))
        assert described["hours"] > 0
    assert made_from["teacher"] is None


def test_an_experiment_may_move_with_its_data_and_its_teacher(experiment, trained, copy):
    experiment("dld", trained / "exp", data=str(trained / "data"), num_epochs=1)
    shutil.copytree(trained / "exp/dld", copy / "exp/dld", dirs_exist_ok=True)
    before = read_json(copy / "exp/dld/model.json")
    (copy / "exp/dld/model.json").unlink()
    folder = experiment("dld", copy / "exp", data=str(copy / "data"), num_epochs=1)
    assert read_json(folder / "model.json")["state_sha256"] == before["state_sha256"]
    assert len(read_json(folder / "run.json")["starts"]) == 2


def test_another_teacher_is_refused_by_its_hash(experiment, trained, copy):
    experiment("dld", copy / "exp", data=str(copy / "data"), num_epochs=1)
    experiment("static", copy / "exp", restart=True, data=str(copy / "data"), num_epochs=1, lr=5e-4)
    with pytest.raises(DldError, match="began with another teacher; put that back"):
        experiment("dld", copy / "exp", data=str(copy / "data"), num_epochs=1)


def test_another_tokenizer_is_refused(experiment, copy):
    from dld.data.tokenizer import train as train_tokenizer

    train_tokenizer(["seven eight nine one two three four five six", "ten eleven"], copy / "data/lang", vocab_size=32)
    with pytest.raises(DldError, match="began with another tokenizer"):
        experiment("static", copy / "exp", data=str(copy / "data"), num_epochs=1)


@pytest.mark.parametrize("settings", [{"num_workers": 1}, {"ckpt_interval_minutes": 7}])
def test_a_run_may_resume_with_other_settings_of_the_machine(experiment, copy, settings):
    (copy / "exp/static/model.json").unlink()
    folder = experiment("static", copy / "exp", data=str(copy / "data"), num_epochs=1, **settings)
    assert (folder / "model.json").exists()


def test_restarting_removes_what_a_training_made_and_nothing_else(experiment, copy):
    folder = copy / "exp/static"
    (folder / "notes.txt").write_text("mine")
    (folder / "save/mine").mkdir()
    (folder / "other_experiment").mkdir()
    (folder / "other_experiment/model.safetensors").write_text("mine")
    (folder / "lm_weights.json").write_text("{}")
    experiment("static", copy / "exp", restart=True, data=str(copy / "data"), num_epochs=1, lr=5e-4)
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "save/mine").is_dir()
    assert (folder / "other_experiment/model.safetensors").read_text() == "mine"
    assert len(read_json(folder / "run.json")["starts"]) == 1


def test_restarting_in_the_folder_of_all_experiments_keeps_them(experiment, copy):
    before = sorted(path.relative_to(copy / "exp") for path in (copy / "exp/static").rglob("*"))
    settings = {"exp_dir": str(copy / "exp"), "data": str(copy / "data"), "num_epochs": 1}
    experiment("static", copy / "exp", restart=True, **settings)
    assert sorted(path.relative_to(copy / "exp") for path in (copy / "exp/static").rglob("*")) == before


@pytest.mark.parametrize("key", ["teacher", "init_from", "lang_dir", "train_data", "dev_data"])
def test_a_run_never_takes_the_folder_of_what_it_reads(experiment, trained, copy, key):
    folder = copy / "exp/static" if key in ("teacher", "init_from") else copy / "data" / key.partition("_")[0]
    before = sorted(folder.rglob("*"))
    settings = {"data": str(copy / "data"), "teacher": str(trained / "exp/static"), "num_epochs": 1}
    settings |= {key: str(folder), "exp_dir": str(folder)}
    with pytest.raises(DldError, match=f"exp_dir is .* and {key} the same folder"):
        experiment("dld", copy / "exp", restart=True, **settings)
    assert sorted(folder.rglob("*")) == before


def test_checkpoints_without_settings_are_not_taken_for_a_runs_own(experiment, copy):
    folder = copy / "exp/static"
    for name in ("model.json", "hyperparams.yaml"):
        (folder / name).unlink()
    with pytest.raises(DldError, match="has checkpoints, but hyperparams.yaml is missing"):
        experiment("static", copy / "exp", data=str(copy / "data"), num_epochs=1, seed=7)


def test_a_restart_that_was_killed_leaves_no_old_weights_to_a_run_with_other_settings(experiment, copy, monkeypatch):
    def die(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(folders, "remove_checkpoints", die)
    settings = {"data": str(copy / "data"), "num_epochs": 1, "lr": 5e-4}
    with pytest.raises(KeyboardInterrupt):
        experiment("static", copy / "exp", restart=True, **settings)
    monkeypatch.undo()
    with pytest.raises(DldError, match="holds a run with other settings"):
        experiment("static", copy / "exp", **settings)


def test_a_copy_of_a_checkpoint_by_another_name_is_never_loaded_nor_removed(experiment, copy):
    save = copy / "exp/static/save"
    [*_, newest] = sorted(save.glob("CKPT+*"))
    shutil.copytree(newest, save / "CKPT_backup")
    old = read_json(copy / "exp/static/model.json")["state_sha256"]
    folder = experiment("static", copy / "exp", restart=True, data=str(copy / "data"), num_epochs=1, lr=5e-4)
    assert read_json(folder / "model.json")["state_sha256"] != old
    assert (save / "CKPT_backup/CKPT.yaml").is_file()


def test_checkpoints_may_be_on_another_disk(experiment, copy):
    folder = copy / "exp/static"
    shutil.move(folder / "save", copy / "scratch")
    (folder / "save").symlink_to(copy / "scratch")
    for _ in range(2):
        experiment("static", copy / "exp", restart=True, data=str(copy / "data"), num_epochs=1)
        assert (folder / "save").is_symlink() and list((copy / "scratch").glob("CKPT+*"))


def test_other_audio_in_an_archive_is_noticed(tiny_corpus, tmp_path):
    utterances, archive = kaldi.load(tiny_corpus / "dev")[:4], tmp_path / "a.ark"

    def pack(order):
        content, entries = b"", []
        for utterance, source in zip(utterances, order, strict=True):
            audio = Path(source.recording).read_bytes()[:20_000].ljust(20_000, b"\0")
            content += utterance.id.encode() + b" "
            entries.append(dataclasses.replace(utterance, recording=f"{archive}:{len(content)}"))
            content += audio
        archive.write_bytes(content)
        return fingerprint(entries)

    first, second, third, fourth = utterances
    before = pack([first, second, third, fourth])
    assert changes(before, pack([first, second, third, fourth])) is None
    assert changes(before, pack([first, third, second, fourth])) == "other audio"


def test_the_mark_of_a_folder_in_use_is_never_another_file(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp/.in_use").symlink_to(tmp_path / "precious")
    with pytest.raises(DldError, match="is not a file of this program; remove it"), alone_in(tmp_path / "exp"):
        pass
    assert (tmp_path / "precious").read_text() == "mine"
