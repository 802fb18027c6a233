"""Kaldi data directories: the only manifest of this project.

A directory holds `wav.scp text utt2spk spk2utt utt2dur`, and `segments` where utterances are parts of recordings;
`reco2dur` and `spk2gender` are carried along where they exist. Every file is a table, one entry a line: a key,
then its value. Tables are sorted in C order. Relative paths in `wav.scp` start at the current folder.
"""

from dld.data.kaldi.archives import archive
from dld.data.kaldi.directory import Utterance, load, with_durations, write
from dld.data.kaldi.parts import combine, spread, stats, subset
from dld.data.kaldi.repair import FixReport, fix
from dld.data.kaldi.tables import read_table, read_text
from dld.data.kaldi.validation import validate

__all__ = [
    "FixReport",
    "Utterance",
    "archive",
    "combine",
    "fix",
    "load",
    "read_table",
    "read_text",
    "spread",
    "stats",
    "subset",
    "validate",
    "with_durations",
    "write",
]
