"""The graphs of a pack, run one after the other by ONNX Runtime under any gate vector."""

import contextlib
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dld.checks import Whole, complaint
from dld.errors import DldError
from dld.gates import depth
from dld.packs.metadata import AGAIN, FileRecord, Metadata, content_of

# A tensor whose content is in another file has an entry with this key. What is around it can be encoded in many ways.
_EXTERNAL = b"location"
#: Threads that a pack can have: making more takes minutes or ends the process.
MOST_THREADS = 256


def onnxruntime() -> Any:
    """Return the module, which takes a tenth of a second to import; a `DldError` where it is missing."""
    try:
        import onnxruntime as module
    except ImportError:
        raise DldError("packs need onnxruntime, which is not installed: pip install 'dld[runtime]'") from None
    return module


class Chain:
    """Sessions of a pack's graphs; each is made when it first runs.

    Full depth takes about as long as one graph of all blocks: tensors pass from session to session without copies, and
    all take their memory from one arena, so that a block works where the one before it has, in the processor's cache.

    Parameters
    ----------
    folder : Path
    metadata : Metadata
    threads : int
        Threads of each graph.
    spinning : bool
        Whether threads spin while they wait, instead of sleeping: faster on an idle machine, and worse on a shared one.
    """

    def __init__(self, folder: Path, metadata: Metadata, threads: int = 1, spinning: bool = False):
        if wrong := complaint("threads", threads, Whole(1, MOST_THREADS)):
            raise DldError(wrong)
        self.folder, self.metadata = folder, metadata
        self.runtime = onnxruntime()
        self.options = session_options(self.runtime, threads, spinning)
        self.options.add_session_config_entry("session.use_env_allocators", "1")
        # By default, content may also be in the format of ONNX Runtime itself.
        self.options.add_session_config_entry("session.load_model_format", "ONNX")
        _share_memory(self.runtime)
        self.sessions: dict[str, Any] = {}

    def run(self, waveform: np.ndarray, gate_vectors: Sequence[Sequence[bool]]) -> list[np.ndarray]:
        """Return the logits of an utterance under each of several gate vectors.

        What comes before the blocks, and blocks of a common prefix, run once.

        Parameters
        ----------
        waveform : array (samples,), float32
        gate_vectors : sequence of gate vectors

        Returns
        -------
        list of array (frames, tokens), float32
        """
        if len(waveform) < self.metadata.min_samples:
            return [np.zeros((0, self.metadata.vocab_size), np.float32) for _ in gate_vectors]
        graphs = self.metadata.graphs
        hidden, *rest = self._call(graphs.front, {"waveform": np.ascontiguousarray(waveform[None], np.float32)})
        if len(rest) != len(graphs.context):
            raise DldError(
                f"{self.folder / graphs.front}: has {len(rest)} outputs next to hidden instead of "
                f"{len(graphs.context)}; {AGAIN}"
            )
        context = dict(zip(graphs.context, rest, strict=True))
        path = [hidden]
        previous: tuple[bool, ...] = ()
        found: list[np.ndarray] = [np.empty(0)] * len(gate_vectors)
        vectors = [tuple(map(bool, gates)) for gates in gate_vectors]
        for position in sorted(range(len(vectors)), key=vectors.__getitem__):
            gates = vectors[position]
            shared = next((i for i, (a, b) in enumerate(zip(gates, previous, strict=False)) if a != b), len(previous))
            del path[shared + 1 :]
            for index in range(shared, len(gates)):
                path.append(self._block(index, gates[index], path[-1], context))
            found[position] = self._head(gates, path)
            previous = gates
        return found

    def _block(self, index: int, gate: bool, hidden: np.ndarray, context: dict[str, np.ndarray]) -> np.ndarray:
        graphs = self.metadata.graphs
        if gate:
            return self._call(graphs.blocks[index], {"hidden": hidden, **context})[0]
        return self._call(graphs.skips[index], {"hidden": hidden})[0] if graphs.skips else hidden

    def _head(self, gates: Sequence[bool], path: list[np.ndarray]) -> np.ndarray:
        graphs = self.metadata.graphs
        name = graphs.heads[depth(gates) - 1 if len(graphs.heads) > 1 else 0]
        given = {f"hidden_{index}": value for index, value in enumerate(path)}
        logits, *others = self._call(name, given if graphs.reads_path else {"hidden": path[-1]})
        shape: tuple[int, ...] = getattr(logits, "shape", ())
        if others or len(shape) != 3 or (shape[0], shape[2]) != (1, self.metadata.vocab_size):
            raise DldError(
                f"{self.folder / name}: does not give the logits of {self.metadata.vocab_size} tokens; {AGAIN}"
            )
        return logits[0]

    def _call(self, name: str, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        session = self.sessions.get(name) or self._session(name)
        try:
            return session.run(None, given)
        except Exception as error:  # ONNX Runtime's own have no common base
            if "alloc" in str(error):
                raise MemoryError from None
            raise DldError(f"{self.folder / name}: cannot be run: {_line(error)}; {AGAIN}") from None

    def _session(self, name: str) -> Any:
        content = content_of(self.folder, name, FileRecord(**self.metadata.files[name]))
        if _EXTERNAL in content:
            raise DldError(f"{self.folder / name}: has weights in another file, and packs have none; {AGAIN}")
        try:
            session = self.runtime.InferenceSession(content, self.options, providers=["CPUExecutionProvider"])
        except Exception as error:
            where = self.folder / name
            raise DldError(f"{where}: not a graph that this onnxruntime runs ({_line(error)}); {AGAIN}") from None
        self.sessions[name] = session
        return session


def session_options(runtime: Any, threads: int, spinning: bool) -> Any:
    """Return the `SessionOptions` of graphs that run one after the other."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    options.log_severity_level = 4  # its errors are raised as well
    return options


@functools.cache
def _share_memory(runtime: Any) -> None:
    """Make one arena for all sessions of this process that ask for it."""
    kind, use = runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, runtime.OrtMemType.DEFAULT
    # Where the program that uses this package has registered one before, that is taken.
    with contextlib.suppress(Exception):
        runtime.create_and_register_allocator(runtime.OrtMemoryInfo("Cpu", kind, 0, use), None)


def _line(error: Exception) -> str:
    """Return the message of an error as one short line."""
    return " ".join(str(error).split())[:200]
