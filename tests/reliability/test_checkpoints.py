"""Checkpoints that something damaged: they are set aside, and the run ends as if nothing had happened."""

import shutil
from pathlib import Path

import pytest

from dld.files import read_json
from dld.training.checkpoints import Progress, WholeCheckpointer, add_json, damage

FILES = (
    "CKPT.yaml",
    "brain.ckpt",
    "counter.ckpt",
    "dataloader-TRAIN.ckpt",
    "network.ckpt",
    "optimizer.ckpt",
    "progress.ckpt",
    "random_state.ckpt",
    "schedule.ckpt",
)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1] if path.stat().st_size < 100 else path.read_bytes()[:-50])


def empty(path):
    path.write_bytes(b"")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove(path):
    path.unlink()


def folder_instead(path):
    path.unlink()
    path.mkdir()


DAMAGES = (cut, empty, flip, remove, folder_instead)


@pytest.fixture(scope="module")
def interrupted(ask, tiny_request, tmp_path_factory):
    """A run that was killed when it began to write its third checkpoint, and the result of one that was not."""
    folder = tmp_path_factory.mktemp("interrupted") / "ld"
    whole = folder.with_name("whole")
    answer = ask(tiny_request("ld", whole, ckpt_interval_minutes=0))
    assert answer["status"] == 0
    ask(tiny_request("ld", folder, ckpt_interval_minutes=0, event=2 * answer["events"] // 3 + 1))
    assert len(list((folder / "save").glob("CKPT+*"))) == 2
    return folder, read_json(whole / "model.json")["state_sha256"]


def newest(folder):
    return max((folder / "save").glob("CKPT+*"), key=lambda path: path.stat().st_mtime_ns)


def cases():
    return [pytest.param(how, name, id=f"{how.__name__}-{name}") for name in FILES for how in DAMAGES]


@pytest.mark.parametrize("how, name", cases())
def test_damage_of_every_kind_to_every_file_is_seen(interrupted, tmp_path, how, name):
    copy = tmp_path / "CKPT+copy"
    shutil.copytree(newest(interrupted[0]), copy)
    assert {path.name for path in copy.iterdir()} == set(FILES)
    assert damage(copy, [Path(file).stem for file in FILES[1:]]) is None
    how(copy / name)
    assert name in damage(copy, [Path(file).stem for file in FILES[1:]])


def resume_after(ask, tiny_request, interrupted, tmp_path, harm):
    folder = tmp_path / "ld"
    shutil.copytree(interrupted[0], folder)
    harm(newest(folder))
    answer = ask(tiny_request("ld", folder, ckpt_interval_minutes=0))
    return folder, answer, (tmp_path / "ld.log").read_text()


@pytest.mark.parametrize("how, name", [(cut, "CKPT.yaml"), (flip, "network.ckpt"), (remove, "dataloader-TRAIN.ckpt")])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_is_taken(
    ask, tiny_request, interrupted, tmp_path, how, name
):
    folder, answer, log = resume_after(ask, tiny_request, interrupted, tmp_path, lambda path: how(path / name))
    assert answer["status"] == 0
    assert read_json(folder / "model.json")["state_sha256"] == interrupted[1]
    assert log.count("is damaged") == 1 and name in log
    assert len(list((folder / "save").glob("damaged-CKPT+*"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("how, name", cases())
def test_a_run_with_any_damaged_file_resumes(ask, tiny_request, interrupted, tmp_path, how, name):
    folder, answer, log = resume_after(ask, tiny_request, interrupted, tmp_path, lambda path: how(path / name))
    assert answer["status"] == 0 and log.count("is damaged") == 1
    assert read_json(folder / "model.json")["state_sha256"] == interrupted[1]


def test_a_run_without_a_whole_checkpoint_does_not_begin_again_without_a_word(ask, tiny_request, interrupted, tmp_path):
    def harm_all(path):
        for checkpoint in path.parent.glob("CKPT+*"):
            flip(checkpoint / "network.ckpt")

    folder, answer, log = resume_after(ask, tiny_request, interrupted, tmp_path, harm_all)
    assert answer["status"] == 1
    assert "no checkpoint is whole" in log and "--restart true" in log and "Traceback" not in log
    assert not (folder / "model.json").exists()


def test_a_clock_that_was_set_back_does_not_make_an_old_checkpoint_the_newest(tmp_path):
    checkpointer, progress = WholeCheckpointer(tmp_path), Progress()
    add_json(checkpointer, "progress", progress)
    checkpointer.save_checkpoint({"unixtime": 4e9, "epoch": 1})
    checkpointer.save_checkpoint({"epoch": 2})
    assert checkpointer.find_checkpoint().meta["epoch"] == 2


def test_the_two_newest_and_the_best_checkpoints_are_kept(tmp_path):
    checkpointer = WholeCheckpointer(tmp_path)
    add_json(checkpointer, "progress", Progress())
    for epoch, mean_wer in enumerate([50.0, 20.0, 30.0, 40.0, 35.0], 1):
        checkpointer.save_checkpoint({"epoch": epoch, "mean_wer": mean_wer})
        # Within an epoch there is no error rate.
        checkpointer.save_checkpoint({"within_epoch": epoch + 1}, end_of_epoch=False)
        checkpointer.prune("mean_wer", 1)
        known = checkpointer.list_checkpoints()
        assert len(known) >= 2
    assert sorted(c.meta.get("epoch", 0) for c in known) == [0, 2, 5]
    assert checkpointer.find_checkpoint().meta["within_epoch"] == 6
