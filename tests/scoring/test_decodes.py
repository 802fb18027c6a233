"""Which decodes belong to a test set."""

import json

import pytest

from dld.bin.score import main as score
from dld.errors import DldError
from dld.scoring.decodes import decodes_of, name_of_set

REFERENCE = {"test": "a-1 one\na-2 two\n", "test_nopunct": "b-1 three\nb-2 four\n"}


@pytest.fixture
def exp(tmp_path):
    """An experiment with perfect decodes of two sets, one of whose names begins with the other's."""
    for name, text in REFERENCE.items():
        data = tmp_path / "data" / name
        data.mkdir(parents=True)
        (data / "text").write_text(text)
        for depth in (12, 2):
            add(tmp_path / "exp", name, depth, text, str(data))
    return tmp_path / "exp"


def add(exp, name, depth, text, data, variant=""):
    folder = exp / f"decode_{name}_n{depth}{variant}"
    folder.mkdir(parents=True)
    (folder / "text").write_text(text)
    (folder / "decode.json").write_text(json.dumps({"test_set": name, "depth": depth, "data_dir": data}))


@pytest.mark.parametrize("name", ["test", "test_nopunct"])
def test_each_set_is_scored_against_its_own_text(exp, tmp_path, capsys, name):
    add(exp, name, 2, REFERENCE[name], str(tmp_path / "data" / name), "_lm")
    assert score(["--exp", str(exp), "--data", str(tmp_path / "data" / name), "--units", "word"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == [
        str(exp / f"decode_{name}_n{end}/wer_0_0.0") for end in ("2", "2_lm", "12")
    ]
    assert all(line.startswith("%WER 0.00 ") for line in lines)
    scored = {path.parent.name for path in exp.glob("*/wer_0_0.0")}
    assert scored == {f"decode_{name}_n{end}" for end in ("2", "2_lm", "12")}


@pytest.mark.parametrize("given", ["data/test", "data/test/", "data/./test", "data/test/../test"])
def test_a_set_has_the_name_that_the_user_gave(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/test_v2").mkdir(parents=True)
    (tmp_path / "data/test").symlink_to("test_v2")
    assert name_of_set(given) == "test"


def test_a_set_that_is_a_link_and_one_that_was_moved_are_found(exp, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data/test").rename(tmp_path / "elsewhere/test")
    assert len(decodes_of(exp, tmp_path / "elsewhere/test")) == 2
    (tmp_path / "data/test").symlink_to(tmp_path / "elsewhere/test")
    assert len(decodes_of(exp, tmp_path / "data/test")) == 2


def test_decodes_of_another_directory_of_the_same_name_are_refused(exp, tmp_path):
    other = tmp_path / "other/test"
    other.mkdir(parents=True)
    with pytest.raises(DldError, match="decode_test_n12: was decoded from .*data/test, not from .*other/test; decode"):
        decodes_of(exp, other)


def test_a_set_without_decodes_names_the_stage(exp):
    with pytest.raises(DldError, match="no decodes of dev; stage 8 makes them"):
        decodes_of(exp, "data/dev")


def test_a_decode_that_was_broken_off_is_not_left_out(exp):
    (exp / "decode_test_n2/decode.json").unlink()
    with pytest.raises(DldError, match="decode_test_n2: lacks decode.json or text, its decoding did not end; decode"):
        decodes_of(exp, "data/test")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give either --ref and --hyp, or --exp and --data"),
        (["--ref", "a"], "give either"),
        (["--exp", "a"], "give either"),
        (["--exp", "a", "--data", "b", "--hyp", "c"], "give either"),
        (["--exp", "a", "--hyp", "c"], "give either"),
        (["--exp", "a", "--data", "b", "--lmwt", "1"], "--lmwt and --wip go with --ref and --hyp"),
    ],
)
def test_options_that_do_not_go_together_are_refused(capsys, options, message):
    assert score(options) == 1
    assert message in capsys.readouterr().err
