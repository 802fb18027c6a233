"""Every command line of the READMEs and the guide is run as it stands, or listed here with the reason why not.

The lines run in a copy of the checkout whose mini recipe is made small: fewer utterances, a narrow network, one epoch.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest

CORPUS = "needs the corpus"
NETWORK = "downloads corpus or weights"
GPU = "needs GPUs"
SLURM = "needs a cluster; tests/training/test_slurm.py makes one of one machine"
TESTS = "runs the tests themselves"
SETUP = "installs packages from the network"
TOOLS = "CI runs it: .ci/run"
ENDLESS = "does not end by itself"
LONG = "trains many epochs; tests/training/test_longer.py does it with few"
OWN_DATA = "needs data of one's own; tests/recipes/test_kaldi.py and tests/data/test_manifest.py have some"
#: Why a line is not run here; by page. Lines that are in none of these blocks are run.
NOT_RUN = {
    "README.md": {
        "pip install '.[runtime]'": SETUP,
        "./run.sh test": TESTS,
        "cd recipes/tedlium3": CORPUS,
        "./run.sh --corpus /data/TEDLIUM_release-3 --device cuda": CORPUS,
        "local/score.sh data/test data/lang exp/dld/decode_test_n4": CORPUS,
    },
    "CONTRIBUTING.md": {
        "tools/install.sh test dev": SETUP,
        ". tools/venv/bin/activate": SETUP,
        "pre-commit install": SETUP,
        "./run.sh test": TESTS,
        "./run.sh test -m slow": TESTS,
        './run.sh test -m "slow or not slow"': TESTS,
        "./run.sh test tests/gates/test_gates.py -k sandwich": TESTS,
        "./run.sh test --cov --cov-report=term": TESTS,
        "python3 -m venv ../mutation && ../mutation/bin/pip install cosmic-ray": SETUP,
        "../mutation/bin/cosmic-ray init tools/mutation.toml ../mutation/session.sqlite": SETUP,
        "../mutation/bin/cosmic-ray exec tools/mutation.toml ../mutation/session.sqlite": SETUP,
        "../mutation/bin/cr-report --surviving-only --show-diff ../mutation/session.sqlite": SETUP,
        "ruff check . && ruff format --check .": TOOLS,
        "shellcheck $(git ls-files '*.sh') .ci/run": TOOLS,
        "mypy": TOOLS,
        "python3 tools/imports.py": TOOLS,
        "./run.sh docs": TOOLS,
        ".ci/run": TOOLS,
        ".ci/run lint types": TOOLS,
    },
    "docs/batching.md": {
        "./run.sh test tests/encoders/test_batching.py": TESTS,
        "./run.sh test tests/encoders/test_batching.py -m slow": TESTS,
    },
    "docs/cluster.md": {
        "torchrun --standalone --nproc-per-node=4 -m dld.bin.gate_table --exp exp/dld --data data/dev "
        "--device cuda": GPU,
        "torchrun --standalone --nproc-per-node=4 -m dld.bin.decode --exp exp/dld --data data/test --device cuda": GPU,
        "./run.sh --stage 4 --stop-stage 6 --ngpu 4 --nnodes 2 --node-rank 0 --master first-machine:29500": GPU,
        "pip install 'dld[slurm]'": SETUP,
        "./run.sh --launcher slurm --nnodes 2 --ngpu 4 "
        "--slurm 'partition=gpu time=24:00:00 account=me cpus-per-task=8'": SLURM,
        "dld train hparams/base.yaml ../common/hparams/systems/ld.yaml --launcher slurm "
        "--slurm 'partition=gpu time=24:00:00 nodes=2 gpus-per-node=4'": SLURM,
    },
    "docs/export.md": {"pip install 'dld[runtime]'": SETUP},
    "docs/language_models.md": {"./run.sh --stage 7 --lm train": "tests/recipes/test_mini.py runs it"},
    "docs/planning.md": {
        "python benchmarks/planning.py --output benchmarks/results/planning.json": "its result is committed"
    },
    "docs/quick_start.md": {"./run.sh --setup-only true": SETUP},
    "docs/runs.md": {
        "dld train hparams/base.yaml ../common/hparams/systems/ld.yaml --num_epochs 40": LONG,
        "dld train hparams/base.yaml ../common/hparams/systems/ld.yaml --finish true": LONG,
    },
    "docs/watching.md": {
        "nohup ./run.sh --quick true --train-args '--log_interval 20 --logger tensorboard' &": ENDLESS,
        "tail -f nohup.out": ENDLESS,
        "tensorboard --logdir exp": ENDLESS,
        "pip install -e '.[tensorboard]'": SETUP,
    },
    "docs/transcribing.md": {
        "python ../../benchmarks/long_files.py --exp exp/dld --data data/test --output exp/long_files.json": (
            "transcribes an hour of audio"
        ),
        './run.sh --system dld --train-args "--encoder.chunk 16 --encoder.left_chunks 4"': CORPUS,
    },
    "docs/your_data.md": {
        './run.sh kaldi --train /my/data/train --dev /my/data/dev --test "/my/data/test /my/data/far"': OWN_DATA,
        "dld data import train.tsv /my/data/train": OWN_DATA,
        """./run.sh kaldi --train data/train --train-args "--num_epochs 20 --decode_depths '[2, 6, 12]'\"""": OWN_DATA,
    },
    "recipes/kaldi/README.md": {
        './run.sh kaldi --train data/train --dev data/dev --test "data/test data/far"': OWN_DATA,
        "recipes/kaldi/run.sh --train data/train": OWN_DATA,
    },
    "recipes/ADD_A_CORPUS.md": {
        "./run.sh NAME --stop-stage 2 --corpus DIR": CORPUS,
        "shellcheck -x recipes/NAME/run.sh recipes/NAME/local/*.sh": CORPUS,
        "./run.sh test tests/data/corpora/test_NAME.py tests/recipes/test_NAME.py tests/recipes/test_hparams.py": TESTS,
    },
    "recipes/an4/README.md": {
        "./run.sh": NETWORK,
        "./run.sh --corpus /data/an4": CORPUS,
        "./run.sh --corpus /data/an4 --fold 3": CORPUS,
        "./run.sh --corpus /data/an4 --folds all": CORPUS,
        'dld compare recipes/an4/runs/comparison.yaml --corpus-args "--corpus /data/an4" --jobs 2': CORPUS,
        'dld compare recipes/an4/runs/started.yaml --corpus-args "--corpus /data/an4" --jobs 2': CORPUS,
        'dld compare recipes/an4/runs/folds.yaml --corpus-args "--corpus /data/an4" --jobs 2': CORPUS,
        'dld compare recipes/an4/runs/folds.yaml --corpus-args "--corpus /data/an4" --folds 1,2': CORPUS,
        "dld report --exp exp/fold1 exp/fold2 exp/fold3 exp/fold4 exp/fold5 --output exp/folds --baseline ld": CORPUS,
    },
    "recipes/librispeech/README.md": {
        "./run.sh --stage 1 --stop-stage 3": NETWORK,
        "./run.sh --corpus /data/LibriSpeech": CORPUS,
        "./run.sh --corpus /data/LibriSpeech --train-set 100": CORPUS,
        "./run.sh --corpus /data/LibriSpeech --ngpu 4": GPU,
        "./run.sh --stage 4 --stop-stage 6 --ngpu 4 --nnodes 2 --node-rank 0 --master first-machine:29500": GPU,
        "./run.sh --corpus /data/LibriSpeech --model wavlm": CORPUS,
    },
    "recipes/queen/README.md": {
        "./run.sh": NETWORK,
        "./run.sh --corpus queen.1c --whisper DIR": CORPUS,
        "./run.sh --size base --device cuda": GPU,
        "./run.sh --extra-data /data/more/train": CORPUS,
        './run.sh --librispeech /data/LibriSpeech --test-sets "test test_other"': CORPUS,
    },
    "recipes/tedlium3/README.md": {
        "./run.sh --stage 1 --stop-stage 3": NETWORK,
        "./run.sh --corpus /data/TEDLIUM_release-3": CORPUS,
        "./run.sh --corpus /data/TEDLIUM_release-3 --ngpu 4": GPU,
        "local/score_sclite.sh data/test data/lang exp/dld/decode_test_n6": CORPUS,
        "./run.sh --corpus /data/TEDLIUM_release-3 --model wavlm": CORPUS,
    },
}
#: Pages whose lines run in turn in one copy, after the mini recipe at the top of the README, and where they begin.
IN_TURN = {
    "README.md": ".",
    "docs/quick_start.md": ".",
    "docs/transcribing.md": ".",
    "docs/recipes.md": ".",
    "docs/experiments.md": ".",
    "docs/scores.md": "recipes/mini",
    "docs/results.md": "recipes/mini",
    "docs/language_models.md": ".",
    "docs/export.md": ".",
    "docs/runs.md": "recipes/mini",
    "docs/watching.md": ".",
    "recipes/mini/README.md": ".",
}
BLOCK = re.compile(r"^```(?:sh|bash|console)\n(.*?)^```", re.M | re.S)


