"""Published totals and the address of TED-LIUM 3."""

#: Scored segments and words of each split when it is whole (None: no published total).
TOTALS = {"train": (268263, None), "dev": (507, 17783), "test": (1155, 27500)}

#: Talks in the corpus's folder `data`.
TALKS = 2351

ARCHIVES = {
    "TEDLIUM_release-3": (
        "https://www.openslr.org/resources/51/TEDLIUM_release-3.tgz",
        "ad1e454d14d1ad550bc2564c462d87c7a7ec83d4dc2b9210f22ab4973b9eccdb",
    )
}
"""Folder → (address, SHA-256) of the archive that holds it."""
