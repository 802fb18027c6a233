"""LibriSpeech: the miniature in the corpus's layout, the real files, and what is wrong with corpora."""

import shutil

import pytest
import soundfile

from dld.bin.prepare import main
from dld.data import kaldi
from dld.data.audio import read_audio
from dld.data.corpora import librispeech
from dld.data.corpora.librispeech import known
from dld.errors import DldError

MINIATURE = "egs_data/librispeech/LibriSpeech"
SIZES = {
    "train-clean-100": (11, None),
    "train-clean-360": (2, None),
    "train-other-500": (2, None),
    "dev-clean": (2, 12),
    "dev-other": (2, 10),
    "test-clean": (3, 16),
    "test-other": (2, 10),
}


@pytest.fixture
def corpus(root, tmp_path):
    """A copy of the miniature that a test may damage."""
    return shutil.copytree(root / MINIATURE, tmp_path / "LibriSpeech")


@pytest.fixture
def whole(monkeypatch):
    """The totals are those of the miniature."""
    monkeypatch.setattr(known, "TOTALS", SIZES)


def run(corpus, tmp_path, *options):
    return main(["librispeech", str(tmp_path / "data"), "--corpus", str(corpus), *options])


def test_the_whole_miniature_becomes_valid_directories(corpus, tmp_path, whole, capsys):
    assert run(corpus, tmp_path) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()[1:]}
    assert {name: int(row[1]) for name, row in rows.items()} == {
        "train": 15,
        "dev": 4,
        **{split: utterances for split, (utterances, _) in SIZES.items()},
    }
    for name in rows:
        assert kaldi.validate(tmp_path / "data" / name) == []


@pytest.mark.parametrize(("hours", "utterances"), [("100", 11), ("460", 13), ("960", 15)])
def test_the_train_set_is_the_splits_of_its_hours(corpus, tmp_path, whole, hours, utterances):
    assert run(corpus, tmp_path, "--train-set", hours) == 0
    assert len(kaldi.load(tmp_path / "data/train")) == utterances


def test_speakers_are_chapters_with_the_gender_of_their_reader(corpus, tmp_path, whole):
    run(corpus, tmp_path)
    speakers = {u.id: (u.speaker, u.gender) for u in kaldi.load(tmp_path / "data/train-clean-100")}
    assert speakers["103-1240-0000"] == ("103-1240", "f")
    assert speakers["103-1241-0001"] == ("103-1241", "f")
    assert speakers["1034-121119-0003"] == ("1034-121119", "m")


def test_a_reader_without_gender_leaves_the_genders_out(corpus, tmp_path, whole):
    path = corpus / "SPEAKERS.TXT"
    path.write_text("".join(line for line in path.open() if not line.startswith("118 ")))
    assert run(corpus, tmp_path) == 0
    assert not (tmp_path / "data/train/spk2gender").exists()
    assert kaldi.validate(tmp_path / "data/train") == []


def test_flac_is_read_in_place(corpus, tmp_path, whole):
    run(corpus, tmp_path)
    assert not (tmp_path / "data/test-clean/segments").exists()
    for utterance in kaldi.load(tmp_path / "data/test-clean"):
        assert utterance.recording.startswith(str(corpus))
        samples, rate = soundfile.read(utterance.recording, dtype="float32")
        assert (read_audio(utterance.recording) == samples).all()
        assert utterance.duration == pytest.approx(len(samples) / rate, abs=1e-6)


@pytest.mark.parametrize("split", ["test-clean", "test-other", "train-clean-100"])
def test_text_of_the_real_files_is_that_of_their_transcripts(shared, tmp_path, split):
    corpus = shared / "corpora/LibriSpeech"
    assert run(corpus, tmp_path, "--train-set", "100", "--held-out", "10", "--allow-partial", "true") == 0
    expected = {}
    for path in (corpus / split).rglob("*.trans.txt"):
        expected.update(line.rstrip("\n").split(" ", 1) for line in path.open(encoding="utf-8"))
    assert kaldi.read_table(tmp_path / "data" / split / "text") == expected
    assert len(expected) == {"test-clean": 4, "test-other": 50, "train-clean-100": 244}[split]
    assert kaldi.validate(tmp_path / "data" / split) == []


def test_readers_are_held_out_whole_where_there_is_no_dev(corpus, tmp_path, capsys):
    for split in known.EVALUATION["dev"]:
        shutil.rmtree(corpus / split)
    options = ["--train-set", "100", "--allow-partial", "true"]
    assert run(corpus, tmp_path, *options) == 1
    assert "--held-out N" in capsys.readouterr().err
    assert run(corpus, tmp_path, *options, "--held-out", "1") == 0
    train, dev = (kaldi.load(tmp_path / "data" / name) for name in ("train", "dev"))
    assert len(train) + len(dev) == 11
    readers = [{u.id.split("-")[0] for u in part} for part in (train, dev)]
    assert len(readers[1]) == 1 and not readers[0] & readers[1]


def test_dev_is_not_held_out_of_train_where_the_corpus_has_it(corpus, tmp_path, whole, capsys):
    assert run(corpus, tmp_path, "--held-out", "1") == 1
    assert "leave --held-out away" in capsys.readouterr().err


