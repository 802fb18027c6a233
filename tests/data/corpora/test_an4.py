"""AN4: a miniature in the corpus's layout, the real corpus, its folds, and what is wrong with corpora."""

import shutil
import subprocess

import pytest
import soundfile

from dld.bin.prepare import main
from dld.data import kaldi
from dld.data.audio import read_audio
from dld.data.corpora import an4
from dld.data.corpora.an4 import known
from dld.errors import DldError

SIZES = {"train": (36, 144), "test": (6, 24)}
SPLIT = ("train", "dev", "test")


@pytest.fixture
def corpus(an4_miniature, tmp_path):
    """A copy of the miniature that a test may damage."""
    return shutil.copytree(an4_miniature, tmp_path / "an4")


@pytest.fixture
def whole(monkeypatch):
    """The totals are those of the miniature."""
    monkeypatch.setattr(known, "TOTALS", SIZES)


def run(corpus, tmp_path, *options, name="data"):
    return main(["an4", str(tmp_path / name), "--corpus", str(corpus), *options])


def speakers(folder):
    return [{u.speaker for u in kaldi.load(folder / name)} for name in SPLIT]


def test_the_whole_miniature_becomes_valid_directories(corpus, tmp_path, whole, capsys):
    assert run(corpus, tmp_path) == 0
    rows = {line.split()[0]: line.split()[1:4] for line in capsys.readouterr().out.splitlines()[1:]}
    assert rows == {"train": ["10", "30", "120"], "dev": ["2", "6", "24"], "test": ["2", "6", "24"]}
    for name in SPLIT:
        assert kaldi.validate(tmp_path / "data" / name) == []
    train, dev, test = speakers(tmp_path / "data")
    assert not train & dev and not (train | dev) & test
    assert dev == {"fabc", "mabc"}  # spread over both genders


def test_ids_begin_with_the_speaker_and_texts_are_upper_case_words(corpus, tmp_path, whole):
    run(corpus, tmp_path)
    first = kaldi.load(tmp_path / "data/dev")[0]
    assert (first.id, first.speaker, first.recording) == (
        *("fabc-an1-b", "fabc", str(corpus / "wav/an4_clstk/fabc/an1-fabc-b.wav")),
    )
    line = (corpus / "etc/an4_train.transcription").read_text().splitlines()[0]
    assert f"<s> {first.text} </s> (an1-fabc-b)" == line and first.text.isupper()


def test_sphere_is_read_in_place(corpus, tmp_path, whole):
    samples = {}
    for path in corpus.rglob("*.wav"):
        samples[path.stem], rate = soundfile.read(path, dtype="float32")
        soundfile.write(path.with_suffix(".nist"), samples[path.stem], rate, format="NIST", subtype="PCM_16")
        path.with_suffix(".nist").rename(path.with_suffix(".sph"))
        path.unlink()
    assert run(corpus.parent, tmp_path) == 0  # the folder that holds it will do
    [utterance, *_] = kaldi.load(tmp_path / "data/test")
    assert utterance.recording.endswith("an1-fxyz-b.sph")
    assert read_audio(utterance.recording).tolist() == samples["an1-fxyz-b"].tolist()


def test_folds_test_every_training_speaker_once(corpus, tmp_path, whole):
    tested = []
    for k in range(1, 6):
        assert run(corpus, tmp_path, "--fold", str(k), name=f"fold{k}") == 0
        train, dev, test = speakers(tmp_path / f"fold{k}")
        assert not train & dev and not train & test and not dev & test
        assert len(train | dev | test) == 12 and len(dev) == 2
        tested += test
    assert len(tested) == len(set(tested)) == 12 and not {"fxyz", "mxyz"} & set(tested)


def test_sets_of_the_other_part_are_not_needed(corpus, tmp_path, whole):
    for path in (corpus / "etc").glob("an4_train.*"):
        path.unlink()
    assert run(corpus, tmp_path, "--sets", "test") == 0
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"test"}
    assert run(corpus, tmp_path, "--sets", "test", "--fold", "1", name="fold1") == 1


def test_a_part_of_the_corpus_is_refused_unless_allowed(corpus, tmp_path, whole, capsys):
    path = corpus / "etc/an4_train.fileids"
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:-3]))
    assert run(corpus, tmp_path) == 1
    assert "4 problems (no audio: 3, incomplete: 1)" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
    assert run(corpus, tmp_path, "--allow-partial", "true") == 0
    assert sum(len(kaldi.load(tmp_path / "data" / name)) for name in ("train", "dev")) == 33


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


