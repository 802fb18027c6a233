"""One training run, from an experiment file to the final model."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any, NamedTuple

import speechbrain as sb
import torch
from speechbrain.utils.epoch_loop import EpochCounter

from dld.config import Config
from dld.data import kaldi
from dld.data.dataset import (
    EpochBatchSampler,
    evaluation_loader,
    make_batch_sampler,
    make_dataset,
    make_loader,
    select_for_training,
    unpack,
)
from dld.data.feasibility import check_evaluation
from dld.data.tokenizer import Tokenizer
from dld.distributed import shard
from dld.errors import DldError, describe_os_error
from dld.experiment import load_start
from dld.files import alone_in, writable_folder
from dld.progress import spell
from dld.training.auto_batch import BatchSizes, batch_sizes, refuse_cpu
from dld.training.brain import DynamicBrain
from dld.training.caching import fill_caches
from dld.training.checkpoints import WholeCheckpointer, epochs_begun, load_state, save_state
from dld.training.compiling import compile_blocks
from dld.training.curves import open_curves
from dld.training.folder import CHECKPOINTS, begin, save_model, sources, trained_epochs
from dld.training.opening import describe_start
from dld.training.preconditions import check_run
from dld.training.stopping import StopRequest
from dld.training.watch import Watch

logger = logging.getLogger(__name__)

CMVN_UTTERANCES = 2000


def train(config: Config, run_opts: dict[str, Any] | None = None, restart: bool = False, finish: bool = False) -> Path:
    """Train what an experiment file describes, resuming from the last checkpoint where there is one.

    A run whose number of epochs was raised continues from its last checkpoint, also when it was finished; its model
    stays until the new one is written.

    Parameters
    ----------
    config : Config
    run_opts : dict, optional
        SpeechBrain's run options.
    restart : bool
        Train again from scratch, removing what an earlier run left in `exp_dir`.
    finish : bool
        Train no further: make a model of the checkpoints that a run which was stopped has. Its `model.json` says so,
        and the run can be resumed later.

    Returns
    -------
    Path
        The experiment folder, with `model.safetensors` and `model.json` in it.
    """
    values = config.values
    if restart and finish:
        raise DldError("give either restart or finish: one begins again, the other keeps what is there")
    check_run(values, config.path)
    folder = writable_folder(values["exp_dir"])
    tokenizer = Tokenizer.load(values["lang_dir"])
    size = values["network"].vocab_size
    if size != len(tokenizer):
        raise DldError(
            f"vocab_size is {size}, the tokenizer in {values['lang_dir']} has {len(tokenizer)} tokens; "
            "set vocab_size to that, or make the tokenizer again (stage 3)"
        )
    # Two trainings in one folder would write over each other's checkpoints.
    hold = alone_in(folder) if sb.utils.distributed.if_main_process() else contextlib.nullcontext()
    with StopRequest().listening() as stop, hold:
        _train_in(folder, config, tokenizer, run_opts, restart, finish, stop)
    return folder


def _train_in(folder, config, tokenizer, run_opts, restart, finish, stop):
    values = config.values
    utterances, dev_utterances = kaldi.load(values["train_data"]), kaldi.load(values["dev_data"])
    if finish and not epochs_begun(folder / CHECKPOINTS):
        raise DldError(f"{folder}: no checkpoint there to make a model of; train it first, without --finish true")
    if sb.utils.distributed.if_main_process():
        begin(config, sources(values, tokenizer, utterances, dev_utterances), restart)
    sb.utils.distributed.ddp_barrier()
    done = trained_epochs(folder)
    if done is not None and done >= values["num_epochs"]:
        logger.info(
            "%s is trained already, %d epochs; a larger num_epochs continues it, --restart true trains it again",
            *(folder, done),
        )
        return

    checkpointer = WholeCheckpointer(folder / CHECKPOINTS)
    checkpointer.add_recoverable("network", values["network"], load_state, save_state)
    epochs = EpochCounter(0 if finish else values["num_epochs"])
    checkpointer.add_recoverable("counter", epochs)
    sb.utils.distributed.run_on_main(checkpointer.sweep)
    newest = checkpointer.find_checkpoint()
    fresh = newest is None
    if fresh:
        load_first_weights(values, tokenizer)
    if values["soft_targets"] is not None:
        values["soft_targets"].load(tokenizer)
    data = Data.load(values, tokenizer, utterances, dev_utterances)
    brain = values.get("brain", DynamicBrain)(values, tokenizer, run_opts, checkpointer, stop, data.without_loss)
    if values.get("auto_batch") and not finish:
        refuse_cpu(brain.device)
    if values.get("compile"):
        compile_blocks(values["network"].encoder, brain.device)
    for line in describe_start(values, data, brain.device, newest):
        logger.info("%s", line)
    with _watch(brain, folder, values, newest):
        if fresh:
            prepare_front_end(values, data, brain.device)
        if brain.soft_targets is not None and brain.soft_targets.cache and not finish:
            fill_caches(brain, values, data.utterances)
        if values.get("auto_batch") and not finish:
            brain.train_sampler = data.sampler
            data = data.resized(batch_sizes(brain, data.sampler, data.train.dataset, folder, fresh), values)
        checkpointer.add_recoverable("dataloader-TRAIN", data.train)
        brain.fit(epochs, data.train, data.dev)
        _finish(folder, values, brain, data.dev)


@contextlib.contextmanager
def _watch(brain, folder, values, newest):
    """Let the first process say how far the run is, and draw its curves."""
    if not sb.utils.distributed.if_main_process():
        yield
        return
    done = 0 if newest is None else newest.meta.get("updates")
    curves = open_curves(values.get("logger"), folder, values, done)
    # A progress bar says the same, and lines would break it.
    interval = values.get("log_interval", 0) if brain.noprogressbar else 0
    brain.watch = Watch(interval, curves, "s of audio")
    try:
        yield
    finally:
        if curves is not None:
            curves.close()


def load_first_weights(values: dict[str, Any], tokenizer: Tokenizer) -> None:
    """Load the weights that a run starts from, where it does not start from scratch."""
    if values["init_from"]:
        load_start(values["network"], values["init_from"], tokenizer)
    elif values.get("pretrained"):
        values["network"].encoder.load_pretrained(values["pretrained"])


class Data(NamedTuple):
    """What a run trains and validates on.

    Attributes
    ----------
    utterances : list of Utterance
        Those to train on.
    dev_utterances : list of Utterance
    sampler : EpochBatchSampler
        Of the training batches of all processes.
    train, dev : DataLoader
    without_loss : list of str
        Ids of dev utterances that are too short for their text.
    """

    utterances: list
    dev_utterances: list
    sampler: EpochBatchSampler
    train: torch.utils.data.DataLoader
    dev: torch.utils.data.DataLoader
    without_loss: list[str]

    @classmethod
    def load(cls, values, tokenizer, utterances, dev_utterances) -> Data:
        """Leave out what cannot be trained on, and make the loaders."""
        limits = training_limits(values)
        utterances, _ = select_for_training(utterances, tokenizer, **limits)
        train_set = make_dataset(utterances, tokenizer, **_audio(values), keep=True)
        sampler = make_batch_sampler(train_set, values["max_batch_seconds"], values["seed"])
        train = _train_loader(train_set, sampler, values)
        without_loss = check_evaluation(
            *(dev_utterances, tokenizer, limits["frames_per_second"], limits["overlap"]),
            max_seconds=values["network"].encoder.max_seconds,
            name="dev_data",
        )
        dev_set = make_dataset(dev_utterances, tokenizer, **_audio(values), keep=True)
        dev = evaluation_loader(dev_set, values["eval_batch_seconds"], deal=True)
        return cls(utterances, dev_utterances, sampler, train, dev, list(without_loss))

    def resized(self, sizes: BatchSizes, values: dict[str, Any]) -> Data:
        """Return the same with training batches of other sizes."""
        sizes.apply(self.sampler)
        train = _train_loader(self.train.dataset, self.sampler, values)
        logger.info("auto_batch: an epoch has %d batches", len(train.batch_sampler))
        return self._replace(train=train)


def _train_loader(dataset, sampler, values):
    # A generator of the loader's own: making an iterator then draws nothing from the global one, so that a run
    # resumed in the middle of an epoch sees the random numbers of one that was never interrupted.
    own = torch.Generator().manual_seed(values["seed"])
    return make_loader(dataset, shard(sampler), values["num_workers"], generator=own)


def _audio(values):
    return {"sample_rate": values["sample_rate"], "channel": values["channel"]}


def training_limits(values: dict[str, Any]) -> dict[str, Any]:
    """Return what a training utterance must satisfy, for `select_for_training`."""
    network, speed = values["network"], values["speed_perturb"]
    return {
        "frames_per_second": values["sample_rate"] / (network.frontend.hop * network.encoder.subsampling),
        "overlap": network.encoder.overlap / network.encoder.subsampling,
        "min_duration": values["min_duration"],
        "max_duration": values["max_duration"],
        "max_speed": speed.fastest if speed is not None else 1.0,
    }


def prepare_front_end(values: dict[str, Any], data: Data, device: str) -> None:
    """Set the statistics of a normalisation that needs them: the teacher's, or else of training data, evenly spread."""
    frontend, source = values["network"].frontend, values["soft_targets"]
    teacher = source and source.frontend
    if frontend.needs_statistics:
        if teacher is not None:
            frontend.load_state_dict(teacher.state_dict())
        else:
            sample = make_dataset(kaldi.spread(data.utterances, CMVN_UTTERANCES), **_audio(values))
            batches = evaluation_loader(sample, values["eval_batch_seconds"])
            frontend.estimate_statistics(unpack(batch.signal, device) for batch in batches)
    if teacher is not None:
        source.check_front_end(frontend)


