"""Training loops: SpeechBrain `Brain` subclasses for static networks, layer dropping and DLD.

What a system is comes from its YAML: the drop schedule, the objectives and the start. A subclass exists where the
training step itself differs.
"""

import json
import logging
import signal
import time
from collections import defaultdict
from typing import NamedTuple

import speechbrain as sb
import torch

from dld.ctc import ctc_loss, feasible_ctc_loss
from dld.data.dataset import unpack
from dld.decoding import greedy
from dld.errors import DldError
from dld.files import atomic_write
from dld.gates import Ramp, gates_for_depth, parse_depths
from dld.scoring import wer
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
from dld.training.objectives import blank_share, hidden_distance
from dld.training.stopping import Stopped, StopRequest
from dld.training.targets import Teacher

logger = logging.getLogger(__name__)

STUCK_EPOCHS = 2


class Predictions(NamedTuple):
    """What a forward pass hands to the objectives.

    Attributes
    ----------
    logits : list of Tensor (batch, frames, units)
        One for each gate vector.
    lengths : LongTensor (batch,)
        Valid frames.
    weights : list of float
        Share of each gate vector in the loss.
    hidden : list of Tensor (batch, frames, width) or None
        What the encoder gave, where a loss needs it.
    teacher, teacher_hidden : Tensor (batch, frames, …) or None
        The teacher's logits and its encoder's output.
    """

    logits: list
    lengths: torch.Tensor
    weights: list
    hidden: list | None = None
    teacher: torch.Tensor | None = None
    teacher_hidden: torch.Tensor | None = None


