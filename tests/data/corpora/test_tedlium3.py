"""TED-LIUM 3: the miniature in the corpus's layout, and what is wrong with corpora."""

import shutil

import numpy as np
import pytest
import soundfile

from dld.bin.prepare import main
from dld.data import kaldi
from dld.data.audio import read_audio
from dld.data.corpora import tedlium3
from dld.data.corpora.settings import SETS
from dld.data.corpora.tedlium3 import known
from dld.errors import DldError
from dld.scoring import kaldi as kaldi_scoring
from dld.scoring import sclite

MINIATURE = "egs_data/tedlium3/TEDLIUM_release-3"


@pytest.fixture
def corpus(root, tmp_path):
    """A copy of the miniature that a test may damage."""
    return shutil.copytree(root / MINIATURE, tmp_path / "TEDLIUM_release-3", symlinks=True)


@pytest.fixture
def whole(monkeypatch):
    """The totals are those of the miniature."""
    monkeypatch.setattr(known, "TOTALS", {"train": (20, None), "dev": (7, 45), "test": (7, 44)})
    monkeypatch.setattr(known, "TALKS", 3)


def run(corpus, tmp_path, *options):
    return main(["tedlium3", str(tmp_path / "data"), "--corpus", str(corpus), *options])


def stm(corpus, split, talk):
    return corpus / "legacy" / split / "stm" / f"{talk}.stm"


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_whole_miniature_becomes_valid_directories(corpus, tmp_path, whole, capsys):
    assert run(corpus, tmp_path) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()[1:]}
    # talks, lines, utterances, ignored, without words, faulty, words, hours
    assert rows["train"][:6] == ["3", "22", "19", "2", "1", "0"]
    assert rows["dev"][:6] == ["2", "9", "7", "2", "0", "0"]
    assert rows["test"][:6] == ["2", "9", "7", "2", "0", "0"]
    for split in SETS:
        assert kaldi.validate(tmp_path / "data" / split) == []


def test_text_is_normalised_and_every_scored_line_of_test_is_there(corpus, tmp_path):
    run(corpus, tmp_path, "--allow-partial", "true")
    texts = kaldi.read_text(tmp_path / "data/test/text")
    assert sorted(texts.values()) == [
        "'cause the ferry wouldn't run in winter",
        "a bridge is a promise between two towns",
        "it's dark and we're looking up",
        "my mother counted stars",
        "she's the reason i build lenses",
        "this one was built in 1904",
        "you'd see the whole valley from it",
    ]
    train = " ".join(kaldi.read_text(tmp_path / "data/train/text").values())
    assert not set("{}<>()") & set(train)


def test_times_are_exactly_those_of_the_stm(corpus, tmp_path):
    # Centiseconds would lose these; floats cut to them would even move the end of 1.15 s.
    edit(stm(corpus, "dev", "EllaFrost_2010P"), "0.00 1.80", "0.0615 1.7985")
    run(corpus, tmp_path, "--allow-partial", "true")
    segments = kaldi.read_table(tmp_path / "data/dev/segments")
    assert segments["EllaFrost_2010P-00000062-00001798"] == "EllaFrost_2010P 0.0615 1.7985"


def test_sph_is_read_in_place_and_equals_the_cut_of_the_whole(corpus, tmp_path):
    run(corpus, tmp_path, "--allow-partial", "true")
    recordings = kaldi.read_table(tmp_path / "data/test/wav.scp")
    assert recordings["GretaLund_2009"] == str(corpus / "legacy/test/sph/GretaLund_2009.sph")
    for utterance in kaldi.load(tmp_path / "data/test"):
        talk, rate = soundfile.read(utterance.recording, dtype="float32")
        part = read_audio(utterance.recording, utterance.start, utterance.end)
        assert np.array_equal(part, talk[round(utterance.start * rate) : round(utterance.end * rate)])


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_a_converted_tree_serves_as_well(corpus, tmp_path, kind):
    options = ["--sets", "dev test", "--allow-partial", "true"]
    run(corpus, tmp_path / "sph", *options)
    for split in ("dev", "test"):
        (tmp_path / "converted" / split).mkdir(parents=True)
        for path in (corpus / "legacy" / split / "sph").iterdir():
            soundfile.write(
                tmp_path / "converted" / split / f"{path.stem}.{kind}", *soundfile.read(path, dtype="int16")
            )
            path.unlink()
    assert run(corpus, tmp_path, "--audio", str(tmp_path / "converted"), *options) == 0
    for split in ("dev", "test"):
        pairs = zip(kaldi.load(tmp_path / "data" / split), kaldi.load(tmp_path / "sph/data" / split), strict=True)
        for here, there in pairs:
            assert here.recording.endswith(kind)
            assert (here.id, here.start, here.end, here.text) == (there.id, there.start, there.end, there.text)


