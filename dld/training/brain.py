"""One update of a dynamic speech network, as the papers state it.

What a system is, its experiment file composes: the drop schedule, the objectives with their weights, the source of soft
targets, the start. A static network is one whose schedule always draws all blocks.
"""

from __future__ import annotations

import logging
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import speechbrain as sb
import torch
from torch import Tensor

from dld.data.dataset import unpack
from dld.gates import Draw, gates_for_depth, parse_depths, value_at
from dld.network import Output
from dld.padding import unpadded
from dld.recognition.eager import EagerRecognizer
from dld.training.checkpoints import add_json
from dld.training.engine import Engine
from dld.training.metrics import WordErrors, mean_in_order
from dld.training.objectives import LossInput, SoftTarget, blank_share
from dld.training.targets import Inputs

logger = logging.getLogger(__name__)

STUCK_EPOCHS = 2


class Predictions(NamedTuple):
    """Results of a forward pass that the objectives need.

    Attributes
    ----------
    output : Output
        Output of the network under each gate vector.
    weights : list of float
        Weight of each gate vector in the loss.
    target : SoftTarget or None
        Soft targets of the student; None in validation.
    """

    output: Output
    weights: list[float]
    target: SoftTarget | None


class DynamicBrain(Engine):
    """Train a network under gate vectors that a schedule draws.

    `L = Σ_g w_g Σ_k λ_k L_k`, over the gate vectors g of the step and the objectives k. With the objectives CTC and
    SoftTargets and a frozen teacher that is DLD, `L = L_CTC + λ L_KLD` (arXiv 2601.16117).

    Parameters
    ----------
    hparams : dict
        The values of an experiment file, see `dld.config.EXPERIMENT_KEYS`.
        Its soft targets, where there are any, have been loaded.
    tokenizer : Tokenizer
    run_opts, checkpointer, stop
        As in `Engine`.
    without_loss : iterable of str
        Dev utterances that are too short for their text: their CTC loss is infinite, and the dev loss is without them.
    """

    criterion = "mean_wer"

    def __init__(self, hparams, tokenizer, run_opts=None, checkpointer=None, stop=None, without_loss=()):
        super().__init__(hparams["network"], hparams, run_opts, checkpointer, stop)
        audio = {"sample_rate": hparams["sample_rate"], "channel": hparams["channel"]}
        self.recognizer = EagerRecognizer(self.network, tokenizer, **audio)
        self.without_loss = set(without_loss)
        self.schedule = hparams["schedule"]
        self.objectives = hparams["objectives"]
        self.soft_targets = hparams["soft_targets"]
        for name in ("speed_perturb", "spec_augment"):
            if hparams[name] is not None:
                hparams[name].to(self.device)
        if self.soft_targets is not None:
            self.soft_targets.to(self.device)
        if checkpointer is not None:
            add_json(checkpointer, "schedule", self.schedule)
        depths = parse_depths(hparams["valid_depths"], self.network.num_blocks)
        gates = [gates_for_depth(hparams["eval_policy"], self.network.num_blocks, n) for n in depths]
        self.valid_draw = Draw.even(gates, share_prefix=None)
        self.word_errors = WordErrors(depths)
        self.blanks: list[Tensor] = []

    # ------------------------------------------------------------ one step

    def compute_forward(self, batch, stage, draw: Draw | None = None, speed: float | None = None) -> Predictions:
        """Run a batch under the step's gates in training, under each validation depth otherwise.

        `draw` and `speed` are drawn unless they are given.
        """
        training = stage == sb.Stage.TRAIN
        inputs = self.inputs(batch, training, speed)
        draw = draw or (self.draw() if training else self.valid_draw)
        # Processes may have different numbers of dev batches, and the wrapper in which they train needs equal ones.
        network = self.modules["network"] if training else self.network
        output = network(inputs.features, inputs.lengths, draw.vectors, draw.share_prefix)
        target = self.soft_targets(batch.id, inputs, draw, output) if training and self.soft_targets else None
        return Predictions(output, draw.weights, target)

    def compute_objectives(self, predictions: Predictions, batch, stage) -> Tensor:
        """Return the weighted sum of the losses; validation also collects hypotheses."""
        training = stage == sb.Stage.TRAIN
        (logits, lengths, hidden), weights, target = predictions
        tokens, token_lengths = unpack(batch.tokens, self.device)
        blank = self.network.blank
        terms: dict[str, Any] = defaultdict(float)
        for index, weight in enumerate(weights):
            x = LossInput(logits[index], hidden[index], lengths, tokens, token_lengths, blank, target, training)
            for name, objective in self.objectives.items():
                if objective.needs_target and target is None:
                    continue
                loss = objective(x)
                terms["loss"] = terms["loss"] + weight * value_at(objective.weight, self.epochs_done()) * loss
                terms[name] = terms[name] + weight * loss.detach()
        if training:
            self.progress.means.add(terms)
        else:
            self.collect(predictions.output, batch)
        return terms["loss"]

    def inputs(self, batch, training: bool, speed: float | None = None) -> Inputs:
        """Return the features of a batch, as they are and augmented in training, at a speed that is drawn or given."""
        waveforms, lengths = unpack(batch.signal, self.device)
        if training and self.hparams.speed_perturb is not None:
            speed = self.hparams.speed_perturb.draw() if speed is None else speed
            waveforms, lengths = self.hparams.speed_perturb(waveforms, lengths, speed)
        else:
            speed = 1.0
        clean, frames = self.network.frontend(waveforms, lengths)
        augment = self.hparams.spec_augment if training and self.optimizer_step >= self.hparams.augment_after else None
        return Inputs(clean, clean if augment is None else augment(clean, frames), frames, speed)

    def try_step(self, batch, draw: Draw) -> None:
        """Compute the gradients of a batch at the slowest speed and with nothing frozen, to measure memory."""
        speeds = self.hparams.speed_perturb.speeds if self.hparams.speed_perturb is not None else [1.0]
        self.network.encoder.on_update(sys.maxsize)
        self.modules.train()
        with self.training_ctx:
            predictions = self.compute_forward(batch, sb.Stage.TRAIN, draw, min(speeds))
            loss = self.compute_objectives(predictions, batch, sb.Stage.TRAIN)
        self.scaler.scale(loss).backward()

    def draw(self) -> Draw:
        """Return the gate vectors of the next step."""
        self.schedule.set_epoch(self.epochs_done())
        draw = self.schedule.draw()
        opened = [sum(gates) / len(draw.vectors) for gates in zip(*draw.vectors, strict=True)]
        self.notes = {f"gates/block_{number:02}": fraction for number, fraction in enumerate(opened, 1)}
        self.notes["gates/depth"] = sum(opened)
        return draw

    def work(self, batch) -> float:
        """Return the seconds of audio in a batch."""
        return batch.signal.lengths.sum().item() * batch.signal.data.shape[1] / self.recognizer.sample_rate

    def on_fit_batch_start(self, batch, should_step):
        """Set the number of updates so far in the encoder, for what is frozen at first."""
        self.network.encoder.on_update(self.optimizer_step)

    def parameter_groups(self):
        """Return the heads, and the encoder's groups with their factors on the learning rate."""
        heads = [*self.network.head.parameters(), *self.network.exit_heads.parameters()]
        return [{"params": heads, "lr_scale": 1.0}, *self.network.encoder.parameter_groups()]

    @torch.no_grad()
    def teacher_outputs(self, loader, speed: float) -> Iterator[tuple[list[str], SoftTarget, Tensor]]:
        """Yield ids, output and valid frames of the frozen teacher for batches at a speed, in training's precision."""
        perturb, frontend = self.hparams.speed_perturb, self.soft_targets.network.frontend
        for batch in loader:
            waveforms, lengths = unpack(batch.signal, self.device)
            if perturb is not None:
                waveforms, lengths = perturb(waveforms, lengths, speed)
            with self.training_ctx:
                target, frames = self.soft_targets.target(*frontend(waveforms, lengths))
            yield batch.id, target, frames
            self.watch.lines.step()

    # ------------------------------------------------------------ validation

    def collect(self, output: Output, batch) -> None:
        """Keep hypotheses and references of a validation batch."""
        texts = [self.recognizer.texts(unpadded(logits, output.lengths)) for logits in output.logits]
        self.word_errors.add(batch.words, texts)
        self.blanks.append(blank_share(output.logits[-1], output.lengths, self.network.blank))

    def reset_scores(self):
        """Forget the scores of the last evaluation."""
        self.word_errors.reset()
        self.blanks = []

    def scores(self) -> dict[str, Any]:
        """Return WERs (percent, by validation depth), their mean, and the fractions of blanks and empty texts."""
        wers = self.word_errors.compute()
        return {
            **self._without_loss(),
            "wer": wers,
            "mean_wer": sum(wers.values()) / len(wers),
            "blank_share": mean_in_order(self.blanks),
            "empty_share": self.word_errors.empty_share(),
        }

    def _without_loss(self):
        missing = len(self.without_loss)
        nothing = self.word_errors.sentences() <= missing
        return {**({"valid_loss": None} if nothing else {}), **({"without_loss": missing} if missing else {})}

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Log a validation, warn of a model that writes nothing, save a checkpoint."""
        super().on_stage_end(stage, stage_loss, epoch)
        if stage != sb.Stage.TRAIN:
            warn_if_stuck(self.progress.history, getattr(self.hparams.lr_schedule, "warmup", 0))

    def describe(self, entry):
        """Return one line on an epoch."""
        return format_entry(entry, self.hparams.num_epochs)


def warn_if_stuck(history: list[dict[str, Any]], warmup: int = 0) -> None:
    """Say what helps when the deepest network still writes (almost) nothing after some epochs.

    Parameters
    ----------
    history : list of dict
        Entries of all epochs. The warning is given at the first one that calls for it, so once in a run.
    warmup : int
        Updates that raise the learning rate; epochs that end before do not count.
    """
    late = [entry["updates"] >= warmup and entry["empty_share"] > 0.9 for entry in history]
    stuck = [all(late[end - STUCK_EPOCHS : end]) for end in range(STUCK_EPOCHS, len(late) + 1)]
    if stuck and stuck[-1] and not any(stuck[:-1]):
        recent = history[-STUCK_EPOCHS:]
        logger.warning(
            "the model is stuck on blanks: %.0f %% of the dev hypotheses are empty and %.0f %% of the frames blank "
            "after %d updates. CTC leaves this plateau with shorter batches (max_batch_seconds), more updates, a "
            "smaller vocabulary, or another peak learning rate",
            100 * recent[-1]["empty_share"],
            100 * recent[-1]["blank_share"],
            recent[-1]["updates"],
        )


def format_entry(entry: dict[str, Any], num_epochs: int) -> str:
    """Return one line on an epoch, from its entry of the log."""
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
