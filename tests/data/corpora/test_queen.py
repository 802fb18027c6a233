"""The queen corpus: reading the game's file, its texts, and what a user finds after making it."""

import gzip
import importlib.util
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dld.bin.prepare import main
from dld.data import kaldi
from dld.data.corpora import queen
from dld.data.corpora.queen import archive as known
from dld.data.corpora.queen import package as packages
from dld.data.corpora.queen.archive import Archive, Clip
from dld.data.corpora.settings import SETS
from dld.data.normalise import queen as normalise
from dld.errors import DldError
from dld.files import sha256


@pytest.fixture(scope="session")
def archives(root):
    """The helper that writes miniatures."""
    spec = importlib.util.spec_from_file_location("queen_archive", root / "tests/data/corpora/queen_archive.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def game(archives, tiny_corpus, tmp_path_factory):
    """A miniature of the game's file, with the game's read-me next to it."""
    path = archives.game(tmp_path_factory.mktemp("game") / "queen.1c", tiny_corpus)
    (path.parent / "readme.txt").write_text("Please read the legal stuff.\n")
    return path


@pytest.fixture(scope="module")
def corpus(game, tmp_path_factory):
    """Data directories made from it."""
    folder = tmp_path_factory.mktemp("queen") / "data"
    queen.prepare(folder, queen.Options(game))
    return folder


@pytest.fixture
def package(game, tmp_path):
    """Writes a Debian package around the game: `package(member, ...) -> path`."""

    def write(member="data.tar.xz", contents=("queen.1c", "copyright", "readme.txt.gz"), cut=0, readme=None):
        files = {
            "queen.1c": game.read_bytes(),
            "copyright": b"License: free\n",
            "readme.txt.gz": gzip.compress(b"Read me\n") if readme is None else readme,
        }
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w:xz") as out:
            for name in contents:
                info = tarfile.TarInfo(f"./usr/share/somewhere/{name}")
                info.size = len(files[name])
                out.addfile(info, io.BytesIO(files[name]))
        data = b"!<arch>\n"
        for name, content in (("debian-binary", b"2.0"), ("control.tar.xz", b"odd"), (member, tar.getvalue())):
            data += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content
            data += b"\n" * (len(content) % 2)
        path = tmp_path / "game.deb"
        path.write_bytes(data[: len(data) - cut])
        return path

    return write


# ---------------------------------------------------------------- the file


def test_clips_and_texts_are_paired_as_the_game_pairs_them(archives, tmp_path):
    silence = archives.mp3(np.zeros(4000))
    clips = ["030001J1", "030001P1", "030001P2", "03000FP1", "030002P1", "03000CPA", "03000BP1", "03000BP2"]
    clips += ["C1A__001", "C1A__022", "LONGN031", "JOE00411", "JOE00431", "030077P1"]
    many = "*02".join("abcdefghij")
    entries = {f"{name}.SB": silence for name in clips}
    entries["BOB1.DOG"] = archives.dialogue(
        3,
        hero=[(1, "Hello there!*03"), (2, "")],
        # Texts of all lengths, so that every kind of padding occurs; an empty one has none.
        partner=[(1, "What?*FR17(12,3)  I see... *02"), (0, ""), (15, "Oh."), (2, "@@Fine@@"), (12, many)],
        more=[(11, "Yes*,-No*AO"), (1, "a second text for the first clip")],
    )
    entries["C1A.CUT"] = archives.scene(["It*15", "", "*FLHe says*no", "unvoiced"])
    entries["LONGNAME.CUT"] = archives.scene(["", "", "", "Bye", "..."])
    entries["QUEEN2.JAS"] = b"One.\r\nUnvoiced.\r\nThree.\r\n"
    found = Archive(archives.write(tmp_path / "queen.1c", entries)).clips()
    bob, scene, remarks = "BOB1.DOG", "C1A.CUT", "QUEEN2.JAS"
    assert {name: (clip.speaker, clip.source, clip.text) for name, clip in found.items()} == {
        "030001J1": ("JOE", bob, "Hello there!"),
        "030001P1": ("BOB1", bob, "What?"),
        "030001P2": ("BOB1", bob, "I see..."),
        "03000FP1": ("BOB1", bob, "Oh."),
        "030002P1": ("BOB1", bob, "Fine"),
        "03000CPA": ("BOB1", bob, "j"),
        "03000BP1": ("BOB1", bob, "Yes"),
        "03000BP2": ("BOB1", bob, "No"),
        "C1A__001": ("CUT", scene, "It"),
        "C1A__022": ("CUT", scene, "He says"),
        "LONGN031": ("CUT", "LONGNAME.CUT", "Bye"),
        "JOE00411": ("JOE", remarks, "One."),
        "JOE00431": ("JOE", remarks, "Three."),
    }
    assert list(found) == sorted(found)


def test_the_real_file_gives_the_manifest(root, shared):
    path = Path(os.environ.get("DLD_QUEEN", root / "recipes/queen/data/source/queen.1c"))
    manifest = shared / "corpora/queen/manifest.tsv"
    if not path.exists() or not manifest.exists():
        pytest.skip(f"needs the game's file ({path}; DLD_QUEEN names another path) and {manifest}")
    assert sha256(path) == known.CORPUS_SHA256
    archive = Archive(path)
    clips = archive.clips()
    lines = manifest.read_text(encoding="utf-8").splitlines()[1:]
    expected = {Clip(*line.split("\t")) for line in lines}
    assert len(expected & set(clips.values())) >= 0.99 * len(expected)
    assert len(archive.names(".SB")) == known.KNOWN_COUNTS["clips"]
    assert sum(bool(normalise(clip.text)) for clip in clips.values()) == known.KNOWN_COUNTS["utterances"]


def test_a_file_that_is_not_the_games_is_refused(game, tmp_path):
    data = game.read_bytes()
    broken = {
        "not the file queen.1c": b"RIFF" + data[4:],
        "cut short: entry": data[:-10],
        "cut short within its table": data[:30],
    }
    for complaint, content in broken.items():
        (tmp_path / "queen.1c").write_bytes(content)
        with pytest.raises(DldError, match=complaint):
            Archive(tmp_path / "queen.1c")


def test_a_file_that_is_not_there_is_named(tmp_path, capsys):
    assert main(["queen", str(tmp_path / "data"), "--corpus", str(tmp_path / "absent" / "queen.1c")]) == 1
    assert capsys.readouterr().err.startswith(f"dld prepare: error: {tmp_path}/absent/queen.1c: no such file; give")


def test_an_entry_of_another_layout_is_named(archives, tmp_path):
    path = archives.write(tmp_path / "queen.1c", {"030001J1.SB": b"", "BOB1.DOG": b"\0" * 25})
    with pytest.raises(DldError, match="entry BOB1.DOG is not laid out as expected"):
        Archive(path).clips()


@pytest.mark.parametrize("name", ["../../EVIL.SB", "/tmp/E.SB", "A/B.SB", "..", "", "A\nB.SB", "A B.SB", "\xe9.SB"])
def test_an_entry_whose_name_could_be_a_path_is_refused_before_anything_is_written(archives, tmp_path, name):
    path = archives.write(tmp_path / "in/queen.1c", {name: b"\0" * 25})
    with pytest.raises(DldError, match="not a name of a file of this game"):
        queen.prepare(tmp_path / "out/data", queen.Options(path))
    assert [entry.name for entry in tmp_path.rglob("*")] == ["in", "queen.1c"]


# ---------------------------------------------------------------- texts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("You're asking for trouble, King.", "you're asking for trouble king"),
        ("AMAZONS' DUNGEON?! That's bad....", "amazons' dungeon that's bad"),
        ("We got 'em!", "we got 'em"),
        ("a stuck up, half-witted bush pilot - by order", "a stuck up half witted bush pilot by order"),
        ('"Dear John..."', "dear john"),
        ("Mr. King, Dr. Nazi and Ms. Lola vs. The Mob", "mister king doctor nazi and ms lola versus the mob"),
        ("human D.N.A., the R.S.P.C.A.?", "human dna the rspca"),
        ("IQs less than 50?", "iqs less than fifty"),
        ("the Super Soldier Treatment^_.", "the super soldier treatment"),
        ("This is the 1940's.", "this is the nineteen forties"),
        ("He discovered the island in 1844.", "he discovered the island in eighteen forty four"),
        ("born 13th July, 1922", "born thirteenth july nineteen twenty two"),
        ("the 1st, 2nd, 3rd, 20th, 21st", "the first second third twentieth twenty first"),
        ("up to 100 miles", "up to one hundred miles"),
        ("19:00 Hours, 9:30", "nineteen hundred hours nine thirty"),
        ("2B or not 2B, Model X7", "two b or not two b model x seven"),
        ("150, 2004 and 1900", "one hundred fifty two thousand four and nineteen hundred"),
        ("call 555123", "call five five five one two three"),
        ("(sigh) Well <koff> then", "well then"),
        ("(sigh)", ""),
        ("...'", ""),
        ("&#($!!, he got away!", ""),
        ("it\u2019s caf\u00e9", ""),
    ],
)
def test_texts_become_lower_case_words(text, words):
    assert normalise(text) == words
    assert normalise(words) == words