def _finish(folder, values, brain, dev_loader):
    source = brain.soft_targets
    if source is not None:
        source.check_unchanged()
    if not brain.progress.history:
        raise DldError(f"{folder}: no epoch is finished, so that there is no model to make; resume the training")
    averaged, scores = brain.average_best(dev_loader, values["average_checkpoints"])
    last = brain.progress.history[-1]
    about = {
        "system": values["system"],
        "seed": values["seed"],
        "updates": last["updates"],
        "train_seconds": round(last["seconds"], 1),
        "epochs": last["epoch"],
        "num_epochs": values["num_epochs"],
        "averaged_epochs": averaged,
        "dev_wer": scores["wer"],
        "teacher_sha256": source and source.sha256,
    }
    try:
        sb.utils.distributed.run_on_main(save_model, args=[folder, brain.network, about])
    except OSError as error:
        raise DldError(
            f"{describe_os_error(error)}; the training is done and its checkpoints are safe in {folder / CHECKPOINTS}, "
            "the same command finishes the model"
        ) from error
    wers = " ".join(f"n{n} {value:.1f}" for n, value in scores["wer"].items())
    trained = f"{about['updates']} updates in {spell(about['train_seconds'])}"
    logger.info("%s is trained: %s, dev WER %% %s", folder, trained, wers)
