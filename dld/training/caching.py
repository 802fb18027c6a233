"""Fill the caches of a teacher's posteriors before training, once for all runs that share the teacher and the data."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import speechbrain as sb
import torch

from dld.data.batching import sorted_batches
from dld.data.dataset import make_dataset, make_loader
from dld.data.fingerprint import fingerprint
from dld.data.kaldi import Utterance
from dld.distributed import first_decides, processes, rank
from dld.files import InUse, alone_in
from dld.training.posteriors import Contents, PosteriorCache

if TYPE_CHECKING:
    from dld.training.brain import DynamicBrain

logger = logging.getLogger(__name__)

#: Seconds between two looks at a cache that another training fills.
LOOK = 2.0


def fill_caches(brain: DynamicBrain, values: dict[str, Any], utterances: Sequence[Utterance]) -> None:
    """Complete the caches that a run reads, one for each speed, and open them; every process fills its part.

    Parameters
    ----------
    brain : DynamicBrain
        Its soft targets are a `FrozenTeacher` with a cache.
    values : dict
        The values of an experiment file.
    utterances : list of Utterance
        Those that are trained on.
    """
    began = time.perf_counter()
    source = brain.soft_targets
    speeds = sorted(set(values["speed_perturb"].speeds)) if values["speed_perturb"] is not None else [1.0]
    data = _data_hash(values, utterances)
    # A run must see the same random numbers whether it fills a cache or finds it.
    with torch.random.fork_rng(devices=[]):
        for speed in speeds:
            cache = PosteriorCache(source.cache_folder, contents_of(brain, values, data, speed), utterances)
            with _claimed(cache) as missing:
                for number in (missing or [])[rank() :: processes()]:
                    loader = _loader(cache.shards[number], values)
                    shard = f"the teacher at speed {speed:g}, shard {number + 1} of {len(cache.shards)}"
                    brain.watch.lines.begin(shard, len(loader))
                    cache.write(number, brain.teacher_outputs(loader, speed))
                sb.utils.distributed.ddp_barrier()
                if missing is not None and rank() == 0:
                    cache.finish()
            sb.utils.distributed.ddp_barrier()
            cache.open()
            source.caches[speed] = cache
            logger.info("%s: posteriors at speed %g, %.1f MB", cache.folder, speed, cache.nbytes / 1e6)
    # From here on it only has to be compared with its hash at the end.
    source.to("cpu")
    brain.progress.train_seconds += time.perf_counter() - began


def contents_of(brain: DynamicBrain, values: dict[str, Any], data: str, speed: float) -> Contents:
    """Return what the cache of a run for one speed depends on; `data` is the hash of utterances and audio."""
    source, objectives = brain.soft_targets, brain.objectives.values()
    temperatures = [o.divergence.temperature for o in objectives if hasattr(o, "divergence")]
    network = source.network
    return Contents(
        teacher=source.sha256,
        network=source.settings_sha256,
        data=data,
        speed=float(speed),
        precision=values["precision"],
        vocab_size=network.vocab_size,
        # With one token less than there are, the rest is the last one.
        top_k=min(source.top_k, network.vocab_size - 1),
        temperature=float(temperatures[0]) if temperatures else 1.0,
        width=network.encoder.output_size if any(o.needs_hidden for o in objectives) else 0,
    )


def _data_hash(values: dict[str, Any], utterances: Sequence[Utterance]) -> str:
    """Return a hash of what of the data changes the teacher's output: not texts and not paths."""
    print_ = fingerprint(list(utterances))
    parts = [print_.ids, print_.spans, print_.audio, values["sample_rate"], values["channel"]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _loader(shard: list[Utterance], values: dict[str, Any]) -> Any:
    dataset = make_dataset(shard, sample_rate=values["sample_rate"], channel=values["channel"])
    batches = sorted_batches([u.duration or 0.0 for u in shard], max_batch_seconds=values["eval_batch_seconds"])
    return make_loader(dataset, batches, values["num_workers"])


@contextlib.contextmanager
def _claimed(cache: PosteriorCache) -> Iterator[list[int] | None]:
    """Yield what `cache.missing()` says, in all processes the same, and keep other trainings from filling it too."""
    with contextlib.ExitStack() as stack:
        # A cache that is complete is only read, so it may be on a disk without the right to write.
        missing = first_decides(cache.missing() if rank() == 0 else None)
        if missing is not None:
            waited = False
            while not first_decides(rank() != 0 or _locked(cache, stack, waited)):
                waited = True
                time.sleep(LOOK)
            if waited:
                missing = first_decides(cache.missing() if rank() == 0 else None)
        yield missing


def _locked(cache: PosteriorCache, stack: contextlib.ExitStack, waited: bool) -> bool:
    try:
        stack.enter_context(alone_in(cache.folder, "teacher_cache"))
    except InUse as error:
        if not waited:
            logger.info("%s; waiting for the posteriors that it computes", str(error).partition(";")[0])
        return False
    return True
