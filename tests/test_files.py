"""Files that are whole or absent, and errors that name file and line."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from dld.bin import boolean, command
from dld.errors import DldError
from dld.files import (
    alone_in,
    atomic_folder,
    atomic_write,
    read_bytes,
    read_json,
    read_lines,
    read_record,
    sha256,
    sync,
    writable_file,
    writable_folder,
    write_json,
)
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
    assert '"ü"' in (tmp_path / "a.json").read_text(encoding="utf-8")
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
    assert capsys.readouterr().err.splitlines() == ["dld: error: data/text:3: no words; remove the line"]


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
    if os.fork() == 0:
        print(os.getpid(), flush=True)  # now, what a fork calls in the child has run
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


def test_a_file_may_have_the_most_bytes_that_its_kind_has_and_no_more(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert read_bytes(tmp_path / "file", most=5) == b"12345"
    assert read_bytes(tmp_path / "file") == b"12345"
    with pytest.raises(DldError, match="has more than 4 bytes"):
        read_bytes(tmp_path / "file", most=4)
    with pytest.raises(DldError, match="has more than 3 bytes"):
        read_bytes(tmp_path / "file", most=3)


def test_a_byte_order_mark_is_left_out_at_the_beginning_only(tmp_path):
    (tmp_path / "text").write_bytes(b"\xef\xbb\xbfa one\r\n\xef\xbb\xbfb two\n")
    assert list(read_lines(tmp_path / "text")) == [(1, "a one"), (2, "\ufeffb two")]
    (tmp_path / "text").write_text("a one\n", encoding="utf-16")
    with pytest.raises(DldError, match="is UTF-16 text; save it as UTF-8"):
        list(read_lines(tmp_path / "text"))


def test_json_that_is_not_text_is_found_by_line(tmp_path):
    (tmp_path / "a.json").write_bytes(b'{\n"a":\n"\xff"}')
    with pytest.raises(DldError, match=r"a\.json:3: not UTF-8"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    "content, message",
    [
        ("[1]", "an object was expected"),
        ('{"n": 1}', "lacks x; make it again"),
        ('{"n": true, "x": 1.5}', "n is .*, expected"),
        ('{"n": 1.5, "x": 1.5}', r"n is 1\.5, expected"),
        ('{"n": 1, "x": "1.5"}', "x is .*, expected"),
        ('{"n": 1, "x": NaN}', "x is nan, expected"),
        ('{"n": 1, "x": Infinity}', "x is inf, expected"),
    ],
)
def test_a_record_that_is_not_what_it_must_be_is_refused(tmp_path, content, message):
    path = tmp_path / "record.json"
    kinds = {"n": int, "x": (int, float)}
    path.write_text('{"n": 1, "x": 1.5, "more": null}')
    assert read_record(path, kinds) == {"n": 1, "x": 1.5, "more": None}
    path.write_text('{"n": 1, "x": 2}')
    assert read_record(path, kinds) == {"n": 1, "x": 2}
    path.write_text(content)
    with pytest.raises(DldError, match=rf"record\.json.*{message}"):
        read_record(path, kinds, advice="make it again")


def test_an_output_is_looked_at_before_the_work_and_nothing_is_made(tmp_path):
    (tmp_path / "file").write_text("")
    assert writable_folder(tmp_path) == tmp_path
    assert writable_folder(str(tmp_path / "a/b")) == tmp_path / "a/b"
    assert writable_file(str(tmp_path / "a/b/text")) == tmp_path / "a/b/text"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(DldError, match=r"file: is a file, a folder was expected"):
        writable_folder(tmp_path / "file")
    with pytest.raises(DldError, match=rf"file/a: {tmp_path}/file is a file, a folder was expected"):
        writable_folder(tmp_path / "file/a")
    with pytest.raises(DldError, match="is a folder, a file was expected"):
        writable_file(tmp_path)
    with pytest.raises(DldError, match="file/text: cannot be written: "):
        writable_file(tmp_path / "file/text")


def test_what_is_not_a_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, message in [("", "is a folder"), ("pipe", "is a pipe or a device"), ("none", "no such file")]:
        with pytest.raises(DldError, match=message):
            read_bytes(tmp_path / name)


def test_what_is_synced_reaches_the_disk_and_is_closed(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_ino) or real(number))
    before = len(os.listdir("/proc/self/fd"))
    sync(tmp_path)
    with atomic_write(tmp_path / "text") as out:
        out.write("one\n")
    assert synced == [tmp_path.stat().st_ino, (tmp_path / "text").stat().st_ino]
    assert len(os.listdir("/proc/self/fd")) == before


def test_temporary_folders_of_killed_processes_are_removed_after_a_day(tmp_path):
    old, young = tmp_path / ".pack.abcdefgh.part", tmp_path / ".pack.ijklmnop.part"
    for folder in (old, young):
        folder.mkdir()
        (folder / "block_00.onnx").write_text("")
    os.utime(old, (0, 0))
    with atomic_write(tmp_path / "text") as out:
        out.write("whole")
    with alone_in(tmp_path):
        pass
    assert not old.exists() and young.exists()


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "folder"
    for content in ("one", "two"):
        with atomic_folder(folder) as work:
            (work / "file").write_text(content)
            assert not (folder / "file").exists() or (folder / "file").read_text() == "one"
        assert (folder / "file").read_text() == content
    with pytest.raises(RuntimeError), atomic_folder(folder) as work:
        raise RuntimeError
    assert (folder / "file").read_text() == "two" and os.listdir(tmp_path) == ["folder"]
