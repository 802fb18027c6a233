"""One training run, from an experiment file to the final model."""

import contextlib
import logging
import time

import speechbrain as sb
import torch
from speechbrain.utils.epoch_loop import EpochCounter

from dld.data import kaldi
from dld.data.dataset import (
    evaluation_loader,
    make_batch_sampler,
    make_dataset,
    make_loader,
    select_for_training,
    unpack,
)
from dld.data.feasibility import check_evaluation
from dld.data.tokenizer import Tokenizer
from dld.errors import DldError, describe_os_error
from dld.experiment import ABOUT, load_start
from dld.files import alone_in, writable_folder
from dld.training.checkpoints import WholeCheckpointer, load_state, save_state
from dld.training.folder import CHECKPOINTS, begin, save_model, sources
from dld.training.preconditions import check_run
from dld.training.stopping import StopRequest

logger = logging.getLogger(__name__)

CMVN_UTTERANCES = 2000


def train(config, run_opts=None, restart=False):
    """Train what an experiment file describes, resuming from the last checkpoint where there is one.

    Parameters
    ----------
    config : Config
    run_opts : dict, optional
        SpeechBrain's run options.
    restart : bool
        Train again from scratch, removing what an earlier run left in `exp_dir`.

    Returns
    -------
    Path
        The experiment folder, with `model.safetensors` and `model.json` in it.
    """
    values = config.values
    check_run(values, config.path)
    folder = writable_folder(values["exp_dir"])
    tokenizer = Tokenizer.load(values["lang_dir"])
    size = values["network"].vocab_size
    if size != len(tokenizer):
        raise DldError(
            f"vocab_size is {size}, the tokenizer in {values['lang_dir']} has {len(tokenizer)} units; "
            "set vocab_size to that, or make the tokenizer again (stage 3)"
        )
    # Two trainings in one folder would write over each other's checkpoints.
    hold = alone_in(folder) if sb.utils.distributed.if_main_process() else contextlib.nullcontext()
    with StopRequest().listening() as stop, hold:
        _train_in(folder, config, tokenizer, run_opts, restart, stop)
    return folder


