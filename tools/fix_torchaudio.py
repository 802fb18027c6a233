"""Make torchaudio work with a CPU-only torch.

On x86-64 Linux the torchaudio of the Python package index is built for CUDA. With a CPU-only torch its compiled
extension cannot load and `import torchaudio` fails; without the extension it imports and does all that dld needs. If,
and only if, that is the case here, the extension is moved into the folder `disabled` next to it; moving it back
undoes this. Run it with the interpreter of the environment; running it again does nothing.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path


def import_error():
    """Return the last line of the error of `import torchaudio` in a fresh interpreter, empty if it imports."""
    done = subprocess.run([sys.executable, "-c", "import torchaudio"], capture_output=True, text=True, check=False)
    lines = done.stderr.strip().splitlines()
    return (lines[-1] if lines else f"exit status {done.returncode}") if done.returncode else ""


def disable(library):
    """Move the compiled extension out of the way.

    Parameters
    ----------
    library : Path
        The folder `lib` of torchaudio.

    Returns
    -------
    list of Path
        Where the files are now; empty if there were none.
    """
    moved = []
    for path in sorted(library.glob("*.so")):
        target = library / "disabled" / path.name
        target.parent.mkdir(exist_ok=True)
        moved.append(path.replace(target))
    return moved


def restore(library):
    """Undo `disable`."""
    for path in sorted((library / "disabled").glob("*.so")):
        path.replace(library / path.name)


def main():
    """Repair the torchaudio of this environment; return the exit status."""
    spec = find_spec("torchaudio")
    if spec is None:
        print("fix_torchaudio.py: error: torchaudio is not installed here", file=sys.stderr)
        return 1
    problem = import_error()
    if not problem:
        return 0
    import torch

    library = Path(spec.origin).parent / "lib"
    moved = disable(library) if torch.version.cuda is None else []
    problem = import_error() if moved else problem
    if problem:
        restore(library)
        message = f"torchaudio does not import with torch {torch.__version__}: {problem}"
        print(f"fix_torchaudio.py: error: {message}", file=sys.stderr)
        return 1
    print(
        f"torchaudio's compiled extension needs CUDA, torch {torch.__version__} has none: moved {len(moved)} file(s) "
        f"to {library / 'disabled'}. Lost are forced_align, the RNN-T loss and fast lfilter, which dld does not use."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
