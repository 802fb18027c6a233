"""The model that comes with the repository: what its card and the README's first lines say of it."""

import re

import pytest

import dld
from dld.bin.transcribe import main
from dld.packs.metadata import read
from dld.scoring import wer

SAID = {
    "aunty-gb-0037.flac": "one hundred six point six four",
    "andy-lanc-0009.flac": "seven nine eight double three six",
}


@pytest.fixture(scope="module")
def shipped(root):
    return dld.load_model(root / "egs_data/digits")


@pytest.mark.parametrize("depth", [2, 12])
def test_it_transcribes_both_recordings(root, shipped, depth):
    texts = shipped.transcribe([root / "egs_data/recordings" / name for name in SAID], depth=depth)
    said = list(SAID.values())
    assert texts[0] == said[0]
    # The second one is right at full depth alone.
    assert (texts[1] == said[1]) == (depth == 12) and wer(said[1:], texts[1:]) < 40


def test_the_first_lines_of_the_readme_print_both(root, capsys):
    folder = root / "egs_data/recordings"
    assert main([str(root / "egs_data/digits"), str(folder), "--depth", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("\t")[0] for line in lines] == [str(folder / name) for name in sorted(SAID)]


def test_its_files_are_those_that_were_exported_and_small(root):
    folder = root / "egs_data/digits"
    metadata = read(folder)  # compares every file with its hash
    names = {path.name for path in folder.iterdir()}
    assert names == {"metadata.json", *metadata.files}
    assert metadata.precision == "int8" and metadata.num_blocks == 12
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2_000_000


def test_the_card_has_the_rates_of_the_metadata(root):
    metadata = read(root / "egs_data/digits")
    assert (metadata.test_set.name, metadata.test_set.utterances, metadata.test_set.words) == ("test", 378, 1532)
    rows = re.findall(
        r"^\| (\d+) \| `([01]+)` \| ([\d.]+) \| ([\d.]+) \|", (root / "egs_data/README.md").read_text(), re.M
    )
    assert len(rows) == 6
    for depth, gates, compute, rate in rows:
        record = metadata.depths[int(depth) - 1]
        assert (record.gates, f"{record.compute:.2f}", f"{record.wer:.2f}") == (gates, compute, rate)


def test_its_confidences_are_calibrated(root, shipped):
    transcript = shipped.transcribe(root / "egs_data/recordings/aunty-gb-0037.flac", depth=6, times=True)
    assert transcript.calibrated and all(word.confidence > 0.9 for word in transcript.words)
