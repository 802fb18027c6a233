"""Experiment files: layers, overrides, unknown keys."""

import re
import subprocess
import sys

import pytest

from dld.bin.config import main as config
from dld.config import load_config, parse_overrides
from dld.errors import DldError
from dld.gates import Bernoulli, UniformDepth

BASE = """
system: static
seed: 7
exp_dir: !ref exp/<system>
num_blocks: 4
p: 0.5
network: !new:types.SimpleNamespace
    blocks: !ref <num_blocks>
schedule: !new:dld.gates.Bernoulli
    num_blocks: !ref <num_blocks>
    p: !ref <p>
"""


@pytest.fixture
def base(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path / "base.yaml"


def child(base, text):
    path = base.parent / "child.yaml"
    path.write_text("extends: base.yaml\n" + text)
    return path


def test_one_edit_changes_a_shared_number_everywhere(base):
    values = load_config(base, {"num_blocks": "6"}).values
    assert values["network"].blocks == values["schedule"].num_blocks == 6


def test_a_file_is_laid_over_the_one_it_extends(base):
    values = load_config(child(base, "system: ld\np: 0.25\n")).values
    assert values["exp_dir"] == "exp/ld"
    assert values["schedule"].p == 0.25
    assert isinstance(values["schedule"], Bernoulli)


def test_of_several_files_the_later_is_laid_over_the_earlier(base):
    (base.parent / "ld.yaml").write_text("system: ld\np: 0.25\n")
    path = base.parent / "child.yaml"
    path.write_text("extends: [base.yaml, ld.yaml]\np: 0.125\n")
    values = load_config(path).values
    assert (values["system"], values["schedule"].p, values["seed"]) == ("ld", 0.125, 7)
    path.write_text("extends: [ld.yaml, base.yaml]\n")
    assert load_config(path).values["schedule"].p == 0.5


def test_a_reference_may_lead_to_one_that_comes_later(base):
    path = child(base, "init_from: !ref <start>\nstart: !ref <top>/static\ntop: exp\n")
    assert load_config(path).values["init_from"] == "exp/static"


def test_another_class_replaces_the_old_one_with_its_settings(base):
    path = child(base, "p: 0.1\nschedule: !new:dld.gates.UniformDepth\n    num_blocks: !ref <num_blocks>\n")
    path.write_text(path.read_text().replace("p: 0.1\n", ""))
    with pytest.raises(DldError, match="unknown key 'p'"):
        load_config(path)
    base.write_text(base.read_text().replace("p: 0.5\n", "").replace("<p>", "0.5"))
    assert type(load_config(path).values["schedule"]) is UniformDepth


def test_overrides_reach_inside_and_are_the_last_layer(base):
    path = child(base, "p: 0.25\n")
    assert load_config(path, {"p": "0.3"}).values["schedule"].p == 0.3
    assert load_config(path, {"schedule.p": "0.4"}).values["schedule"].p == 0.4
    assert load_config(path, {"seed": 9}).values["seed"] == 9


def test_the_resolved_text_builds_the_same_experiment(base):
    config = load_config(child(base, "system: ld\n"), {"p": "0.2"})
    assert "!ref" not in config.text
    (base.parent / "resolved.yaml").write_text(config.text)
    again = load_config(base.parent / "resolved.yaml", {"p": 0.2})
    assert again.values["schedule"].p == config.values["schedule"].p == 0.2
    assert again.values["exp_dir"] == "exp/ld"


@pytest.mark.parametrize("override", ["sed", "schedule.pp", "schedule.p.q", "nothing.at.all"])
def test_an_override_of_an_unknown_key_is_an_error(base, override):
    with pytest.raises(DldError, match=f"unknown key '{override}'"):
        load_config(base, {override: "1"})


def test_an_unknown_key_in_a_file_is_an_error_with_the_nearest_known_one(base):
    with pytest.raises(DldError, match="unknown key 'num_epoch'; did you mean 'num_epochs'"):
        load_config(child(base, "num_epoch: 3\n"))


def test_an_override_may_leave_a_key_without_a_reader(base):
    assert load_config(base, {"schedule.p": "0.1"}).values["schedule"].p == 0.1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schedule: !new:dld.gates.Nothing\n    p: !ref <p>\n", "Nothing"),
        ("schedule: !new:dld.gates.Bernoulli\n    blocks: !ref <p>\n", "blocks"),
        ("p: !ref <nowhere>\n", "nowhere"),
        ("p: 1.5\n", "drop probability"),
        ("p: [1\n", "child.yaml:3"),
        ("- 1\n", "child.yaml"),
    ],
)
def test_what_cannot_be_built_is_one_line(base, text, message):
    with pytest.raises(DldError, match=message) as caught:
        load_config(child(base, text))
    assert "\n" not in str(caught.value)