def test_sph2pipe_is_called_where_that_is_wanted(corpus, tmp_path, monkeypatch):
    # A stand-in for sph2pipe: the miniature's SPH is plain PCM, libsndfile reads it from a pipe too.
    tool = tmp_path / "bin" / "sph2pipe"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\n[ "$1 $2 $3" = "-f wav -p" ] || exit 1\nexec cat "$4"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    assert run(corpus, tmp_path, "--sets", "dev", "--sph2pipe", "true", "--allow-partial", "true") == 0
    assert (tmp_path / "data/dev/wav.scp").read_text().count("sph2pipe -f wav -p ") == 2
    assert kaldi.validate(tmp_path / "data/dev") == []


def test_padding_makes_train_segments_longer_but_never_reaches_into_another(corpus, tmp_path):
    run(corpus, tmp_path / "plain", "--allow-partial", "true")
    run(corpus, tmp_path, "--start-padding", "0.2", "--end-padding", "0.1", "--allow-partial", "true")
    plain, padded = (kaldi.load(folder / "data/train") for folder in (tmp_path / "plain", tmp_path))
    assert [u.id for u in plain] == [u.id for u in padded]
    for i, (short, long) in enumerate(zip(plain, padded, strict=True)):
        assert 0 <= long.start <= short.start and short.end <= long.end
        assert short.start - long.start <= 0.2 + 1e-9 and long.end - short.end <= 0.1 + 1e-9
        if i and padded[i - 1].recording_id == long.recording_id:
            assert padded[i - 1].end <= long.start
    # Gaps are 0.25 s: half of one is less than 0.2 s, more than 0.1 s.
    assert plain[2].start - padded[2].start == pytest.approx(0.125)
    assert padded[2].end - plain[2].end == pytest.approx(0.1)
    assert (tmp_path / "data/dev/segments").read_text() == (tmp_path / "plain/data/dev/segments").read_text()


@pytest.mark.skipif(not (shutil.which("sctk") or shutil.which("sclite")), reason="NIST sclite is not installed")
def test_sclite_scores_against_the_stm_as_our_scorer_does(corpus, tmp_path):
    run(corpus, tmp_path, "--allow-partial", "true")
    data, decode = tmp_path / "data/test", tmp_path / "decode"
    decode.mkdir()
    lines = (data / "text").read_text().replace("stars", "cars").replace(" lenses", "").replace("'cause", "'cause the")
    (decode / "text").write_text(lines)
    total = sclite.score(data, decode)
    assert (total.words, total.subs, total.dels, total.ins) == (44, 1, 1, 1)
    ours = kaldi_scoring.score(data / "text", decode / "text", decode)
    assert (ours.words, ours.errors) == (total.words, total.errors)


def test_ignored_parts_give_way_to_scored_ones_in_the_stm_for_sclite(corpus, tmp_path):
    path = stm(corpus, "test", "FinnGrey_2012U")
    path.write_text(path.read_text() + "FinnGrey_2012U 1 x 0.5 6.0 <o,,unknown> ignore_time_segment_in_scoring\n")
    run(corpus, tmp_path, "--allow-partial", "true")
    rows = [line.split() for line in (tmp_path / "data/test/stm").read_text().splitlines()]
    times = [(row[3], row[4]) for row in rows if row[0] == "FinnGrey_2012U" and row[2] == "x"]
    assert times == [("0.5", "0.90"), ("2.85", "3.10"), ("5.40", "5.65")]


def test_the_stm_holds_what_scoring_ignores_and_the_corpus_glm_is_taken(corpus, tmp_path):
    (corpus / "tedlium.glm").write_text(";; the corpus's own\n")
    run(corpus, tmp_path, "--allow-partial", "true")
    lines = (tmp_path / "data/dev/stm").read_text().splitlines()
    assert "DrewPike_2008 1 DrewPike 2.83 4.45 <o,f0,male> it's the oldest clock in the town" in lines
    assert sum("ignore_time_segment_in_scoring" in line for line in lines) == 2
    assert (tmp_path / "data/dev/glm").read_text() == ";; the corpus's own\n"


def test_a_partial_corpus_is_refused_and_reported_where_allowed(corpus, tmp_path, capsys, caplog):
    assert run(corpus, tmp_path) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "20 of 268263 scored segments" in error and "--allow-partial true" in error
    assert not (tmp_path / "data").exists()
    assert run(corpus, tmp_path, "--allow-partial", "true") == 0
    assert "7 of 1155 scored segments" in caplog.text
    assert "3 of 2351 talks" in caplog.text


