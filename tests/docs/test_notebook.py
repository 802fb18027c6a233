"""The example notebook runs from top to bottom, made small."""

import json
import os
import shutil
import subprocess
import sys

NOTEBOOK = "docs/examples/first_steps.ipynb"


def code_of(root):
    cells = json.loads((root / NOTEBOOK).read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_the_notebook_runs(root, tmp_path):
    code = code_of(root)
    full = "SCALE, EPOCHS = 0.3, 10"
    assert full in code
    for name in ("recipes/common/hparams", "recipes/mini/hparams"):
        shutil.copytree(root / name, tmp_path / name)
    folder = tmp_path / "docs/examples"
    folder.mkdir(parents=True)
    (folder / "notebook.py").write_text(code.replace(full, "SCALE, EPOCHS = 0.03, 1"))
    environment = {**os.environ, "PYTHONPATH": str(root), "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "notebook.py"], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for line in ("said      ", "2 blocks  ", "4 blocks  ", "6 blocks  ", "gates     "):
        assert f"\n{line}" in done.stdout
    assert (folder / "work/exp/gentle/model.json").exists()


def test_the_notebook_is_kept_with_what_it_printed_and_drew(root):
    cells = json.loads((root / NOTEBOOK).read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output["output_type"] == "error" for output in outputs)
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
    # Nothing of the machine that made it.
    assert "/home/" not in json.dumps(cells) and str(root) not in json.dumps(cells)