def test_files_that_are_missing_or_extend_each_other(base):
    with pytest.raises(DldError, match="no such experiment file"):
        load_config(base.parent / "none.yaml")
    path = child(base, "")
    base.write_text("extends: child.yaml\n" + BASE)
    with pytest.raises(DldError, match="circle"):
        load_config(path)


def test_a_key_that_every_experiment_needs_is_missed(base):
    base.write_text(BASE.replace("network: !new:types.SimpleNamespace\n    blocks: !ref <num_blocks>\n", ""))
    with pytest.raises(
        DldError, match="missing key 'network' .*; an experiment is a base and a system: BASE.yaml SYSTEM.yaml"
    ):
        load_config(base)


@pytest.mark.parametrize("words", [["lr", "3"], ["--lr"], ["--lr", "--seed", "3"]])
def test_arguments_that_are_no_overrides(words):
    with pytest.raises(DldError):
        parse_overrides(words)


def test_the_seed_decides_the_weights(base):
    path = child(base, "network: !new:torch.nn.Linear\n    in_features: 3\n    out_features: 3\n")
    first, second = (load_config(path).values["network"].weight for _ in range(2))
    other = load_config(path, {"seed": "8"}).values["network"].weight
    assert first.equal(second)
    assert not first.equal(other)


# ---- several files


def test_of_several_files_each_extends_those_before_it(base):
    (base.parent / "ld.yaml").write_text("system: ld\np: 0.25\nschedule:\n    seed: !ref <seed>\n")
    (base.parent / "small.yaml").write_text("num_blocks: 2\n")
    files = [base, base.parent / "ld.yaml", base.parent / "small.yaml"]
    values = load_config(files, {"seed": "3"}).values
    assert (values["exp_dir"], values["schedule"].p, values["network"].blocks, values["seed"]) == ("exp/ld", 0.25, 2, 3)
    extending = base.parent / "extending.yaml"
    extending.write_text("extends: [base.yaml, ld.yaml, small.yaml]\n")
    assert load_config(extending, {"seed": "3"}).text == load_config(files, {"seed": "3"}).text
    assert load_config([*reversed(files[1:]), base]).values["schedule"].p == 0.5


def test_a_file_may_remove_a_key_of_one_given_before_it(base):
    system = base.parent / "even.yaml"
    uniform = "schedule: !new:dld.gates.UniformDepth\n    num_blocks: !ref <num_blocks>\n"
    system.write_text(f"removes: [p]\nsystem: even\n{uniform}")
    assert "p" not in load_config([base, system]).values
    with pytest.raises(DldError, match="even.yaml: removes 'p', which no file that it extends has"):
        load_config(system)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("p: 0.1\n", "num_epoch: 3\n", "second.yaml: unknown key 'num_epoch'; did you mean 'num_epochs'"),
        ("num_epoch: 3\n", "seed: 2\n", "first.yaml: unknown key 'num_epoch'"),
        ("seed: one\n", "p: 0.1\n", "first.yaml: seed is 'one'"),
        ("p: 0.1\n", "seed: one\n", "second.yaml: seed is 'one'"),
        ("p: 0.1\n", "p: [0.1\n", "second.yaml:2: not YAML"),
        ("p: 0.1\n", "extends: none.yaml\n", "none.yaml: no such experiment file (read for "),
        ("p: 0.1\n", "p: 2.0\n", "first.yaml + "),
    ],
)
def test_an_error_names_the_file_of_several(base, first, second, message):
    files = [base.parent / "first.yaml", base.parent / "second.yaml"]
    own = [line for line in BASE.splitlines() if line.partition(":")[0] != first.partition(":")[0]]
    files[0].write_text("\n".join([*own, first]))
    files[1].write_text(second)
    with pytest.raises(DldError) as caught:
        load_config(files)
    assert message in str(caught.value)


