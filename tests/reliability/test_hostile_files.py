"""Finished experiments made to run code in whoever uses them: nothing is executed, and the answer is one line."""

import re
import shutil
import sys

import pytest
import torch
from hyperpyyaml import load_hyperpyyaml

from dld.bin import decode as decode_command
from dld.bin import score as score_command
from dld.encoders import pretrained
from dld.errors import DldError
from dld.experiment import load_trained
from dld.files import read_json, write_json

TABLE = "hostile files"

# What would leave a mark when it is run, or when a module is imported; MARK and EVIL are filled in.
PAYLOADS = {
    "apply": '!apply:os.system ["touch MARK"]',
    "applyref": '!applyref:os.system ["touch MARK"]',
    "python apply": '!!python/object/apply:os.system ["touch MARK"]',
    "python verbatim": '!<tag:yaml.org,2002:python/object/apply:os.system> ["touch MARK"]',
    "python new": "!!python/object/new:evil.Thing []",
    "python object": "!!python/object:evil.Thing {}",
    "python name": "!!python/name:evil.Thing ''",
    "python module": "!!python/module:evil ''",
    "new": "!new:subprocess.Popen [[touch, MARK]]",
    "new of a module": "!new:evil.Thing {}",
    "module": "!module:evil ''",
    "include": "!include:EVIL {}",
    "apply of open": '!apply:builtins.open ["MARK", w]',
    "apply of exec": "!apply:builtins.exec [\"open('MARK', 'w')\"]",
}
REFUSED_TAG = r"hyperparams\.yaml:\d+: .*(the tag .* is not allowed in a finished experiment|is not one of the classes)"


def set_key(text, key, value):
    """Settings with another value of a top-level key."""
    return re.sub(rf"(?ms)^{key}:.*?(?=^[^\s-]|\Z)", "", text) + f"\n{key}: {value}\n"


def at(key, value):
    return lambda text: set_key(text, key, value)


def replace(old, new):
    def change(text):
        assert old in text
        return text.replace(old, new, 1)

    return change


