"""Write packs: what `dld.packs` runs."""

import contextlib
import dataclasses
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx

import dld
from dld.data import kaldi
from dld.data.audio import read_audio
from dld.data.tokenizer import Tokenizer
from dld.decoding.confidence import stored_calibration
from dld.decoding.lm_weights import LmWeights
from dld.decoding.settings import CONFIDENCE, LM_WEIGHTS
from dld.errors import DldError
from dld.export.compose import shortened
from dld.export.pieces import Pieces, stack_of, trace
from dld.export.quantise import quantise
from dld.files import atomic_folder, atomic_write, read_record, writable_folder, write_json
from dld.gates import format_gates, gates_for_depth, parse_depths
from dld.macs import gmacs_per_second
from dld.packs.metadata import (
    FORMAT,
    METADATA,
    TOKENIZER,
    TOKENS,
    VERSION,
    DepthRecord,
    FileRecord,
    Graphs,
    Metadata,
    Origin,
    TestSet,
    sealed,
    table_of,
)
from dld.recognition.eager import EagerRecognizer
from dld.recognition.pack import PackRecognizer
from dld.scoring import wer

logger = logging.getLogger(__name__)

#: Files that a pack takes over from its experiment where they are there: they are of the same weights.
CARRIED = (LM_WEIGHTS, CONFIDENCE)
#: Files next to those that `models.json` lists, in exports for other runtimes.
FOREIGN = (
    *(TOKENIZER, TOKENS, f"lang/{TOKENS}", "config.json", "weights.bin", "weights.int8.bin"),
    *(f"am/{name}{suffix}" for name in ("decoder", "joiner") for suffix in (".onnx", ".int8.onnx")),
)
#: Largest difference between the logits of a network and of its float32 graphs.
TOLERANCE = 5e-3
#: Seconds of the noise on which they are compared: none of them is the length that was traced.
COMPARED = (0.3, 1.7, 4.0)


def export_pack(
    recognizer: EagerRecognizer,
    folder: str | Path,
    precision: str = "float32",
    data: str | Path | None = None,
    depths: Sequence[int] | None = None,
) -> Metadata:
    """Export a model as a pack; it appears when it is whole.

    Parameters
    ----------
    recognizer : EagerRecognizer
        Of a finished experiment.
    folder : str or Path
        Replaced if it is a pack; anything else there is refused.
    precision : {"float32", "int8"}
    data : str or Path, optional
        Kaldi data directory of a test set: the pack's own error rate at each depth goes into its metadata.
    depths : list of int, optional
        Depths that are measured so (default: all).

    Raises
    ------
    DldError
        The model cannot be exported, or its graphs do not compute what it does.
    """
    if recognizer.about is None:
        raise DldError("only a finished experiment can be exported")
    check_carried(recognizer)
    with new_folder(folder, METADATA) as work:
        pieces = trace(recognizer.network)
        graphs = write_graphs(quantise(pieces) if precision == "int8" else pieces, work)
        write_tokens(recognizer.tokenizer, work)
        for name in CARRIED:
            if recognizer.folder is not None and (recognizer.folder / name).is_file():
                shutil.copyfile(recognizer.folder / name, work / name)
        metadata = _describe(recognizer, precision, graphs, work)
        write_json(work / METADATA, sealed(metadata))
        if precision == "float32":
            compare(recognizer, PackRecognizer(work))
        if data is not None:
            metadata = measured(metadata, PackRecognizer(work), data, depths)
            write_json(work / METADATA, sealed(metadata))
    return metadata


def check_carried(recognizer: EagerRecognizer) -> None:
    """Raise a `DldError` if a file that a pack takes over is of other weights, and would be refused there."""
    stored_calibration(recognizer.folder, recognizer.state_sha256)
    path = None if recognizer.folder is None else recognizer.folder / LM_WEIGHTS
    if path is None or not path.is_file():
        return
    if LmWeights.load(path).about["model_sha256"] != recognizer.state_sha256:
        raise DldError(f"{path}: chosen for other weights of the acoustic model; choose them again (dld tune-lm)")


