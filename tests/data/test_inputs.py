"""What a command line names as audio: files, folders, standard input."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dld.data.inputs import expand
from dld.errors import DldError


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_folder_gives_its_audio_in_order_and_names_the_rest_once(tmp_path, caplog):
    make(tmp_path, "b/2.flac", "b/1.WAV", "a.mp3", "b/c/x.sph", "z.ogg", "notes.txt", "b/list.json")
    found = expand([str(tmp_path), "other.xyz"], tmp_path)
    assert [item.path for item in found[:-1]] == [
        str(tmp_path / name) for name in ("a.mp3", "b/1.WAV", "b/2.flac", "b/c/x.sph", "z.ogg")
    ]
    assert [str(item.inner) for item in found] == ["a.mp3", "b/1.WAV", "b/2.flac", "b/c/x.sph", "z.ogg", "other.xyz"]
    [record] = caplog.records
    assert record.getMessage() == f"{tmp_path}: left out, by their names not audio: b/list.json, notes.txt"


def test_of_many_other_files_some_are_named(tmp_path, caplog):
    make(tmp_path, "a.wav", *(f"{number}.txt" for number in range(9)))
    expand([str(tmp_path)], tmp_path)
    assert "0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 4 more" in caplog.text


@pytest.mark.parametrize("names", [(), ("a.txt",)])
def test_a_folder_without_audio_is_refused(tmp_path, names):
    make(tmp_path, *names)
    with pytest.raises(DldError, match="no audio file in it or below"):
        expand([str(tmp_path)], tmp_path)


def test_standard_input_is_kept_in_a_file(tmp_path, monkeypatch):
    (tmp_path / "a.wav").write_bytes(b"RIFF content")
    with (tmp_path / "a.wav").open("rb") as stream:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
        [item] = expand(["-"], tmp_path)
        assert (item.name, Path(item.path).read_bytes()) == ("-", b"RIFF content")


def test_standard_input_is_given_once(tmp_path):
    with pytest.raises(DldError, match="more than once"):
        expand(["-", "a.wav", "-"], tmp_path)


@pytest.mark.parametrize("closed", [True, False])
def test_closed_or_empty_standard_input_is_refused(tmp_path, monkeypatch, closed):
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open("rb") as stream:
        monkeypatch.setattr(sys, "stdin", None if closed else io.TextIOWrapper(stream))
        with pytest.raises(DldError, match="is closed; give a file" if closed else "standard input is empty"):
            expand(["-"], tmp_path)


def test_a_terminal_is_refused(tmp_path, monkeypatch):
    main, other = os.openpty()
    with os.fdopen(other) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        with pytest.raises(DldError, match="is a terminal; pipe audio into the command"):
            expand(["-"], tmp_path)
    os.close(main)


@pytest.mark.parametrize(
    ("command", "variable", "message"),
    [
        (["sleep", "60"], "DLD_PIPE_TIMEOUT=0.2", "nothing came for 0 s .0 bytes in all.*raise DLD_PIPE_TIMEOUT"),
        (["cat", "/dev/zero"], "DLD_PIPE_MEGABYTES=3", "more than 3 MB; write it to a file, or raise DLD_PIPE_MEG"),
    ],
)
def test_what_does_not_end_is_refused(tmp_path, monkeypatch, command, variable, message):
    monkeypatch.setenv(*variable.split("="))
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        monkeypatch.setattr(sys, "stdin", process.stdout)
        with pytest.raises(DldError, match=message):
            expand(["-"], tmp_path)
        process.kill()