APPLY, NEW = PAYLOADS["apply"], PAYLOADS["new of a module"]
# name → (change, what the message says; None where the experiment is accepted because the value is never built)
STRUCTURES = {
    "encoder": (at("encoder", f"&id002 {APPLY}"), "the tag|alias"),
    "argument of the encoder": (replace("  d_model: 16\n", f"  d_model: {APPLY}\n"), "d_model: the tag"),
    "normalisation": (replace("!new:dld.frontends.UtteranceCMVN", NEW), "normalisation: '!new:evil.Thing'"),
    "sample_rate": (at("sample_rate", APPLY), "sample_rate: the tag"),
    "sample_rate as an object": (at("sample_rate", NEW), "sample_rate is an object"),
    "decode_depths as an object": (at("decode_depths", f"[{NEW}]"), "depth"),
    "decode_policy as an object": (at("decode_policy", NEW), "decode_policy is an object"),
    "channel": (at("channel", PAYLOADS["python apply"]), "channel: the tag"),
    "optimizer": (at("optimizer", PAYLOADS["python new"]), "optimizer: the tag"),
    "optimizer as an object": (at("optimizer", NEW), None),
    "brain as a name": (at("brain", "!name:evil.Thing"), None),
    "schedule as an object": (at("schedule", PAYLOADS["new"]), None),
    "key that nothing reads": (at("zzz", APPLY), "zzz: the tag"),
    "object under a key that nothing reads": (at("zzz", NEW), None),
    "deep in a list": (at("zzz", f"[1, [2, {{a: [{APPLY}]}}]]"), r"zzz\[1\]\[1\]\.a\[0\]: the tag"),
    "tag on a key": (lambda text: f"? {APPLY}\n: 1\n{text}", "not plain text"),
    "tag of a key": (lambda text: f"!apply:os.system zzz: 1\n{text}", "not plain text"),
    "tag on the whole file": (lambda text: f"--- !apply:os.system\n{text}", "mapping of keys"),
    "handle for python tags": (
        lambda text: (
            f'%TAG !p! tag:yaml.org,2002:python/\n---\n{text}\nzzz: !p!object/apply:os.system ["touch MARK"]\n'
        ),
        "zzz: the tag",
    ),
    "second document": (lambda text: f"{text}\n---\n{APPLY}\n", "not YAML"),
    "anchor and alias": (lambda text: f"zzz: &evil {APPLY}\n{set_key(text, 'channel', '*evil')}", "zzz: the tag"),
    "merge key": (lambda text: f"zzz: &evil {{network: {APPLY}}}\n<<: *evil\n{text}", "zzz.network: the tag"),
    "merged network": (
        lambda text: f"zzz: &evil {{network: {NEW}}}\n<<: *evil\n{re.sub('(?ms)^network:.*?(?=^[a-z])', '', text)}",
        "network: '!new:evil.Thing'",
    ),
    "network twice": (lambda text: f"{text}\nnetwork: {NEW}\n", "'network' is there twice"),
    "tuple with a tag": (at("channel", "(!!python/object/apply:os.system ['touch MARK'])"), "channel is"),
    "tuple for an argument": (
        replace("  d_model: 16\n", "  d_model: (!!python/object/apply:os.system ['touch MARK'], )\n"),
        "cannot be built",
    ),
    "method of an encoder": (
        at("network", "!new:dld.encoders.GatedWavLM.from_pretrained {source: EVIL}"),
        "is not one of the classes",
    ),
    "class of dld that opens files": (at("network", "!new:dld.data.tokenizer.Tokenizer {path: EVIL}"), "not one of"),
    "teacher as a network": (
        at("network", "!new:dld.training.targets.Teacher [EVIL, null]"),
        "is not one of the classes",
    ),
    "function of torch": (at("network", "!name:torch.load"), "is not one of the classes"),
    "front end as a network": (at("network", "!new:dld.frontends.Waveform {}"), "not a dld.network.GatedCTC"),
    "number as a front end": (replace("frontend: *id001", "frontend: 5"), "frontend|fit the weights"),
    "hub id as pretrained": (at("pretrained", "evil/model"), None),
    "path in extends": (at("extends", "EVIL"), None),
    "alias in itself": (at("zzz", "&a [*a]"), "an alias refers to the value that it is in"),
    "deep nesting": (lambda text: f"{text}\nzzz: {'[' * 1000}", "nested too deeply"),
    "deep nesting, closed": (lambda text: f"{text}\nzzz: {'[' * 400}{']' * 400}\n", "nested too deeply"),
    "aliases that multiply": (
        lambda text: (
            text + "\na0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
        ),
        "more than 20000 values",
    ),
    "more text than settings have": (lambda text: text + f"\nzzz: {'x' * 300000}\n", "more than 262144 bytes"),
    "billion blocks": (replace("  num_blocks: 3\n", "  num_blocks: 1000000000\n"), "larger than any setting"),
    "million blocks": (
        replace("  num_blocks: 3\n", "  num_blocks: 1000000\n"),
        "num_blocks must be a number from 1 to 1000",
    ),
    "wide network": (replace("  d_model: 16\n", "  d_model: 60000\n"), "does not fit the weights|cannot be built"),
    "wide filters": (replace("  n_mels: 80\n", "  n_mels: 900000\n"), "n_mels must be a number from 1 to 1000"),
    "long window": (replace("  window_ms: 25\n", "  window_ms: 900000\n"), "window_ms must be a number from 0.1"),
    "number of 5000 digits": (replace("  d_model: 16\n", f"  d_model: {'9' * 5000}\n"), "not a value of type int"),
    "number of 5000 digits that nothing reads": (at("zzz", "9" * 5000), "not a value of type int"),
    "infinite dropout": (replace("  dropout: 0.05\n", "  dropout: .inf\n"), "larger than any setting"),
    "unknown argument": (replace("  d_model: 16\n", "  d_model: 16\n  hook: evil.Thing\n"), "cannot be built"),
}
CASES = {
    **{f"network: {name}": (at("network", payload), REFUSED_TAG) for name, payload in PAYLOADS.items()},
    **{f"lr: {name}": (at("lr", payload), REFUSED_TAG) for name, payload in PAYLOADS.items() if name[:3] != "new"},
    **STRUCTURES,
}


