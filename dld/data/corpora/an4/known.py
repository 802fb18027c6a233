"""Parts, totals and address of AN4."""

REPOSITORY = "https://github.com/cmusphinx/an4"
COMMIT = "b567d132f43304e70a2b2eca6077f22255311812"

PARTS = ("train", "test")
"""Names of the parts in `etc/an4_PART.fileids` and `etc/an4_PART.transcription`."""

TOTALS = {"train": (948, 5442), "test": (130, 773)}
"""Part → its utterances and words when it is whole; 74 and 10 speakers."""

FOLDS = 5
"""Folds of the cross-validation."""
