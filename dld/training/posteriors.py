"""The output of a frozen teacher on disk: the largest posteriors of each frame and the sum of the others.

A cache is a folder of shards, each a file of fixed-size records, one for a frame, with an index (JSON) that is written
after it. Records are read through a memory map, so that all processes of a machine share the pages; nothing of a cache
is ever run.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dld.data.kaldi import Utterance
from dld.errors import DldError
from dld.files import atomic_write, read_record, sha256, write_json
from dld.records import Record
from dld.training.objectives import SoftTarget, TopK

logger = logging.getLogger(__name__)

FORMAT = 1
STAMP = "cache.json"

#: Folder of a finished experiment that holds caches of its posteriors.
POSTERIORS = "posteriors"

#: Audio in a shard, in seconds. A fill that is killed loses at most one shard for each process.
SHARD_SECONDS = 36000.0

_LARGEST = 65504.0  # of float16


@dataclass(frozen=True)
class Contents(Record):
    """What the records of a cache depend on, and how they look; caches of different contents have different folders.

    Attributes
    ----------
    teacher, network, data : str
        Hashes: of the teacher's weights, of its settings, and of ids, segments and audio of the utterances.
    speed : float
        Speed at which the audio is played.
    precision : str
        In which the teacher runs.
    vocab_size : int
    top_k : int
        Tokens of a frame that have a posterior of their own.
    temperature : float
        By which the logits are divided.
    width : int
        Of the encoder's output, where it is kept too; else 0.
    format : int
        Version of the layout.
    """

    teacher: str
    network: str
    data: str
    speed: float
    precision: str
    vocab_size: int
    top_k: int
    temperature: float = 1.0
    width: int = 0
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of a hash of all this."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def record(self) -> np.dtype:
        """The record of a frame: `top_k` tokens, largest posterior first, and the logarithms of all posteriors.

        Examples
        --------
        >>> Contents("t", "n", "d", speed=1.0, precision="fp32", vocab_size=256, top_k=8).record.itemsize
        26
        """
        token = np.min_scalar_type(self.vocab_size - 1).newbyteorder("<")
        fields = [("tokens", token, (self.top_k,)), ("log_probs", "<f2", (self.top_k + 1,))]
        return np.dtype([*fields, ("hidden", "<f2", (self.width,))] if self.width else fields)


@dataclass(frozen=True)
class ShardIndex(Record):
    """What the JSON file of a shard holds: ids and frames of its utterances in their order, and its hash."""

    sha256: str
    ids: list[str] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)


class PosteriorCache:
    """A cache of one teacher's output for utterances at one speed.

    Parameters
    ----------
    root : str or Path
        The cache is in the folder `root/DIGEST` of its contents.
    contents : Contents
    utterances : list of Utterance
    shard_seconds : float
        Audio in a shard.

    Attributes
    ----------
    shards : list of list of Utterance
        The utterances of each shard, the longest first: the same whoever fills it.
    """

    def __init__(
        self,
        root: str | Path,
        contents: Contents,
        utterances: Sequence[Utterance],
        shard_seconds: float = SHARD_SECONDS,
    ):
        self.folder = Path(root) / contents.digest
        self.contents = contents
        self.shards = list(_split(utterances, shard_seconds))
        self._rows: dict[str, int] = {}
        self._spans = np.zeros((0, 3), np.int64)
        self._maps: list[np.ndarray] = []

    # ------------------------------------------------------------ what is there

    def missing(self) -> list[int] | None:
        """Return the numbers of the shards to fill, those that are not there or damaged; None if all is finished."""
        with ThreadPoolExecutor(8) as pool:
            faults = list(pool.map(self._fault, range(len(self.shards))))
        for number, fault in enumerate(faults):
            if fault:
                logger.warning("%s: %s; it is made again", self._path(number), fault)
        missing = [number for number, fault in enumerate(faults) if fault is not None]
        return None if self._stamped() and not missing else missing

    def _stamped(self) -> bool:
        path = self.folder / STAMP
        try:
            return path.exists() and Contents.from_json(read_record(path, {}), str(path)) == self.contents
        except DldError as error:
            logger.warning("%s", error)
            return False

    def _fault(self, number: int) -> str | None:
        """Return None for a whole shard, "" for one that was never finished, or what is wrong with it."""
        if not self._path(number, ".json").exists():
            return ""
        try:
            index = self._index(number)
        except DldError as error:
            return str(error)
        path = self._path(number)
        if sorted(index.ids) != sorted(u.id for u in self.shards[number]) or len(index.frames) != len(index.ids):
            return "its index is of other utterances"
        if not path.is_file():
            return "it is missing"
        if min(index.frames) < 0 or path.stat().st_size != sum(index.frames) * self.contents.record.itemsize:
            return "it has another size than when it was written"
        if sha256(path) != index.sha256:
            return "it has changed since it was written"
        if sum(index.frames) and self._map(number)["tokens"].max() >= self.contents.vocab_size:
            return "it has tokens that the teacher does not have"
        return None

    def _path(self, number: int, suffix: str = ".bin") -> Path:
        return self.folder / f"{number:05d}{suffix}"

    def _index(self, number: int) -> ShardIndex:
        path = self._path(number, ".json")
        advice = "remove the folder, it is filled again"
        return ShardIndex.from_json(read_record(path, {}, advice), str(path), advice)

    def _map(self, number: int) -> np.ndarray:
        path = self._path(number)
        if path.stat().st_size == 0:  # which cannot be mapped
            return np.zeros(0, self.contents.record)
        return np.memmap(path, self.contents.record, mode="r")

    # ------------------------------------------------------------ filling

    def write(self, number: int, outputs: Iterable[tuple[Sequence[str], SoftTarget, Tensor]]) -> None:
        """Write a shard, whole or not at all.

        Parameters
        ----------
        number : int
        outputs : iterable of (ids, SoftTarget, frames)
            The teacher's output for batches that hold each utterance of the shard once, and their valid frames.
        """
        self._path(number, ".json").unlink(missing_ok=True)
        digest, ids, frames = hashlib.sha256(), [], []
        with atomic_write(self._path(number), "wb") as out:
            for names, target, counts in outputs:
                for name, count, records in zip(names, counts.tolist(), self.records(target), strict=True):
                    if not np.isfinite(records["log_probs"][:count]).all():
                        raise DldError(f"the teacher's output for utterance {name} is not finite; look at its audio")
                    raw = records[:count].tobytes()
                    digest.update(raw)
                    out.write(raw)
                    ids.append(name)
                    frames.append(count)
        write_json(self._path(number, ".json"), ShardIndex(digest.hexdigest(), ids, frames).to_json())

    def records(self, target: SoftTarget) -> np.ndarray:
        """Return the records (batch, frames) of a teacher's output."""
        assert isinstance(target.logits, Tensor)
        top = TopK.of(target.logits.float() / self.contents.temperature, self.contents.top_k)
        made = np.zeros(top.tokens.shape[:2], self.contents.record)
        made["tokens"] = top.tokens.cpu().numpy()
        made["log_probs"] = top.log_probs.clamp(-_LARGEST, 0).cpu().numpy()
        if self.contents.width:
            assert target.hidden is not None
            made["hidden"] = target.hidden.float().clamp(-_LARGEST, _LARGEST).cpu().numpy()
        return made

    def finish(self) -> None:
        """Write the description of a cache whose shards are all there."""
        write_json(self.folder / STAMP, self.contents.to_json())

    # ------------------------------------------------------------ reading

    def open(self) -> None:
        """Map all shards; they must be there."""
        self._rows, spans = {}, []
        for number in range(len(self.shards)):
            index, offset = self._index(number), 0
            for name, count in zip(index.ids, index.frames, strict=True):
                self._rows[name] = len(spans)
                spans.append((number, offset, count))
                offset += count
        self._spans = np.array(spans, np.int64)
        self._maps = [self._map(number) for number in range(len(self.shards))]

    @property
    def nbytes(self) -> int:
        """Bytes of all records."""
        return sum(shard.nbytes for shard in self._maps)

    def recall(self, ids: Sequence[str], device: str | torch.device = "cpu") -> SoftTarget:
        """Return the soft targets of a batch: the posteriors as `TopK`, and the encoder's output where it is kept.

        Padded frames hold zeros.
        """
        spans = [self._spans[self._rows[name]].tolist() for name in ids]
        batch = np.zeros((len(ids), max(count for _, _, count in spans)), self.contents.record)
        for row, (number, offset, count) in zip(batch, spans, strict=True):
            row[:count] = self._maps[number][offset : offset + count]
        tokens = torch.from_numpy(batch["tokens"].astype(np.int64)).to(device)
        log_probs = torch.from_numpy(batch["log_probs"].astype(np.float32)).to(device)
        top = TopK(tokens, log_probs, self.contents.temperature)
        if not self.contents.width:
            return SoftTarget(top)
        return SoftTarget(top, torch.from_numpy(batch["hidden"].astype(np.float32)).to(device))


def _split(utterances: Sequence[Utterance], seconds: float) -> Iterator[list[Utterance]]:
    """Yield the utterances of each shard, the longest first."""
    shard: list[Utterance] = []
    total = 0.0
    for utterance in sorted(utterances, key=lambda u: (-(u.duration or 0.0), u.id)):
        duration = utterance.duration or 0.0
        if shard and total + duration > seconds:
            yield shard
            shard, total = [], 0.0
        shard.append(utterance)
        total += duration
    if shard:
        yield shard
