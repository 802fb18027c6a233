"""Audio in, text out, at any depth: what is the same whatever runs the network.

Nothing here needs torch.
"""

import logging
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dld.checks import POSITIVE, Number, complaint, shown
from dld.data.clips import Audio, Clip, Source, batches, listed
from dld.data.tokenizer import Tokenizer
from dld.decoding.best_path import greedy, log_softmax
from dld.decoding.confidence import Curve, stored_calibration
from dld.decoding.settings import LM_WEIGHTS, Search
from dld.errors import DldError, is_out_of_memory
from dld.gates import GATE_TABLE, GateTable, check_depth, check_gates, gates_for_depth, parse_depths, parse_gates
from dld.recognition import windows
from dld.recognition.assembly import Assembler, Find, Part
from dld.recognition.transcript import Transcript
from dld.recognition.windows import WINDOW_SECONDS, Segment

if TYPE_CHECKING:
    from dld.decoding.lm import Weights
    from dld.recognition.stream import Stream

#: `101100`, or one boolean for each block.
Gates = str | Sequence[bool]
#: Takes the seconds that are done and those in all.
Progress = Callable[[float, float], None]

BATCH_SECONDS = 60.0

logger = logging.getLogger(__name__)


class Recognizer(ABC):
    """A network with its tokenizer, from waveforms to text under any gate vector; see `dld.load_model`.

    Parameters
    ----------
    tokenizer : Tokenizer
    sample_rate : int
        Hz, of the audio that the network takes; other audio is resampled.
    channel : int, optional
        Channel to take of a file, from 0; see `dld.data.audio.read_audio`.
    policy : str
        Gate policy that chooses the gate vector for a depth by default, see `dld.gates.gates_for_depth`.
    depths : list of int or str
        Depths that a test set is decoded at by default, as `dld.gates.parse_depths` takes them.
    state_sha256 : str, optional
        Hash of the weights, which a gate table and the weights of a language model must be of.
    folder : str or Path, optional
        Folder of the model, from which gate table and weights of a language model are read when they are needed.
    """

    #: Seconds of the longest audio that the encoder takes; None: any.
    max_seconds: float | None = None

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        sample_rate: int,
        channel: int | None = None,
        policy: str = "evenly-spaced",
        depths: str | int | Sequence[int] = "all",
        state_sha256: str | None = None,
        folder: str | Path | None = None,
    ):
        self.tokenizer = tokenizer
        self.sample_rate = sample_rate
        self.channel = channel
        self.policy = policy
        self.depths = depths
        self.state_sha256 = state_sha256
        self.folder = None if folder is None else Path(folder)

    @property
    @abstractmethod
    def num_blocks(self) -> int:
        """Blocks of the encoder, open or closed."""

    @property
    @abstractmethod
    def frame_seconds(self) -> float:
        """Seconds between the frames of the logits: a whole number of samples."""

    @abstractmethod
    def logits(self, waveforms: Sequence[np.ndarray], gate_vectors: Sequence[Sequence[bool]]) -> list[list[np.ndarray]]:
        """Return the logits of utterances, run together, under each of several gate vectors.

        Parameters
        ----------
        waveforms : list of array (samples,), float32
        gate_vectors : list of gate vectors

        Returns
        -------
        list of list of array (frames, tokens), float32
            For each gate vector, in their order, for each utterance.
        """

    def has_exit_heads(self) -> bool:
        """Return whether each depth has a head of its own."""
        return False

    @abstractmethod
    def compute(self) -> dict[int, float]:
        """Return the compute of each depth, as a part of full depth."""

    def gate_vector(
        self,
        *,
        depth: int | None = None,
        gates: Gates | None = None,
        budget: float | None = None,
        policy: str | None = None,
        seed: int = 0,
    ) -> tuple[bool, ...]:
        """Return the gate vector of a depth or of a budget, or `gates`, checked.

        Parameters
        ----------
        depth : int, optional
            Default: full depth.
        gates : str or sequence of bool, optional
            Instead of a depth.
        budget : float, optional
            Instead of a depth: the part of full compute that may be used. It takes the deepest that keeps to it; where
            each depth has a head of its own, of those that the experiment decodes at.
        policy : str, optional
            What chooses the vector of the depth (default: the model's policy).
        seed : int
            Used by the policy "random".

        Raises
        ------
        DldError
            The network cannot run so, or the policy needs a gate table and the model has none.
        """
        blocks = self.num_blocks
        if gates is not None:
            if depth is not None or policy is not None or budget is not None:
                raise DldError("give either gates, or a depth or budget and the policy that chooses them")
            return parse_gates(gates, blocks) if isinstance(gates, str) else check_gates(gates, blocks)
        if budget is not None:
            if depth is not None:
                raise DldError("give either a depth or a budget")
            depth = self._depth_within(budget)
        depth = blocks if depth is None else check_depth(depth, blocks)
        if depth not in (trained := self.trained_depths()):
            names = ", ".join(map(str, trained))
            logger.warning("depth %d has a head of its own that may not be trained; take one of %s", depth, names)
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

    def trained_depths(self) -> list[int]:
        """Return every depth, or with a head for each those that the experiment decodes at: others are not trained."""
        return parse_depths(self.depths if self.has_exit_heads() else "all", self.num_blocks)

    def _depth_within(self, budget: float) -> int:
        """Return the deepest trained depth whose compute is at most a part of full depth's."""
        if wrong := complaint("budget", budget, Number(0, 1)):
            raise DldError(wrong)
        chosen = self.trained_depths()
        parts = {depth: part for depth, part in self.compute().items() if depth in chosen}
        least = min(parts, key=parts.__getitem__)
        if budget < parts[least]:
            raise DldError(
                f"budget is {budget:g}; depth {least} takes {parts[least]:.3f} of full compute, give at least that"
            )
        return max(depth for depth, part in parts.items() if part <= budget)

    def gate_table(self) -> GateTable | None:
        """Return the gate table stored with the model, None where none was searched yet; another model's is refused."""
        if self.folder is None or not (self.folder / GATE_TABLE).exists():
            return None
        return GateTable.load(self.folder / GATE_TABLE, self.num_blocks, self.state_sha256)

    def curve(self, gates: Sequence[bool]) -> Curve | None:
        """Return what calibrates confidences under a gate vector; None where `dld calibrate` did not fit it."""
        calibration = stored_calibration(self.folder, self.state_sha256)
        return None if calibration is None else calibration.curve(gates)

    def texts(self, logits: Sequence[np.ndarray], find: Find | None = None) -> list[str]:
        """Return the text of each utterance.

        Parameters
        ----------
        logits : list of array (frames, tokens)
            Under one gate vector.
        find : callable, optional
            A search, such as a `BeamSearch` (default: best-path decoding).
        """
        if find is not None:
            return find(logits)
        return [self.tokenizer.decode(greedy(rows)) for rows in logits]

    def search(self, search: Search, gates: Sequence[bool]) -> Find:
        """Return a `BeamSearch` with the weights of a gate vector."""
        from dld.decoding.beam import BeamSearch

        if not isinstance(search, Search):
            raise DldError(f"search is {shown(search)}; it must be a dld.Search, such as dld.Search(lm=FILE)")
        weights = self.lm_weights(search, gates)
        tokens = self.tokenizer.tokens()
        return BeamSearch(tokens, search.model, weights, search.beam, search.bonus(tokens))

    def lm_weights(self, search: Search, gates: Sequence[bool]) -> "Weights | None":
        """Return the `Weights` of a search's language model under a gate vector, None where it has no model.

        Raises
        ------
        DldError
            None were chosen for this model, or for these gates.
        """
        from dld.decoding.lm import Weights
        from dld.decoding.lm_weights import LmWeights

        stored = search.weights
        if search.model is None or isinstance(stored, Weights):
            return stored if isinstance(stored, Weights) else None
        if stored is None:
            if self.folder is None:
                raise DldError(f"{search.lm}: a language model needs weights; give the search some")
            stored = LmWeights.load(self.folder / LM_WEIGHTS)
        return stored.weights(search.model, self.state_sha256 or "", gates)

    def transcribe(
        self,
        audio: Audio | Iterable[Audio],
        *,
        depth: int | None = None,
        gates: Gates | None = None,
        budget: float | None = None,
        policy: str | None = None,
        sample_rate: int | None = None,
        search: Search | None = None,
        times: bool = False,
        batch_seconds: float = BATCH_SECONDS,
        window_seconds: float = WINDOW_SECONDS,
    ) -> str | list[str] | Transcript | list[Transcript]:
        """Return the text of a file or of samples; of a list, the list of their texts in its order.

        Audio of any length is taken, at the memory of a window where it is read from a file.

        Parameters
        ----------
        audio : path, array (samples,) or Tensor (samples,), or a list of those
            Samples are floating point, full scale 1. Files may be of any rate; commands (`… |`) are never run.
        depth, gates, budget, policy : optional
            What runs, see `gate_vector` (default: all blocks).
        sample_rate : int, optional
            Hz of the samples; files state theirs.
        search : Search, optional
            Beam search, with or without a language model (default: best-path decoding).
        times : bool
            Return a `Transcript` with times and confidences of words instead of a text.
        batch_seconds : float
            Utterances of similar duration run together; this is the longest batch, in seconds with padding.
        window_seconds : float
            Longer audio runs in windows of at most this length, joined at pauses; see `dld.recognition.windows`.

        Raises
        ------
        DldError
            A file cannot be read, or the model cannot run so; the message names it.
        """
        vector = self.gate_vector(depth=depth, gates=gates, budget=budget, policy=policy)
        find = None if search is None else self.search(search, vector)
        items, single = listed(audio)
        found: list[Any] = [None] * len(items)
        for index, transcript in self.transcribe_each(
            items,
            vector,
            sample_rate=sample_rate,
            find=find,
            times=times,
            batch_seconds=batch_seconds,
            window_seconds=window_seconds,
        ):
            if isinstance(transcript, DldError):
                raise transcript
            found[index] = transcript if times else transcript.text
        return found[0] if single else found

    def transcribe_each(
        self,
        audio: Sequence[Audio],
        gates: Sequence[bool],
        *,
        sample_rate: int | None = None,
        find: Find | None = None,
        times: bool = False,
        batch_seconds: float = BATCH_SECONDS,
        window_seconds: float = WINDOW_SECONDS,
        progress: Progress | None = None,
    ) -> Iterator[tuple[int, Transcript | DldError]]:
        """Yield index and transcript of each of a list as batches are done; of faulty audio, index and error.

        See `transcribe` for the parameters; `gates` is a gate vector, `find` a search as `texts` takes it, and
        `progress` is called with the seconds that are done and those in all. Audio that runs in windows comes last.
        """
        if wrong := complaint("window_seconds", window_seconds, Number(low=1)):
            raise DldError(wrong)
        longest = min(window_seconds, self.max_seconds or window_seconds)
        clips = Source(self.sample_rate, self.channel).clips(audio, sample_rate)
        curve = self.curve(gates) if times and find is None else None
        assembler = Assembler(self.tokenizer, self.frame_seconds, find, times, curve)
        good = {index: clip for index, clip in clips.items() if isinstance(clip, Clip)}
        yield from ((index, clip) for index, clip in clips.items() if isinstance(clip, DldError))
        done, total = 0.0, sum(clip.seconds for clip in good.values())
        whole = {index: clip for index, clip in good.items() if clip.seconds <= longest}
        for indices, logits in self._run_all(whole, [gates], batch_seconds):
            if isinstance(logits, DldError):
                yield from ((index, logits) for index in indices)
            else:
                found = assembler.parts([Segment(0, rows) for rows in logits[0]])
                yield from ((index, assembler.transcript([part])) for index, part in zip(indices, found, strict=True))
            done += sum(whole[index].seconds for index in indices)
            if progress:
                progress(done, total)
        for index in good.keys() - whole.keys():
            clip = good[index]
            parts: list[Part] = []
            try:
                for segment in self._segments(clip, gates, longest, batch_seconds):
                    parts += assembler.parts([segment])
                    if progress:
                        progress(done + segment.first * self.frame_seconds, total)
                yield index, assembler.transcript(parts)
            except DldError as error:
                yield index, error
            done += clip.seconds
            if progress:
                progress(done, total)

    def _segments(self, clip: Clip, gates: Sequence[bool], seconds: float, batch_seconds: float) -> Iterator[Segment]:
        """Yield the logits of a recording that is too long to run whole; `seconds` is the longest window."""
        return windows.segments(
            clip, self.frame_seconds, seconds, batch_seconds, lambda batch: self._run_if_it_fits(batch, [gates])
        )

    def stream(
        self,
        *,
        depth: int | None = None,
        gates: Gates | None = None,
        budget: float | None = None,
        policy: str | None = None,
    ) -> "Stream":
        """Return a `Stream` for one utterance that arrives in parts; `gate_vector` has the parameters.

        Raises
        ------
        DldError
            The model takes whole recordings alone: packs do, and networks without chunks.
        """
        return self._stream(self.gate_vector(depth=depth, gates=gates, budget=budget, policy=policy))

    def _stream(self, gates: Sequence[bool]) -> "Stream":
        raise DldError("a pack takes whole recordings; load the experiment folder that it was made of for a stream")

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
        several = isinstance(depth, Sequence) and not isinstance(depth, str), _is_list_of_vectors(gates)
        depths: list[Any] = list(depth) if isinstance(depth, Sequence) and several[0] else [depth]
        choices: list[Any] = list(gates) if gates is not None and several[1] else [gates]
        if not depths or not choices:
            raise DldError("log_probs needs at least one depth or gate vector")
        vectors = [self.gate_vector(depth=n, gates=g, policy=policy) for n in depths for g in choices]
        items, single = listed(audio)
        found: list[list[np.ndarray]] = [[] for _ in items]
        clips = Source(self.sample_rate, self.channel, self.max_seconds).clips(items, sample_rate)
        good = {index: clip for index, clip in clips.items() if isinstance(clip, Clip)}
        for fault in clips.values():
            if isinstance(fault, DldError):
                raise fault
        for indices, logits in self._run_all(good, vectors, batch_seconds):
            if isinstance(logits, DldError):
                raise logits
            for utterances in logits:
                for index, rows in zip(indices, utterances, strict=True):
                    found[index].append(log_softmax(rows))
        results = found if any(several) else [rows[0] for rows in found]
        return results[0] if single else results

    def _run_all(
        self, clips: Mapping[int, Clip], vectors: Sequence[Sequence[bool]], batch_seconds: float
    ) -> Iterator[tuple[list[int], list[list[np.ndarray]] | DldError]]:
        """Yield the indices and the logits of batches, and of what cannot be read, index and error."""
        if wrong := complaint("batch_seconds", batch_seconds, POSITIVE):
            raise DldError(wrong)
        for indices, waveforms in batches(clips, batch_seconds):
            if isinstance(waveforms, DldError):
                yield indices, waveforms
                continue
            logits = self._run_if_it_fits(waveforms, vectors)
            if logits is not None:
                yield indices, logits
                continue
            for index, waveform in zip(indices, waveforms, strict=True):
                alone = self._run_if_it_fits([waveform], vectors) if len(indices) > 1 else None
                fault = DldError(f"{clips[index].name}: not enough memory; cut it into shorter parts")
                yield [index], fault if alone is None else alone

    def _run_if_it_fits(
        self, waveforms: Sequence[np.ndarray], vectors: Sequence[Sequence[bool]]
    ) -> list[list[np.ndarray]] | None:
        """Return the logits of a batch, None where there is too little memory for it."""
        try:
            return self.logits(waveforms, vectors)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return None


def _is_list_of_vectors(gates: object) -> bool:
    """Return whether it is a list of gate vectors, and not one vector or none."""
    if gates is None or isinstance(gates, str) or not isinstance(gates, Iterable):
        return False
    return not all(np.ndim(gate) == 0 and not isinstance(gate, str) for gate in gates) or not list(gates)