# ---------------------------------------------------------------- data directories


def test_characters_are_in_one_split_only():
    def split(speaker):
        return Clip("X", speaker, "X.DOG", "x").split

    assert {split(f"SPARKY{number}") for number in ("", 1, 8)} == {"test"}
    assert split("KLUNK2") == "dev"
    assert {split("JOE"), split("CUT"), split("BOB5")} == {"train"}


def test_the_directories_are_valid_and_hold_the_speech(corpus, tiny_corpus):
    assert {split: len(kaldi.load(corpus / split)) for split in SETS} == {"train": 21, "dev": 8, "test": 16}
    originals = [(u.text, u.duration) for split in ("train", "test") for u in kaldi.load(tiny_corpus / split)]
    for split in SETS:
        assert kaldi.validate(corpus / split) == []
        for utterance in kaldi.load(corpus / split):
            info = soundfile.info(utterance.recording)
            assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
            # An MP3's encoder puts some silence around the audio.
            assert any(u == utterance.text and 0 <= utterance.duration - length < 0.25 for u, length in originals)
            assert np.abs(soundfile.read(utterance.recording)[0]).max() > 0.05
    assert {u.speaker for u in kaldi.load(corpus / "test")} == {"sparky"}
    assert {u.speaker for u in kaldi.load(corpus / "train")} == {"bob", "joe", "cut-c1a"}


