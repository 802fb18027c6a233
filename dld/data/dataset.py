"""From a Kaldi data directory to padded batches: SpeechBrain datasets, batch samplers and loaders."""

import functools
import logging
import math
import signal
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from speechbrain.dataio.batch import PaddedBatch, PaddedData
from speechbrain.dataio.dataloader import SaveableDataLoader
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.dataio.sampler import DynamicBatchSampler

from dld.data import kaldi
from dld.data.audio import read_audio
from dld.data.batching import sorted_batches
from dld.data.feasibility import frames_needed
from dld.distributed import dealt
from dld.errors import DldError, worker_died

logger = logging.getLogger(__name__)

#: Bytes of decoded audio that a training keeps, so that it decodes a small corpus once and not in every epoch: 1.1 h.
KEPT_BYTES = 2**28


def make_dataset(
    data,
    tokenizer=None,
    sample_rate=16000,
    channel=None,
    min_duration=None,
    max_duration=None,
    max_utterances=None,
    keep=False,
):
    """Make a SpeechBrain dataset straight from a data directory; audio is read when an item is.

    Nothing is left out unless an argument says so, and what is left out is logged with its number and reason.

    Parameters
    ----------
    data : str, Path, or list of Utterance
        A data directory, or utterances from one (`select_for_training`).
    tokenizer : Tokenizer, optional
        Makes `tokens`; the directory must then have `text`.
    sample_rate : int
        Hz of `signal`.
    channel : int, optional
        See `dld.data.audio.read_audio`.
    min_duration, max_duration : float, optional
        Seconds; leave out what is shorter or longer. Only for training data.
    max_utterances : int, optional
        Take this many, evenly spread; for quick runs.
    keep : bool
        Keep decoded audio in memory if all of it is at most `KEPT_BYTES`, for a dataset that is gone through often.
        Worker processes of a loader keep nothing.

    Returns
    -------
    DynamicItemDataset
        Items `id`, `signal` (float32 tensor, (samples,)), `duration` (seconds), `words` (str, "" without `text`), and
        `tokens` (int64 tensor, (tokens,)) if there is a tokenizer.

    Raises
    ------
    DldError
        The directory is faulty, a text has characters outside the tokenizer (the message names id and
        characters), or nothing is left.
    """
    if isinstance(data, list):
        where, utterances = "dataset", data
    else:
        need = ("wav.scp", "utt2spk", "utt2dur") + (("text",) if tokenizer is not None else ())
        where, utterances = str(data), kaldi.load(data, need)
    utterances, dropped = _split_by_duration(utterances, min_duration, max_duration)
    _log_counts(where, len(utterances), dropped)
    if max_utterances is not None and max_utterances < len(utterances):
        logger.info("%s: %d of %d utterances are used (max_utterances)", where, max_utterances, len(utterances))
        utterances = kaldi.spread(utterances, max_utterances)
    if not utterances:
        raise DldError(f"{where}: no utterances left; check the duration limits")
    items = {}
    for u in utterances:
        items[u.id] = {
            "source": (u.recording, u.start, u.end),
            "duration": u.duration,
            "words": u.text or "",
        }
        if tokenizer is not None:
            # Encoded now: a character without a token must not stop the training in the middle of an epoch.
            items[u.id]["token_ids"] = np.asarray(_encode(tokenizer, u), dtype=np.int32)
    size = sum(u.duration for u in utterances) * sample_rate * torch.float32.itemsize
    kept = {} if keep and size <= KEPT_BYTES else None
    read = functools.partial(_read_signal, sample_rate=sample_rate, channel=channel, kept=kept)
    pipeline = [{"func": read, "takes": ["source", "id"], "provides": "signal"}]
    keys = ["id", "signal", "duration", "words"]
    if tokenizer is not None:
        pipeline.append({"func": _as_long, "takes": ["token_ids"], "provides": "tokens"})
        keys.append("tokens")
    return DynamicItemDataset(items, pipeline, keys)


