"""Tables of audio files → data directories: what they may look like, and what is refused."""

import json
import random

import numpy as np
import pytest
import soundfile

from dld.bin.data import main
from dld.data import kaldi
from dld.data.manifest import Options, read_manifest
from dld.errors import DldError

ALL = Options()


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    """A folder with files of 2 s in two sub-folders, some of which share a name."""
    folder = tmp_path_factory.mktemp("audio")
    noise = np.random.default_rng(1)
    for name in ("ann/a.wav", "ann/b.flac", "bob/a.wav", "bob/c d.wav"):
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(folder / name, noise.uniform(-0.1, 0.1, 32000), 16000)
    (folder / "ann/broken.wav").write_bytes((folder / "ann/a.wav").read_bytes()[:9000])
    (folder / "ann/none.wav").write_bytes(b"")
    return folder


@pytest.fixture
def table(audio):
    """Writes a table next to the audio and returns its path."""
    made = []

    def write(name, text, encoding="utf-8"):
        path = audio / name
        path.write_bytes(text.encode(encoding))
        made.append(path)
        return path

    yield write
    for path in made:
        path.unlink()


def summary(utterances):
    return {u.id: (u.speaker, u.text, u.recording.rpartition("/audio")[2].split("/", 1)[1]) for u in utterances}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.tsv", "path\ttext\tspeaker\nann/a.wav\tone  two\tann\nbob/a.wav\tthree\tbob\n"),
        ("t.csv", 'speaker,path,text\r\nann,ann/a.wav,"one two"\r\nbob,bob/a.wav,three\r\n'),
        ("bom.csv", "\ufeffAudio, Transcript ,SPEAKER\nann/a.wav,one two,ann\n\nbob/a.wav,three,bob"),
        (
            "voice.TSV",
            "client_id\tpath\tsentence\tup_votes\nann\tann/a.wav\tone two\t2\nbob\tbob/a.wav\tthree\t0\n",
        ),
        (
            "nemo.json",
            '{"audio_filepath": "ann/a.wav", "duration": 2.0, "text": "one two", "speaker": "ann"}\n\n'
            '{"audio_filepath": "bob/a.wav", "offset": 0, "duration": 2, "text": "three", "speaker": "bob"}\n',
        ),
    ],
)
def test_forms_of_tables(table, audio, name, text):
    utterances = read_manifest(table(name, text), ALL)
    speakers = [(u.speaker, u.text, u.recording) for u in utterances]
    assert speakers == [("ann", "one two", f"{audio}/ann/a.wav"), ("bob", "three", f"{audio}/bob/a.wav")]
    assert all(u.id.startswith(f"{u.speaker}-a") and u.end is None for u in utterances)


def test_the_command_makes_a_valid_directory_and_says_what_is_in_it(table, tmp_path, capsys):
    rows = [("ann/a.wav", "one", "ann"), ("ann/b.flac", "two", "ann"), ("bob/c d.wav", "three four", "bob")]
    path = table("t.tsv", "path\ttext\tspeaker\n" + "".join("\t".join(row) + "\n" for row in rows))
    assert main(["import", str(path), str(tmp_path / "data/train")]) == 0
    assert "data/train: 3 utterances of 2 speakers, 0.00 h, of " in capsys.readouterr().out
    assert kaldi.validate(tmp_path / "data/train", decode=True) == []
    assert [u.id for u in kaldi.load(tmp_path / "data/train")] == ["ann-a", "ann-b", "bob-c_d"]


def test_ids_do_not_depend_on_the_order_of_rows(table):
    rows = ["ann/a.wav\tone\tx", "bob/a.wav\ttwo\tx", "ann/b.flac\tthree\tx_b", "bob/c d.wav\tfour\tx"]
    header = "path\ttext\tspeaker\n"
    first = summary(read_manifest(table("a.tsv", header + "\n".join(rows)), ALL))
    random.Random(3).shuffle(rows)
    assert summary(read_manifest(table("b.tsv", header + "\n".join(rows)), ALL)) == first
    assert len(first) == 4 and {"x_b-b", "x-c_d"} < set(first)


