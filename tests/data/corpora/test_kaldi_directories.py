"""Data directories that are there already, copied for a recipe."""

import os
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dld.bin.prepare import main
from dld.data import kaldi
from dld.errors import DldError


@pytest.fixture
def given(tiny_corpus, tmp_path, monkeypatch):
    """The tiny corpus as a user may have it: relative paths, three tables only. It is the current folder."""
    folder = tmp_path / "my own"
    folder.mkdir()
    (folder / "sound").symlink_to(tiny_corpus / "audio")
    for name in ("train", "dev", "test"):
        (folder / "data" / name).mkdir(parents=True)
        for table in ("wav.scp", "text", "utt2spk"):
            text = (tiny_corpus / name / table).read_text()
            (folder / "data" / name / table).write_text(text.replace(f"{tiny_corpus}/audio", "sound"))
    monkeypatch.chdir(folder)
    return folder


def prepare(destination, *options):
    return main(["kaldi", str(destination), *options])


def contents(folder):
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


ALL = ("--train", "data/train", "--dev", "data/dev", "--test", "data/test")


def test_the_copies_are_whole_and_the_sources_stay_as_they_are(given, tiny_corpus, tmp_path, monkeypatch, capsys):
    before = contents("data")
    assert prepare(tmp_path / "out", *ALL) == 0
    assert contents("data") == before
    monkeypatch.chdir("/")
    for name in ("train", "dev", "test"):
        assert kaldi.validate(tmp_path / "out" / name) == []
        pairs = zip(kaldi.load(tmp_path / "out" / name), kaldi.load(tiny_corpus / name), strict=True)
        for copy, original in pairs:
            assert (copy.id, copy.text, copy.speaker) == (original.id, original.text, original.speaker)
            assert os.path.samefile(copy.recording, original.recording)
    assert (tmp_path / "out/test_sets").read_text() == "test\n"
    assert "speakers" in capsys.readouterr().out


def test_relative_paths_start_at_the_audio_root(given, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ("--train", "my own/data/train", "--dev", "my own/data/dev")
    assert prepare(tmp_path / "out", *options) == 1
    assert f"{tmp_path}/sound/" in capsys.readouterr().err
    assert not (tmp_path / "out/train").exists()
    assert prepare(tmp_path / "out", *options, "--audio-root", "my own") == 0


def test_pipes_run_where_their_paths_start(given, tmp_path, monkeypatch):
    table = Path("data/dev/wav.scp")
    table.write_text("".join(f"{key} cat {path} |\n" for key, path in kaldi.read_table(table).items()))
    assert prepare(tmp_path / "out", *ALL) == 0
    monkeypatch.chdir("/")
    assert kaldi.validate(tmp_path / "out/dev") == []
    monkeypatch.setenv("DLD_ALLOW_PIPES", "false")
    assert kaldi.validate(tmp_path / "out/dev") != []


def test_dev_is_held_out_of_train_by_speakers(given, tmp_path, capsys):
    assert prepare(tmp_path / "out", "--train", "data/train") == 0
    said = capsys.readouterr().out
    assert "no --dev: a part of train is held out as dev" in said
    assert "no --test: dev is decoded" in said
    train, dev = kaldi.load(tmp_path / "out/train"), kaldi.load(tmp_path / "out/dev")
    assert not {u.speaker for u in train} & {u.speaker for u in dev}
    assert {u.id for u in train} | {u.id for u in dev} == set(kaldi.read_table("data/train/text"))
    share = sum(u.seconds for u in dev) / sum(u.seconds for u in train + dev)
    assert 0.05 < share < 0.25
    assert f"dev: {len(dev)} utterances of train ({len({u.speaker for u in dev})} of its " in said
    assert (tmp_path / "out/test_sets").read_text() == "dev\n"
    # Always the same.
    assert prepare(tmp_path / "again", "--train", "data/train") == 0
    assert [u.id for u in kaldi.load(tmp_path / "again/dev")] == [u.id for u in dev]


def test_dev_is_held_out_by_utterances_where_there_is_one_speaker(given, tmp_path, capsys):
    ids = kaldi.read_table("data/train/text")
    Path("data/train/utt2spk").write_text("".join(f"{key} me\n" for key in ids))
    assert prepare(tmp_path / "out", "--train", "data/train") == 0
    assert f"of its {len(ids)} utterances)" in capsys.readouterr().out
    assert 0 < len(kaldi.load(tmp_path / "out/dev")) < len(ids) / 4


@pytest.mark.parametrize(("number", "outcome"), [(1, "one utterance cannot be divided into train and dev"), (2, None)])
def test_hardly_any_utterances(given, tmp_path, capsys, number, outcome):
    for name in ("wav.scp", "text", "utt2spk"):
        lines = Path("data/train", name).read_text().splitlines(keepends=True)
        Path("data/train", name).write_text("".join(lines[:number]))
    assert prepare(tmp_path / "out", "--train", "data/train") == (1 if outcome else 0)
    if outcome:
        assert outcome in capsys.readouterr().err
    else:
        assert len(kaldi.load(tmp_path / "out/dev")) == len(kaldi.load(tmp_path / "out/train")) == 1


def test_several_test_sets_keep_their_names_and_dev_may_be_one(given, tmp_path):
    shutil.copytree("data/test", "other set/far")
    assert prepare(tmp_path / "out", *ALL[:4], "--test", "data/test 'other set/far' data/dev") == 0
    assert (tmp_path / "out/test_sets").read_text() == "test\nfar\ndev\n"
    assert [u.text for u in kaldi.load(tmp_path / "out/far")] == [u.text for u in kaldi.load(tmp_path / "out/test")]


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("data/test copy/test", "copy/test and data/test would both be test"),
        ("copy/dev", "copy/dev and data/dev would both be dev"),
        ("data/train", "data/train and data/train would both be train"),
        ("copy/lang", "a test set cannot be named lang"),
        ("data/nowhere", "data/nowhere: no such folder"),
        ("'data/test", "--test: No closing quotation: 'data/test"),
    ],
)
def test_names_that_clash(given, tmp_path, capsys, test, message):
    for name in ("test", "dev", "lang"):
        shutil.copytree("data/test", f"copy/{name}")
    assert prepare(tmp_path / "out", *ALL[:4], "--test", test) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_train_is_needed_and_must_have_text(given, tmp_path, capsys):
    assert prepare(tmp_path / "out") == 2
    assert "--train DIR is needed" in capsys.readouterr().err
    Path("data/train/text").unlink()
    assert prepare(tmp_path / "out", *ALL) == 1
    assert "data/train/text: no such file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_same_again_is_kept(given, tmp_path, capsys):
    assert prepare(tmp_path / "out", *ALL) == 0
    before = (tmp_path / "out/train/wav.scp").stat().st_mtime_ns
    assert prepare(tmp_path / "out", *ALL) == 0
    assert "has these directories already" in capsys.readouterr().out
    assert (tmp_path / "out/train/wav.scp").stat().st_mtime_ns == before