def test_every_clip_is_accounted_for(corpus):
    summary = json.loads((corpus / "queen.json").read_text())["summary"]
    used = sum(split["utterances"] for split in summary["splits"].values())
    assert summary["clips"] == used + sum(summary["left_out"].values()) == 47
    assert summary["left_out"] == {"no text": 1, "noise, or words not written": 1}
    header, *rows = [line.split("\t") for line in (corpus / "queen.tsv").read_text().splitlines()]
    table = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert len(table) == summary["texts"] == 46
    assert table["JOE00421"]["split"] == "left out" and table["JOE00421"]["text"] == "(sigh)"
    assert table["030001P2"]["words"] + "." == table["030001P2"]["text"]


def test_sets_are_made_alone_and_join_those_that_are_there(corpus, game, tmp_path, capsys):
    arguments = ["queen", str(tmp_path), "--corpus", str(game), "--sets"]
    assert main([*arguments, "test"]) == 0
    assert "of 47 clips left out: 1 (no text), 1 (noise, or words not written)" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} - {"source"} == {"audio", "test"}
    assert {path.name for path in (tmp_path / "audio").iterdir() if path.is_dir()} == {"test"}
    assert main([*arguments, "train"]) == 0
    assert not (tmp_path / "dev").exists()
    for split in ("train", "test"):
        assert (tmp_path / split / "text").read_bytes() == (corpus / split / "text").read_bytes()
        assert kaldi.validate(tmp_path / split) == []
    assert main([*arguments, "test train"]) == 0
    assert "kept the complete corpus" in capsys.readouterr().out


def test_the_licence_lies_beside_the_audio(corpus, game):
    notice = (corpus / "audio/NOTICE.txt").read_text()
    assert "John Passfield and Steven Stamatiadis" in notice and "MODIFIED VERSION" in notice
    assert sha256(game) in notice and "readme.txt" in notice
    assert (corpus / "audio/readme.txt").read_text() == "Please read the legal stuff.\n"


