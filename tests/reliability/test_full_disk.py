"""A disk that is full, or a file that may not grow, is one clear line and loses nothing."""

import os
import shutil
import subprocess

import pytest

from dld.files import read_json


def whole(folder):
    return read_json(folder / "model.json")["state_sha256"]


@pytest.fixture(scope="module")
def expected(ask, tiny_request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "ld"
    assert ask(tiny_request("ld", folder))["status"] == 0
    return whole(folder)


@pytest.mark.parametrize("bytes_allowed", [0, 1000, 20_000, 100_000])
def test_a_file_that_may_not_grow_ends_training_with_one_line(ask, tiny_request, expected, tmp_path, bytes_allowed):
    folder = tmp_path / "ld"
    # Killed after its first checkpoint, so that there is something to lose.
    events = ask(tiny_request("ld", tmp_path / "count", ckpt_interval_minutes=0))["events"]
    ask(tiny_request("ld", folder, ckpt_interval_minutes=0, event=events // 3 + 1))
    before = sorted(path.name for path in (folder / "save").glob("CKPT+*"))
    assert before
    log = tmp_path / "full.log"
    answer = ask(tiny_request("ld", folder, largest_file=bytes_allowed, log=str(log)))
    # The log is a file too.
    said = log.read_text()
    assert answer["status"] == 1 and "Traceback" not in said
    assert sorted(path.name for path in (folder / "save").glob("CKPT+*")) == before
    if bytes_allowed >= 20_000:
        [line] = [line for line in said.splitlines() if "error:" in line]
        assert "could not be written" in line and "1 earlier" in line and "resumes" in line
    assert not (folder / "model.json").exists()
    assert ask(tiny_request("ld", folder))["status"] == 0
    assert whole(folder) == expected


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB; `grow()` makes it larger."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this machine does not let root mount a file system")
    yield disk, lambda: subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_ends_training_with_one_line_and_room_lets_it_resume(
    ask, tiny_request, expected, small_disk, tmp_path
):
    disk, grow = small_disk
    log = tmp_path / "full.log"
    request = tiny_request("ld", disk / "ld", average_checkpoints=3, log=str(log))
    answer = ask(request)
    said = log.read_text()
    assert answer["status"] == 1 and "Traceback" not in said
    [line] = [line for line in said.splitlines() if "error:" in line]
    assert "No space left on device" in line and "resumes" in line
    grow()
    assert ask(request)["status"] == 0
    assert read_json(disk / "ld/model.json")["updates"] > 0