def test_where_it_is_called_from_does_not_matter_to_absolute_paths(given, tmp_path, monkeypatch, capsys):
    assert prepare(tmp_path / "first", *ALL) == 0
    sets = [str(tmp_path / "first" / name) for name in ("train", "dev")]
    for folder in (given, tmp_path):
        monkeypatch.chdir(folder)
        assert prepare(tmp_path / "out", "--train", sets[0], "--dev", sets[1]) == 0
    assert "has these directories already" in capsys.readouterr().out


def test_other_directories_are_refused_and_changed_ones_copied_again(given, tmp_path, capsys):
    shutil.copytree("data/train", "copy/train")
    assert prepare(tmp_path / "out", *ALL) == 0
    before = contents(tmp_path / "out")
    for options in (("--train", "copy/train", *ALL[2:]), ALL[:4], ALL[:2]):
        assert prepare(tmp_path / "out", *options) == 1
        assert "has copies of other directories" in capsys.readouterr().err
    assert prepare(tmp_path / "out", *ALL, "--audio-root", "/") == 1
    assert f"give --audio-root {shlex.quote(str(given))}, or another --data" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before
    kaldi.write("data/test", [replace(u, duration=None) for u in kaldi.load("data/test", need=())[:3]])
    assert prepare(tmp_path / "out", *ALL) == 0
    assert len(kaldi.load(tmp_path / "out/test")) == 3


def test_an_interrupted_copy_is_finished(given, tmp_path, monkeypatch):
    real = kaldi.write

    def fail(folder, utterances):
        if Path(folder).name == ".dev.partial":
            raise DldError("the disk is full")
        real(folder, utterances)

    monkeypatch.setattr(kaldi, "write", fail)
    assert prepare(tmp_path / "out", *ALL) == 1
    monkeypatch.undo()
    monkeypatch.chdir(given)
    assert not (tmp_path / "out/dev").exists()
    assert prepare(tmp_path / "out", *ALL) == 0
    assert len(kaldi.load(tmp_path / "out/dev")) == len(kaldi.read_table("data/dev/text"))
    assert not list((tmp_path / "out").glob(".*partial*"))


def test_directories_that_others_made_are_not_written_over(given, tmp_path, capsys):
    before = contents(given)
    assert prepare("data", *ALL) == 1
    assert "data/train: is in data, which receives the copies; give another --data" in capsys.readouterr().err
    shutil.copytree("data/test", "copy/far")
    shutil.copytree("data/dev", tmp_path / "out/dev")
    assert prepare(tmp_path / "out", *ALL) == 1
    assert "out/dev: is not a copy that this recipe made; give another --data" in capsys.readouterr().err
    shutil.rmtree("copy")
    assert contents(given) == before


def test_what_sclite_needs_is_copied_too(given, tmp_path):
    Path("data/test/stm").write_text(";; nothing\n")
    assert prepare(tmp_path / "out", *ALL) == 0
    assert (tmp_path / "out/test/stm").read_text() == ";; nothing\n"


def test_utterances_that_are_in_train_too_are_told(given, tmp_path, caplog):
    assert prepare(tmp_path / "out", *ALL[:4], "--test", shlex.quote("data/test")) == 0
    assert not [r for r in caplog.records if "are in train, too" in r.getMessage()]
    shutil.copytree("data/train", "copy/seen")
    assert prepare(tmp_path / "seen", *ALL[:4], "--test", "copy/seen") == 0
    assert [r for r in caplog.records if "utterances are in train, too" in r.getMessage()]
