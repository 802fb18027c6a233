"""Audio in, text out, at any depth: the only way through front end, network and search.

Validation, gate search, tuning, decoding, timing and the command line all call a `Recognizer`.
"""

import contextlib
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from dld.checks import POSITIVE, complaint, shown
from dld.data.clips import Audio, Source, listed, name_of
from dld.data.dataset import unpack
from dld.data.tokenizer import Tokenizer
from dld.decoding import greedy
from dld.decoding.settings import LM_WEIGHTS, Search
from dld.encoders.base import Embedded
from dld.errors import DldError, is_out_of_memory
from dld.experiment import GATE_TABLE, ModelRecord, load_trained
from dld.gates import GateTable, check_depth, check_gates, gates_for_depth, parse_gates
from dld.network import GatedCTC, Output, precision_context

if TYPE_CHECKING:
    from dld.decoding.lm import Weights

#: `101100`, or one boolean for each block.
Gates = str | Sequence[bool]
#: Logits (batch, frames, tokens) and valid frames (batch,) → a text for each utterance.
Find = Callable[[torch.Tensor, torch.Tensor], list[str]]

BATCH_SECONDS = 60.0


class Recognizer:
    """A network with its tokenizer, from waveforms to text under any gate vector.

    Parameters
    ----------
    network : GatedCTC
        It may be one that is being trained: it runs in evaluation mode here and is put back afterwards.
    tokenizer : Tokenizer
    sample_rate : int
        Hz, of the audio that the network takes; other audio is resampled.
    channel : int, optional
        Channel to take of a file, from 0; see `dld.data.audio.read_audio`.
    precision : {"fp32", "bf16"}
        Precision of the network; the front end always runs in fp32.
    policy : str
        Gate policy that chooses the gate vector for a depth by default, see `dld.gates.gates_for_depth`.
    depths : list of int or str
        Depths that a test set is decoded at by default, as `dld.gates.parse_depths` takes them.
    about : ModelRecord, optional
        What `model.json` says of the weights.
    folder : str or Path, optional
        Folder of the model, from which gate table and weights of a language model are read when they are needed.

    Examples
    --------
    >>> from dld import GatedConformer
    >>> from dld.data.tokenizer import train
    >>> from dld.frontends import LogMel
    >>> tokenizer = train(["one two", "two three"], getfixture("tmp_path"), vocab_size=14)
    >>> encoder = GatedConformer(num_blocks=2, input_size=80, d_model=16, d_ffn=32, num_heads=2, kernel_size=15)
    >>> recognizer = Recognizer(GatedCTC(LogMel(), encoder, vocab_size=14), tokenizer, sample_rate=16000)
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
        self.network = network
        self.tokenizer = tokenizer
        self.sample_rate = sample_rate
        self.channel = channel
        self.precision = precision
        self.policy = policy
        self.depths = depths
        self.about = about
        self.folder = None if folder is None else Path(folder)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def gate_vector(
        self, *, depth: int | None = None, gates: Gates | None = None, policy: str | None = None, seed: int = 0
    ) -> tuple[bool, ...]:
        """Return the gate vector of a depth, or `gates`, checked.

        Parameters
        ----------
        depth : int, optional
            Default: full depth.
        gates : str or sequence of bool, optional
            Instead of a depth.
        policy : str, optional
            What chooses the vector of the depth (default: the model's policy).
        seed : int
            Used by the policy "random".

        Raises
        ------
        DldError
            The network cannot run so, or the policy needs a gate table and the model has none.
        """
        blocks = self.network.num_blocks
        if gates is not None:
            if depth is not None or policy is not None:
                raise DldError("give either gates, or a depth and the policy that chooses them")
            return parse_gates(gates, blocks) if isinstance(gates, str) else check_gates(gates, blocks)
        depth = blocks if depth is None else check_depth(depth, blocks)
        policy = policy or self.policy
        table = self.gate_table() if policy == "table" else None
        if policy == "table" and table is None:
            if depth == blocks:
                return (True,) * blocks
            of = "" if self.folder is None else f" --exp {shlex.quote(str(self.folder))}"
            raise DldError(
                f"the gate policy 'table' needs a gate table: dld gates{of} --data DEV searches one; or take another "
                "policy, such as evenly-spaced"
            )
        return gates_for_depth(policy, blocks, depth, table, seed)

    def gate_table(self) -> GateTable | None:
        """Return the gate table stored with the model, None where none was searched yet; another model's is refused."""
        if self.folder is None or not (self.folder / GATE_TABLE).exists():
            return None
        return GateTable.load(self.folder / GATE_TABLE, self.network.num_blocks, self.about and self.about.state_sha256)

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
        with self._evaluating():
            features, frames = self.network.frontend(waveforms.to(self.device), lengths.to(self.device))
            with precision_context(self.device, self.precision):
                return self.network.encoder.embed(features, frames)

    @torch.no_grad()
    def outputs(self, embedded: Embedded, gate_vectors: Sequence[Sequence[bool]]) -> Output:
        """Return the second half of `run`, for the result of `embed`."""
        with self._evaluating(), precision_context(self.device, self.precision):
            output = self.network.outputs(embedded, gate_vectors)
        return output._replace(logits=[logits.float() for logits in output.logits])

    def texts(self, logits: torch.Tensor, lengths: torch.Tensor, find: Find | None = None) -> list[str]:
        """Return the text of each utterance of a batch.

        Parameters
        ----------
        logits : Tensor (batch, frames, tokens)
            Under one gate vector.
        lengths : LongTensor (batch,)
            Valid frames.
        find : callable, optional
            A search, such as a `BeamSearch` (default: best-path decoding).
        """
        if find is not None:
            return find(logits, lengths)
        return [self.tokenizer.decode(ids) for ids in greedy(logits, lengths, self.network.blank)]

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
        for batch in loader:
            waveforms, lengths = unpack(batch.signal, self.device)
            output = self.run(waveforms, lengths, gate_vectors)
            for rows, logits, find in zip(texts, output.logits, finds, strict=True):
                rows.update(zip(batch.id, self.texts(logits, output.lengths, find), strict=True))
        return texts

    def search(self, search: Search, gates: Sequence[bool]) -> Find:
        """Return a `BeamSearch` with the weights of a gate vector."""
        from dld.decoding.beam import BeamSearch

        if not isinstance(search, Search):
            raise DldError(f"search is {shown(search)}; it must be a dld.Search, such as dld.Search(lm=FILE)")
        weights = self.lm_weights(search, gates)
        return BeamSearch(self.tokenizer.tokens(), search.model, weights, search.beam)

    def lm_weights(self, search: Search, gates: Sequence[bool]) -> "Weights | None":
        """Return the `Weights` of a search's language model under a gate vector, None where it has no model.

        Raises
        ------
        DldError
            None were chosen for this model, or for these gates.
        """
        from dld.decoding.lm import Weights
        from dld.decoding.tuning import LmWeights

        stored = search.weights
        if search.model is None or isinstance(stored, Weights):
            return stored if isinstance(stored, Weights) else None
        if stored is None:
            if self.folder is None:
                raise DldError(f"{search.lm}: a language model needs weights; give the search some")
            stored = LmWeights.load(self.folder / LM_WEIGHTS)
        return stored.weights(search.model, self.about.state_sha256 if self.about else "", gates)

    def transcribe(
        self,
        audio: Audio | Iterable[Audio],
        *,
        depth: int | None = None,
        gates: Gates | None = None,
        policy: str | None = None,
        sample_rate: int | None = None,
        search: Search | None = None,
        batch_seconds: float = BATCH_SECONDS,
    ) -> str | list[str]:
        """Return the text of a file or of samples; of a list, the list of their texts in its order.

        Parameters
        ----------
        audio : path, array (samples,) or Tensor (samples,), or a list of those
            Samples are floating point, full scale 1. Files may be of any rate; commands (`… |`) are never run.
        depth, gates, policy : optional
            What runs, see `gate_vector` (default: all blocks).
        sample_rate : int, optional
            Hz of the samples; files state theirs.
        search : Search, optional
            Beam search, with or without a language model (default: best-path decoding).
        batch_seconds : float
            Utterances of similar duration run together; this is the longest batch, in seconds with padding.

        Raises
        ------
        DldError
            A file cannot be read or is too long for the encoder, or the model cannot run so; the message names it.
        """
        vector = self.gate_vector(depth=depth, gates=gates, policy=policy)
        find = None if search is None else self.search(search, vector)
        items, single = listed(audio)
        texts = [""] * len(items)
        for index, text in self.transcribe_each(items, vector, sample_rate, find, batch_seconds):
            if isinstance(text, DldError):
                raise text
            texts[index] = text
        return texts[0] if single else texts

    def transcribe_each(
        self,
        audio: Sequence[Audio],
        gates: Sequence[bool],
        sample_rate: int | None = None,
        find: Find | None = None,
        batch_seconds: float = BATCH_SECONDS,
    ) -> Iterator[tuple[int, str | DldError]]:
        """Yield index and text of each of a list as batches are done; of faulty audio, index and error.

        See `transcribe` for the parameters; `gates` is a gate vector, `find` a search as `texts` takes it.
        """
        for indices, output in self._run_all(audio, [gates], sample_rate, batch_seconds):
            if isinstance(output, DldError):
                yield from ((index, output) for index in indices)
            else:
                yield from zip(indices, self.texts(output.logits[0], output.lengths, find), strict=True)

    def log_probs(
        self,
        audio: Audio | Iterable[Audio],
        *,
        depth: int | Sequence[int] | None = None,
        gates: Gates | Sequence[Gates] | None = None,
        policy: str | None = None,
        sample_rate: int | None = None,
        batch_seconds: float = BATCH_SECONDS,
    ) -> np.ndarray | list:
        """Return the log probabilities of the tokens of a file or of samples; of a list, the list of theirs.

        Parameters
        ----------
        audio, policy, sample_rate, batch_seconds
            See `transcribe`.
        depth, gates : optional
            What runs, see `gate_vector` (default: all blocks). Of a list of depths or of gate vectors all run in one
            pass.

        Returns
        -------
        array (frames, tokens), float32
            In nats. With a list of depths or gate vectors it is a list of arrays, one for each; for a list of audio, a
            list of what is returned for one.
        """
        from dld.decoding.beam import valid_log_probs

        several = isinstance(depth, Sequence) and not isinstance(depth, str), _is_list_of_vectors(gates)
        depths = list(depth) if isinstance(depth, Sequence) and several[0] else [depth]
        choices = list(gates) if gates is not None and several[1] else [gates]
        if not depths or not choices:
            raise DldError("log_probs needs at least one depth or gate vector")
        vectors = [self.gate_vector(depth=n, gates=g, policy=policy) for n in depths for g in choices]
        items, single = listed(audio)
        found: list[list[np.ndarray]] = [[] for _ in items]
        for indices, output in self._run_all(items, vectors, sample_rate, batch_seconds):
            if isinstance(output, DldError):
                raise output
            for logits in output.logits:
                for index, rows in zip(indices, valid_log_probs(logits, output.lengths), strict=True):
                    found[index].append(rows)
        results = found if any(several) else [rows[0] for rows in found]
        return results[0] if single else results

    def _run_all(
        self, audio: Sequence[Audio], vectors: Sequence[Sequence[bool]], sample_rate: int | None, batch_seconds: float
    ) -> Iterator[tuple[list[int], Output | DldError]]:
        """Yield the indices and the output of batches, and of what cannot be read, index and error."""
        if wrong := complaint("batch_seconds", batch_seconds, POSITIVE):
            raise DldError(wrong)
        source = Source(self.sample_rate, self.channel, self.network.encoder.max_seconds)
        for indices, batch in source.batches(audio, sample_rate, batch_seconds):
            if isinstance(batch, DldError):
                yield indices, batch
                continue
            output = self._run_if_it_fits(*batch, vectors)
            if output is not None:
                yield indices, output
                continue
            for row, index in enumerate(indices):
                waveform, length = batch[0][row : row + 1], batch[1][row : row + 1]
                alone = self._run_if_it_fits(waveform[:, : int(length)], length, vectors) if len(indices) > 1 else None
                fault = DldError(f"{name_of(audio[index], index)}: not enough memory; cut it into shorter parts")
                yield [index], fault if alone is None else alone

    def _run_if_it_fits(
        self, waveforms: torch.Tensor, lengths: torch.Tensor, vectors: Sequence[Sequence[bool]]
    ) -> Output | None:
        """Return the output of a batch, None where there is too little memory for it."""
        try:
            return self.run(waveforms, lengths, vectors)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return None

    @contextlib.contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Run the block with the network in evaluation mode; parts that were in training mode return to it."""
        training = [module for module in self.network.modules() if module.training]
        if training:
            self.network.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True


def _is_list_of_vectors(gates: object) -> bool:
    """Return whether it is a list of gate vectors, and not one vector or none."""
    if gates is None or isinstance(gates, str) or not isinstance(gates, Iterable):
        return False
    return not all(np.ndim(gate) == 0 and not isinstance(gate, str) for gate in gates) or not list(gates)


def load_model(path: str | os.PathLike, device: str = "cpu", precision: str = "fp32") -> Recognizer:
    """Load a finished experiment as a `Recognizer`, without running anything that its files name.

    Only the network is built, and no random number is drawn.

    Parameters
    ----------
    path : str or Path
        Folder of the experiment.
    device : str
        Such as "cpu" or "cuda:0".
    precision : {"fp32", "bf16"}

    Raises
    ------
    DldError
        There is no finished model, or a file of it is damaged, hostile or of another model; or there is no such device.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise DldError(f"load_model takes the folder of a model, not {shown(path)}")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise DldError(f"device {device!r} is not available: {str(error).splitlines()[0]}") from None
    trained = load_trained(path, device)
    return Recognizer(
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