def _train_in(folder, config, tokenizer, run_opts, restart, stop):
    values = config.values
    network = values["network"]
    all_utterances, dev_utterances = kaldi.load(values["train_data"]), kaldi.load(values["dev_data"])
    if sb.utils.distributed.if_main_process():
        begin(config, sources(values, tokenizer, all_utterances, dev_utterances), restart)
    sb.utils.distributed.ddp_barrier()
    if (folder / ABOUT).exists():
        logger.info("%s is trained already; --restart true begins it anew", folder)
        return

    checkpointer = WholeCheckpointer(folder / CHECKPOINTS)
    checkpointer.add_recoverable("network", network, load_state, save_state)
    counter = EpochCounter(values["num_epochs"])
    checkpointer.add_recoverable("counter", counter)
    sb.utils.distributed.run_on_main(checkpointer.sweep)
    fresh = checkpointer.find_checkpoint() is None
    if fresh and values["init_from"]:
        load_start(network, values["init_from"], tokenizer)
    elif fresh and values.get("pretrained"):
        network.encoder.load_pretrained(values["pretrained"])
    brain = values["brain"](values, tokenizer, run_opts, checkpointer)
    brain.stop = stop

    audio = {"sample_rate": values["sample_rate"], "channel": values["channel"]}
    limits = training_limits(values)
    utterances, _ = select_for_training(all_utterances, tokenizer, **limits)
    train_set = make_dataset(utterances, tokenizer, **audio)
    sampler = make_batch_sampler(train_set, values["max_batch_seconds"], values["seed"])
    # A generator of the loader's own: making an iterator then draws nothing from the global one, so that a run resumed
    # in the middle of an epoch sees the random numbers of one that was never interrupted.
    train_loader = make_loader(
        train_set,
        # SpeechBrain's share of the batches for this process, where there are several.
        brain.make_dataloader(train_set, sb.Stage.TRAIN, ckpt_prefix=None, batch_sampler=sampler).batch_sampler,
        values["num_workers"],
        generator=torch.Generator().manual_seed(values["seed"]),
    )
    checkpointer.add_recoverable("dataloader-TRAIN", train_loader)
    if brain.train_sampler is None:
        brain.train_sampler = sampler
    dev_limits = {name: limits[name] for name in ("frames_per_second", "overlap")}
    longest = network.encoder.max_seconds
    brain.no_loss = set(check_evaluation(dev_utterances, tokenizer, **dev_limits, max_seconds=longest, name="dev_data"))
    dev_loader = evaluation_loader(make_dataset(dev_utterances, tokenizer, **audio), values["eval_batch_seconds"])

    if fresh:
        prepare_front_end(brain, utterances, audio, values["eval_batch_seconds"])
        updates = -(-len(brain.train_sampler) // brain.grad_accumulation_factor)
        brain.progress.total_updates = updates * values["num_epochs"]
        brain.progress.processes = brain.processes
    if brain.teacher is not None and values["teacher_memory"]:
        remember(brain, train_set, values["eval_batch_seconds"])
    with stop.deferred():
        brain.fit(counter, train_loader, dev_loader)
    stop.raise_if_requested()
    result = brain.average_best(dev_loader, values["average_checkpoints"])
    about = {
        "system": values["system"],
        "seed": values["seed"],
        "updates": brain.optimizer_step,
        "train_seconds": round(brain.progress.train_seconds, 1),
        "averaged_epochs": result["epochs"],
        "dev_wer": result["wer"],
        "teacher_sha256": brain.teacher and brain.teacher.sha256,
    }
    try:
        sb.utils.distributed.run_on_main(save_model, args=[folder, brain.network, about])
    except OSError as error:
        raise DldError(
            f"{describe_os_error(error)}; the training is done and its checkpoints are safe in {folder / CHECKPOINTS}, "
            "the same command finishes the model"
        ) from error


def prepare_front_end(brain, utterances, audio, batch_seconds):
    """Give a normalisation that needs statistics those of the teacher, or else of training data, evenly spread."""
    frontend, teacher = brain.network.frontend, brain.teacher
    if frontend.needs_statistics:
        if teacher is not None:
            frontend.load_state_dict(teacher.network.frontend.state_dict())
        else:
            sample = make_dataset(kaldi.spread(utterances, CMVN_UTTERANCES), **audio)
            batches = evaluation_loader(sample, batch_seconds)
            frontend.estimate_statistics(unpack(batch.signal, brain.device) for batch in batches)
    if teacher is not None:
        teacher.check_front_end(frontend)


def remember(brain, train_set, batch_seconds):
    """Let the teacher go through the training data once, in the precision of training.

    Its order is one that a resumed run repeats.
    """
    began = time.perf_counter()
    loader = evaluation_loader(train_set, batch_seconds)
    with brain.training_ctx:
        brain.teacher.remember(
            ((batch.id, *unpack(batch.signal, brain.device)) for batch in loader), bool(brain.hparams.hidden_weight)
        )
    brain.progress.train_seconds += time.perf_counter() - began
    logger.info("the teacher went through %d utterances in %.0f s", len(train_set), time.perf_counter() - began)


def training_limits(values):
    """What a training utterance must satisfy, for `select_for_training`."""
    network, speed = values["network"], values["speed_perturb"]
    frontend = network.frontend
    return {
        "frames_per_second": values["sample_rate"] / (frontend.hop * network.encoder.subsampling),
        "overlap": network.encoder.overlap / network.encoder.subsampling,
        "min_duration": values["min_duration"],
        "max_duration": values["max_duration"],
        "max_speed": speed.fastest if speed is not None else 1.0,
    }
