"""Experiment files that cannot be read, and values that are accepted though they look odd."""

import pytest

from dld.config import build, load_config, parse_overrides

TABLE = "experiment files"

BASE = """\
system: static
seed: 7
exp: exp
exp_dir: !ref <exp>/<system>
num_blocks: 4
closed_norm: false
drop_prob: 0.5
network: !new:types.SimpleNamespace
    blocks: !ref <num_blocks>
    closed_norm: !ref <closed_norm>
brain: !name:dld.training.brain.DynamicBrain
schedule: !new:dld.gates.Bernoulli
    num_blocks: !ref <num_blocks>
    p: !ref <drop_prob>
"""

BROKEN = [
    # How the bytes are read.
    ("system: ld\n# caf\xe9\n".encode("latin-1"), "child.yaml:2: not UTF-8 text"),
    (BASE.encode("utf-16"), "child.yaml:1: not UTF-8 text"),
    (b"system: \x00ld\n", "child.yaml: not YAML: special characters are not allowed"),
    (b"RIFF\x24\x08\x00\x00WAVEfmt \x10\x00\x00\x00", "child.yaml: not YAML"),
    (b"", "child.yaml: is empty"),
    (b"# nothing but a comment\n", "child.yaml: is empty"),
    (b"---\n...\n", "child.yaml: is empty"),
    # What the text is.
    (b"- 1\n- 2\n", "an experiment file is a mapping of keys to values"),
    (b"just words\n", "an experiment file is a mapping of keys to values"),
    (b"extends: base.yaml\nseed: 1\nseed: 2\n", "child.yaml:3: not YAML: found duplicate key"),
    (b"extends: base.yaml\nschedule:\n\tp: 0.1\n", "child.yaml:3: not YAML: found character '\\t'"),
    (b"extends: base.yaml\nseed: [1\n", "child.yaml:3: not YAML"),
    (b"extends: base.yaml\nseed: 'x\n", "child.yaml:3: not YAML"),
    (b"extends: base.yaml\nseed: 1: 2\n", "child.yaml:2: not YAML"),
    (b"extends: base.yaml\nseed: *x\n", "child.yaml:2: not YAML: found undefined alias 'x'"),
    (b"extends: base.yaml\n---\nseed: 1\n", "child.yaml:2: not YAML"),
    (b"extends: base.yaml\n  seed: 1\n", "child.yaml:2: not YAML"),
    (b"extends: base.yaml\n5: 1\n", "unknown key 5"),
    (b"extends: base.yaml\nnull: 1\n", "unknown key None"),
    (b"a: " + b"[" * 3000 + b"]" * 3000, "nested too deep"),
    (b"extends: base.yaml\nvalid_depths: &x [*x]\n", "valid_depths is "),
    # Layers.
    (b"extends: 5\n", "child.yaml: extends is 5; it must be a name or a list of names"),
    (b"extends:\n", "extends is null; it must be a name or a list of names"),
    (b"extends: ''\n", "extends is ['']; it must be a name or a list of names"),
    (b"extends: []\n", "extends is []; it must be a name or a list of names"),
    (b"extends: [base.yaml, 5]\n", "extends is ['base.yaml', 5]; it must be a name or a list of names"),
    (b"extends: {base: base.yaml}\n", "extends is {'base': 'base.yaml'}; it must be"),
    (b"extends: nowhere.yaml\n", "nowhere.yaml: no such experiment file (read for "),
    (b"extends: base.yaml/more.yaml\n", "base.yaml/more.yaml: no such experiment file (read for "),
    (b"extends: folder\n", "folder: is a folder; an experiment file was expected"),
    (b"extends: child.yaml\n", "the files extend each other in a circle"),
    (b"extends: base.yaml\nremoves: 3\n", "removes is 3; it must be a name or a list of names"),
    (b"extends: base.yaml\nremoves: [nothing]\n", "removes 'nothing', which no file that it extends has"),
    (b"removes: [seed]\n", "removes 'seed', which no file that it extends has"),
    (b"extends: base.yaml\nremoves: {seed: 1}\n", "removes is {'seed': 1}; it must be"),
    # Values, as in a file.
    (b"extends: base.yaml\nexp: 1.10\n", "exp is 1.1; it must be the path of a folder; put it in quotes"),
    (b"extends: base.yaml\nexp: 2026_11_26\n", "exp is 20261126; it must be the path of a folder; put it in quotes"),
    (b"extends: base.yaml\nexp: 2026-11-26\n", "exp is 2026-11-26; it must be the path of a folder; put it in quotes"),
    (b"extends: base.yaml\nclosed_norm: no\n", "closed_norm is 'no'; it must be true or false; write false"),
    (b"extends: base.yaml\nclosed_norm: on\n", "closed_norm is 'on'; it must be true or false; write true"),
    (b"extends: base.yaml\nseed: 1.5\n", "seed is 1.5; it must be a whole number"),
    (b"extends: base.yaml\nsystem:\n", "system is null; it must be a name"),
    (b"extends: base.yaml\nexp: '2026'\nsystem: '4'\n", "exp_dir is 506.5; it must be the path of a folder"),
    # Objects.
    (
        b"extends: base.yaml\nremoves: drop_prob\nschedule: !new:dld.gates.Nothing\n",
        "There is no such class as dld.gates.Nothing",
    ),
    (
        b"extends: base.yaml\nremoves: drop_prob\nschedule: !new:dld.nowhere.Bernoulli\n",
        "There is no such class as dld.nowhere.Bernoulli",
    ),
    (b"extends: base.yaml\nremoves: drop_prob\nschedule: !new:dld.gates.depth\n", "should be a class"),
    (
        b"extends: base.yaml\nremoves: drop_prob\nschedule: !old:dld.gates.Bernoulli\n",
        "could not determine a constructor for the tag",
    ),
    (
        b"extends: base.yaml\nschedule:\n    q: 1\n",
        "Bernoulli has no argument 'q'; it has num_blocks, p, seed",
    ),
    (b"extends: base.yaml\nschedule:\n    num_block: 1\n", "has no argument 'num_block'; did you mean 'num_blocks'?"),
    (
        b"extends: base.yaml\nremoves: drop_prob\nschedule: !new:dld.gates.Bernoulli\n",
        "missing 1 required positional argument",
    ),
    (b"extends: base.yaml\nseed: !ref <sed>\n", 'The reference "sed" is not valid'),
    (b"extends: base.yaml\nseed: !include:nowhere.yaml\n", "nowhere.yaml: no such file or folder"),
    (b"extends: base.yaml\ndrop_prob: !apply:nowhere.function []\n", "There is no such callable as nowhere.function"),
    (b"extends: base.yaml\ndrop_prob: !apply:math.sqrt [-1]\n", "cannot build the experiment: math domain error"),
    (b"extends: base.yaml\ndrop_prob: !apply:math.sqrt [4]\n", "the drop probability p is 2.0; it must be a number"),
    (
        b"extends: base.yaml\nseed: !apply:math.sqrt [4]\n",
        "seed is made by !apply:math.sqrt; it must be a whole number",
    ),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(("content", "message"), BROKEN, ids=[str(number) for number in range(len(BROKEN))])
def test_a_broken_file_is_one_line(folder, outcome, content, message):
    (folder / "child.yaml").write_bytes(content)
    found = outcome("train", ["child.yaml"], table=TABLE)
    assert found.kind == "error", found.message
    assert message in found.message
    assert not (folder / "exp").exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.yaml", "nowhere.yaml: no such experiment file"),
        ("base.yaml/x", "base.yaml/x: no such experiment file"),
        ("/dev/zero", "/dev/zero: is a device, an experiment file was expected"),
        ("folder", "folder: is a folder; an experiment file was expected"),
        ("", ".: is a folder; an experiment file was expected"),
        ("x" * 300, "the name is too long; give a shorter one"),
    ],
)
def test_a_path_that_is_not_a_file_is_one_line(folder, outcome, path, message):
    found = outcome("train", [path], table=TABLE)
    assert found.kind == "error", found.message
    assert message in found.message


