"""Which decodes belong to a test set."""

import pytest

from dld.bin.score import main as score
from dld.errors import DldError
from dld.files import read_json, write_json
from dld.gates import first_n, format_gates
from dld.scoring.decodes import DecodeRecord, decodes_of, name_of_set

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
    gates = format_gates(first_n(12, depth))
    DecodeRecord(
        **{"system": "ld", "test_set": name, "data_dir": data, "depth": depth, "num_blocks": 12, "gates": gates},
        **{"policy": "first-n", "params": 9, "gmacs_per_s": 0.1, "rtf": 0.01},
    ).save(folder / "decode.json")


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


def test_a_record_of_the_first_version_has_the_same_gates(exp):
    path = exp / "decode_test_n2/decode.json"
    record = DecodeRecord.load(path)
    content = read_json(path)
    assert content["gates"] == record.gates == "110000000000" and content["lm"] is None and "lmwt" not in content
    write_json(path, {**content, "gates": [1, 1, *([0] * 10)]})
    assert DecodeRecord.load(path) == record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gates": "110000000002"}, "gates is '110000000002', not a row of 0 and 1; decode again"),
        ({"gates": [1, 1, 2]}, "gates is not a list of 0 and 1; decode again"),
        ({"gates": "1" * 12}, "12 of 12 gates are open, but depth is 2 and num_blocks 12"),
        ({"num_blocks": 11}, "2 of 12 gates are open, but depth is 2 and num_blocks 11"),
        ({"rtf": 0}, "rtf is 0, a positive number was expected"),
        ({"seed": "one"}, "seed is text, expected a whole number or null; decode again"),
    ],
)
def test_records_that_contradict_themselves_are_refused(exp, change, message):
    path = exp / "decode_test_n2/decode.json"
    write_json(path, {**read_json(path), **change})
    with pytest.raises(DldError, match=f"decode_test_n2/decode.json: {message}"):
        DecodeRecord.load(path)