class StaticBrain(sb.Brain):
    """Trains a network with CTC, all gates open.

    Parameters
    ----------
    hparams : dict
        The values of an experiment file, see `dld.config.EXPERIMENT_KEYS`.
    tokenizer : Tokenizer
    run_opts : dict, optional
        SpeechBrain's run options: device, precision, noprogressbar …
    checkpointer : Checkpointer, optional

    Attributes
    ----------
    no_loss : set of str
        Dev utterances that are too short for their text: their CTC loss is infinite, and the dev loss is without them.
    """

    def __init__(self, hparams, tokenizer, run_opts=None, checkpointer=None):
        super().__init__(
            modules={"network": hparams["network"]},
            opt_class=hparams["optimizer"],
            hparams=hparams,
            run_opts=run_opts,
            checkpointer=checkpointer,
        )
        for name in ("speed_perturb", "spec_augment"):
            if hparams[name] is not None:
                hparams[name].to(self.device)
        self.tokenizer = tokenizer
        self.teacher = None
        self.progress = Progress()
        self.depths = parse_depths(hparams["valid_depths"], self.network.num_blocks)
        self.valid_gates = [gates_for_depth(hparams["eval_policy"], self.network.num_blocks, n) for n in self.depths]
        self.epoch = 0
        self.batch_ids = []
        self.no_loss = set()
        self.stop = StopRequest()
        self.stopping = False
        if checkpointer is not None:
            add_json(checkpointer, "progress", self.progress)
            checkpointer.add_recoverable(
                "random_state", RandomState(), custom_save_hook=RandomState.save, custom_load_hook=RandomState.load
            )

    @property
    def network(self):
        """The network itself, out of any distributed wrapper."""
        wrapped = self.modules["network"]
        return getattr(wrapped, "module", wrapped)

    # ------------------------------------------------------------ one step

    def training_gates(self):
        """Gate vectors of the next step, the share of each in the loss, and whether they share first blocks."""
        return [(True,) * self.network.num_blocks], [1.0], False

    def inputs(self, batch, stage):
        """Features of a batch: as they are, as the network sees them (augmented in training), and their lengths."""
        waveforms, lengths = unpack(batch.signal, self.device)
        training = stage == sb.Stage.TRAIN
        if training and self.hparams.speed_perturb is not None:
            waveforms, lengths = self.hparams.speed_perturb(waveforms, lengths)
        clean, frames = self.network.frontend(waveforms, lengths)
        augment = self.hparams.spec_augment if training and self.optimizer_step >= self.hparams.augment_after else None
        return clean, clean if augment is None else augment(clean, frames), frames

    def compute_forward(self, batch, stage):
        """Logits of a batch: under the step's gates in training, under each validation depth otherwise."""
        _, features, lengths = self.inputs(batch, stage)
        return self.run(features, lengths, stage)

    def run(self, features, lengths, stage, with_hidden=False):
        """`Predictions` of features under the step's gates."""
        if stage == sb.Stage.TRAIN:
            gates, weights, share_blocks = self.training_gates()
        else:
            gates, share_blocks = self.valid_gates, None
            weights = [1 / len(gates)] * len(gates)
        output = self.modules["network"](features, lengths, gates, share_blocks)
        return Predictions(output.logits, output.lengths, weights, output.hidden if with_hidden else None)

    def compute_objectives(self, predictions, batch, stage):
        """Weighted mean over the gate vectors of the losses; validation also collects hypotheses."""
        parts = defaultdict(float)
        for place, share in enumerate(predictions.weights):
            for name, (weight, value) in self.losses(place, predictions, batch, stage).items():
                parts["loss"] = parts["loss"] + share * weight * value
                parts[name] = parts[name] + share * value.detach()
        if stage == sb.Stage.TRAIN:
            for name, value in parts.items():
                self.progress.sums[name] += float(value.detach())
            self.progress.sums["batches"] += 1
        else:
            self.collect(predictions, batch)
        return parts["loss"]

    def losses(self, place, predictions, batch, stage):
        """Loss terms of the gate vector at a place of `predictions`, name → (weight, value)."""
        tokens, token_lengths = unpack(batch.tokens, self.device)
        logits = predictions.logits[place]
        value = ctc_loss(logits, predictions.lengths, tokens, token_lengths, self.network.blank)
        if stage != sb.Stage.TRAIN and value.isposinf():
            value, _ = feasible_ctc_loss(logits, predictions.lengths, tokens, token_lengths, self.network.blank)
        return {"ctc": (self.at_epoch(self.hparams.ctc_weight), value)}

    def at_epoch(self, value):
        """A number, or a `Ramp` at the present place of the run."""
        return value.at(self.epochs_done()) if isinstance(value, Ramp) else value

    def epochs_done(self):
        """Epochs gone by, with the fraction of the present one."""
        return self.epoch - 1 + min(1.0, self.step / max(1, self.batches))

    @property
    def processes(self):
        """Processes that train together."""
        return torch.distributed.get_world_size() if self.distributed_launch else 1

    def on_fit_start(self):
        """Load the newest checkpoint; a run resumes on as many processes as it began on."""
        super().on_fit_start()
        planned = self.progress.processes
        if planned != self.processes:
            raise DldError(
                f"{self.hparams.exp_dir}: this run began on {planned} process(es), and its batches and learning rates "
                f"are planned for that; resume it on {planned} instead of {self.processes} (--ngpu {planned}), or give "
                "another exp_dir"
            )

    @property
    def batches(self):
        """Training batches in this epoch."""
        return len(self.train_sampler)

    def collect(self, predictions, batch):
        """Keep hypotheses and references of a validation batch."""
        self.references += batch.words
        for rows, logits in zip(self.hypotheses, predictions.logits, strict=True):
            rows += [self.tokenizer.decode(ids) for ids in greedy(logits, predictions.lengths, self.network.blank)]
        self.blank_shares.append(blank_share(predictions.logits[-1], predictions.lengths, self.network.blank).item())

    # ------------------------------------------------------------ updates

    def init_optimizers(self):
        """One optimizer over the head and the encoder's groups, each with its share of the learning rate."""
        heads = [*self.network.head.parameters(), *self.network.exit_heads.parameters()]
        groups = [{"params": heads, "lr_scale": 1.0}]
        self.optimizer = self.opt_class(groups + self.network.encoder.parameter_groups())
        self.optimizers_dict = {"optimizer": self.optimizer}
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("optimizer", self.optimizer, load_state, save_state)

    def fit_batch(self, batch):
        """One batch; an update after `grad_accumulation_factor` of them and at the end of the epoch."""
        began = time.perf_counter()
        factor = self.grad_accumulation_factor
        last = self.step == self.batches
        should_step = self.step % factor == 0 or last
        # Every batch of the last, smaller group of an epoch divides by the number in it, not only the last batch.
        group = min(factor, self.batches - (self.step - 1) // factor * factor)
        self.batch_ids = list(batch.id)
        self.network.encoder.on_update(self.optimizer_step)
        with self.no_sync(not should_step):
            with self.training_ctx:
                loss = self.compute_objectives(self.compute_forward(batch, sb.Stage.TRAIN), batch, sb.Stage.TRAIN)
            self.check_loss_isfinite(loss)
            self.scaler.scale(loss / group).backward()
        if should_step:
            self.set_learning_rate()
            self.optimizers_step()
        self.progress.train_seconds += time.perf_counter() - began
        return loss.detach().cpu()

    def check_loss_isfinite(self, loss):
        """A loss that is NaN or infinite ends the run and names the utterances."""
        if not torch.isfinite(loss):
            ids = " ".join(self.batch_ids)
            raise DldError(
                f"the loss is {loss.item()} in epoch {self.epoch}, batch {self.step}; its utterances: {ids}. "
                "Look at their audio and text, or lower the learning rate"
            )

    def learning_rate(self, update):
        """Learning rate of an update, counted from 1."""
        return self.hparams.lr_schedule(update, self.progress.total_updates)

    def set_learning_rate(self):
        """Set the rate of the coming update in every parameter group, each group's scaled by its `lr_scale`."""
        rate = self.learning_rate(self.optimizer_step + 1)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]

    def optimizers_step(self):
        """Clip the gradients of all groups together and update; an update with a non-finite gradient is left out."""
        self.scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        if torch.isfinite(norm) or self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
            self.nonfinite_count = 0
        else:
            self.nonfinite_count += 1
            logger.warning(
                "gradient norm is %s, update left out; utterances: %s", norm.item(), " ".join(self.batch_ids)
            )
            if self.nonfinite_count > self.nonfinite_patience:
                raise DldError(
                    f"the gradient was not finite in {self.nonfinite_count} updates in a row; training stops"
                )
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer_step += 1

    # ------------------------------------------------------------ checkpoints

    def prune(self):
        """Delete the checkpoints that nothing needs any more."""
        sb.utils.distributed.run_on_main(self.checkpointer.prune, args=["mean_wer", self.hparams.average_checkpoints])

    def _should_save_intra_epoch_ckpt(self, last_ckpt_time, steps_since_ckpt):
        factor = self.grad_accumulation_factor
        if self.step % factor and self.step != self.batches:
            return False  # gradients that wait for an update are in no checkpoint
        requested = self.stop.requested is not None
        if self.distributed_launch:
            # Ranks learn of a signal at different steps; the first one decides for all, seldom enough to cost nothing.
            looked = self.step % (10 * factor) == 0 or self.step == self.batches
            decision = [requested and looked]
            if looked:
                torch.distributed.broadcast_object_list(decision, src=0)
            [requested] = decision
        self.stopping = requested
        return super()._should_save_intra_epoch_ckpt(last_ckpt_time, steps_since_ckpt) or requested

    def _save_intra_epoch_ckpt(self):
        self.checkpointer.save_checkpoint(
            end_of_epoch=False, meta={"within_epoch": self.epoch}, verbosity=logging.DEBUG
        )
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
        """Loss of a validation batch; where a signal asked for the end, save what was trained and stop."""
        if self.stop.requested is not None and not self.distributed_launch:
            self.save_before_validation()
        return super().evaluate_batch(batch, stage)

    # ------------------------------------------------------------ epochs

    def on_stage_start(self, stage, epoch=None):
        """Reset what the stage sums up."""
        if stage == sb.Stage.TRAIN:
            self.epoch = epoch
            if self.step == 0:  # otherwise the epoch began before the run was interrupted
                self.progress.sums.clear()
        else:
            self.random_before_validation = RandomState.capture()
            self.references, self.blank_shares = [], []
            self.hypotheses = [[] for _ in self.depths]

    def validation_wers(self):
        """WER in percent at each validation depth, of what `collect` kept."""
        return {str(n): wer(self.references, rows) for n, rows in zip(self.depths, self.hypotheses, strict=True)}

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """After validation: log the epoch, warn of a model that writes nothing, save a checkpoint."""
        if stage == sb.Stage.TRAIN:
            batches = max(1, self.progress.sums["batches"])
            sums = {name: value for name, value in self.progress.sums.items() if name != "batches"}
            self.train_means = {name: value / batches for name, value in sums.items()}
            return
        wers = self.validation_wers()
        entry = {
            "epoch": epoch,
            "updates": self.optimizer_step,
            "seconds": round(self.progress.train_seconds, 2),
            "lr": self.learning_rate(self.optimizer_step),
            "train_loss": self.train_means.pop("loss", None),
            **{f"train_{name}": value for name, value in self.train_means.items()},
            "valid_loss": float(stage_loss) if len(self.references) > len(self.no_loss) else None,
            **({"without_loss": len(self.no_loss)} if self.no_loss else {}),
            "wer": wers,
            "mean_wer": sum(wers.values()) / len(wers),
            "blank_share": sum(self.blank_shares) / len(self.blank_shares),
            "empty_share": sum(not text for text in self.hypotheses[-1]) / len(self.references),
        }
        self.progress.history.append(entry)
        self.warn_if_stuck()
        if sb.utils.distributed.if_main_process():
            self.write_log()
        logger.info(format_entry(entry, self.hparams.num_epochs))
        if self.checkpointer is not None:
            self.checkpointer.save_checkpoint(meta={"epoch": epoch, "mean_wer": entry["mean_wer"]})
            self.prune()

    def warn_if_stuck(self):
        """Say what helps when the deepest network still writes (almost) nothing after some epochs."""
        recent = self.progress.history[-STUCK_EPOCHS:]
        if len(recent) == STUCK_EPOCHS and all(entry["empty_share"] > 0.9 for entry in recent):
            logger.warning(
                "the model is stuck on blanks: %.0f %% of the dev hypotheses are empty and %.0f %% of the frames blank "
                "after %d updates. CTC leaves this plateau with shorter batches (max_batch_seconds), more updates, a "
                "smaller vocabulary, or another peak learning rate",
                100 * recent[-1]["empty_share"],
                100 * recent[-1]["blank_share"],
                self.optimizer_step,
            )

    def write_log(self):
        """Write `train_log.txt` and `train_log.jsonl` from the history, so that a resumed run repeats no line."""
        folder = self.hparams.exp_dir
        with atomic_write(f"{folder}/train_log.txt") as text, atomic_write(f"{folder}/train_log.jsonl") as lines:
            for entry in self.progress.history:
                text.write(format_entry(entry, self.hparams.num_epochs) + "\n")
                lines.write(json.dumps(entry) + "\n")

    # ------------------------------------------------------------ the end

    def average_best(self, valid_loader, number):
        """Load the mean of the best checkpoints, or the best one where that has the lower mean WER on dev.

        Returns
        -------
        dict
            epochs (that went in), wer, mean_wer.
        """
        checkpoints = whole(best_checkpoints(self.checkpointer, "mean_wer", number))
        if not checkpoints:
            raise DldError(f"{self.checkpointer.checkpoints_dir}: none of the best checkpoints is whole, see above")
        states = [torch.load(c.paramfiles["network"], map_location="cpu", weights_only=True) for c in checkpoints]
        best = checkpoints[0].meta
        wers = self.measure(average_states(states), valid_loader)
        mean = sum(wers.values()) / len(wers)
        epochs = sorted(c.meta["epoch"] for c in checkpoints)
        logger.info(
            "mean of epochs %s: dev WER %.2f %%; epoch %d alone: %.2f %%", epochs, mean, best["epoch"], best["mean_wer"]
        )
        if mean > best["mean_wer"]:
            epochs = [best["epoch"]]
            wers = self.measure(states[0], valid_loader)
            mean = sum(wers.values()) / len(wers)
        return {"epochs": epochs, "wer": wers, "mean_wer": mean}

    def measure(self, state, loader):
        """Load a state dict and return its WER on a dev loader at each validation depth."""
        self.network.load_state_dict(state)
        self.modules.eval()
        self.on_stage_start(sb.Stage.VALID)
        for batch in loader:
            self.evaluate_batch(batch, sb.Stage.VALID)
        return self.validation_wers()


