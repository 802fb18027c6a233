"""A recogniser whose network runs in PyTorch: what is trained, validated, searched, tuned, decoded and timed."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from dld.data.clips import Clip
from dld.data.dataset import unpack
from dld.data.tokenizer import Tokenizer
from dld.encoders.base import Embedded
from dld.errors import DldError
from dld.experiment import ModelRecord, load_trained
from dld.macs import relative_compute
from dld.network import GatedCTC, Output, precision_context
from dld.padding import unpadded
from dld.recognition.assembly import Find
from dld.recognition.base import Recognizer
from dld.recognition.stream import LogitStream, Stream, segments
from dld.recognition.windows import Segment


class EagerRecognizer(Recognizer):
    """A `Recognizer` around a `GatedCTC`.

    Parameters
    ----------
    network : GatedCTC
        It may be one that is being trained: it runs in evaluation mode here and is put back afterwards.
    tokenizer : Tokenizer
    sample_rate, channel, policy, depths, folder
        See `Recognizer`.
    precision : {"fp32", "bf16"}
        Precision of the network; the front end always runs in fp32.
    about : ModelRecord, optional
        What `model.json` says of the weights.

    Examples
    --------
    >>> from dld import GatedConformer
    >>> from dld.data.tokenizer import train
    >>> from dld.frontends import LogMel
    >>> _ = torch.manual_seed(0)
    >>> tokenizer = train(["one two", "two three"], getfixture("tmp_path"), vocab_size=14)
    >>> encoder = GatedConformer(num_blocks=2, input_size=80, d_model=16, d_ffn=32, num_heads=2, kernel_size=15)
    >>> recognizer = EagerRecognizer(GatedCTC(LogMel(), encoder, vocab_size=14), tokenizer, sample_rate=16000)
    >>> recognizer.transcribe(torch.zeros(16000), sample_rate=16000, depth=1)
    ''
    """

    def __init__(
        self,
        network: GatedCTC,
        tokenizer: Tokenizer,
        *,
        sample_rate: int,
        channel: int | None = None,
        precision: str = "fp32",
        policy: str = "evenly-spaced",
        depths: str | int | Sequence[int] = "all",
        about: ModelRecord | None = None,
        folder: str | Path | None = None,
    ):
        precision_context("cpu", precision)  # refuses what it does not know
        super().__init__(
            tokenizer,
            sample_rate=sample_rate,
            channel=channel,
            policy=policy,
            depths=depths,
            state_sha256=about.state_sha256 if about else None,
            folder=folder,
        )
        self.network = network
        self.precision = precision
        self.about = about
        self.max_seconds = network.encoder.max_seconds

    @property
    def num_blocks(self) -> int:
        """Blocks of the encoder, open or closed."""
        return self.network.num_blocks

    def has_exit_heads(self) -> bool:
        """Return whether each depth has a head of its own."""
        return len(self.network.exit_heads) > 0

    def compute(self) -> dict[int, float]:
        """Return the compute of each depth, as a part of full depth; see `dld.macs`."""
        return relative_compute(self.network, self.sample_rate)

    @property
    def frame_seconds(self) -> float:
        """Seconds between the frames of the logits."""
        return self.network.frontend.hop * self.network.encoder.subsampling / self.sample_rate

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def logits(self, waveforms: Sequence[np.ndarray], gate_vectors: Sequence[Sequence[bool]]) -> list[list[np.ndarray]]:
        """Return the logits of utterances under each of several gate vectors; see `Recognizer.logits`."""
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        output = self.run(pad_sequence(list(map(torch.tensor, waveforms)), batch_first=True), lengths, gate_vectors)
        return [unpadded(logits, output.lengths) for logits in output.logits]

    def run(self, waveforms: torch.Tensor, lengths: torch.Tensor, gate_vectors: Sequence[Sequence[bool]]) -> Output:
        """Return logits (in fp32) and valid frames of a batch under each of several gate vectors.

        The front end runs once, and so does what the gate vectors have as a common prefix.

        Parameters
        ----------
        waveforms : Tensor (batch, samples)
        lengths : LongTensor (batch,)
            Valid samples.
        gate_vectors : list of gate vectors
        """
        return self.outputs(self.embed(waveforms, lengths), gate_vectors)

    @torch.no_grad()
    def embed(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> Embedded:
        """Return what enters the blocks, which may be kept for many gate vectors; see `run`."""
        with self.evaluating():
            features, frames = self.network.frontend(waveforms.to(self.device), lengths.to(self.device))
            with precision_context(self.device, self.precision):
                return self.network.encoder.embed(features, frames)

    @torch.no_grad()
    def outputs(self, embedded: Embedded, gate_vectors: Sequence[Sequence[bool]]) -> Output:
        """Return the second half of `run`, for the result of `embed`."""
        with self.evaluating(), precision_context(self.device, self.precision):
            output = self.network.outputs(embedded, gate_vectors)
        return output._replace(logits=[logits.float() for logits in output.logits])

    def run_all(
        self, loader: Iterable, gate_vectors: Sequence[Sequence[bool]]
    ) -> Iterator[tuple[Any, list[list[np.ndarray]]]]:
        """Yield the batches of a data set, each with the logits of its utterances under each of several gate vectors.

        Parameters are those of `decode`, logits those of `logits`.
        """
        for batch in loader:
            waveforms, lengths = unpack(batch.signal, self.device)
            output = self.run(waveforms, lengths, gate_vectors)
            yield batch, [unpadded(logits, output.lengths) for logits in output.logits]

    def decode(
        self, loader: Iterable, gate_vectors: Sequence[Sequence[bool]], finds: Sequence[Find | None] | None = None
    ) -> list[dict[str, str]]:
        """Return the texts of a data set under each gate vector, in one pass.

        Parameters
        ----------
        loader : iterable of PaddedBatch
            See `dld.data.dataset.evaluation_loader`.
        gate_vectors : list of gate vectors
        finds : list of callable, optional
            A search for each gate vector, see `texts`.

        Returns
        -------
        list of dict
            Utterance id → text, in the order of `gate_vectors`.
        """
        finds = finds or [None] * len(gate_vectors)
        texts: list[dict[str, str]] = [{} for _ in gate_vectors]
        for batch, found in self.run_all(loader, gate_vectors):
            for rows, logits, find in zip(texts, found, finds, strict=True):
                rows.update(zip(batch.id, self.texts(logits, find), strict=True))
        return texts

    def _stream(self, gates: Sequence[bool]) -> Stream:
        return Stream(self, gates)

    def _segments(self, clip: Clip, gates: Sequence[bool], seconds: float, batch_seconds: float) -> Iterator[Segment]:
        """Yield the logits of a long recording; where the network has a stream, they are those of the whole."""
        try:
            stream = LogitStream(self, gates)
        except DldError:
            return super()._segments(clip, gates, seconds, batch_seconds)
        return segments(stream, clip, self.frame_seconds, seconds)

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Run the block without gradients, with the network in evaluation mode and in its precision."""
        with torch.no_grad(), self.evaluating(), precision_context(self.device, self.precision):
            yield

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Run the block with the network in evaluation mode; parts that were in training mode return to it."""
        training = [module for module in self.network.modules() if module.training]
        if training:
            self.network.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True


def load_experiment(path: str | os.PathLike, device: str = "cpu", precision: str = "fp32") -> EagerRecognizer:
    """Load a finished experiment; see `dld.load_model`."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise DldError(f"device {device!r} is not available: {str(error).splitlines()[0]}") from None
    trained = load_trained(path, device)
    return EagerRecognizer(
        trained.network,
        trained.tokenizer,
        sample_rate=trained.settings["sample_rate"],
        channel=trained.settings["channel"],
        precision=precision,
        policy=trained.settings["decode_policy"],
        depths=trained.settings["decode_depths"],
        about=trained.about,
        folder=trained.folder,
    )