def test_a_complete_corpus_is_kept_and_a_broken_one_made_again(game, archives, tmp_path, capsys):
    data = tmp_path / "data"

    def run(*options):
        assert main(["queen", str(data), "--jobs", "2", *options]) == 0
        return capsys.readouterr().out

    output = run("--corpus", str(game))
    assert "made the corpus (not there yet)" in output
    assert "of 47 clips left out: 1 (no text), 1 (noise, or words not written)" in output
    assert "kept the complete corpus" in run("--corpus", str(game)) and "kept the complete corpus" in run()
    audio = next((data / "audio/test").glob("*.flac"))
    audio.write_bytes(audio.read_bytes()[:1000])
    assert f"{audio} has changed" in run("--corpus", str(game))
    audio.unlink()
    assert f"{audio} is missing" in run("--corpus", str(game))
    (data / "dev/text").write_text("")
    assert "dev/text has changed" in run("--corpus", str(game))
    (data / "queen.json").unlink()
    assert "unfinished" in run("--corpus", str(game))
    other = archives.write(tmp_path / "queen.1c", {"JOE00411.SB": archives.mp3(np.ones(9000) / 2), "QUEEN2.JAS": b"Hi"})
    with pytest.raises(DldError, match="no utterances"):
        queen.prepare(data, queen.Options(other))
    assert not (data / "queen.json").exists()


def test_a_failure_leaves_nothing_that_looks_finished(game, archives, tmp_path, capsys):
    whole = Archive(game)
    entries = {name: whole.read(name) for name in whole.names("")}
    entries["020003P2.SB"] = b"\0" * 2000
    damaged = archives.write(tmp_path / "queen.1c", entries)
    assert main(["queen", str(tmp_path / "data"), "--corpus", str(damaged)]) == 1
    assert "clip 020003P2 cannot be decoded" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "data").iterdir()] == []


def test_a_file_without_speech_is_refused(archives, tmp_path):
    path = archives.write(tmp_path / "queen.1c", {"QUEEN2.JAS": b"Hello.\r\n"})
    with pytest.raises(DldError, match="not the talkie version"):
        queen.prepare(tmp_path / "data", queen.Options(path))


# ---------------------------------------------------------------- the package


def test_a_package_is_unpacked_with_its_notices(package, game, tmp_path):
    path, notices = packages.obtain(package(), tmp_path / "source")
    assert path.read_bytes() == game.read_bytes()
    assert [notice.name for notice in notices] == ["copyright", "readme.txt"]
    assert (tmp_path / "source/readme.txt").read_text() == "Read me\n"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"contents": ("copyright",)}, "queen.1c is not in this package"),
        ({"member": "data.tar.zst"}, "dpkg-deb -x"),
        ({"cut": 100}, "not a whole Debian package"),
        ({"readme": b"no gzip"}, "its contents cannot be unpacked"),
        ({"readme": gzip.compress(b"Read me\n" * 99)[:-9]}, "its contents cannot be unpacked"),
    ],
)
def test_a_package_that_does_not_hold_the_file_is_refused(package, tmp_path, settings, complaint):
    with pytest.raises(DldError, match=complaint):
        packages.obtain(package(**settings), tmp_path / "source")


@pytest.mark.parametrize("apt_works", [True, False])
def test_the_package_is_fetched_once_and_checked(package, game, tmp_path, monkeypatch, apt_works):
    deb, programs, target = package(), tmp_path / "bin", tmp_path / "source"
    programs.mkdir()
    script = f'cp "{deb}" game_1.0_all.deb' if apt_works else "echo E: no such package >&2; exit 100"
    (programs / "apt-get").write_text(f"#!/bin/sh\n{script}\n")
    (programs / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    fetched = []

    def fetch(url, path, digest):
        fetched.append(url)
        path.write_bytes(deb.read_bytes())
        return path

    monkeypatch.setattr(packages, "fetch", fetch)
    with pytest.raises(DldError, match="not the file that is known"):
        packages.obtain(None, target)
    monkeypatch.setattr(known, "CORPUS_SHA256", sha256(game))
    fetched.clear()
    assert packages.obtain(None, target)[0] == target / "queen.1c"
    deb.unlink()
    (target / "queen.1c").stat()
    assert packages.obtain(None, target)[0].read_bytes() == game.read_bytes()
    assert not list(target.glob("*.deb"))
    assert fetched == []


def test_the_known_file_must_give_the_known_counts(game, tmp_path, monkeypatch):
    monkeypatch.setattr(known, "CORPUS_SHA256", sha256(game))
    with pytest.raises(DldError, match="a fault of the reader"):
        queen.prepare(tmp_path / "data", queen.Options(game))