def select_for_training(
    utterances, tokenizer, frames_per_second=25.0, min_duration=None, max_duration=None, max_speed=1.1, overlap=0.0
):
    """Leave out what cannot be trained on; log how many, and why.

    CTC needs a frame for every token, and a blank between equal neighbours. An utterance with fewer frames than
    that has an infinite loss, also if only its fastest speed perturbation has.

    Parameters
    ----------
    utterances : list of Utterance
    tokenizer : Tokenizer
    frames_per_second : float
        Frame rate of the encoder's output: 25 for 10 ms frames subsampled by 4.
    min_duration, max_duration : float, optional
        Seconds.
    max_speed : float
        The greatest factor of the speed perturbation; 1 without any.
    overlap : float
        Frames by which an utterance has fewer, where a frame of the encoder sees more than its own part of the input.

    Returns
    -------
    kept : list of Utterance
    dropped : dict of str to list of str
        Ids by reason; `kept` and `dropped` together are all of `utterances`.

    Raises
    ------
    DldError
        A text is missing or has characters outside the tokenizer, or nothing is kept.

    Examples
    --------
    >>> from dld.data.kaldi import Utterance
    >>> from dld.data.tokenizer import train
    >>> tokenizer = train(["aa bb"], getfixture("tmp_path"), model_type="char")
    >>> fast = Utterance("a-1", "a", "aa bb", "a.wav", duration=0.2)  # 4 frames for _aa_bb and two blanks
    >>> slow = Utterance("a-2", "a", "aa bb", "b.wav", duration=2.0)
    >>> kept, dropped = select_for_training([fast, slow], tokenizer)
    >>> [u.id for u in kept], dropped
    (['a-2'], {'too short for its text (CTC)': ['a-1']})
    """
    within, dropped = _split_by_duration(utterances, min_duration, max_duration)
    kept, infeasible = [], []
    for u in within:
        needed = frames_needed(_encode(tokenizer, u))
        frames = math.floor(u.duration / max_speed * frames_per_second - overlap)
        if frames < needed:
            infeasible.append(u.id)
        else:
            kept.append(u)
    if infeasible:
        dropped["too short for its text (CTC)"] = infeasible
    _log_counts("training data", len(kept), dropped)
    if not kept:
        raise DldError(f"no training utterances left of {len(utterances)}; check the duration limits")
    return kept, dropped


class Loader(SaveableDataLoader):
    """SpeechBrain's loader, whose worker processes pass a `DldError` on as it is, without their traceback."""

    def __iter__(self):
        """Return an iterator over the batches that raises the workers' faults as they are."""
        # Made now, not at the first batch: SpeechBrain asks the loader for its iterator when it saves a checkpoint.
        return _raise_faults(super().__iter__())


@dataclass(frozen=True)
class _Fault:
    """A `DldError` on its way from a worker, in the position of what could not be loaded."""

    message: str


def _raise_faults(batches):
    try:
        for batch in batches:
            if isinstance(batch, _Fault):
                raise DldError(batch.message)
            yield batch
    except RuntimeError as error:
        died = worker_died(error)
        if died is None:
            raise
        raise died from None
    finally:
        # Left to the garbage collector, workers may miss the message to end, and are waited for 5 s each.
        getattr(batches, "_shutdown_workers", lambda: None)()


def _collate(examples):
    fault = next((e["signal"] for e in examples if isinstance(e["signal"], _Fault)), None)
    if fault is not None:
        return fault
    batch = PaddedBatch(examples)
    if torch.utils.data.get_worker_info() is not None:
        try:
            _share(batch, examples[0])
        except RuntimeError as error:
            return _Fault(
                f"a process that loads data has no shared memory (/dev/shm) for a batch: {str(error).splitlines()[0]}; "
                "use fewer of them (--num_workers), or give them more"
            )
    return batch


def _share(batch, keys):
    """Put tensors into shared memory now: on their way to the main process a failure would leave it waiting forever."""
    for value in (getattr(batch, key) for key in keys):
        if isinstance(value, PaddedData):
            for tensor in value:
                tensor.share_memory_()


class EpochBatchSampler(DynamicBatchSampler):
    """SpeechBrain's batches by duration, in an order that depends only on seed and epoch.

    The parent draws again at the end of each pass, so that its order also depends on how often it has been
    iterated, and an interrupted training would resume with other batches than an uninterrupted one. Call
    `set_epoch` before every epoch (a `Brain` does so for its `train_sampler`).
    """

    def __iter__(self):
        """Iterate over the batches, the same in every epoch."""
        return iter(list(self._batches))

    @property
    def boundaries(self) -> list[float]:
        """The longest utterance of each bucket, in seconds, ascending."""
        return self._bucket_boundaries.tolist()

    def longest(self) -> list[int]:
        """Return the index of the longest utterance of each bucket."""
        seconds = [self._ex_lengths[str(index)] for index in range(len(self._ex_lengths))]
        return [seconds.index(boundary) for boundary in self.boundaries]

    def set_sizes(self, utterances: Sequence[int]) -> None:
        """Set the number of utterances in a batch of each bucket, whatever their seconds come to."""
        # An utterance is never longer than the last boundary.
        self._bucket_lens = [*utterances, 1]
        self._generate_batches()