def test_ids_and_speakers_may_be_given_or_missing(table):
    given = read_manifest(table("a.csv", "id,path,text\nu2,ann/a.wav,one\nu1,ann/b.flac,two\n"), ALL)
    assert [(u.id, u.speaker) for u in given] == [("u2", "u2"), ("u1", "u1")]
    named = read_manifest(table("b.csv", "path,text,speaker\nann/a.wav,one,Ann  Smith\n"), ALL)
    assert [(u.id, u.speaker) for u in named] == [("Ann_Smith-a", "Ann_Smith")]


def test_names_may_be_numbers_in_json(table):
    path = table("t.jsonl", '{"path": "ann/a.wav", "text": "one", "speaker": 84, "id": 7}\n')
    assert [(u.id, u.speaker) for u in read_manifest(path, ALL)] == [("7", "84")]


def test_parts_of_recordings(table, tmp_path):
    rows = [
        {"path": "ann/a.wav", "text": "one", "speaker": "ann", "offset": 0.25, "duration": 0.5},
        {"path": "ann/a.wav", "text": "two", "speaker": "ann", "offset": 1},
        {"path": "ann/b.flac", "text": "three", "speaker": "ann", "duration": 1.5},
        {"path": "bob/c d.wav", "text": "four", "speaker": "bob", "start": 0.5, "end": 2.0},
    ]
    path = table("t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    kaldi.write(tmp_path / "data", read_manifest(path, ALL))
    assert kaldi.validate(tmp_path / "data") == []
    times = {u.id: (u.start, u.end) for u in kaldi.load(tmp_path / "data")}
    assert times == {
        "ann-a-0000250-0000750": (0.25, 0.75),
        "ann-a-0001000-end": (1.0, 2.0),
        "ann-b-0000000-0001500": (0.0, 1.5),
        "bob-c_d-0000500-0002000": (0.5, 2.0),
    }
    assert {u.recording_id for u in kaldi.load(tmp_path / "data")} == {"a", "b", "c_d"}


def test_paths_start_at_the_audio_root(table, audio, tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("path\ttext\na.wav\tone\n")
    with pytest.raises(DldError, match=r"t.tsv:2: .*/a.wav: no such file; relative paths start at .*--audio-root"):
        read_manifest(path, ALL)
    (utterance,) = read_manifest(path, Options(audio_root=audio / "ann"))
    assert utterance.recording == f"{audio}/ann/a.wav"


def test_without_text(table, tmp_path, capsys):
    path = table("t.tsv", "path\nann/a.wav\n")
    assert main(["import", str(path), str(tmp_path / "data")]) == 1
    assert "no column text or sentence or transcript; there are: path; --text false" in capsys.readouterr().err
    assert main(["import", str(path), str(tmp_path / "data"), "--text", "false"]) == 0
    assert not (tmp_path / "data/text").exists()
    assert kaldi.validate(tmp_path / "data", text=False) == []


def test_quotes_as_characters(table):
    path = table("t.tsv", 'path\ttext\nann/a.wav\t"one two\nann/b.flac\tthree" four\n')
    with pytest.raises(DldError, match="--quotes false reads quotes as characters"):
        read_manifest(path, ALL)
    assert [u.text for u in read_manifest(path, Options(quotes=False))] == ['"one two', 'three" four']


def test_empty_texts_count_in_test_sets_only(table):
    path = table("t.tsv", "path\ttext\nann/a.wav\t \nann/b.flac\ttwo\n")
    with pytest.raises(DldError, match=r"t.tsv:2: has an empty text"):
        read_manifest(path, ALL)
    assert [u.text for u in read_manifest(path, Options(allow_empty=True))] == ["", "two"]


GOOD = "ann/a.wav\tone\tann"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("touch made |\tone\tann", r":3: 'touch made \|' is a pipe|:3: touch made \| is a pipe"),
        ("| cat\tone\tann", "is a pipe, not the path of a file"),
        ("ann/b.flac |\tone\tann", "is a pipe, not the path of a file"),
        ("nowhere.wav\tone\tann", ":3: .*nowhere.wav: no such file"),
        ("ann\tone\tann", ":3: .*/ann: is not a file"),
        ("/dev/zero\tone\tann", ":3: /dev/zero: is not a file"),
        ("\tone\tann", ":3: has no path"),
        ("ann/b\x07.wav\tone\tann", "has a character that cannot be in wav.scp"),
        ("ann/broken.wav\tone\tann", ":3: .*ann/broken.wav"),
        ("ann/none.wav\tone\tann", ":3: .*ann/none.wav"),
        ("ann/b.flac\tone <s>\tann", ":3: has the reserved word <s>"),
        ("ann/b.flac\to\u200bne\tann", r":3: has the whitespace U\+200B in its text"),
        ("ann/b.flac\tone\t", ":3: has no speaker"),
        ("ann/b.flac\tone", ":3: 2 fields, the header has 3"),
        ("ann/a.wav\ttwo\tann", ":3: ann-a is also the id of .*t.tsv:2"),
        ("ann/b.flac\tone\ta nn", None),
    ],
)
def test_faulty_rows_are_named_with_their_line_and_left_out_only_if_that_is_allowed(table, tmp_path, row, message):
    path = table("t.tsv", f"path\ttext\tspeaker\n{GOOD}\n{row}\n")
    if message is None:
        assert len(read_manifest(path, ALL)) == 2
        return
    with pytest.raises(DldError, match=message) as error:
        read_manifest(path, ALL)
    assert "1 problem (" in str(error.value) and "--allow-partial true" in str(error.value)
    assert [u.id for u in read_manifest(path, Options(allow_partial=True))] == ["ann-a"]
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"start": 1.5, "end": 1.0}, "starts at 1.5 s and ends at 1 s"),
        ({"start": -1}, "the start is -1; it must be a number of seconds"),
        ({"start": "1_0"}, "the start is 1_0; it must be a number"),
        ({"end": True}, "the end is True; it must be a number"),
        ({"duration": float("nan")}, "the duration is nan; it must be a number"),
        ({"start": 2.5}, "2.5 s to 2 s is not inside the recording, which is 2.000 s long"),
        ({"end": 3}, "0 s to 3 s is not inside the recording"),
        ({"text": 5}, "the text is 5; it must be text"),
        ({"start": 10**400}, "the start is '?1000.*; it must be a number"),
        ({"text": "o\ud800ne"}, "the text is .*half of a surrogate pair"),
        ({"id": "\udfff"}, "the id is .*half of a surrogate pair"),
        ({"id": [1]}, r"the id is \[1\]; it must be text"),
        ({"path": ["a"]}, "the path is .*; it must be text"),
    ],
)
def test_faulty_values(table, fields, message):
    path = table("t.jsonl", json.dumps({"path": "ann/a.wav", "text": "one", **fields}) + "\n")
    with pytest.raises(DldError, match=f"t.jsonl:1: {message}"):
        read_manifest(path, ALL)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.txt", "path\n", "the name must end in .tsv, .csv or .jsonl"),
        ("t.tsv", "", "has no rows"),
        ("t.tsv", "path\ttext\n", "has no rows"),
        (
            "t.csv",
            "path;text\nann/a.wav;one\n",
            "t.csv:2: no column path or audio or file or audio_filepath; there are",
        ),
        ("t.csv", "path,path\na,b\n", "t.csv:1: two columns are named path"),
        ("t.csv", "path,audio,text\na,b,c\n", "t.csv:2: the columns path and audio both hold the path"),
        ("t.jsonl", "[1]\n", "t.jsonl:1: not a JSON object"),
        ("t.jsonl", "{\n", "t.jsonl:1: not JSON"),
        ("t.jsonl", "[" * 100_000 + "\n", "t.jsonl:1: not JSON"),
        ("t.csv", "path,text\na\0,b\n", "t.csv:2: has a NUL byte"),
    ],
)
def test_tables_that_are_none(table, name, text, message):
    with pytest.raises(DldError, match=message):
        read_manifest(table(name, text), ALL)


def test_bytes_that_are_not_utf8_and_a_missing_table(audio, table, tmp_path, capsys):
    path = table("t.csv", "path,text\nann/a.wav,Stra\u00dfe\n", encoding="latin-1")
    with pytest.raises(DldError, match=r"t.csv:2: not UTF-8"):
        read_manifest(path, ALL)
    assert main(["import", str(tmp_path / "none.csv"), str(tmp_path / "data")]) == 1
    assert "none.csv: no such file" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_two_speakers_never_become_one(table):
    path = table("t.csv", "path,text,speaker\nann/a.wav,one,A B\nann/b.flac,two,A_B\n")
    with pytest.raises(DldError, match=r"t.csv:3: the speakers 'A_B' and 'A B' would both be A_B"):
        read_manifest(path, ALL)