def written(folder: Path, mark: str) -> set[Path]:
    """Return the files of an export, relative to its folder, as far as its `mark` lists them; none without one."""
    try:
        content = read_record(folder / mark, {"dld": str})
        models = [entry["file"] for entry in content.get("models", [])]
        names = {METADATA, *content["files"]} if mark == METADATA else {mark, *FOREIGN, *models}
        return set(map(Path, names))
    except (DldError, KeyError, TypeError, AttributeError):
        return set()


@contextlib.contextmanager
def new_folder(folder: str | Path, mark: str) -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder` when the block succeeds.

    Parameters
    ----------
    folder : str or Path
        Replaced if it is empty or an export with nothing else in it, and refused if it is anything else.
    mark : str
        File that lists the others.

    Raises
    ------
    DldError
        There is something else, or it cannot be written.
    """
    folder = writable_folder(Path(os.path.abspath(folder)))
    check_replaceable(folder, mark)
    with atomic_folder(folder) as work:
        yield work
        # Meanwhile something else may have got the name.
        check_replaceable(folder, mark)


def check_replaceable(folder: Path, mark: str) -> None:
    """Raise a `DldError` if a folder has what `dld export` did not write; see `new_folder`."""
    if not os.path.lexists(folder):
        return
    there = {Path(at, name).relative_to(folder) for at, _, names in os.walk(folder) for name in names}
    if folder.is_symlink() or any(folder.iterdir()) and not (ours := written(folder, mark)):
        raise DldError(f"{folder}: is there already and is not of dld export; give another folder, or remove it")
    if there and (others := sorted(map(str, there - ours))):
        raise DldError(
            f"{folder}: has {others[0]!r}, which dld export did not write; give another folder, or move it away"
        )


def write_graphs(pieces: Pieces, folder: Path) -> Graphs:
    """Write the graphs of a network into a folder and return their names."""

    def write(model: onnx.ModelProto, name: str) -> str:
        with atomic_write(folder / name, "wb") as out:
            out.write(shortened(model).SerializeToString())
        return name

    several = len(pieces.heads) > 1
    return Graphs(
        front=write(pieces.front, "front.onnx"),
        blocks=[write(block, f"block_{index:02}.onnx") for index, block in enumerate(pieces.blocks)],
        skips=[write(skip, f"skip_{index:02}.onnx") for index, skip in enumerate(pieces.skips)],
        heads=[
            write(head, f"head_{index:02}.onnx" if several else "head.onnx")
            for index, head in enumerate(pieces.heads, 1)
        ],
        context=pieces.context,
        reads_path=pieces.reads_path,
    )


def pieces_of(folder: str | Path, metadata: Metadata) -> Pieces:
    """Return the graphs of a pack."""
    graphs = metadata.graphs

    def read(names: Sequence[str]) -> list[onnx.ModelProto]:
        return [onnx.load_model_from_string((Path(folder) / name).read_bytes()) for name in names]

    return Pieces(
        front=read([graphs.front])[0],
        blocks=read(graphs.blocks),
        skips=read(graphs.skips),
        heads=read(graphs.heads),
        context=graphs.context,
        inputs=["waveform"],
        reads_path=graphs.reads_path,
    )


def write_tokens(tokenizer: Tokenizer, folder: Path) -> None:
    """Write `tokens.txt`, a token and its number a line, and the SentencePiece model."""
    with atomic_write(folder / TOKENS) as out:
        out.writelines(f"{token} {number}\n" for number, token in enumerate(tokenizer.tokens()))
    with atomic_write(folder / TOKENIZER, "wb") as out:
        out.write(Path(tokenizer.path).read_bytes())


def _describe(recognizer: EagerRecognizer, precision: str, graphs: Graphs, folder: Path) -> Metadata:
    network, about, table = recognizer.network, recognizer.about, recognizer.gate_table()
    assert about is not None
    policy = recognizer.policy
    if policy == "table" and table is None:
        policy = "evenly-spaced"
        logger.warning("the model has no gate table (dld gates makes one); the pack's depths are evenly spaced")
    encoder, frontend = network.encoder, network.frontend
    files = {}
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        files[path.name] = FileRecord(bytes=len(content), sha256=hashlib.sha256(content).hexdigest()).to_json()
    config = dataclasses.asdict(encoder.config)
    return Metadata(
        format=FORMAT,
        version=VERSION,
        dld=dld.__version__,
        precision=precision,
        sample_rate=recognizer.sample_rate,
        channel=recognizer.channel,
        max_seconds=encoder.max_seconds,
        min_samples=stack_of(encoder).samples_needed(),
        frame_seconds=encoder.subsampling * frontend.hop / recognizer.sample_rate,
        front_end={"class": type(frontend).__name__, **frontend.config},
        encoder={"class": type(encoder).__name__, "description": encoder.description, **config},
        num_blocks=network.num_blocks,
        vocab_size=network.vocab_size,
        policy=policy,
        gate_table=table_of(table),
        model=Origin(
            system=about.system,
            seed=about.seed,
            updates=about.updates,
            state_sha256=about.state_sha256,
            git=about.git,
        ),
        graphs=graphs,
        depths=depth_records(recognizer, policy),
        test_set=None,
        files=files,
        decode_depths=sorted(parse_depths(recognizer.depths, network.num_blocks)),
    )


def depth_records(recognizer: EagerRecognizer, policy: str) -> list[DepthRecord]:
    """Return what each depth costs, under the gate vectors of a policy."""
    network, rate, blocks = recognizer.network, recognizer.sample_rate, recognizer.num_blocks
    table = recognizer.gate_table() if policy == "table" else None
    # A table need not have every depth.
    vectors = [
        gates_for_depth("evenly-spaced" if table and n not in table.vectors else policy, blocks, n, table)
        for n in range(1, blocks + 1)
    ]
    macs = [gmacs_per_second(network, gates, rate) for gates in vectors]
    return [
        DepthRecord(
            depth=n,
            gates=format_gates(gates),
            parameters=network.parameter_counts(gates)[1],
            gmacs_per_second=round(macs[n - 1], 6),
            compute=round(macs[n - 1] / macs[-1], 6),
        )
        for n, gates in enumerate(vectors, 1)
    ]


def compare(recognizer: EagerRecognizer, pack: PackRecognizer) -> None:
    """Raise a `DldError` if a pack does not give the logits of its model, at full depth and at depth 1."""
    generator = np.random.default_rng(0)
    vectors = [gates_for_depth("first-n", recognizer.num_blocks, n) for n in (1, recognizer.num_blocks)]
    for seconds in COMPARED:
        waveform = generator.normal(0, 0.1, round(seconds * recognizer.sample_rate)).astype(np.float32)
        expected, found = recognizer.logits([waveform], vectors), pack.logits([waveform], vectors)
        for [one], [other] in zip(expected, found, strict=True):
            far = np.abs(one - other).max(initial=0.0) if one.shape == other.shape else np.inf
            if not far <= TOLERANCE * max(1.0, np.abs(one).max(initial=0.0)):
                raise DldError(
                    f"the graphs do not compute what the model does: logits of {seconds:g} s differ by {far:.2g}; "
                    "please report it, with the model's settings"
                )


def measured(
    metadata: Metadata, pack: PackRecognizer, data: str | Path, depths: Sequence[int] | None = None
) -> Metadata:
    """Return the metadata with the error rates of a pack on a test set, decoded by the pack itself."""
    utterances = kaldi.load(data, ("wav.scp", "text"))
    references = [utterance.text or "" for utterance in utterances]
    chosen = [record for record in metadata.depths if depths is None or record.depth in depths]
    vectors = [pack.gate_vector(gates=record.gates) for record in chosen]
    texts: list[list[str]] = [[] for _ in chosen]
    for utterance in utterances:
        waveform = read_audio(
            utterance.recording, utterance.start, utterance.end, pack.sample_rate, pack.channel, utterance.id
        )
        for rows, logits in zip(texts, pack.logits([waveform], vectors), strict=True):
            rows += pack.texts(logits)
    rates = {record.depth: round(wer(references, rows), 4) for record, rows in zip(chosen, texts, strict=True)}
    return dataclasses.replace(
        metadata,
        depths=[dataclasses.replace(record, wer=rates.get(record.depth)) for record in metadata.depths],
        test_set=TestSet(
            name=Path(os.path.abspath(data)).name,
            utterances=len(utterances),
            words=sum(len(reference.split()) for reference in references),
        ),
    )