def command_lines(page):
    """Return the command lines of a page without their comments, those of each block in a list."""
    blocks = []
    for block in BLOCK.findall(page.read_text()):
        lines = re.sub(r"\\\n\s*", "", block).splitlines()
        lines = [re.sub(r"(^|\s+)# .*$", "", line).strip() for line in lines]
        blocks.append([line for line in lines if line])
    return blocks


def pages(root):
    found = [
        *root.glob("*.md"),
        *root.glob("docs/**/*.md"),
        *root.glob("recipes/*.md"),
        *root.glob("recipes/*/README.md"),
    ]
    return {str(page.relative_to(root)): command_lines(page) for page in sorted(found)}


def test_every_line_is_run_or_says_why_not(root):
    unknown, outdated = [], []
    for page, blocks in pages(root).items():
        lines = [line for block in blocks for line in block]
        known = NOT_RUN.get(page, {})
        outdated += [f"{page}: {line}" for line in known if line not in lines]
        if page not in IN_TURN:
            unknown += [f"{page}: {line}" for line in lines if line not in known]
    assert unknown == [] and outdated == []
    assert set(IN_TURN) <= set(pages(root))


@pytest.fixture(scope="module")
def checkout(root, tmp_path_factory):
    """A copy of the checkout with a small mini recipe, its `./run.sh` done, and two recordings, a.flac and b.wav."""
    folder = tmp_path_factory.mktemp("readme") / "dld"
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in names:
        if not name.startswith("tests/") and (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / name)
    (folder / "tools/venv").symlink_to(sys.prefix)
    # The environment is there, and the copy must not become what it runs.
    (folder / "tools/install.sh").write_text("#!/bin/sh\n")
    driver = folder / "recipes/mini/run.sh"
    text = driver.read_text()
    driver.write_text(text.replace("\nscale=1\n", "\nscale=0.04\n").replace("scale=0.3;", "scale=0.04;"))
    assert driver.read_text().count("=0.04") == 2
    base = folder / "recipes/mini/hparams/base.yaml"
    base.write_text(base.read_text().replace("d_model: 64", "d_model: 16").replace("num_epochs: 15", "num_epochs: 1"))
    audio = sorted((root / "egs_data").rglob("*.flac"))[0]
    for place in (folder, folder / "recipes/mini"):
        shutil.copy(audio, place / "a.flac")
        subprocess.run(
            [sys.executable, "-c", "import soundfile as s; s.write('b.wav', *s.read('a.flac'))"], cwd=place, check=True
        )
    assert_runs(["./run.sh"], folder, folder)
    return folder


def assert_runs(lines, checkout, folder):
    """Run lines in one shell, as a user types them; the first that fails is shown."""
    shown = [f"printf '>>> %s\\n' {shell_quoted(line)}\n{line}" for line in lines]
    script = "\n".join(["set -eo pipefail", *shown])
    variables = {"DLD_VENV": sys.prefix, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)}
    environment = {**os.environ, **variables, "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def shell_quoted(line):
    return "'" + line.replace("'", "'\\''") + "'"


@pytest.mark.slow
@pytest.mark.parametrize("page", IN_TURN)
def test_the_lines_of_a_page_run_in_turn(root, checkout, page):
    blocks = pages(root)[page]
    lines = [line for block in blocks for line in block if line not in NOT_RUN.get(page, {})]
    assert lines
    output = assert_runs(lines, checkout, checkout / IN_TURN[page])
    assert output.count(">>> ") == len(lines)