FAULTS = {
    "audio": (lambda c: (c / "wav/an4_clstk/fabd/an4-fabd-b.wav").unlink(), "an4-fabd-b.wav is missing"),
    "raw": (
        lambda c: (c / "wav/an4_clstk/fabd/an4-fabd-b.wav").rename(c / "wav/an4_clstk/fabd/an4-fabd-b.raw"),
        "has no header (.raw); take the corpus with WAV or SPHERE files",
    ),
    "empty audio": (lambda c: (c / "wav/an4_clstk/fabd/an4-fabd-b.wav").write_bytes(b""), "an4-fabd-b"),
    "text": (
        lambda c: edit(c / "etc/an4_train.transcription", "(an2-fabc-b)", "an2-fabc-b"),
        "an4_train.transcription:2: '",
    ),
    "no words": (lambda c: (c / "etc/an4_test.transcription").write_text("<s> </s> (an1-fxyz-b)\n"), ":1: '<s> </s>"),
    "id": (
        lambda c: edit(c / "etc/an4_test.fileids", "an2-fxyz-b", "an9-fxyz-b"),
        "an4_test.fileids:2: no line for an9-fxyz-b in an4_test.transcription",
    ),
    "twice": (
        lambda c: edit(c / "etc/an4_test.fileids", "an2-fxyz-b", "an1-fxyz-b"),
        "an4_test.fileids:2: the utterance an1-fxyz-b is also in an earlier line",
    ),
    "text twice": (
        lambda c: edit(c / "etc/an4_test.transcription", "an2-fxyz-b", "an1-fxyz-b"),
        "an4_test.transcription:2: the utterance an1-fxyz-b is also in an earlier line",
    ),
    "list": (lambda c: (c / "etc/an4_test.fileids").unlink(), "an4_test.fileids: no such file"),
    "not UTF-8": (lambda c: (c / "etc/an4_test.fileids").write_bytes(b"\xff\n"), "an4_test.fileids:1: "),
    "words": (lambda c: edit(c / "etc/an4_train.transcription", "<s> ", "<s> AND "), "with 145 words of train"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_and_nothing_is_written(corpus, tmp_path, whole, capsys, fault):
    damage, message = FAULTS[fault]
    damage(corpus)
    assert run(corpus, tmp_path) == 1
    errors = capsys.readouterr().err
    assert message in errors and "--allow-partial true" in errors
    assert not (tmp_path / "data").exists()


def test_what_is_not_a_corpus_is_an_error(tmp_path, capsys):
    assert run(tmp_path, tmp_path) == 1
    assert "not AN4, it has no folder etc" in capsys.readouterr().err
    assert main(["an4", str(tmp_path / "data")]) == 2
    assert "--corpus DIR or --downloads DIR is needed" in capsys.readouterr().err
    with pytest.raises(DldError, match="fold is 6; it must be a whole number from 0 to 5"):
        an4.prepare(tmp_path, an4.Options(corpus=tmp_path, fold=6))


def test_too_few_speakers_are_an_error(corpus, tmp_path, whole, capsys):
    path = corpus / "etc/an4_train.fileids"
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:9]))
    assert run(corpus, tmp_path, "--allow-partial", "true", "--fold", "1") == 1
    assert "3 training speakers, at least 5 are needed" in capsys.readouterr().err


def test_the_repository_is_cloned_where_no_corpus_is_given(corpus, tmp_path, whole, monkeypatch):
    git = ["git", "-C", str(corpus), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "AN4"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    monkeypatch.setattr(known, "REPOSITORY", str(corpus))
    monkeypatch.setattr(known, "COMMIT", commit)
    assert main(["an4", str(tmp_path / "data"), "--downloads", str(tmp_path / "downloads")]) == 0
    assert kaldi.load(tmp_path / "data/test")[0].recording.startswith(str(tmp_path / "downloads/an4/wav"))


def test_the_real_corpus_has_its_totals(shared, tmp_path):
    if not (shared / "corpora/an4").is_dir():
        pytest.skip("no corpora/an4")
    assert run(shared / "corpora/an4", tmp_path) == 0
    counts = [kaldi.stats(tmp_path / "data" / name) for name in SPLIT]
    assert [(c["speakers"], c["utterances"], c["words"]) for c in counts] == [
        *((66, 849, 4933), (8, 99, 509), (10, 130, 773)),
    ]
    words = 0
    for k in range(1, 6):
        assert run(shared / "corpora/an4", tmp_path, "--fold", str(k), name=f"fold{k}") == 0
        words += kaldi.stats(tmp_path / f"fold{k}/test")["words"]
    assert words == known.TOTALS["train"][1]