@pytest.fixture
def hostile(trained_pair, tmp_path, monkeypatch):
    """Makes a hostile copy of the static experiment, and tells whether a payload ran."""
    mark, module = tmp_path / "mark", tmp_path / "modules/evil.py"
    module.parent.mkdir()
    module.write_text(f"open({str(mark)!r}, 'w')\nclass Thing:\n    pass\n")
    other = module.with_name("evil.yaml")
    other.write_text('x: !applyref:os.system ["touch MARK"]\n'.replace("MARK", str(mark)))
    monkeypatch.syspath_prepend(module.parent)
    monkeypatch.chdir(module.parent)
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    # Nothing is fetched to load a finished experiment, either.
    for name in ("snapshot_download", "checkpoint_folder"):
        monkeypatch.setattr(pretrained, name, lambda *_, **__: mark.touch())

    def make(change):
        folder = tmp_path / "exp/static"
        shutil.copytree(trained_pair / "static", folder, ignore=shutil.ignore_patterns("save", ".in_use"))
        settings = folder / "hyperparams.yaml"
        text = change(settings.read_text(encoding="utf-8"))
        settings.write_text(text.replace("MARK", str(mark)).replace("EVIL", str(other)), encoding="utf-8")
        return folder

    def executed():
        return mark.exists() or "evil" in sys.modules

    yield make, executed
    sys.modules.pop("evil", None)


def trains_with(files, corpus, folder, key):
    arguments = [*files("mini/dld"), "--data", corpus, "--exp", folder.parent.parent / "new"]
    small = ["--num_blocks", 3, "--d_model", 16, "--valid_depths", "[1, 3]", "--decode_depths", "[1, 3]"]
    teacher = ["--teacher", folder] if key == "teacher" else ["--teacher", folder, "--init_from", folder]
    return [*arguments, *small, "--num_epochs", 1, "--device", "cpu", "--progress", "false", *teacher]


@pytest.mark.parametrize("name", PAYLOADS)
def test_the_payloads_of_this_table_run_where_code_may_run(hostile, name):
    make, executed = hostile
    folder = make(lambda text: f"network: {PAYLOADS[name]}\n")
    text = (folder / "hyperparams.yaml").read_text()
    try:
        value = load_hyperpyyaml(text)["network"]
    except Exception:
        value = None
    if hasattr(value, "wait"):
        value.wait()
    assert executed()


@pytest.mark.parametrize("name", CASES)
def test_no_user_of_a_hostile_experiment_runs_it(hostile, outcome, tiny_corpus, name):
    make, executed = hostile
    change, message = CASES[name]
    folder = make(change)
    random_state = torch.get_rng_state()
    printed = outcome("config", [folder / "hyperparams.yaml"], TABLE)
    got = outcome("config", [folder / "hyperparams.yaml", "--get", "seed"], TABLE)
    options = [
        "--depths",
        1,
        "--policy",
        "first-n",
        "--output",
        folder / "out",
        "--progress",
        "false",
        "--rtf-utterances",
        1,
    ]
    decoded = outcome(
        "decode", ["--exp", folder, "--data", tiny_corpus / "test", *options[2 if message else 0 :]], TABLE
    )
    assert not executed()
    if message is None:
        assert (printed.kind, got.kind, decoded.kind) == ("accepted",) * 3
        return
    assert decoded.kind == "error" and re.search(message, decoded.message), decoded.message
    assert not (folder / "out").exists()
    assert len(decoded.message) < 800
    assert printed.kind in ("error", "accepted") and got.kind == printed.kind
    if "the tag" in decoded.message:
        assert printed.kind == "error"
    assert torch.equal(random_state, torch.get_rng_state())


@pytest.mark.parametrize("name", ["apply", "python apply", "new", "new of a module", "applyref", "include"])
def test_nor_do_the_other_commands(hostile, outcome, files, tiny_corpus, name):
    make, executed = hostile
    folder = make(at("network", PAYLOADS[name]))
    with pytest.raises(DldError, match=REFUSED_TAG):
        load_trained(folder)
    lm = folder / "lm.arpa"
    lm.write_text("")
    for command, arguments in (
        ("gate_table", ["--exp", folder, "--data", tiny_corpus / "dev"]),
        ("tune_lm", ["--exp", folder, "--data", tiny_corpus / "dev", "--lm", lm]),
        ("train", trains_with(files, tiny_corpus, folder, "teacher")),
    ):
        result = outcome(command, arguments, TABLE)
        assert result.kind == "error" and re.search(REFUSED_TAG, result.message), (command, result)
    # The same settings in the folder of a run that would be resumed.
    arguments = [*files("mini/static"), "--data", tiny_corpus, "--exp", folder.parent]
    small = ["--num_blocks", 3, "--valid_depths", "[1, 3]", "--decode_depths", "[1, 3]", "--device", "cpu"]
    resumed = outcome("train", [*arguments, *small], TABLE)
    assert resumed.kind == "error" and re.search("other settings|would run code", resumed.message)
    assert not executed()


