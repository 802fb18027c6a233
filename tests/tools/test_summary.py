"""The summary table of the README is what the committed results say."""

import subprocess
import sys


def test_the_readme_has_the_table_of_the_results(root):
    command = [sys.executable, root / "tools/summary.py"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.count("| `dld` |") >= 5
    assert printed in (root / "README.md").read_text()
