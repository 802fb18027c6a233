"""The tokenizer: what it encodes comes back, its files are whole, impossible requests are explained."""

import pickle

import pytest

from dld.bin.tokenizer import main
from dld.data.tokenizer import Tokenizer, train
from dld.errors import DldError

LINES = ["one two three", "four five six", "seven eight nine oh", "it's 'til ten", "äöü ñandú"]


@pytest.fixture
def tokenizer(tmp_path):
    return train(LINES, tmp_path / "lang", vocab_size=45)


@pytest.mark.parametrize(("kind", "size"), [("bpe", 45), ("unigram", 30), ("char", 26)])
def test_text_comes_back(tmp_path, kind, size):
    tokenizer = train(LINES, tmp_path, size, kind)
    for line in [*LINES, "ten  nine", "o", ""]:
        tokens = tokenizer.encode(line)
        assert tokenizer.decode(tokens) == " ".join(line.split())
        assert all(1 < token < len(tokenizer) for token in tokens)
    assert len(tokenizer) == size


def test_unit_zero_is_the_blank(tokenizer):
    assert tokenizer.blank == 0
    assert tokenizer.tokens()[:2] == ["<blk>", "<unk>"]
    tokens = tokenizer.encode("one two")
    assert tokenizer.decode([0, *tokens, 0, 0]) == "one two"


def test_files_agree(tokenizer, tmp_path):
    units = [line.split(" ") for line in (tmp_path / "lang/units.txt").read_text().splitlines()]
    assert units == [[unit, str(number)] for number, unit in enumerate(tokenizer.tokens())]
    vocabulary = [line.split("\t")[0] for line in (tmp_path / "lang/bpe.vocab").read_text().splitlines()]
    assert vocabulary == tokenizer.tokens()
    assert {path.name for path in (tmp_path / "lang").iterdir()} == {"bpe.model", "bpe.vocab", "units.txt"}


def test_training_is_deterministic(tokenizer, tmp_path):
    assert train(LINES, tmp_path / "again", vocab_size=45).sha256 == tokenizer.sha256
    assert train(LINES, tmp_path / "other", vocab_size=40).sha256 != tokenizer.sha256


def test_loaded_and_pickled_are_the_same(tokenizer, tmp_path):
    for other in (Tokenizer.load(tmp_path / "lang"), pickle.loads(pickle.dumps(tokenizer))):
        assert other.sha256 == tokenizer.sha256
        assert other.encode("three two") == tokenizer.encode("three two")


def test_unknown_characters_are_named(tokenizer):
    with pytest.raises(DldError, match=r"utterance u7: .*'Q' \(U\+0051\), 'é' \(U\+00E9\)"):
        tokenizer.encode("one Qé two", utterance="u7")
    with pytest.raises(DldError, match=r"'one▁two': .*U\+2581"):
        tokenizer.encode("one▁two")


def test_compatibility_characters_are_kept_apart(tmp_path):
    tokenizer = train(["ﬁ fi", "ﬁ"], tmp_path, model_type="char")
    assert tokenizer.decode(tokenizer.encode("ﬁ fi")) == "ﬁ fi"


def test_a_very_long_line_counts_too(tmp_path):
    tokenizer = train(["a b", "c " * 5000], tmp_path, model_type="char")
    assert tokenizer.decode(tokenizer.encode("a c")) == "a c"


def test_impossible_sizes_name_one_that_works(tmp_path):
    with pytest.raises(DldError, match=r"at most (\d+) tokens, not 999") as high:
        train(LINES, tmp_path, 999)
    with pytest.raises(DldError, match=r"at least (\d+) tokens .*, not 5;") as low:
        train(LINES, tmp_path, 5)
    for error, pattern in ((high, "at most "), (low, "at least ")):
        size = int(str(error.value).split(pattern)[1].split()[0])
        assert len(train(LINES, tmp_path / "ok", size)) == size
    assert not (tmp_path / "bpe.model").exists()