def format_entry(entry, num_epochs):
    """One line on an epoch."""
    loss = "none" if entry["valid_loss"] is None else f"{entry['valid_loss']:.3f}"
    if entry.get("without_loss"):
        loss += f" (without {entry['without_loss']} utterances that are too short for their text)"
    wers = " ".join(f"n{n} {value:.1f}" for n, value in entry["wer"].items())
    parts = " ".join(f"{name[6:]} {entry[name]:.3f}" for name in entry if name.startswith("train_") and entry[name])
    return (
        f"epoch {entry['epoch']}/{num_epochs} | {entry['updates']} updates, {entry['seconds']:.0f} s | "
        f"lr {entry['lr']:.2e} | train {parts} | dev loss {loss} | "
        f"dev WER % {wers} mean {entry['mean_wer']:.2f}"
    )


class LayerDropBrain(StaticBrain):
    """Trains a dynamic network with CTC under gates that a drop schedule draws (LD: random layer dropping)."""

    def __init__(self, hparams, tokenizer, run_opts=None, checkpointer=None):
        super().__init__(hparams, tokenizer, run_opts, checkpointer)
        self.schedule = hparams["schedule"]
        if self.schedule is None or self.schedule.num_blocks != self.network.num_blocks:
            raise DldError(
                f"the drop schedule is for {getattr(self.schedule, 'num_blocks', 'no')} blocks, "
                f"the encoder has {self.network.num_blocks}"
            )
        if checkpointer is not None:
            add_json(checkpointer, "schedule", self.schedule)

    def training_gates(self):
        """What the schedule draws for this step."""
        self.schedule.set_epoch(self.epochs_done())
        return *self.schedule.draw_weighted(), self.schedule.shares_blocks


