"""Splits, published totals and addresses of LibriSpeech."""

EVALUATION = {"dev": ("dev-clean", "dev-other"), "test": ("test-clean", "test-other")}
"""Kind of set → its splits."""

TRAIN_SETS = {
    "100": ("train-clean-100",),
    "460": ("train-clean-100", "train-clean-360"),
    "960": ("train-clean-100", "train-clean-360", "train-other-500"),
}
"""Hours → the splits that are trained on."""

#: Utterances and words of each split when it is whole (None: no published total).
TOTALS = {
    "train-clean-100": (28539, None),
    "train-clean-360": (104014, None),
    "train-other-500": (148688, None),
    "dev-clean": (2703, 54402),
    "dev-other": (2864, 50948),
    "test-clean": (2620, 52576),
    "test-other": (2939, 52343),
}

_ADDRESS = "https://www.openslr.org/resources/12"
ARCHIVES = {
    split: (f"{_ADDRESS}/{split}.tar.gz", digest)
    for split, digest in {
        "train-clean-100": "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
        "train-clean-360": "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
        "train-other-500": "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
        "dev-clean": "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
        "dev-other": "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
        "test-clean": "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
        "test-other": "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
    }.items()
}
"""Split → (address, SHA-256) of the archive that holds it."""

LANGUAGE_MODELS = {
    name: (f"https://www.openslr.org/resources/11/{name}.arpa.gz", digest)
    for name, digest in {
        "3-gram.pruned.3e-7": "8f67ec741827742eee05799ab7605b50",
        "3-gram.pruned.1e-7": "9a0f1325bcaf3a0f7b7be4be10823c2a",
        "3-gram": "74cbb837e582378c26c602e1c8cbcb9c",
        "4-gram": "6abdcd5b055bd482e4f9defe91d40408",
    }.items()
}
"""Name → (address, MD5) of the n-gram models that LibriSpeech comes with, in upper case as its text is."""


def splits_of(sets: tuple[str, ...], train_set: str) -> list[str]:
    """Return the splits that kinds of sets are made of: training, then dev, then test.

    Examples
    --------
    >>> splits_of(("test", "train"), "100")
    ['train-clean-100', 'test-clean', 'test-other']
    """
    splits = {"train": TRAIN_SETS[train_set], **EVALUATION}
    return [split for kind in splits if kind in sets for split in splits[kind]]