def test_other_faults_in_training(tmp_path):
    with pytest.raises(DldError, match="no text to train"):
        train(["", " "], tmp_path, 30)
    with pytest.raises(DldError, match=r"U\+2581"):
        train(["a▁b"], tmp_path, 30)
    with pytest.raises(DldError, match="unknown kind of tokens 'words'"):
        train(LINES, tmp_path, 30, "words")
    with pytest.raises(DldError, match="one per character: this text has 26, not 99"):
        train(LINES, tmp_path, 99, "char")
    with pytest.raises(DldError, match="need a vocabulary size"):
        train(LINES, tmp_path)


def test_files_that_are_no_tokenizer(tmp_path):
    with pytest.raises(DldError, match=r"bpe\.model: No such file.*dld tokenizer"):
        Tokenizer.load(tmp_path)
    (tmp_path / "bpe.model").write_bytes(b"not a model")
    with pytest.raises(DldError, match="not a SentencePiece model"):
        Tokenizer.load(tmp_path)


def test_command_line(tmp_path, capsys):
    (tmp_path / "text").write_text("".join(f"utt{i} {line}\n" for i, line in enumerate(LINES)))
    command = ["--text", str(tmp_path / "text"), "--output", str(tmp_path / "lang")]
    assert main([*command, "--vocab-size", "40"]) == 0
    assert "40 tokens from 5 utterances" in capsys.readouterr().out
    assert len(Tokenizer.load(tmp_path / "lang")) == 40
    assert main([*command, "--vocab-size", "4000"]) == 1
    assert "dld tokenizer: error: this text is enough for at most" in capsys.readouterr().err
    assert len(Tokenizer.load(tmp_path / "lang")) == 40


def test_the_text_decides_the_size(tmp_path, capsys):
    few = train(LINES, tmp_path / "few", "auto")
    characters = {c for line in LINES for c in line if c != " "}
    assert len(few) >= len(characters) + 3
    for line in LINES:
        assert few.decode(few.encode(line)) == line
    # Many words, but too few different ones for as many tokens.
    same = train(["seven one two"] * 10_000, tmp_path / "same", "auto")
    assert 11 <= len(same) < 88
    more = [" ".join(chr(97 + (i * j) % 26) * 2 + chr(97 + j % 26) for j in range(1, 9)) for i in range(4000)]
    assert len(train(more, tmp_path / "more", "auto")) > len(few)
    (tmp_path / "text").write_text("".join(f"utt{i} {line}\n" for i, line in enumerate(LINES)))
    command = ["--text", str(tmp_path / "text"), "--output", str(tmp_path / "lang"), "--vocab-size", "auto"]
    assert main(command) == 0
    assert f"{len(few)} tokens from 5 utterances" in capsys.readouterr().out


def test_characters_that_only_dev_has_get_a_token(tmp_path, capsys, caplog):
    without = train(LINES, tmp_path / "without", 40)
    assert train(LINES, tmp_path / "same", 40, characters="".join(LINES)).sha256 == without.sha256
    for size, kind in ((40, "bpe"), ("auto", "bpe"), ("auto", "unigram"), (None, "char")):
        tokenizer = train(LINES, tmp_path / "with", size, kind, characters="\u00df9 a")
        assert tokenizer.decode(tokenizer.encode("9 a\u00df")) == "9 a\u00df"
    (tmp_path / "text").write_text("".join(f"utt{i} {line}\n" for i, line in enumerate(LINES)))
    (tmp_path / "dev").write_text("utt 9 to 9\n")
    command = ["--text", str(tmp_path / "text"), "--output", str(tmp_path / "lang"), "--vocab-size", "auto"]
    assert main([*command, "--characters", str(tmp_path / "dev")]) == 0
    assert Tokenizer.load(tmp_path / "lang").encode("9")
    assert "1 characters are not in the training text, so that nothing trains their tokens: 9" in caplog.text


def test_a_space_that_is_written_several_times_is_one(tmp_path):
    tokenizer = train(LINES, tmp_path, None, "char")
    space = tokenizer.tokens().index("\u2581")
    word = [token for token in tokenizer.encode(LINES[0].split()[0]) if token != space]
    assert tokenizer.decode([space, space, *word, space, space, space, *word, space]) == " ".join(
        [LINES[0].split()[0]] * 2
    )
