"""Checkpoints by themselves: what is kept, what is removed, what is seen as damaged, and what is put back."""

import random
import shutil
from pathlib import Path

import pytest
import torch

from dld.errors import DldError
from dld.training.checkpoints import (
    Progress,
    RandomState,
    WholeCheckpointer,
    add_json,
    best_checkpoints,
    damage,
    remove_checkpoints,
    save_state,
    whole,
)
from dld.training.metrics import Means


@pytest.fixture
def checkpointer(tmp_path):
    """A checkpointer of a `Progress` in `save`, and that Progress as its attribute."""
    made = WholeCheckpointer(tmp_path / "save")
    made.progress = Progress()
    add_json(made, "progress", made.progress)
    return made


def save(checkpointer, wers):
    """One checkpoint for each error rate; the epochs count from 1."""
    for epoch, wer in enumerate(wers, 1):
        checkpointer.progress.total_updates = epoch
        checkpointer.save_checkpoint({"epoch": epoch, "mean_wer": wer})


def epochs(checkpoints):
    return [checkpoint.meta["epoch"] for checkpoint in checkpoints]


def test_the_best_have_the_smallest_error_rate_and_the_best_is_first(checkpointer):
    save(checkpointer, [50.0, 20.0, 40.0, 10.0, 30.0])
    assert epochs(best_checkpoints(checkpointer, "mean_wer", 3)) == [4, 2, 5]


@pytest.mark.parametrize("best, kept", [(1, [1, 4, 5]), (2, [1, 2, 4, 5]), (3, [1, 2, 3, 4, 5])])
def test_pruning_keeps_the_best_and_the_two_newest(checkpointer, best, kept):
    save(checkpointer, [10.0, 20.0, 30.0, 50.0, 40.0])
    checkpointer.prune("mean_wer", best)
    assert sorted(epochs(checkpointer.list_checkpoints())) == kept
    assert len(list(checkpointer.checkpoints_dir.iterdir())) == len(kept)


def test_the_newest_is_the_last_written_also_after_the_clock_was_set_back(checkpointer):
    checkpointer.save_checkpoint({"unixtime": 4e9, "epoch": 1})
    checkpointer.save_checkpoint({"epoch": 2})
    assert checkpointer.find_checkpoint().meta["epoch"] == 2


def test_a_checkpoint_lists_its_files_and_is_read_back(checkpointer):
    save(checkpointer, [10.0, 20.0])
    checkpointer.progress.total_updates = 99
    assert checkpointer.recover_if_possible().meta["epoch"] == 2
    assert checkpointer.progress.total_updates == 2
    for checkpoint in checkpointer.list_checkpoints():
        assert damage(Path(checkpoint.path), ["progress"]) is None
        assert list(checkpoint.meta["files"]) == ["progress.ckpt"]
        assert Path(checkpoint.path).name.startswith("CKPT+")


def test_a_checkpoint_without_what_is_needed_is_damaged(checkpointer):
    save(checkpointer, [10.0])
    path = Path(checkpointer.find_checkpoint().path)
    assert damage(path, ["progress", "network", "optimizer"]) == "it has no network.ckpt"


