"""The training loop: updates, learning rate, checkpoints, the log. Nothing in it is specific to speech.

SpeechBrain's `Brain` runs the epochs. `Engine` replaces what it does in an update, so that gradients of all parameter
groups are clipped together, the last batches of an epoch make an update too, and one look at the device per update
finds losses and gradients that are not finite; and it resumes a run exactly.
"""

from __future__ import annotations

import json
import logging
import math
import signal
import time
from typing import Any, NamedTuple

import speechbrain as sb
import torch
from torch import Tensor

from dld.distributed import first_decides, processes
from dld.errors import DldError
from dld.files import atomic_write
from dld.training.checkpoints import (
    Progress,
    RandomState,
    add_json,
    average_states,
    best_checkpoints,
    load_state,
    save_state,
    whole,
)
from dld.training.metrics import running_mean
from dld.training.stopping import Stopped, StopRequest
from dld.training.watch import Position, Watch

logger = logging.getLogger(__name__)


class Batch(NamedTuple):
    """What is kept of a batch until its update."""

    ids: list[str]
    values: dict[str, Tensor]
    notes: dict[str, float]
    work: float


class Engine(sb.Brain):
    """A SpeechBrain `Brain` that trains one network.

    A subclass computes losses (`compute_forward`, `compute_objectives`), adds the values to log of each batch to
    `progress.means`, and measures (`reset_scores`, `scores`, `describe`).

    Parameters
    ----------
    network : Module
    hparams : dict
        The values of an experiment file, see `dld.config.EXPERIMENT_KEYS`.
    run_opts : dict, optional
        SpeechBrain's run options: device, precision, noprogressbar …
    checkpointer : Checkpointer, optional
    stop : StopRequest, optional
        Looked at where the work can be saved.

    Attributes
    ----------
    criterion : str
        Which of `scores()` chooses checkpoints; small is good.
    progress : Progress
    epoch : int
        From 1.
    watch : Watch
        Says how far the run is. By default it is silent.
    notes : dict of str to float
        What is a curve in addition to the losses; of the present batch, known without waiting for the device.
    """

    criterion = "loss"

    def __init__(self, network, hparams, run_opts=None, checkpointer=None, stop=None):
        super().__init__(
            modules={"network": network},
            opt_class=hparams["optimizer"],
            hparams=hparams,
            # SpeechBrain would read the key of the experiment file and compile the whole network.
            run_opts={**(run_opts or {}), "compile": False},
            checkpointer=checkpointer,
        )
        self.progress = Progress()
        self.stop = StopRequest() if stop is None else stop
        self.stopping = False
        self.epoch = 0
        self.pending: list[Batch] = []
        self.notes: dict[str, float] = {}
        self.watch = Watch()
        self.dev_batches = 0
        self.dev_losses: list[Tensor] = []
        self.random_state = RandomState()
        if checkpointer is not None:
            add_json(checkpointer, "progress", self.progress)
            checkpointer.add_recoverable(
                "random_state", self.random_state, custom_save_hook=RandomState.save, custom_load_hook=RandomState.load
            )

    @property
    def network(self) -> Any:
        """The network itself, out of any distributed wrapper."""
        wrapped = self.modules["network"]
        return getattr(wrapped, "module", wrapped)

    @property
    def batches(self) -> int:
        """Training batches in this epoch."""
        return len(self.train_sampler)

    def epochs_done(self) -> float:
        """Return the epochs gone by, with the fraction of the present one."""
        return self.epoch - 1 + min(1.0, self.step / max(1, self.batches))

    # ------------------------------------------------------------ for subclasses

    def work(self, batch) -> float:
        """Return how much work a batch is, in the unit of `watch`."""
        return float(len(batch.id))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's groups, each with its factor on the learning rate, `lr_scale`."""
        return [{"params": list(self.network.parameters()), "lr_scale": 1.0}]

    def reset_scores(self) -> None:
        """Forget what `evaluate_batch` collected for `scores`."""

    def scores(self) -> dict[str, Any]:
        """Return the results of the evaluation of a dev set, `criterion` among them."""
        raise NotImplementedError

    def describe(self, entry: dict[str, Any]) -> str:
        """Return one line on an epoch, from its entry of the log."""
        return json.dumps(entry)

    # ------------------------------------------------------------ a run

    def fit(self, epochs, train_loader, valid_loader) -> None:
        """Train from where the newest checkpoint is; a signal that asks for the end is followed where work is saved."""
        self.train_sampler = train_loader.batch_sampler
        updates = -(-self.batches // self.grad_accumulation_factor)
        self.planned_updates = self.progress.total_updates = updates * self.hparams.num_epochs
        self.progress.processes = processes()
        self.dev_batches = len(valid_loader)
        with self.stop.deferred():
            super().fit(epochs, train_loader, valid_loader)
        self.stop.raise_if_requested()

    def on_fit_start(self):
        """Load the newest checkpoint; a run resumes on as many processes as it began on."""
        super().on_fit_start()
        planned = self.progress.processes
        if planned != processes():
            raise DldError(
                f"{self.hparams.exp_dir}: this run began on {planned} process(es), and its batches and learning rates "
                f"are planned for that; resume it on {planned} instead of {processes()} (--ngpu {planned}), or give "
                "another exp_dir"
            )
        if sb.utils.distributed.if_main_process() and self.progress.history:
            self.write_log()  # what was killed after a checkpoint may not have written its line
        self.follow_plan()

    def follow_plan(self):
        """Let the learning rate of a run that resumes follow the number of epochs that it has now."""
        before, self.progress.total_updates = self.progress.total_updates, self.planned_updates
        if before != self.planned_updates:
            update = self.optimizer_step + 1
            was, rate = (self.hparams.lr_schedule(update, total) for total in (before, self.planned_updates))
            logger.info(
                "the learning rate follows the schedule of %d updates from here, no longer of %d: %.2e instead of %.2e",
                *(self.planned_updates, before, rate, was),
            )

    def init_optimizers(self):
        """Make one optimizer over all parameter groups."""
        self.optimizer = self.opt_class(self.parameter_groups())
        self.optimizers_dict = {"optimizer": self.optimizer}
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("optimizer", self.optimizer, load_state, save_state)

    # ------------------------------------------------------------ one update

    def fit_batch(self, batch) -> Tensor:
        """Train on a batch, with an update after `grad_accumulation_factor` of them and at the end of the epoch."""
        began = time.perf_counter()
        factor = self.grad_accumulation_factor
        should_step = self.step % factor == 0 or self.step == self.batches
        # Every batch of the last, smaller group of an epoch divides by the number in it, not only the last batch.
        group = min(factor, self.batches - (self.step - 1) // factor * factor)
        self.on_fit_batch_start(batch, should_step)
        with self.no_sync(not should_step):
            with self.training_ctx:
                loss = self.compute_objectives(self.compute_forward(batch, sb.Stage.TRAIN), batch, sb.Stage.TRAIN)
            self.scaler.scale(loss / group).backward()
        values = {**self.progress.means.latest, "loss": loss.detach()}
        self.pending.append(Batch(list(batch.id), values, self.notes, self.work(batch)))
        if should_step:
            self.set_learning_rate()
            self.optimizers_step()
        self.progress.train_seconds += time.perf_counter() - began
        return loss.detach()

    def learning_rate(self, update: int) -> float:
        """Return the learning rate of an update, counted from 1."""
        return self.hparams.lr_schedule(update, self.progress.total_updates)

    def set_learning_rate(self):
        """Set the rate of the coming update in every parameter group."""
        rate = self.learning_rate(self.optimizer_step + 1)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]

    def optimizers_step(self):
        """Clip the gradients of all groups together and update; an update with a non-finite gradient is left out."""
        self.scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        pending, self.pending = self.pending, []
        # The only step of an update that waits for the device.
        values = [value for batch in pending for value in batch.values.values()]
        *numbers, norm = torch.stack([value.float() for value in (*values, norm)]).tolist()
        read = iter(numbers)
        seen = [{name: next(read) for name in batch.values} for batch in pending]
        self.check_losses([batch.ids for batch in pending], [values["loss"] for values in seen])
        if math.isfinite(norm) or self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
            self.nonfinite_count = 0
        else:
            self.leave_out(norm, [name for batch in pending for name in batch.ids])
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer_step += 1
        work = sum(batch.work for batch in pending) * processes()
        self.watch.updated(self.position(), seen, [batch.notes for batch in pending], work)

    def position(self) -> Position:
        """Return where the run is, after an update."""
        left = -(-(self.batches - self.step) // self.grad_accumulation_factor)
        counts = self.optimizer_step, self.progress.total_updates
        return Position(self.epoch, self.hparams.num_epochs, *counts, left, self.learning_rate(self.optimizer_step))

    def check_losses(self, ids: list[list[str]], losses: list[float]) -> None:
        """End the run at a loss that is NaN or infinite, and name its utterances."""
        for step, (names, loss) in enumerate(zip(ids, losses, strict=True), self.step - len(losses) + 1):
            if not math.isfinite(loss):
                raise DldError(
                    f"the loss is {loss} in epoch {self.epoch}, batch {step}; its utterances: {' '.join(names)}. "
                    "Look at their audio and text, or lower the learning rate"
                )
            self.avg_train_loss += (loss - self.avg_train_loss) / step

    def leave_out(self, norm: float, ids: list[str]) -> None:
        """Warn of an update without effect; too many in a row end the run."""
        self.nonfinite_count += 1
        logger.warning("gradient norm is %s, update left out; utterances: %s", norm, " ".join(ids))
        if self.nonfinite_count > self.nonfinite_patience:
            raise DldError(f"the gradient was not finite in {self.nonfinite_count} updates in a row; training stops")

    def update_average(self, loss, avg_loss):
        """Return the mean as it is; it is computed without waiting for the device in each batch."""
        return avg_loss

    # ------------------------------------------------------------ checkpoints

    def prune(self):
        """Delete the checkpoints that nothing needs any more."""
        sb.utils.distributed.run_on_main(
            self.checkpointer.prune, args=[self.criterion, self.hparams.average_checkpoints]
        )

    def _should_save_intra_epoch_ckpt(self, last_ckpt_time, steps_since_ckpt):
        factor = self.grad_accumulation_factor
        if self.step % factor and self.step != self.batches:
            return False  # gradients that wait for an update are in no checkpoint
        self.stopping = self.stop.requested is not None
        if processes() > 1:
            # Ranks learn of a signal at different steps; the first one decides for all, seldom enough to cost nothing.
            looked = self.step % (10 * factor) == 0 or self.step == self.batches
            self.stopping = looked and first_decides(self.stopping)
        return super()._should_save_intra_epoch_ckpt(last_ckpt_time, steps_since_ckpt) or self.stopping

    def _save_intra_epoch_ckpt(self):
        self.progress.means.share()
        self.random_state.share()
        self.watch.flush()
        meta = {"within_epoch": self.epoch, "updates": self.optimizer_step}
        self.checkpointer.save_checkpoint(end_of_epoch=False, meta=meta, verbosity=logging.DEBUG)
        self.prune()
        if self.stopping:
            where = f"after update {self.optimizer_step}, in epoch {self.epoch}; it is saved"
            raise Stopped(self.stop.requested or signal.SIGTERM, where)

    def save_before_validation(self):
        """Save the state after the last batch of the epoch, and stop; a resumed run begins with the validation."""
        self.step, self.stopping = self.batches, True
        # Beginning to iterate over the dev set draws from the global generator.
        RandomState.restore(self.random_before_validation)
        self._save_intra_epoch_ckpt()

    def evaluate_batch(self, batch, stage):
        """Return the loss of a validation batch; after a signal, save what was trained and stop."""
        if self.stop.requested is not None and processes() == 1:
            self.save_before_validation()
        loss = super().evaluate_batch(batch, stage)
        self.dev_losses.append(loss)
        self.watch.lines.step()
        return loss

    # ------------------------------------------------------------ epochs

    def on_stage_start(self, stage, epoch=None):
        """Reset what the stage sums up."""
        if stage == sb.Stage.TRAIN:
            self.epoch = epoch
            if self.step == 0:  # otherwise the epoch began before the run was interrupted
                self.progress.means.reset()
            self.watch.begin_training()
        else:
            task = f"epoch {epoch}/{self.hparams.num_epochs}, dev" if epoch else "the final weights on dev"
            self.watch.lines.begin(task, self.dev_batches)
            self.random_before_validation = RandomState.capture()
            self.dev_losses = []
            self.reset_scores()

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Save a checkpoint after validation, then log the epoch: a line that is there is of work that is safe."""
        if stage == sb.Stage.TRAIN:
            self.watch.write_point()
            return
        self.watch.validation_seconds = self.watch.lines.seconds
        means = self.progress.means.compute()
        entry = {
            "epoch": epoch,
            "updates": self.optimizer_step,
            "seconds": round(self.progress.train_seconds, 2),
            "lr": self.learning_rate(self.optimizer_step),
            "train_loss": means.pop("loss", None),
            **{f"train_{name}": value for name, value in means.items()},
            "valid_loss": running_mean(self.dev_losses),
            **self.scores(),
        }
        self.progress.history.append(entry)
        self.watch.validated(entry)
        if self.checkpointer is not None:
            meta = {"epoch": epoch, "updates": self.optimizer_step, self.criterion: entry[self.criterion]}
            self.random_state.share()
            self.checkpointer.save_checkpoint(meta=meta)
            self.prune()
        if sb.utils.distributed.if_main_process():
            self.write_log()
        logger.info("%s%s", self.describe(entry), self.watch.left_after_epoch())

    def write_log(self):
        """Write `train_log.txt` and `train_log.jsonl` from the history, so that a resumed run repeats no line."""
        folder = self.hparams.exp_dir
        with atomic_write(f"{folder}/train_log.txt") as text, atomic_write(f"{folder}/train_log.jsonl") as lines:
            for entry in self.progress.history:
                text.write(self.describe(entry) + "\n")
                lines.write(json.dumps(entry) + "\n")

    # ------------------------------------------------------------ the end

    def average_best(self, valid_loader, number: int) -> tuple[list[int], dict[str, Any]]:
        """Load the mean of the best checkpoints, or the best one where that is better on dev.

        Returns
        -------
        epochs : list of int
            Those that went in.
        scores : dict
            Scores of the network that is loaded.
        """
        checkpoints = whole(best_checkpoints(self.checkpointer, self.criterion, number))
        if not checkpoints:
            raise DldError(f"{self.checkpointer.checkpoints_dir}: none of the best checkpoints is whole, see above")
        states = [torch.load(c.paramfiles["network"], map_location="cpu", weights_only=True) for c in checkpoints]
        best, epochs = checkpoints[0].meta, sorted(c.meta["epoch"] for c in checkpoints)
        scores = self.measure(average_states(states), valid_loader)
        mean, alone = scores[self.criterion], best[self.criterion]
        each = ", ".join(f"{c.meta['epoch']} ({c.meta[self.criterion]:.2f})" for c in checkpoints)
        if mean > alone:
            reason = f"{self.criterion} {alone:.2f} on dev is better than {mean:.2f} of the mean of epochs {each}"
            logger.info("kept epoch %d alone: %s", best["epoch"], reason)
            return [best["epoch"]], self.measure(states[0], valid_loader)
        if len(checkpoints) == 1:
            logger.info("kept epoch %d, the best on dev: %s %.2f", best["epoch"], self.criterion, alone)
        else:
            reason = f"{self.criterion} {mean:.2f} on dev is not worse than {alone:.2f} of epoch {best['epoch']} alone"
            logger.info("kept the mean of epochs %s: %s", each, reason)
        return epochs, scores

    @torch.no_grad()
    def measure(self, state: dict[str, Tensor], loader) -> dict[str, Any]:
        """Load a state dict and return its scores on a dev loader."""
        self.network.load_state_dict(state)
        self.modules.eval()
        self.on_stage_start(sb.Stage.VALID)
        for batch in loader:
            self.evaluate_batch(batch, sb.Stage.VALID)
        return self.scores()