ACCEPTED = [
    # override, key to look at, what it is, why
    ("--exp 2026_11_26", "exp_dir", "2026_11_26/static", "a path keeps its spelling, though YAML reads a number"),
    ("--exp 1.10", "exp_dir", "1.10/static", "the same"),
    ("--exp 1e3", "exp_dir", "1e3/static", "the same"),
    ("--exp 0x10", "exp_dir", "0x10/static", "the same"),
    ("--exp 012", "exp_dir", "012/static", "the same"),
    ("--exp 2026-11-26", "exp_dir", "2026-11-26/static", "the same, of a date"),
    ("--exp yes", "exp_dir", "yes/static", "the same, of a word that YAML 1.1 read as true"),
    ("--exp true", "exp_dir", "true/static", "the same"),
    ("--exp null", "exp_dir", "null/static", "the same: a folder may have any name"),
    ("--exp a: b", "exp_dir", "a: b/static", "the same"),
    ("--exp [1]", "exp_dir", "[1]/static", "the same"),
    ("--exp (1)", "exp_dir", "(1)/static", "the same"),
    ("--exp_dir 1.10", "exp_dir", "1.10", "the same"),
    ("--exp_dir !ref <exp>/x", "exp_dir", "exp/x", "a reference is one in any key"),
    ("--system 1.10", "exp_dir", "exp/1.10", "a name is text, too"),
    ("--seed 0", "seed", "0", "an ordinary seed"),
    ("--seed 4294967295", "seed", "4294967295", "the largest"),
    ("--seed 0x10", "seed", "16", "YAML 1.2 has hexadecimal numbers"),
    ("--seed !ref <num_blocks> * 2", "seed", "8", "references compute"),
    ("--closed_norm True", "closed_norm", "True", "YAML 1.2 writes true, True and TRUE"),
    ("--num_blocks 1", "num_blocks", "1", "the smallest network"),
    ("--drop_prob 0", "drop_prob", "0", "no block is dropped: a static network under another name"),
    ("--schedule.p 0.3", "seed", "7", "an override may leave drop_prob without a reader"),
    ("--schedule !new:dld.gates.AllOpen {num_blocks: 4}", "seed", "7", "a class of dld may be named"),
    ("--brain !name:speechbrain.core.Brain", "seed", "7", "a class of SpeechBrain may be named"),
]


