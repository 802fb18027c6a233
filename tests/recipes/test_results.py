"""The committed results: pages that say what their numbers say, and links that lead somewhere."""

import re
import subprocess

import pytest

from dld.reporting import tables
from dld.reporting.results import Results

PICTURES = ("tradeoff.png", "gates.png", "training.png")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def test_every_comparison_has_its_page_and_pictures(root):
    folders = sorted(path.parent for path in root.glob("recipes/*/results/*/results.json"))
    assert {folder.name for folder in folders} >= {"recipe", "comparison", "ablations", "wavlm", "tiny", "base"}
    for folder in folders:
        results = Results.load(folder / "results.json")
        notes = folder / "notes.md"
        page = (folder / "README.md").read_text(encoding="utf-8")
        text = notes.read_text(encoding="utf-8") if notes.is_file() else ""
        # A page may have another title than the report that its numbers are of.
        expected = tables.page(results, PICTURES, text)
        assert page.partition("\n")[2] == expected.partition("\n")[2], folder
        assert all((folder / name).is_file() for name in PICTURES)
        assert f"results/{folder.name}/README.md" in (folder.parent.parent / "RESULTS.md").read_text(encoding="utf-8")


def test_links_of_pages_lead_to_files(root):
    try:
        done = subprocess.run(["git", "ls-files", "*.md"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a checkout of git")
    files = [root / name for name in done.stdout.splitlines() if (root / name).is_file()]
    links = [(file, target) for file in files for target in LINK.findall(file.read_text(encoding="utf-8"))]
    local = [(file, target) for file, target in links if "://" not in target and target[0] != "#"]
    broken = [(file, target) for file, target in local if not (file.parent / target.partition("#")[0]).exists()]
    assert len(local) > 20 and not broken