def test_reading_a_value_builds_nothing_and_needs_no_torch(root, files, base, capsys):
    (base.parent / "ld.yaml").write_text("system: ld\n")
    assert config([str(base), str(base.parent / "ld.yaml"), "--get", "exp_dir"]) == 0
    assert capsys.readouterr().out == "exp/ld\n"
    code = (
        "import sys\nfrom dld.bin.config import main\nmain(sys.argv[1:])\n"
        "assert not {'torch', 'speechbrain', 'numpy'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, *files("mini/dld"), "--get", "teacher"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "exp/static\n", "")


# ---- the system's name


def test_a_system_is_named_after_the_last_file_unless_a_file_names_it(base):
    text = base.read_text().replace("system: static\n", "")
    base.write_text(text)
    mine = base.parent / "mine.yaml"
    mine.write_text("p: 0.25\n")
    values = load_config([base, mine]).values
    assert (values["system"], values["exp_dir"]) == ("mine", "exp/mine")
    assert load_config([base, mine], {"system": "other"}).values["exp_dir"] == "exp/other"
    mine.write_text("extends: [base.yaml, more.yaml]\n")
    (base.parent / "more.yaml").write_text("p: 0.125\n")
    assert load_config(mine).values["system"] == "mine"
    mine.write_text("system: named\n")
    assert load_config([base, mine]).values["system"] == "named"
    assert load_config([base, mine, base.parent / "more.yaml"]).values["system"] == "named"
    for alone in (base, child(base, "p: 0.25\n")):
        with pytest.raises(DldError, match="missing key 'system'.*BASE.yaml SYSTEM.yaml"):
            load_config(alone)


def test_a_file_name_that_cannot_be_a_system_is_one_line(base):
    base.write_text(base.read_text().replace("system: static\n", ""))
    (base.parent / "my system.yaml").write_text("p: 0.25\n")
    with pytest.raises(DldError, match="system is 'my system'; it must be a name without spaces"):
        load_config([base, base.parent / "my system.yaml"])


# ---- dld config


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schedule", "!new:dld.gates.Bernoulli\nnum_blocks: 4\np: 0.5"),
        ("schedule.p", "0.5"),
        ("nothing", "null"),
        ("flag", "false"),
        ("numbers", "[1, 2.5, x]"),
        ("inner.empty", "''"),
        ("inner", "a: !new:dld.gates.AllOpen\n  num_blocks: 4\nempty: ''"),
    ],
)
def test_a_value_is_printed_as_yaml(base, capsys, key, value):
    path = child(
        base,
        "nothing: null\nflag: false\nnumbers: [1, 2.5, x]\n"
        "inner:\n    a: !new:dld.gates.AllOpen\n        num_blocks: !ref <num_blocks>   # a comment\n    empty: ''\n"
        "optimizer: !name:builtins.dict\n    a: [!ref <nothing>, !ref <flag>, !ref <numbers>, !ref <inner>]\n",
    )
    assert config([str(path), "--get", key]) == 0
    out = capsys.readouterr().out
    assert out == ("\n" if value == "''" else f"{value}\n")


@pytest.mark.parametrize(("key", "near"), [("schedul", "schedule"), ("schedule.q", "schedule.p"), ("sed", "seed")])
def test_a_wrong_key_has_the_nearest_one(base, capsys, key, near):
    assert config([str(base), "--get", key]) == 1
    assert f"no key '{key}'; did you mean '{near}'?" in capsys.readouterr().err


def test_comments_of_merged_files_are_left_out(base, capsys):
    base.write_text("# head\n" + base.read_text().replace("seed: 7", "seed: 7   # of all\n\n# about the folder"))
    assert config([str(child(base, "# above\np: 0.25   # mine\n"))]) == 0
    out = capsys.readouterr().out
    assert out.count("#") == 1 and "\n\n" not in out and "p: 0.25" in out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dld.gates.Bernouli", "there is no class dld.gates.Bernouli; did you mean dld.gates.Bernoulli?"),
        ("dld.features.LogMel", "it is dld.frontends.LogMel now, the file is of an older version"),
        ("dld.training.optim.Nothing", "there is no class dld.training.optim.Nothing"),
        ("dld.nowhere.Nothing", "there is no class dld.nowhere.Nothing"),
    ],
)
def test_a_class_that_does_not_exist_is_an_error_without_building(base, capsys, name, message):
    path = child(base, f"objectives:\n    ctc: !new:{name}\n")
    assert config([str(path)]) == 1
    assert message in capsys.readouterr().err
    with pytest.raises(DldError, match=re.escape(message)):
        load_config(path)


def test_an_object_of_recipes_is_printed_without_torch(root, files, capsys):
    assert config([*files("mini/dld"), "--get", "spec_augment"]) == 0
    assert capsys.readouterr().out == (
        "!new:dld.frontends.SpecAugment\ntime_masks: 2\ntime_width: 10\nfreq_masks: 2\nfreq_width: 10\n"
    )