class _DistillingBrain(LayerDropBrain):
    """Adds to CTC what pulls a dynamic network towards the teacher in its predictions."""

    def losses(self, place, predictions, batch, stage):
        """CTC, and in training the divergence to the teacher and, where it has a weight, the hidden distance."""
        terms = super().losses(place, predictions, batch, stage)
        if stage == sb.Stage.TRAIN:
            value = self.hparams.distillation(predictions.logits[place], predictions.teacher, predictions.lengths)
            terms["kd"] = (self.at_epoch(self.hparams.kd_weight), value)
            if self.hparams.hidden_weight:
                value = hidden_distance(predictions.hidden[place], predictions.teacher_hidden, predictions.lengths)
                terms["hidden"] = (self.at_epoch(self.hparams.hidden_weight), value)
        return terms


class DistillBrain(_DistillingBrain):
    """Trains a dynamic student with CTC and the divergence to a frozen teacher (DLD, arXiv 2601.16117).

    `L = ctc_weight · L_CTC + kd_weight · L_KL`, with `L_KL = T² · KL(teacher ‖ student)` as in
    `dld.training.objectives.MaskedKL`; the teacher runs at full depth. With a `hidden_weight` the mean squared
    difference of the two encoders' outputs is added.
    """

    def __init__(self, hparams, tokenizer, run_opts=None, checkpointer=None):
        super().__init__(hparams, tokenizer, run_opts, checkpointer)
        if hparams["teacher_input"] not in ("augmented", "clean"):
            raise DldError(f"teacher_input must be augmented or clean, got {hparams['teacher_input']!r}")
        if hparams["teacher_memory"] and (hparams["teacher_input"] != "clean" or hparams["speed_perturb"] is not None):
            raise DldError("teacher_memory needs teacher_input: clean and no speed_perturb, which moves the frames")
        if not hparams["teacher"]:
            raise DldError(f"{type(self).__name__} needs a teacher: the folder of a trained static network")
        # Building the teacher draws random numbers; the student's run must not depend on that.
        with torch.random.fork_rng():
            self.teacher = Teacher(hparams["teacher"], tokenizer, self.device)

    def compute_forward(self, batch, stage):
        """What the student gives and, in training, the teacher."""
        if stage != sb.Stage.TRAIN:
            return super().compute_forward(batch, stage)
        clean, features, lengths = self.inputs(batch, stage)
        if self.hparams.teacher_memory:
            logits, *hidden = self.teacher.recall(batch.id, self.device)
        else:
            heard = clean if self.hparams.teacher_input == "clean" else features
            logits, *hidden, _ = self.teacher.outputs(heard, lengths)
        predictions = self.run(features, lengths, stage, with_hidden=bool(self.hparams.hidden_weight))
        return predictions._replace(teacher=logits, teacher_hidden=hidden[0] if hidden else None)

    def average_best(self, valid_loader, number):
        """As for every system; before, make sure that the teacher is what it was."""
        self.teacher.check_unchanged()
        return super().average_best(valid_loader, number)


class SelfDistillBrain(_DistillingBrain):
    """Trains a dynamic network whose full depth teaches the others in the same step, without a separate teacher.

    The schedule must draw the full network in every step, as `Sandwich` does (sandwich rule and in-place distillation:
    US-Nets, ICCV 2019; with CTC: arXiv 2406.07909). The loss is that of DLD with the full network's predictions, no
    gradient through them, in the teacher's place; for the full network itself the divergence and its gradient are zero.
    """

    def training_gates(self):
        """What the schedule draws for this step, the full network first."""
        vectors, *rest = super().training_gates()
        if vectors[0] != (True,) * self.network.num_blocks:
            raise DldError(
                f"{type(self.schedule).__name__} drew a step that does not begin with the full network, the teacher "
                f"in {type(self).__name__}; take a schedule such as dld.gates.Sandwich"
            )
        return vectors, *rest

    def run(self, features, lengths, stage, with_hidden=False):
        """`Predictions` with those of the full network in the teacher's place."""
        predictions = super().run(features, lengths, stage, with_hidden=bool(self.hparams.hidden_weight))
        hidden = predictions.hidden[0].detach() if predictions.hidden else None
        return predictions._replace(teacher=predictions.logits[0].detach(), teacher_hidden=hidden)
