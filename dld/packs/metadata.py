"""What `metadata.json` of a pack holds, and the checks that its files are those that were exported."""

import dataclasses
import hashlib
import json
import os
import re
import stat
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dld.checks import Kind, Nullable, Number, Whole, complaint, shown
from dld.errors import DldError, describe_os_error
from dld.files import check_keys, read_json
from dld.gates import POLICIES, GateTable, format_gates, parse_depths, parse_gates
from dld.records import Record

METADATA = "metadata.json"
FORMAT, VERSION = "dld-pack", 1
TOKENIZER, TOKENS = "bpe.model", "tokens.txt"
PRECISIONS = ("float32", "int8")
AGAIN = "export the model again (dld export), or copy the whole pack again"

#: What numbers of a pack may be: others would take all memory, or run without giving a text.
LIMITS: dict[str, Kind] = {
    "sample_rate": Whole(1000, 384000),
    "channel": Nullable(Whole(0, 1023)),
    "max_seconds": Nullable(Number(low=1, high=1e9)),
    "min_samples": Whole(1, 384000),
    "frame_seconds": Number(above=0, high=10),
    "num_blocks": Whole(1, 9999),
    "vocab_size": Whole(2, 10**7),
}
#: Bytes of the largest metadata that are read.
LARGEST = 1 << 24

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, kw_only=True)
class FileRecord(Record):
    """Size and SHA-256 of a file of a pack."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Graphs(Record):
    """The files of the graphs.

    Attributes
    ----------
    front : str
        Waveform (1, samples) → what enters the blocks, `hidden`, and the `context`.
    blocks : list of str
    skips : list of str
        For closed gates; empty where these are the identity.
    heads : list of str
        What gives logits: one, or one for each depth.
    context : list of str
        Names of the tensors that every block reads next to `hidden`.
    reads_path : bool
        Heads read what enters the first block and the output of each block, `hidden_0` … `hidden_N`, instead of the
        last alone.
    """

    front: str
    blocks: list[str]
    skips: list[str]
    heads: list[str]
    context: list[str]
    reads_path: bool


@dataclass(frozen=True, kw_only=True)
class DepthRecord(Record):
    """What a depth costs and how well it does, under the gate vector of the pack's policy.

    Attributes
    ----------
    depth : int
    gates : str
        Such as `101100`.
    parameters : int
        Weights that run.
    gmacs_per_second : float
        Thousands of millions of multiply-accumulates for a second of audio.
    compute : float
        The same as a part of full depth.
    wer : float, optional
        Word error rate of the exported files on `test_set`, in percent.
    """

    depth: int
    gates: str
    parameters: int
    gmacs_per_second: float
    compute: float
    wer: float | None = None


@dataclass(frozen=True, kw_only=True)
class TestSet(Record):
    """What the error rates of a pack were measured on."""

    name: str
    utterances: int
    words: int


@dataclass(frozen=True, kw_only=True)
class Origin(Record):
    """The model that a pack was exported from, as its `model.json` describes it."""

    system: str
    seed: int
    updates: int
    state_sha256: str
    git: str | None = None


@dataclass(frozen=True, kw_only=True)
class Metadata(Record):
    """The content of `metadata.json`.

    Attributes
    ----------
    format, version : str and int
        `FORMAT` and `VERSION`.
    dld : str
        Version of the program that exported it.
    precision : {"float32", "int8"}
    sample_rate : int
        Hz.
    channel : int, optional
        Channel to take of a file.
    max_seconds : float, optional
        The longest utterance; None: any.
    min_samples : int
        Samples of the shortest utterance that has a frame.
    frame_seconds : float
        Between the frames of the logits.
    front_end, encoder : dict
        Class and settings, for information.
    num_blocks, vocab_size : int
    policy : str
        Gate policy that chooses the gate vector for a depth by default.
    gate_table : dict, optional
        Depth → gate vector.
    model : Origin
    graphs : Graphs
    depths : list of DepthRecord
        Every depth, from 1.
    test_set : TestSet, optional
    files : dict
        Name → `FileRecord` of every other file.
    decode_depths : list of int, optional
        Depths that the experiment decodes at; None: all. With a head for each depth, others may not be trained.
    """

    format: str
    version: int
    dld: str
    precision: str
    sample_rate: int
    channel: int | None
    max_seconds: float | None
    min_samples: int
    frame_seconds: float
    front_end: dict
    encoder: dict
    num_blocks: int
    vocab_size: int
    policy: str
    gate_table: dict | None
    model: Origin
    graphs: Graphs
    depths: list[DepthRecord]
    test_set: TestSet | None
    files: dict
    decode_depths: list[int] | None = None

    def __post_init__(self) -> None:
        """Raise a `DldError` where values contradict each other."""
        graphs, wrong = self.graphs, ""
        if self.precision not in PRECISIONS:
            wrong = f"precision is {self.precision!r}; this version runs {' and '.join(PRECISIONS)}"
        elif self.policy not in POLICIES:
            wrong = f"policy is {self.policy!r}; known are {', '.join(POLICIES)}"
        elif complaints := [
            text for name, kind in LIMITS.items() if (text := complaint(name, getattr(self, name), kind))
        ]:
            wrong = complaints[0]
        elif not self.frame_seconds * self.sample_rate >= 1:
            wrong = f"frame_seconds is {self.frame_seconds}; a frame has at least a sample"
        elif len(graphs.blocks) != self.num_blocks or len(graphs.skips) not in (0, self.num_blocks):
            wrong = (
                f"graphs: blocks has {len(graphs.blocks)} and skips {len(graphs.skips)} files, not {self.num_blocks}"
            )
        elif len(graphs.heads) not in (1, self.num_blocks):
            wrong = f"graphs: heads has {len(graphs.heads)} files, 1 or {self.num_blocks} were expected"
        elif [record.depth for record in self.depths] != list(range(1, self.num_blocks + 1)):
            wrong = f"depths does not list the depths 1 to {self.num_blocks}"
        if wrong:
            raise DldError(f"{wrong}; {AGAIN}")
        if self.decode_depths is not None:
            try:
                parse_depths(self.decode_depths, self.num_blocks)
            except DldError as error:
                raise DldError(f"decode_depths: {error}; {AGAIN}") from None
        for record in self.depths:
            if not 0 < record.compute <= 1:
                raise DldError(f"depths: the compute of depth {record.depth} is not a part of full compute; {AGAIN}")
            if sum(parse_gates(record.gates, self.num_blocks)) != record.depth:
                raise DldError(f"depths: {record.gates} does not open {record.depth} gates; {AGAIN}")
        self.table()

    def table(self) -> GateTable | None:
        """Return the gate table, None where the model has none."""
        if self.gate_table is None:
            return None
        try:
            vectors = {int(n): parse_gates(gates, self.num_blocks) for n, gates in self.gate_table.items()}
        except (TypeError, ValueError):
            raise DldError(f"gate_table is not of depths and gate vectors; {AGAIN}") from None
        return GateTable(self.num_blocks, vectors)

    def graph_files(self) -> list[str]:
        """Return the names of all graphs."""
        graphs = self.graphs
        return [graphs.front, *graphs.blocks, *graphs.skips, *graphs.heads]


def table_of(table: GateTable | None) -> dict[str, str] | None:
    """Return a gate table as `Metadata.gate_table` has it."""
    return None if table is None else {str(n): format_gates(gates) for n, gates in sorted(table.vectors.items())}


# ------------------------------------------------------------ reading and writing


def is_pack(path: str | os.PathLike) -> bool:
    """Return whether a folder has the metadata of a pack; what they say is not looked at."""
    return os.path.lexists(os.path.join(path, METADATA))


def digest(content: dict) -> str:
    """Return the SHA-256 of metadata without their own `sha256`, however they are indented."""
    plain = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def sealed(metadata: Metadata) -> dict:
    """Return the content of `metadata.json`, with its own hash."""
    content = json.loads(json.dumps(metadata.to_json()))
    return {**content, "sha256": digest(content)}


def read(folder: str | os.PathLike) -> Metadata:
    """Read the metadata of a pack and check every file that they name.

    Raises
    ------
    DldError
        It is not a pack of this version, or a file is missing, damaged, truncated, another one, a link, or outside of
        the folder.
    """
    path = Path(folder) / METADATA
    if _regular(path, METADATA) > LARGEST:
        raise DldError(f"{path}: has more than {LARGEST} bytes, which metadata never have; {AGAIN}")
    content = read_json(path)
    check_keys(
        content, {"format": str, "version": int}, str(path), "it is not a pack of dld; give one that dld export wrote"
    )
    if content["format"] != FORMAT:
        raise DldError(
            f"{path}: format is {content['format']!r:.60}, not {FORMAT!r}; give a pack that dld export wrote"
        )
    if content["version"] != VERSION:
        how = "newer than this dld reads; update dld" if content["version"] > VERSION else f"unknown; {AGAIN}"
        raise DldError(f"{path}: version {shown(content['version'])} of the format is {how}")
    check_keys(content, {"sha256": str}, str(path), AGAIN)
    if digest(content) != content.pop("sha256"):
        raise DldError(f"{path}: damaged or changed by hand (its SHA-256 differs); {AGAIN}")
    records = content["files"].items() if isinstance(content.get("files"), dict) else ()
    unknown = (name for file, record in records for name in _unknown(FileRecord, record, f"files: {file}: "))
    for name in [*_unknown(Metadata, content, ""), *unknown]:
        raise DldError(f"{path}: unknown key {shown(name)[1:-1]}; {AGAIN}, or update dld")
    metadata = Metadata.from_json(content, str(path), AGAIN)
    files = {
        name: FileRecord.from_json(record, f"{path}: files: {shown(name)[1:-1]}", AGAIN)
        for name, record in metadata.files.items()
    }
    for name in [TOKENIZER, TOKENS, *metadata.graph_files()]:
        if name not in files:
            raise DldError(f"{path}: files lacks {name!r}; {AGAIN}")
    for name, record in files.items():
        if not _NAME.fullmatch(name) or name == METADATA:
            raise DldError(f"{path}: {name!r} is not the name of a file in the pack's own folder; {AGAIN}")
        check_file(Path(folder), name, files, record)
    return metadata


def check_file(folder: Path, name: str, files: dict[str, FileRecord], record: FileRecord) -> None:
    """Raise a `DldError` if a file of a pack is not the one that was exported."""
    path = folder / name
    size = _regular(path, name)
    if size != record.bytes:
        what = "truncated" if size < record.bytes else "not the file that was exported"
        raise DldError(f"{path}: {what}, it has {size} bytes instead of {shown(record.bytes)}; {AGAIN}")
    found = hashlib.sha256()
    for piece in _pieces(path):
        found.update(piece)
    if found.hexdigest() != record.sha256:
        same = next((other for other, its in files.items() if its.sha256 == found.hexdigest()), None)
        what = f"has the content of {same}" if same else "damaged or of another pack (its SHA-256 differs)"
        raise DldError(f"{path}: {what}; {AGAIN}")


def content_of(folder: Path, name: str, record: FileRecord) -> bytes:
    """Return the bytes of a file of a pack, which may have changed since `read` and are checked again."""
    _regular(folder / name, name)
    content = b"".join(_pieces(folder / name))
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise DldError(f"{folder / name}: changed since the pack was loaded; {AGAIN}")
    return content


def _regular(path: Path, name: str) -> int:
    """Return the size of a file of a pack; what is not a regular file in its folder is refused."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        raise DldError(f"{path}: no such file; {AGAIN}") from None
    except (OSError, ValueError) as error:
        reason = describe_os_error(error, path) if isinstance(error, OSError) else f"{str(path)!r}: {error}"
        raise DldError(reason) from None
    if stat.S_ISLNK(status.st_mode):
        raise DldError(f"{path}: is a link, and packs have none; {AGAIN}")
    if not stat.S_ISREG(status.st_mode):
        raise DldError(f"{path}: is not a regular file; {AGAIN}")
    return status.st_size


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
            while piece := stream.read(1 << 20):
                yield piece
    except OSError as error:
        raise DldError(describe_os_error(error, path)) from None


def _unknown(kind: Any, content: Any, where: str) -> Iterator[str]:
    """Yield the keys of JSON that a record does not have, also in the records within it."""
    if not isinstance(content, dict):
        return
    hints = typing.get_type_hints(kind)
    for key, value in content.items():
        if key not in hints:
            yield f"{where}{key}"
            continue
        choices = typing.get_args(hints[key]) if isinstance(hints[key], types.UnionType) else (hints[key],)
        for choice in choices:
            inner = typing.get_args(choice)[0] if typing.get_origin(choice) is list else choice
            if dataclasses.is_dataclass(inner):
                for index, entry in enumerate(value if isinstance(value, list) else [value]):
                    at = f"{key}[{index}]." if isinstance(value, list) else f"{key}."
                    yield from _unknown(inner, entry, where + at)