def test_the_totals_are_those_of_the_corpus():
    assert known.TOTALS == {"train": (268263, None), "dev": (507, 17783), "test": (1155, 27500)}
    assert known.TALKS == 2351


def test_a_word_too_few_in_a_whole_split_is_noticed(corpus, tmp_path, whole, capsys):
    edit(stm(corpus, "dev", "EllaFrost_2010P"), "water and flour", "water flour")
    assert run(corpus, tmp_path) == 1
    # The dev split has one word like 'til, which other preparations join to the word before.
    assert "43 to 44 words where 45 are known" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "DrewPike 2.83 4.45 <F0_M> it 's the oldest clock in the town",
            "DrewPike 2.83",
            "DrewPike_2008.stm:3: 4 fields",
        ),
        ("2.83 4.45", "4.45 2.83", "DrewPike_2008.stm:3: the segment ends at 2.83 s and starts at 4.45 s"),
        ("2.83 4.45", "2.83 2.83", "DrewPike_2008.stm:3: the segment ends at 2.83 s"),
        ("2.83 4.45", "2.83 x", "DrewPike_2008.stm:3: the times 2.83 and x are not numbers"),
        ("2.83 4.45", "2.83 nan", "DrewPike_2008.stm:3: the segment ends at nan s"),
        ("2.83 4.45", "2.83 99.5", "DrewPike_2008.stm:3: the segment ends at 99.5 s, DrewPike_2008 is"),
        ("4.45 <F0_M> it", "4.45 it", "DrewPike_2008.stm:3: the sixth field is it"),
        (
            "DrewPike_2008 1 DrewPike 2.83",
            "NoSuch_2008 1 DrewPike 2.83",
            "DrewPike_2008.stm:3: NoSuch_2008 (1 lines) has no",
        ),
        ("2.83 4.45", "0.90 2.58", "the utterance DrewPike_2008-00000900-00002580 is also in"),
        ("it 's the oldest clock in the town", "{NOISE}", "DrewPike_2008.stm:3: no words in '{NOISE}'"),
    ],
)
def test_faulty_stm_lines_are_named_counted_and_left_out_only_on_demand(
    corpus, tmp_path, whole, capsys, caplog, old, new, message
):
    edit(stm(corpus, "dev", "DrewPike_2008"), old, new)
    assert run(corpus, tmp_path) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("dld prepare: error: ")
    assert "problem" in error and message in caplog.text
    assert not (tmp_path / "data").exists()
    assert run(corpus, tmp_path, "--allow-partial", "true") == 0
    row = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("dev"))
    # talks, lines, utterances, ignored, without words, faulty
    assert row[2:7] == ["9", "6", "2", "0", "1"]
    assert kaldi.validate(tmp_path / "data/dev") == []


def test_bytes_that_are_not_utf8_cost_only_their_line(corpus, tmp_path, whole, capsys, caplog):
    path = stm(corpus, "dev", "DrewPike_2008")
    path.write_bytes(path.read_bytes().replace(b"oldest", b"old\xe9st"))
    assert run(corpus, tmp_path) == 1
    assert "DrewPike_2008.stm:3: not UTF-8" in caplog.text
    assert run(corpus, tmp_path, "--allow-partial", "true") == 0
    assert len(kaldi.load(tmp_path / "data/dev")) == 6


@pytest.mark.parametrize("damage", ["missing", "truncated", "empty"])
def test_damaged_sph_is_named_and_its_lines_are_counted(corpus, tmp_path, whole, capsys, caplog, damage):
    path = corpus / "legacy/test/sph/FinnGrey_2012U.sph"
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(data[: len(data) // 2] if damage == "truncated" else b"")
    assert run(corpus, tmp_path) == 1
    expected = {
        "missing": "FinnGrey_2012U (5 lines) has no recording",
        "truncated": f"{path}: audio is cut short",
        "empty": f"{path}: no audio in it",
    }
    assert expected[damage] in caplog.text
    capsys.readouterr()
    assert run(corpus, tmp_path, "--allow-partial", "true") == 0
    row = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("test"))
    assert row[2:7] == ["9", "3", "2", "0", "4"]


def test_a_talk_without_stm_is_noticed(corpus, tmp_path, whole, capsys):
    stm(corpus, "test", "FinnGrey_2012U").unlink()
    assert run(corpus, tmp_path) == 1
    assert "no STM lines for the recording FinnGrey_2012U" in capsys.readouterr().err


def test_another_folder_is_not_the_corpus(tmp_path):
    with pytest.raises(DldError, match="not TED-LIUM 3"):
        tedlium3.prepare(tmp_path / "data", tedlium3.Options(tmp_path))
