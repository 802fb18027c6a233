"""The recipe for directories that are there already: all ten stages with no file written, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest

from dld.data import kaldi
from dld.files import read_json


@pytest.fixture(scope="module")
def given(tiny_corpus, tmp_path_factory):
    """The tiny corpus as a user may have it: a folder with a blank, paths relative to it, three tables for each set."""
    folder = tmp_path_factory.mktemp("given") / "my speech"
    folder.mkdir()
    (folder / "sound").symlink_to(tiny_corpus / "audio")
    for name in ("train", "dev", "test"):
        kaldi.subset(tiny_corpus / name, folder / "data" / name, number=6)
        for table in Path(folder, "data", name).iterdir():
            if table.name not in ("wav.scp", "text", "utt2spk"):
                table.unlink()
        table = folder / "data" / name / "wav.scp"
        table.write_text(table.read_text().replace(f"{tiny_corpus}/audio", "sound"))
    return folder


@pytest.fixture(scope="module")
def finished(root, drive, given, tmp_path_factory):
    """Folder in which all ten stages ran, called from where the user is."""
    folder = tmp_path_factory.mktemp("kaldi") / "out put"
    tiny = "--num_blocks 3 --d_model 16 --valid_depths '[1, 3]' --decode_depths '[1, 3]' --num_epochs 2"
    done = drive(
        root / "recipes/kaldi/run.sh",
        *("--train", "data/train", "--dev", "data/dev", "--test", "data/test", "--device", "cpu"),
        *("--data", str(folder / "data"), "--exp", str(folder / "exp"), "--train-args", tiny),
        *("--decode-args", "--rtf-utterances 1"),
        cwd=given,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done


def test_all_stages_lead_to_a_table(finished):
    folder, _ = finished
    rows = read_json(folder / "exp/report/results.json")["rows"]
    assert {(row["system"], row["depth"]) for row in rows} == {(s, n) for s in ("static", "ld", "dld") for n in (1, 3)}
    references = (folder / "data/test/text").read_text().splitlines()
    assert {row["words"] for row in rows} == {sum(len(line.split()) - 1 for line in references)}


def test_the_base_and_the_numbers_that_follow_from_the_hours_are_said(finished):
    folder, done = finished
    assert "base: ../common/hparams/small.yaml, for 0.0" in done.stdout
    lines = [line for line in done.stderr.splitlines() if " h of speech: 2 epochs of " in line]
    assert len(lines) == 3 and len(set(lines)) == 1
    updates = {read_json(folder / "exp" / name / "model.json")["updates"] for name in ("static", "ld", "dld")}
    assert len(updates) == 1 and f" {updates.pop()} in all" in lines[0]


def test_the_users_folder_is_as_it_was(given, finished):
    assert {path.name for path in given.glob("data/*/*")} == {"wav.scp", "text", "utt2spk"}
    assert {path.name for path in given.iterdir()} == {"data", "sound"}


def test_later_stages_know_the_test_sets(root, drive, finished):
    folder, _ = finished
    shutil.rmtree(folder / "exp/report")
    done = drive(
        root / "recipes/kaldi/run.sh",
        *("--stage", "9", "--data", "out put/data", "--exp", "out put/exp", "--device", "cpu"),
        cwd=folder.parent,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "exp/report/results.json").exists()


@pytest.mark.parametrize("stage", ["1", "4"])
def test_other_directories_never_mix_with_those_that_are_there(root, drive, given, finished, tmp_path, stage):
    folder, _ = finished
    done = drive(
        root / "recipes/kaldi/run.sh",
        *("--train", "data/dev", "--dev", "data/dev", "--stage", stage, "--data", str(folder / "data")),
        *("--exp", str(tmp_path / "exp")),
        cwd=given,
    )
    assert done.returncode == 1
    assert f"{folder}/data: has copies of other directories" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "exp").exists()


def test_without_directories_it_says_what_is_needed(root, drive, tmp_path):
    done = drive(root / "recipes/kaldi/run.sh", "--data", str(tmp_path / "data"))
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith("dld prepare: error: --train DIR is needed")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "huge"], "--size takes small, large or auto, not 'huge'"),
        (["--test", "'a b'"], "--test: 'a b' is not a name"),
        (["--test", "'a"], "--test: a quote is not closed: 'a"),
        (["--trian", "x"], "unknown option --trian"),
        (["--train-args", "--exp 'my exp'"], "--train-args: --exp trains elsewhere than what is decoded"),
    ],
)
def test_wrong_options_are_one_line(checkout, options, message):
    done = checkout.run("../kaldi/run.sh", *options)
    assert done.returncode == 1
    assert done.stderr.startswith(f"run.sh: error: {message}") and done.stderr.count("\n") == 1
    assert checkout.calls() == []


@pytest.fixture
def copied(checkout):
    """A checkout whose kaldi recipe has data of so many hours: `copied(hours)`."""

    def make(hours):
        for name in ("data/train/text", "data/train/utt2dur", "data/dev/text", "data/lang/bpe.model"):
            path = checkout.folder / "recipes/kaldi" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"a {hours * 1800}\nb {hours * 1800}\n")
        return checkout

    return make


@pytest.mark.parametrize(
    ("hours", "options", "base", "settings"),
    [
        (9.9, [], "../common/hparams/small.yaml", []),
        (9.9, ["--size", "large"], "../common/hparams/conformer.yaml", ["--num_epochs", "200", "--warmup", "2000"]),
        (20, [], "../common/hparams/conformer.yaml", ["--num_epochs", "200", "--warmup", "2000"]),
        (20, ["--size", "small"], "../common/hparams/small.yaml", []),
        (100, [], "../common/hparams/conformer.yaml", ["--num_epochs", "120", "--warmup", "5000"]),
        (900, [], "../common/hparams/conformer.yaml", []),
        (900, ["--base", "my base.yaml"], "my base.yaml", []),
    ],
)
def test_the_hours_choose_the_base(copied, tmp_path, hours, options, base, settings):
    checkout = copied(hours)
    done = checkout.run(
        "../kaldi/run.sh", *("--stage", "4", "--stop-stage", "4", "--device", "cpu", *options), cwd=checkout.recipe
    )
    assert done.returncode == 0, done.stderr
    assert base in done.stdout
    assert base.startswith("my") or f"for {f'{hours:.2f}' if hours < 10 else hours} h of speech" in done.stdout
    (call,) = checkout.calls("train")
    assert call[2].endswith(base) and (base.startswith("..") or call[2] == f"{checkout.recipe}/{base}")
    given = [word for word in call if word in ("--num_epochs", "--warmup")]
    assert [call[call.index(word) + i] for word in given for i in (0, 1)] == settings


def test_relative_paths_start_where_the_user_is(checkout, tmp_path):
    (tmp_path / "conf").write_text("device=cpu\n")
    (checkout.folder / "tools/install.sh").write_text("#!/bin/sh\n")
    for command in (["recipes/kaldi/run.sh"], ["run.sh", "kaldi"]):
        done = checkout.run(
            *(checkout.folder / command[0], *command[1:]),
            *("--train", "d/train", "--dev", "/abs/dev", "--test", "a/x ../b/y", "--data", "data", "--config", "conf"),
            *("--stop-stage", "1"),
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        call = checkout.calls("prepare")[-1]
        values = dict(zip(call[3:-1:2], call[4::2], strict=False))
        assert values["--train"] == f"{tmp_path}/d/train" and values["--dev"] == "/abs/dev"
        assert values["--test"].split() == [f"'{tmp_path}/a/x'", f"'{tmp_path}/../b/y'"]
        assert values["--audio-root"] == f"{tmp_path}/."
        assert call[-1] == f"{tmp_path}/data"


def test_a_file_of_audio_paths_is_enough_to_begin(root, drive, tiny_corpus, tmp_path):
    utterances = kaldi.load(tiny_corpus / "dev")[:3]
    rows = [{"path": u.recording, "text": u.text, "speaker": u.speaker} for u in utterances]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    from dld.bin.data import main

    assert main(["import", str(tmp_path / "mine.jsonl"), str(tmp_path / "mine")]) == 0
    done = drive(
        root / "recipes/kaldi/run.sh",
        *("--train", "mine", "--data", "out", "--exp", "exp", "--stop-stage", "3", "--device", "cpu"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no --dev: a part of train is held out as dev" in done.stdout
    assert (tmp_path / "out/lang/bpe.model").exists()