@pytest.mark.parametrize(("line", "key", "value", "reason"), ACCEPTED, ids=[case[0] for case in ACCEPTED])
def test_what_is_accepted_on_purpose(folder, record_property, line, key, value, reason):
    values = load_config("base.yaml", parse_overrides(line.split(" ", 1))).values
    record_property("outcome", [TABLE, "accepted"])
    assert str(values[key]) == value, reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("\ufeff" + BASE, "a byte-order mark means nothing in UTF-8"),
        (BASE.replace("\n", "\r\n"), "line ends of Windows"),
        (BASE + "...\n", "an end of document"),
        (BASE.replace("false", "&norm false"), "an anchor"),
    ],
)
def test_files_that_look_odd_are_read(folder, record_property, content, reason):
    (folder / "odd.yaml").write_bytes(content.encode())
    values = load_config("odd.yaml").values
    record_property("outcome", [TABLE, "accepted"])
    assert values["network"].closed_norm is False, reason


def test_the_resolved_text_keeps_a_path_that_looks_like_a_number(folder):
    config = load_config("base.yaml", {"exp": "1.10", "exp_dir": "2026_11_26"})
    again = build(config.text, "resolved.yaml")
    assert (again.values["exp"], again.values["exp_dir"]) == ("1.10", "2026_11_26")
