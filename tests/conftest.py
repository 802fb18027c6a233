"""Fixtures of all tests: the checkout, real audio next to it, and a tiny experiment on that audio."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dld.data import kaldi
from dld.data.tokenizer import train as train_tokenizer

ROOT = Path(__file__).resolve().parent.parent


def pytest_terminal_summary(terminalreporter):
    """Print the counts of the tables of broken inputs and of the kills (`tests/reliability`)."""
    counts, kills = Counter(), 0
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                counts.update(tuple(value) for name, value in report.user_properties if name == "outcome")
                kills += sum(value for name, value in report.user_properties if name == "kills" and report.passed)
    kinds = ("error", "accepted", "traceback", "hang")
    if kills:
        terminalreporter.write_line(f"kills: {kills}, and all of the killed runs ended with equal weights")
    for table in sorted({table for table, _ in counts}):
        row = ", ".join(f"{counts[table, kind]} {kind}" for kind in kinds)
        terminalreporter.write_line(f"{table}: {sum(counts[table, kind] for kind in kinds)} cases: {row}")


@pytest.fixture(scope="session")
def root():
    """The checkout."""
    return ROOT


def system_files(name):
    """Return the files of an experiment as run.sh finds them, by the rule of `hparams_of` in recipes/common/steps.sh.

    Parameters
    ----------
    name : str
        Recipe and system, and the model where it is not the recipe's first: `mini/dld`, `mini/dld wavlm`.
    """
    recipe, system, *model = name.replace("/", " ").split()
    own, common = ROOT / "recipes" / recipe / "hparams", ROOT / "recipes/common/hparams"
    suffix = "".join(f"_{word}" for word in model)
    choices = [(own / f"base{suffix}.yaml", common / f"{''.join(model)}.yaml")]
    choices += [(own / f"{system}{suffix}.yaml", common / f"systems/{system}.yaml")]
    return [str(first if first.exists() else second) for first, second in choices]


@pytest.fixture(scope="session")
def files():
    """The files of an experiment: `files("mini/dld wavlm")`, see `system_files`."""
    return system_files


@pytest.fixture(scope="session")
def shared():
    """The folder of real corpora and models next to the checkout; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "corpora").is_dir():
        pytest.skip(f"no corpora next to the checkout ({folder})")
    return folder


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory):
    """A corpus of spoken numbers, a few dozen utterances: folder with train, dev, test and lang."""
    mini = pytest.importorskip("dld.data.corpora.mini")
    folder = tmp_path_factory.mktemp("tiny") / "data"
    mini.prepare(folder, mini.Options(scale=0.04, snr_low=25, snr_high=30, jobs=2))
    lines = [utterance.text for utterance in kaldi.load(folder / "train")]
    train_tokenizer(lines, folder / "lang", vocab_size=32)
    return folder


@pytest.fixture(scope="session")
def an4_miniature(tmp_path_factory):
    """AN4 in its true layout with noise for speech: 12 training speakers and 2 of test, 3 utterances each."""
    root = tmp_path_factory.mktemp("an4") / "an4"
    dice = np.random.default_rng(0)
    words = ["ONE", "TWO", "THREE", "ENTER", "STOP", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    for part, folder, mark, names in (
        ("train", "an4_clstk", "<s> {} </s>", [f"{gender}ab{letter}" for gender in "fm" for letter in "cdefgh"]),
        ("test", "an4test_clstk", "{}", ["fxyz", "mxyz"]),
    ):
        listed, texts = [], []
        for number, speaker in enumerate(name for name in names for _ in range(3)):
            key = f"an{number + 1}-{speaker}-b"
            listed.append(f"{folder}/{speaker}/{key}")
            texts.append(f"{mark.format(' '.join(dice.choice(words, 4)))} ({key})")
            audio = root / "wav" / f"{listed[-1]}.wav"
            audio.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(audio, 0.1 * dice.standard_normal(16000 + 100 * number), 16000)
        (root / "etc").mkdir(exist_ok=True)
        (root / f"etc/an4_{part}.fileids").write_text("\n".join(listed) + "\n")
        (root / f"etc/an4_{part}.transcription").write_text("\n".join(texts) + "\n")
    return root


def tiny_settings(corpus, exp):
    """Overrides that make the mini recipe's experiments tiny."""
    return {
        "data": str(corpus),
        "exp": str(exp),
        "num_blocks": 3,
        "d_model": 16,
        "valid_depths": [1, 3],
        "decode_depths": [1, 3],
        "num_epochs": 2,
        "max_batch_seconds": 20,
        "average_checkpoints": 2,
        "lr_schedule.warmup": 2,
    }


@pytest.fixture(scope="session")
def experiment(tiny_corpus, tmp_path_factory):
    """Makes and trains an experiment of the mini recipe, tiny: `experiment("ld", exp, lr=1e-3) -> folder`."""
    from dld.config import load_config
    from dld.training.run import train

    def make(system, exp, restart=False, finish=False, **overrides):
        settings = {**tiny_settings(tiny_corpus, exp), **overrides}
        config = load_config(system_files(f"mini/{system}"), settings)
        return train(config, {"device": "cpu", "noprogressbar": True}, restart, finish)

    return make


@pytest.fixture(scope="session")
def trained_pair(experiment, tmp_path_factory):
    """Folder with a trained teacher (static) and DLD student of it."""
    exp = tmp_path_factory.mktemp("pair")
    experiment("static", exp)
    experiment("dld", exp)
    return exp
