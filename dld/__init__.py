"""Dynamic speech networks: one speech recogniser that runs at any depth.

    import dld

    model = dld.load_model("exp/dld")
    print(model.transcribe("a.flac", depth=4))

What is below is imported when it is first used, so that `import dld` takes no time.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dld.decoding.settings import Search
    from dld.encoders import GatedConformer, GatedWavLM, GatedWhisper
    from dld.gates import GateTable
    from dld.recognition.base import Recognizer
    from dld.recognition.loading import load_model
    from dld.recognition.transcript import Transcript

__version__ = "0.1.0"

__all__ = [
    "GateTable",
    "GatedConformer",
    "GatedWavLM",
    "GatedWhisper",
    "Recognizer",
    "Search",
    "Transcript",
    "load_model",
]

_MODULES = {
    "GateTable": "dld.gates",
    "GatedConformer": "dld.encoders",
    "GatedWavLM": "dld.encoders",
    "GatedWhisper": "dld.encoders",
    "Recognizer": "dld.recognition.base",
    "Search": "dld.decoding.settings",
    "Transcript": "dld.recognition.transcript",
    "load_model": "dld.recognition.loading",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