def test_starting_from_hostile_settings_reads_the_weights_alone(hostile, outcome, files, tiny_corpus, trained_pair):
    make, executed = hostile
    folder = make(at("network", APPLY))
    arguments = trains_with(files, tiny_corpus, trained_pair / "static", "init_from")
    arguments[arguments.index("--init_from") + 1] = folder
    new = folder.parent / "new"
    result = outcome("train", [*arguments, "--exp", new], TABLE)
    assert result.kind == "accepted", result
    sha256 = read_json(folder / "model.json")["state_sha256"]
    about = read_json(new / "dld/model.json")
    assert (about["init_sha256"], about["teacher_sha256"]) == (sha256, sha256)
    assert read_json(new / "dld/run.json")["made_from"]["init_from"] == sha256
    assert not executed()


def test_a_report_reads_settings_as_plain_data(hostile, outcome, tiny_corpus):
    make, executed = hostile
    folder = make(lambda text: text)
    options = ["--depths", "1,3", "--policy", "first-n", "--progress", "false", "--rtf-utterances", "1"]
    assert decode_command.main(["--exp", str(folder), "--data", str(tiny_corpus / "test"), *options]) == 0
    for depth in (1, 3):
        text = folder / f"decode_test_n{depth}/text"
        assert score_command.main(["--ref", str(tiny_corpus / "test/text"), "--hyp", str(text)]) == 0
    settings = folder / "hyperparams.yaml"
    settings.write_text(set_key(settings.read_text(), "network", APPLY.replace("MARK", str(folder / "mark"))))
    arguments = ["--exp", folder.parent, "--output", folder.parent / "report", "--replicates", 10]
    result = outcome("report", arguments, TABLE)
    assert result.kind == "error" and "hyperparams.yaml" in result.message
    assert not executed() and not (folder / "mark").exists()


@pytest.mark.parametrize(
    "file", ["model.safetensors", "bpe.model", "model.json", "gate_table.json", "hyperparams.yaml"]
)
def test_a_pickle_in_the_position_of_a_file_is_not_unpickled(hostile, outcome, tiny_corpus, file):
    make, executed = hostile
    folder = make(lambda text: text)
    mark = folder.parent.parent / "mark"

    class Payload:
        def __reduce__(self):
            return (open, (str(mark), "w"))

    torch.save({"payload": Payload()}, folder / file)
    policy = ["--policy", "table"] if file == "gate_table.json" else []
    result = outcome("decode", ["--exp", folder, "--data", tiny_corpus / "test", *policy], TABLE)
    assert result.kind == "error" and file in result.message, result
    assert not executed()


def test_unresolved_files_are_shown_without_running_anything(hostile, outcome, tmp_path):
    make, executed = hostile
    for name, payload in PAYLOADS.items():
        folder = make(lambda text, payload=payload: set_key(text, "network", payload).partition("\n")[2])
        for options in ([], ["--get", "seed"], ["--seed", "7"]):
            result = outcome("config", [folder / "hyperparams.yaml", *options], TABLE)
            assert result.kind in ("error", "accepted"), (name, result)
            assert not executed(), name
        shutil.rmtree(folder)


def test_the_hash_of_another_start_is_noticed(trained_pair, tmp_path, experiment):
    shutil.copytree(trained_pair / "static", tmp_path / "start")
    about = read_json(tmp_path / "start/model.json")
    write_json(tmp_path / "start/model.json", {**about, "tokenizer_sha256": "0" * 64})
    with pytest.raises(DldError, match="init_from .* was trained with another tokenizer"):
        experiment("ld", tmp_path, init_from=str(tmp_path / "start"))