@pytest.mark.parametrize(
    "content, reason",
    [
        ("epoch: 3\n", "does not list the files"),
        ("[1, 2]\n", "does not list the files"),
        ("{\n", "does not list the files"),
        (b"\xff\xfe", "does not list the files"),
        ("sha256: abc\nfiles: {}\n", "is not what was written"),
    ],
)
def test_a_list_that_is_not_what_was_written_is_damage(checkpointer, content, reason):
    save(checkpointer, [10.0])
    path = Path(checkpointer.find_checkpoint().path)
    (path / "CKPT.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert reason in damage(path)


def test_a_list_with_another_error_rate_is_damage(checkpointer):
    save(checkpointer, [10.0])
    path = Path(checkpointer.find_checkpoint().path)
    text = (path / "CKPT.yaml").read_text()
    (path / "CKPT.yaml").write_text(text.replace("mean_wer: 10.0", "mean_wer: 1.0"))
    assert damage(path) == "CKPT.yaml is not what was written"


def test_damaged_ones_are_left_out_of_an_average_and_told_of(checkpointer, caplog):
    save(checkpointer, [10.0, 20.0, 30.0])
    first, second, third = best_checkpoints(checkpointer, "mean_wer", 3)
    (Path(second.path) / "progress.ckpt").write_text("{}")
    assert whole([first, second, third]) == [first, third]
    [warning] = [record.getMessage() for record in caplog.records if "is damaged" in record.getMessage()]
    assert Path(second.path).name in warning and "progress.ckpt is not what was written" in warning


def test_a_sweep_removes_what_is_half_done_and_sets_damaged_ones_aside(checkpointer, caplog):
    save(checkpointer, [10.0, 20.0])
    folder = checkpointer.checkpoints_dir
    newest = Path(checkpointer.find_checkpoint().path)
    for name in (".saving", ".deleting-CKPT+x", ".hidden", "notes"):
        (folder / name).mkdir()
        (folder / name / "file").write_text("text")
    (newest / "progress.ckpt").write_text("{}")
    # An earlier run set one of the same name aside.
    shutil.copytree(newest, folder / f"damaged-{newest.name}")
    (folder / f"damaged-{newest.name}" / "old").write_text("old")
    checkpointer.sweep()
    assert epochs(checkpointer.list_checkpoints()) == [1]
    left = {path.name for path in folder.iterdir()} - {Path(c.path).name for c in checkpointer.list_checkpoints()}
    assert left == {".hidden", "notes", f"damaged-{newest.name}"}
    assert not (folder / f"damaged-{newest.name}" / "old").exists()
    assert caplog.text.count("is damaged") == 1 and newest.name in caplog.text


def test_a_sweep_that_leaves_none_is_an_error_and_an_empty_folder_is_not(checkpointer):
    checkpointer.sweep()
    save(checkpointer, [10.0])
    path = Path(checkpointer.find_checkpoint().path)
    (path / "progress.ckpt").unlink()
    with pytest.raises(DldError, match=r"no checkpoint is whole \(CKPT.*progress.ckpt: No such file.*--restart true"):
        checkpointer.sweep()


def test_removal_leaves_what_is_not_a_checkpoint(checkpointer, tmp_path):
    save(checkpointer, [10.0])
    folder = Path(checkpointer.checkpoints_dir)
    for name in (".saving", ".deleting-CKPT+x", "damaged-CKPT+y", "mine"):
        (folder / name).mkdir()
    (folder / "CKPT+file").write_text("a file, not a checkpoint")
    remove_checkpoints(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["CKPT+file", "mine"]
    (folder / "mine").rmdir()
    (folder / "CKPT+file").unlink()
    remove_checkpoints(folder)
    assert not folder.exists()
    remove_checkpoints(folder)


def test_a_failed_save_says_what_is_safe_and_leaves_it(checkpointer, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dld.training.checkpoints.sha256", fail)
    with pytest.raises(DldError, match="No space left on device. Nothing was saved before. Make room"):
        save(checkpointer, [10.0])
    monkeypatch.undo()
    save(checkpointer, [10.0, 20.0])
    checkpointer.save_checkpoint({"end": False})
    monkeypatch.setattr("dld.training.checkpoints.sha256", fail)
    with pytest.raises(DldError, match="3 earlier ones are safe, the newest of within an epoch"):
        save(checkpointer, [30.0])
    monkeypatch.undo()
    save(checkpointer, [30.0])
    monkeypatch.setattr("dld.training.checkpoints.sha256", fail)
    with pytest.raises(DldError, match=r"4 earlier ones are safe, the newest of epoch 1 \(CKPT"):
        save(checkpointer, [30.0])
    assert not (checkpointer.checkpoints_dir / ".saving").exists()


def test_every_file_is_on_the_disk_before_a_checkpoint_has_its_name(checkpointer, monkeypatch):
    synced = []
    monkeypatch.setattr("dld.training.checkpoints.sync", lambda path: synced.append(Path(path)))
    saved = Path(checkpointer.save_checkpoint({"epoch": 1}).path)
    temporary, folder = saved.with_name(".saving"), Path(checkpointer.checkpoints_dir)
    assert {path.name for path in synced[:-2]} == {path.name for path in saved.iterdir()}
    assert synced[-2:] == [temporary, folder]


@pytest.mark.parametrize("size", [2, 500])
def test_a_full_disk_is_an_error_of_the_system_in_its_words(size):
    # What is larger than a buffer fails while torch writes, what is smaller when the file is closed.
    with pytest.raises(OSError, match="No space left on device"):
        save_state(torch.nn.Linear(size, size), "/dev/full")


def test_what_torch_says_of_a_failed_write_is_put_into_the_systems_words(monkeypatch, tmp_path):
    def fail(*_):
        try:
            raise OSError(28, "No space left on device")
        except OSError:
            raise RuntimeError("unexpected pos 64 vs 0")  # noqa: B904 - as torch does, whose writer calls the file

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="No space left on device"):
        save_state(torch.nn.Linear(2, 2), tmp_path / "state")


def test_a_named_checkpoint_has_its_name(checkpointer):
    saved = checkpointer.save_checkpoint({"epoch": 7}, name="final")
    assert Path(saved.path).name == "CKPT+final" and Path(saved.path).is_dir()
    assert [path.name for path in saved.paramfiles.values()] == ["progress.ckpt"]
    assert all(path.is_file() for path in saved.paramfiles.values())


def test_progress_comes_back_whole():
    assert vars(Progress()) == {"total_updates": 0, "train_seconds": 0, "history": [], "means": Means(), "processes": 1}
    before = Progress(100, 2.5, [{"epoch": 1}], Means({"loss": torch.tensor(3.0)}, count=2), processes=2)
    after = Progress()
    after.load_state_dict(before.state_dict())
    assert after == before
    assert after.means.compute() == {"loss": 1.5}


def test_random_generators_come_back(tmp_path):
    def draws():
        return random.random(), random.gauss(0, 1), torch.rand(2).tolist()

    random.seed(3)
    random.gauss(0, 1)  # leaves half a pair for the next call
    with open(tmp_path / "state", "wb"):
        RandomState.save(RandomState(), tmp_path / "state")
    expected = draws()
    draws()
    RandomState.load(None, tmp_path / "state", end_of_epoch=True)
    assert draws() == expected