def make_batch_sampler(dataset, max_batch_seconds, seed, num_buckets=None, shuffle=True, max_batch_utterances=None):
    """Group utterances of similar duration into batches of limited padded length.

    Parameters
    ----------
    dataset : DynamicItemDataset
        As `make_dataset` makes it.
    max_batch_seconds : float
        Number of utterances times the longest, in seconds. An utterance that is longer is a batch of its own.
    seed : int
        With the epoch (`set_epoch`) it decides the batches and their order.
    num_buckets : int, optional
        Groups of equally many utterances; batches are drawn within a group. More means less padding and less mixing,
        and up to one unfilled batch per group. By default one per five batches, at least 1 and at most 20.
    shuffle : bool
        Draw utterances and batches in random order.
    max_batch_utterances : int, optional

    Returns
    -------
    EpochBatchSampler
    """
    if max_batch_seconds <= 0:
        raise DldError(f"max_batch_seconds is {max_batch_seconds}; it must be positive")
    durations = np.array([dataset.data[key]["duration"] for key in dataset.data_ids])
    if num_buckets is None:
        num_buckets = int(np.clip(durations.sum() / max_batch_seconds / 5, 1, 20))
    boundaries = np.unique(np.quantile(durations, np.arange(1, num_buckets + 1) / num_buckets, method="higher"))
    return EpochBatchSampler(
        dataset,
        max_batch_length=max_batch_seconds,
        bucket_boundaries=boundaries.tolist(),
        lengths_list=durations.tolist(),
        shuffle=shuffle,
        batch_ordering="random" if shuffle else "ascending",
        max_batch_ex=max_batch_utterances,
        seed=seed,
    )


def make_loader(dataset, batch_sampler, num_workers=0, pin_memory=False, generator=None):
    """Load padded batches; a checkpoint saves the position in the epoch.

    A `DldError` is the same with and without workers, and a worker that is killed raises one too.

    Parameters
    ----------
    dataset : DynamicItemDataset
    batch_sampler : EpochBatchSampler, or list of list of int
        From `make_batch_sampler` or `sorted_batches`.
    num_workers : int
        Processes that read audio; 0 reads in this one.
    pin_memory : bool
        Speeds up copies to a GPU.
    generator : torch.Generator, optional
        What an iterator draws from, instead of the global one.

    Returns
    -------
    Loader
        Yields `PaddedBatch`: `batch.signal.data` (batch, samples), `batch.signal.lengths` (batch,) relative to the
        longest, `batch.tokens` in the same way, `batch.id` and `batch.words` lists.
    """
    return Loader(
        dataset,
        batch_sampler=batch_sampler,
        collate_fn=_collate,
        num_workers=num_workers,
        pin_memory=pin_memory,
        generator=generator,
        worker_init_fn=_ignore_signals if num_workers else None,
    )


def _ignore_signals(_):
    """Leave signals that a whole process group gets, as from Ctrl-C or a cluster, to the process that can save."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def evaluation_loader(dataset, max_batch_seconds=None, batch_size=None, deal=False):
    """Return a loader of a dataset in `sorted_batches`, for validation and decoding.

    Parameters
    ----------
    dataset : DynamicItemDataset
    max_batch_seconds, batch_size
        See `sorted_batches`.
    deal : bool
        Of several processes that work together, load the batches of this one (`dld.distributed.dealt`).
    """
    durations = [dataset.data[key]["duration"] for key in dataset.data_ids]
    batches = sorted_batches(durations, batch_size, max_batch_seconds)
    return make_loader(dataset, dealt(batches) if deal else batches)


def unpack(padded, device="cpu"):
    """Return data and absolute lengths of one field of a batch.

    Parameters
    ----------
    padded : PaddedData
        `batch.signal` or `batch.tokens`, whose `lengths` are relative to the longest.
    device : str

    Returns
    -------
    data : Tensor (batch, steps)
    lengths : LongTensor (batch,)
    """
    data = padded.data.to(device)
    return data, (padded.lengths.to(device) * data.shape[1]).round().long()


def _read_signal(source, utterance, sample_rate, channel, kept=None):
    if kept and utterance in kept:
        return kept[utterance].clone()
    recording, start, end = source
    try:
        samples = read_audio(recording, start, end, sample_rate, channel, utterance)
    except DldError as error:
        if torch.utils.data.get_worker_info() is None:
            raise
        return _Fault(str(error))
    signal = torch.from_numpy(samples)
    if kept is not None and torch.utils.data.get_worker_info() is None:
        kept[utterance] = signal.clone()
    return signal


def _as_long(tokens):
    return torch.from_numpy(tokens.astype(np.int64))


def _encode(tokenizer, utterance):
    if utterance.text is None:
        raise DldError(f"utterance {utterance.id}: no text to make tokens of; the data directory needs `text`")
    return tokenizer.encode(utterance.text, utterance.id)


def _split_by_duration(utterances, low, high):
    """Return the utterances within the limits, and the ids of the others by reason."""
    kept, dropped = [], {}
    for u in utterances:
        if low is not None and u.duration < low:
            dropped.setdefault(f"shorter than {low:g} s", []).append(u.id)
        elif high is not None and u.duration > high:
            dropped.setdefault(f"longer than {high:g} s", []).append(u.id)
        else:
            kept.append(u)
    return kept, dropped


def _log_counts(where, kept, dropped):
    if dropped:
        total = kept + sum(map(len, dropped.values()))
        reasons = "; ".join(f"{len(ids)} {reason} (first: {ids[0]})" for reason, ids in dropped.items())
        logger.info("%s: %d of %d utterances kept; left out: %s", where, kept, total, reasons)
