"""Files that are whole or absent, and errors that name a place."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from dld.bin import boolean, command
from dld.errors import DldError
from dld.files import alone_in, atomic_write, read_json, read_lines, sha256, write_json
from dld.provenance import git_hash, processor, versions


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "text"
    path.write_text("old\n")
    with pytest.raises(RuntimeError), atomic_write(path) as out:
        out.write("half")
        raise RuntimeError
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_ordinary_permissions(tmp_path):
    with atomic_write(tmp_path / "deep/er/file", "wb") as out:
        out.write(b"\x00")
    (tmp_path / "plain").touch()
    assert (tmp_path / "deep/er/file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_process_that_was_killed_holds_no_folder(tmp_path):
    hold = """
import sys, time
from dld.files import alone_in
with alone_in(sys.argv[1]):
    print(1, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", hold, tmp_path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"1\n"
        with pytest.raises(DldError, match=f"process {holder.pid} on .* is at work in it"), alone_in(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with alone_in(tmp_path):
            pass


def test_bytes_that_are_no_text_are_found_by_line(tmp_path):
    (tmp_path / "text").write_bytes(b"a one\nb tw\xff\n")
    with pytest.raises(DldError, match=r"text:2: not UTF-8"):
        list(read_lines(tmp_path / "text"))


def test_json_comes_back_and_faults_are_found_by_line(tmp_path):
    write_json(tmp_path / "a.json", {"ü": [1, None]})
    assert read_json(tmp_path / "a.json") == {"ü": [1, None]}
    (tmp_path / "b.json").write_text('{\n"a": }')
    with pytest.raises(DldError, match=r"b.json:2"):
        read_json(tmp_path / "b.json")
    with pytest.raises(DldError, match="no such file"):
        read_json(tmp_path / "c.json")


def test_the_hash_is_that_of_other_tools(tmp_path):
    (tmp_path / "f").write_bytes(b"dynamic" * 1000)
    expected = subprocess.run(["sha256sum", tmp_path / "f"], capture_output=True, text=True, check=True).stdout
    assert sha256(tmp_path / "f") == expected.split()[0]


def test_a_command_prints_one_line_for_a_users_error(capsys):
    @command
    def main(argv):
        raise DldError("data/text:3: no words; remove the line")

    assert main([]) == 1
    assert capsys.readouterr().err.splitlines() == ["dld-test-files: error: data/text:3: no words; remove the line"]


def test_a_command_lets_bugs_through():
    @command
    def main(argv):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main([])


@pytest.mark.parametrize("text", ["yes", "1", "True", ""])
def test_booleans_are_true_or_false(text):
    assert boolean("true") is True
    assert boolean("false") is False
    with pytest.raises(Exception, match="expected true or false"):
        boolean(text)


def test_provenance_names_code_libraries_and_machine():
    assert git_hash() == "unknown" or len(git_hash().removesuffix("-dirty")) == 12
    assert versions()["torch"][0].isdigit()
    assert processor()
    assert json.dumps(versions())


def test_what_killed_writes_left_is_swept_and_what_is_being_written_stays(tmp_path):
    # The name that a temporary file has is what a kill leaves.
    with atomic_write(tmp_path / "text") as out:
        [name] = [path.name for path in tmp_path.iterdir()]
        out.write("one")

    def leave(letter, age):
        left = tmp_path / (name[:-6] + letter + name[-5:])
        left.write_text("half")
        os.utime(left, (time.time() - age,) * 2)
        return left

    old, young = leave("a", 7200), leave("b", 0)
    with atomic_write(tmp_path / "other") as out:
        out.write("one")
    assert not old.exists() and young.exists()
    # Who has the folder alone knows that nobody else writes there.
    with alone_in(tmp_path):
        assert not young.exists()
    assert (tmp_path / "text").read_text() == (tmp_path / "other").read_text() == "one"


def test_a_child_does_not_hold_the_folder_of_a_killed_parent(tmp_path):
    program = f"""
import os, time
from dld.files import alone_in
with alone_in({str(tmp_path)!r}):
    child = os.fork()
    if child == 0:
        time.sleep(60)
    print(child, flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    with pytest.raises(DldError, match=f"process {process.pid} on .* is at work in it"), alone_in(tmp_path):
        pass
    process.kill()
    process.wait()
    try:
        os.kill(child, 0)  # it lives on
        with alone_in(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
