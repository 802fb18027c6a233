"""Every key of an experiment file: what it means, its type and its range.

`EXPERIMENT_KEYS` are those that the program reads; `SHARED_KEYS` are the numbers, names and objects that the recipes'
files name, to refer to them (`!ref <d_model>`) and to set them on the command line.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dld.checks import (
    AT_LEAST_0,
    COUNT,
    FLAG,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    RATE,
    Choice,
    Depths,
    FlagOrFolder,
    ListOf,
    Nullable,
    Number,
    OrAuto,
    Text,
    Whole,
    complaint,
)
from dld.errors import DldError
from dld.gates.vectors import FIXED_POLICIES


@dataclass(frozen=True)
class Key:
    """What a key means and what it may be.

    Attributes
    ----------
    meaning : str
    kind
        Of `dld.checks`, or `Built`.
    """

    meaning: str
    kind: object

    def __str__(self):
        """Return the kind as messages name it."""
        return self.meaning


@dataclass(frozen=True)
class Built:
    """An object, made by a tag of HyperPyYAML."""

    tag: str = "!new:"

    def accepts(self, value):
        """Return whether a value is allowed; values with a tag are not checked here."""
        return False

    def __str__(self):
        """Return the kind as messages name it."""
        return f"made by {self.tag} of a class"


@dataclass(frozen=True)
class Objects:
    """A mapping of names to objects."""

    def accepts(self, value):
        """Return whether a value is allowed; the objects themselves are checked when they are built."""
        return isinstance(value, Mapping) and all(not isinstance(part, (str, int, float)) for part in value.values())

    def __str__(self):
        """Return the kind as messages name it."""
        return "a mapping of names to what is made by !new: of a class"


@dataclass(frozen=True)
class NumberOrRamp:
    """A number of at least 0, or a `dld.gates.Ramp` of such numbers."""

    def accepts(self, value):
        """Return whether a value is allowed."""
        if hasattr(value, "start") and hasattr(value, "end"):
            return AT_LEAST_0.accepts(value.start) and AT_LEAST_0.accepts(value.end)
        return AT_LEAST_0.accepts(value)

    def __str__(self):
        """Return the kind as messages name it."""
        return f"{AT_LEAST_0}, or a dld.gates.Ramp of such numbers"


FOLDER = Text("the path of a folder")
NAME = Text("a name without spaces and slashes", forbidden=" /\\")
OBJECT = Built()
SECONDS = Nullable(AT_LEAST_0)
WEIGHT = NumberOrRamp()
# A table needs a trained model, so validation has none.
UNTRAINED_POLICIES = Choice(*FIXED_POLICIES)
POLICIES = Choice("table", *FIXED_POLICIES)
LOGGER = Choice("tensorboard", "wandb")

EXPERIMENT_KEYS = {
    "system": Key("name of the system in tables: static, ld, dld …", NAME),
    "seed": Key("seed of weights, data order, augmentation and gates", Whole(0, 2**32 - 1)),
    "exp_dir": Key("folder of the experiment", FOLDER),
    "train_data": Key("Kaldi data directory to train on", FOLDER),
    "dev_data": Key("Kaldi data directory for validation, checkpoint choice and the gate table", FOLDER),
    "lang_dir": Key("folder of the tokenizer (bpe.model)", FOLDER),
    "network": Key("dld.network.GatedCTC: front end, gated encoder, CTC head", OBJECT),
    "brain": Key("!name: of a subclass of dld.training.brain.DynamicBrain, where there is one", Built("!name:")),
    "schedule": Key("drop schedule, a class of dld.gates", OBJECT),
    "objectives": Key("losses with their weights: name → a class of dld.training.objectives", Objects()),
    "soft_targets": Key("what a student learns to match, a class of dld.training.targets, or null", Nullable(OBJECT)),
    "init_from": Key("experiment whose weights are the start, or null", Nullable(FOLDER)),
    "pretrained": Key(
        "published weights to start from where init_from is null: folder, hub id or bundle", Nullable(Text("a name"))
    ),
    "optimizer": Key("!name: of a torch optimizer with its settings", Built("!name:")),
    "lr_schedule": Key("learning-rate schedule, a class of dld.training.optim", OBJECT),
    "num_epochs": Key("passes over the training data", OrAuto(COUNT)),
    "max_batch_seconds": Key("longest training batch, in seconds of padded audio", OrAuto(POSITIVE)),
    "max_grad_norm": Key("gradients are clipped to this norm", POSITIVE),
    "grad_accumulation_factor": Key("batches in each update", COUNT),
    "speed_perturb": Key("dld.frontends.SpeedPerturb, or null", Nullable(OBJECT)),
    "spec_augment": Key("dld.frontends.SpecAugment, or null", Nullable(OBJECT)),
    "augment_after": Key(
        "updates before spec_augment begins: CTC leaves its plateau sooner without masks", OrAuto(NOT_NEGATIVE)
    ),
    "min_duration": Key("shorter training utterances are left out (seconds, or null)", SECONDS),
    "max_duration": Key("longer training utterances are left out (seconds, or null)", Nullable(POSITIVE)),
    "num_workers": Key("data-loading processes", Whole(0, 1024)),
    "sample_rate": Key("Hz; recordings at other rates are resampled", Whole(1000, 384000)),
    "channel": Key("channel of recordings that have several, from 0", Nullable(NOT_NEGATIVE)),
    "valid_depths": Key("depths whose WER is measured after each epoch; their mean chooses checkpoints", Depths()),
    "eval_policy": Key("gate policy of validation", UNTRAINED_POLICIES),
    "eval_batch_seconds": Key("longest batch in validation and decoding, in seconds of padded audio", POSITIVE),
    "decode_depths": Key("depths that dld decode runs", Depths()),
    "decode_policy": Key(
        "gate policy of decoding: table, evenly-spaced, first-n, first-and-last, shallow-last or random", POLICIES
    ),
    "average_checkpoints": Key("how many of the best checkpoints are averaged into the final model", COUNT),
    "precision": Key("fp32, bf16 or fp16", Choice("fp32", "bf16", "fp16")),
    "compile": Key("torch.compile compiles each block of the encoder; for GPUs", FLAG),
    "auto_batch": Key(
        "the number of utterances in a batch, for each length, is found by measuring memory; on GPUs", FLAG
    ),
    "ckpt_interval_minutes": Key("minutes between checkpoints within an epoch; 0 keeps to ends of epochs", AT_LEAST_0),
    "log_interval": Key("seconds between lines on how far a training without progress bar is; 0: none", AT_LEAST_0),
    "logger": Key("where curves go: tensorboard, wandb (Weights & Biases) or null", Nullable(LOGGER)),
}

#: Of `EXPERIMENT_KEYS`, those that a file need not have.
OPTIONAL_KEYS = {"brain", "pretrained", "compile", "auto_batch", "log_interval", "logger"}

#: What a file may set for those that extend it and distil from a teacher; other systems do not read it.
TEACHER_KEYS = {
    "teacher_input": Key(
        "what the teacher receives: augmented (the student's own input) or clean", Choice("augmented", "clean")
    ),
    "teacher_cache": Key(
        "keep the teacher's posteriors on disk, computed once: true (in the teacher's folder), false, or a folder; "
        "needs teacher_input: clean",
        FlagOrFolder(),
    ),
    "teacher_top_k": Key("tokens whose posteriors the cache keeps for each frame; the others as their sum", COUNT),
}

SHARED_KEYS = {
    **TEACHER_KEYS,
    "teacher": Key("experiment of the frozen teacher", Nullable(FOLDER)),
    "kd_weight": Key("weight λ of the distillation term, a number or a dld.gates.Ramp", WEIGHT),
    "hidden_weight": Key("weight of the distance between student's and teacher's encoder outputs", WEIGHT),
    "ctc_weight": Key("weight of the CTC term, a number or a dld.gates.Ramp", WEIGHT),
    "data": Key("folder of the data directories", FOLDER),
    "exp": Key("folder of the experiments", FOLDER),
    "frontend": Key("front end, a class of dld.frontends", OBJECT),
    "encoder": Key("gated encoder, a class of dld.encoders", OBJECT),
    "n_mels": Key("Mel bins", Whole(1, 1024)),
    "num_blocks": Key("blocks of the encoder", Whole(1, 1000)),
    "depth": Key("blocks that run, of a dedicated network", COUNT),
    "d_model": Key("width of the encoder", COUNT),
    "d_ffn": Key("width of the feed-forward layers", COUNT),
    "num_heads": Key("attention heads", COUNT),
    "kernel_size": Key("kernel of the convolution in each block", COUNT),
    "dropout": Key("dropout", RATE),
    "subsampling": Key("conv1d or conv2d", Choice("conv1d", "conv2d")),
    "subsampling_channels": Key("channels of the subsampling", Nullable(COUNT)),
    "closed_norm": Key("a closed gate keeps the block's closing LayerNorm", FLAG),
    "vocab_size": Key("SentencePiece tokens, the CTC blank included", OrAuto(Whole(2, 2**20))),
    "lr": Key("peak learning rate; 0 leaves the weights as they are", AT_LEAST_0),
    "warmup": Key("updates until the peak learning rate", OrAuto(NOT_NEGATIVE)),
    "drop_prob": Key("probability that a block is dropped", RATE),
    "temperature": Key("temperature of the distillation", POSITIVE),
    "stack": Key("frames to an output frame", COUNT),
    "freeze_convolutions": Key("the convolutions before the blocks are not trained", FLAG),
    "encoder_lr_scale": Key("the encoder's learning rate as a multiple of the head's", AT_LEAST_0),
    "conv_layers": Key("channels, kernel and stride of each convolution", ListOf(ListOf(COUNT, 3))),
    "conv_norm": Key("group or layer", Choice("group", "layer")),
    "pre_norm": Key("LayerNorm before the branches, not after the sums", FLAG),
    "positional_kernel": Key("kernel of the positional convolution", COUNT),
    "positional_groups": Key("groups of the positional convolution", COUNT),
    "mask_time_share": Key("frames that are masked in training", FRACTION),
    "mask_channel_share": Key("channels that are masked in training", FRACTION),
    "weighted_sum": Key("the output is a learned mean over all blocks", FLAG),
    "freeze_extractor": Key("the convolutions over the waveform are not trained", FLAG),
    "freeze_updates": Key("updates that train the head alone", NOT_NEGATIVE),
    "layer_decay": Key("factor on the learning rate from each block to the one below", Number(above=0, high=1)),
    "gradient_checkpointing": Key("less memory, more time", FLAG),
    "low_precision": Key("extractor, all or null", Nullable(Choice("extractor", "all"))),
}

KEYS = {**SHARED_KEYS, **EXPERIMENT_KEYS}


def is_text(key):
    """Return whether a value of this key on the command line is text, and not YAML to be read."""
    kind = KEYS[key].kind if key in KEYS else None
    return isinstance(getattr(kind, "kind", kind), Text)


def check_values(values, path):
    """Raise a `DldError` for the first value that its key does not allow.

    Parameters
    ----------
    values : mapping
        Key → value. What has a tag (`!ref`, `!new:`) is skipped: it is not a value yet.
    path : str or Path
        The experiment file, for the message.
    """
    for key, value in values.items():
        # A value with an anchor is a `ScalarInt` or the like, which is a number to Python.
        value = bool(value) if type(value).__name__ == "ScalarBoolean" else value
        wrong = key in KEYS and not _tagged(value) and complaint(key, value, KEYS[key].kind)
        if wrong:
            raise DldError(f"{path}: {wrong}")


def check_together(values, path):
    """Raise a `DldError` where values, each allowed, contradict each other."""
    values = {key: value for key, value in values.items() if not _tagged(value)}
    blocks = values.get("num_blocks")
    for key in ("valid_depths", "decode_depths", "depth"):
        depths = values.get(key)
        if blocks is None or depths in (None, "all"):
            continue
        if isinstance(depths, str):
            depths = [int(word) for word in depths.replace(",", " ").split()]
        over = [n for n in (depths if isinstance(depths, (list, tuple)) else [depths]) if n > blocks]
        if over:
            raise DldError(f"{path}: {key}: depth {over[0]} is outside 1…{blocks}, the number of blocks (num_blocks)")
    shortest, longest = values.get("min_duration"), values.get("max_duration")
    if shortest is not None and longest is not None and shortest >= longest:
        raise DldError(f"{path}: min_duration is {shortest}; it must be below max_duration, {longest}")
    width, heads = values.get("d_model"), values.get("num_heads")
    if width is not None and heads is not None and width % heads:
        raise DldError(f"{path}: d_model is {width}; it must be a multiple of num_heads, {heads}")


def _tagged(value):
    """Return whether a node has a tag, or holds one that has: it can be checked when it is resolved or built."""
    tag = getattr(getattr(value, "tag", None), "value", None)
    if tag:
        return True
    return isinstance(value, (list, tuple)) and any(map(_tagged, value))