def test_the_totals_are_those_of_the_corpus():
    utterances = {split: total for split, (total, _) in known.TOTALS.items()}
    assert [utterances[split] for split in known.TRAIN_SETS["960"]] == [28539, 104014, 148688]
    assert [known.TOTALS[s] for s in known.EVALUATION["dev"]] == [(2703, 54402), (2864, 50948)]
    assert [known.TOTALS[s] for s in known.EVALUATION["test"]] == [(2620, 52576), (2939, 52343)]


def test_a_partial_corpus_is_refused_and_reported_where_allowed(corpus, tmp_path, capsys, caplog):
    assert run(corpus, tmp_path) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("dld prepare: error: ") and "--allow-partial true" in error
    assert "11 of 28539 utterances" in error
    assert not (tmp_path / "data").exists()
    shutil.rmtree(corpus / "test-other")
    assert run(corpus, tmp_path, "--allow-partial", "true") == 0
    assert "3 of 2620 utterances" in caplog.text
    assert f"{corpus}/test-other: no such folder" in caplog.text
    assert not (tmp_path / "data/test-other").exists()


def test_a_word_more_or_less_in_a_whole_split_is_noticed(corpus, tmp_path, whole, capsys):
    edit(corpus, "THE RAIN FELL ALL THE NIGHT", "THE RAIN FELL ALL NIGHT")
    assert run(corpus, tmp_path) == 1
    assert "dev-clean: 11 words where 12 are known" in capsys.readouterr().err


def edit(corpus, old, new):
    path = corpus / "dev-clean/1272/128104/1272-128104.trans.txt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "1272-128104-0001 BY MORNING THE ROAD WAS GONE",
            "1272-128104-0001",
            "trans.txt:2: '1272-128104-0001' is not an",
        ),
        ("1272-128104-0001 BY", "1272-999-0001 BY", "trans.txt:2: the id 1272-999-0001 is not of reader and chapter"),
        ("1272-128104-0001 BY", "1272-128104-0000 BY", "trans.txt:2: the utterance 1272-128104-0000 is also in"),
        ("1272-128104-0001 BY", "1272-128104-0007 BY", "trans.txt:2: "),
    ],
)
def test_faulty_transcripts_are_named_and_left_out_only_on_demand(
    corpus, tmp_path, whole, capsys, caplog, old, new, message
):
    edit(corpus, old, new)
    assert run(corpus, tmp_path) == 1
    assert "problem" in capsys.readouterr().err
    assert message in caplog.text
    assert not (tmp_path / "data").exists()
    assert run(corpus, tmp_path, "--allow-partial", "true") == 0
    assert [u.id for u in kaldi.load(tmp_path / "data/dev-clean")] == ["1272-128104-0000"]


def test_bytes_that_are_not_utf8_cost_only_their_line(corpus, tmp_path, whole, caplog):
    path = corpus / "dev-clean/1272/128104/1272-128104.trans.txt"
    path.write_bytes(path.read_bytes().replace(b"RAIN", b"R\xc4IN"))
    assert run(corpus, tmp_path) == 1
    assert "1272-128104.trans.txt:1: not UTF-8" in caplog.text
    assert run(corpus, tmp_path, "--allow-partial", "true") == 0
    assert len(kaldi.load(tmp_path / "data/dev-clean")) == 1


@pytest.mark.parametrize("keep", [0, 200, 0.5, 0.98])
def test_truncated_flac_is_noticed_without_decoding_all_of_it(corpus, tmp_path, whole, capsys, caplog, keep):
    path = corpus / "test-other/1688/142285/1688-142285-0001.flac"
    data = path.read_bytes()
    path.write_bytes(data[: keep if keep in (0, 200) else int(keep * len(data))])
    assert run(corpus, tmp_path) == 1
    assert "(audio: 1)" in capsys.readouterr().err
    assert str(path) in caplog.text
    assert run(corpus, tmp_path, "--allow-partial", "true") == 0
    assert len(kaldi.load(tmp_path / "data/test-other")) == 1


def test_recordings_and_chapters_without_transcripts_are_noticed(corpus, tmp_path, whole, caplog):
    chapter = corpus / "test-other/1688/142285"
    shutil.copy(chapter / "1688-142285-0001.flac", chapter / "1688-142285-0009.flac")
    (corpus / "dev-clean/1272/128104/1272-128104.trans.txt").unlink()
    assert run(corpus, tmp_path) == 1
    assert "1688-142285-0009.flac: no line for it in 1688-142285.trans.txt" in caplog.text
    assert "1272-128104.trans.txt: no such file, for 2 recordings" in caplog.text


def test_many_problems_are_counted_and_the_first_are_shown(shared, tmp_path, caplog):
    corpus = tmp_path / "LibriSpeech"
    shutil.copytree(shared / "corpora/LibriSpeech/test-other", corpus / "test-other")
    removed = sorted(corpus.rglob("*.flac"))[:12]
    for path in removed:
        path.unlink()
    with pytest.raises(DldError, match=r"no audio: 12"):
        librispeech.prepare(tmp_path / "data", librispeech.Options(corpus))
    assert sum(".flac is missing" in record.getMessage() for record in caplog.records) == 10
    assert "2 more problems of this kind (no audio)" in caplog.text


def test_another_folder_is_not_the_corpus(tmp_path):
    with pytest.raises(DldError, match="not LibriSpeech"):
        librispeech.prepare(tmp_path / "data", librispeech.Options(tmp_path))
