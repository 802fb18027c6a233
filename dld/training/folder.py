"""The folder of a run: made or re-entered when training begins, and its final model when it ends."""

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save

from dld.config import Config
from dld.config.differences import NOT_OF_TRAINING, Difference, differences, summary
from dld.data.fingerprint import Fingerprint, changes, fingerprint
from dld.data.tokenizer import Tokenizer
from dld.decoding.settings import CONFIDENCE
from dld.errors import DldError
from dld.experiment import (
    ABOUT,
    HYPERPARAMS,
    LOG,
    MODEL,
    RUN,
    TOKENIZER,
    ModelRecord,
    logged,
    model_hash,
    read_about,
    tensors_hash,
)
from dld.files import atomic_write, read_record, remove_folder, write_json
from dld.gates import GATE_TABLE
from dld.provenance import command_line, git_hash, processor, versions
from dld.records import Record, optional
from dld.saved import Settings
from dld.training.checkpoints import epochs_begun, has_checkpoints, remove_checkpoints
from dld.training.posteriors import POSTERIORS

logger = logging.getLogger(__name__)

LOGS = ("train_log.txt", LOG)
CHECKPOINTS = "save"
#: What auto_batch found, see `dld.training.auto_batch`.
BATCH_SIZES = "batch_sizes.json"


@dataclass(frozen=True)
class Start(Record):
    """One start of a run.

    Attributes
    ----------
    command, directory : str
        The command, quoted for a shell, and the folder that it ran in.
    seed, num_epochs : int
    git, versions, processor
        What it ran on.
    """

    command: str
    seed: int
    directory: str | None = optional()
    num_epochs: int | None = optional()
    git: str | None = None
    versions: dict | None = None
    processor: str | None = None


@dataclass(frozen=True)
class Sources(Record):
    """What a run is made from: fingerprints of its data, hashes of tokenizer, teacher and start."""

    train_data: Fingerprint
    dev_data: Fingerprint
    tokenizer: str
    teacher: str | None = None
    init_from: str | None = None


@dataclass(frozen=True)
class RunRecord(Record):
    """What `run.json` holds; the first version of this program did not write `made_from`."""

    made_from: Sources | None = None
    starts: list[Start] = field(default_factory=list)


EPOCHS = "num_epochs"
ELSEWHERE = "give another exp_dir, or --restart true to train again from the start"


def begin(config: Config, made_from: Sources, restart: bool = False) -> Path:
    """Make or re-enter an experiment folder.

    Keeps the fully resolved YAML, the tokenizer, what the run is made from, and one line for each start: command, git
    hash, versions, seed. Folder, data, teacher and start may have been moved, and what decoding alone reads may differ
    from before: dld decode takes what is new. So may the number of epochs, see `check_epochs`.

    Parameters
    ----------
    config : Config
    made_from : Sources
    restart : bool
        Remove what an earlier run left, and nothing else.

    Raises
    ------
    DldError
        The folder holds a run with other settings or from other data.
    """
    folder = Path(config.values["exp_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    if restart:
        remove_run(folder)
    run = read_run(folder) or RunRecord()
    settings = folder / HYPERPARAMS
    if not settings.exists() and has_checkpoints(folder / CHECKPOINTS):
        raise DldError(
            f"{folder / CHECKPOINTS} has checkpoints, but {HYPERPARAMS} is missing, which says what they are of; "
            "put the file back, or --restart true to train again from the start"
        )
    if settings.exists():
        changed = changed_settings(settings, config)
        refuse_other_run(folder, run.made_from, made_from, [change for change in changed if change.path != EPOCHS])
        for change in changed:
            if change.path == EPOCHS:
                check_epochs(folder, change)
    with atomic_write(settings) as out:
        out.write(config.text)
    try:
        Settings(settings).check_network()
    except DldError as error:
        logger.warning("this network can be trained, but dld decode will not load it: %s", error)
    source = Path(config.values["lang_dir"]) / TOKENIZER
    with atomic_write(folder / TOKENIZER, "wb") as out:
        out.write(source.read_bytes())
    seed, epochs = config.values["seed"], config.values[EPOCHS]
    start = Start(command_line(), seed, os.getcwd(), epochs, git_hash(), versions(), processor())
    write_json(folder / RUN, RunRecord(made_from, [*run.starts, start]).to_json())
    return folder


def sources(values, tokenizer, train_utterances, dev_utterances):
    """Return what a run is made from: fingerprints of its data, hashes of tokenizer, teacher and start."""
    teacher, start = values["soft_targets"] and values["soft_targets"].experiment, values["init_from"]
    return Sources(
        train_data=fingerprint(train_utterances, str(values["train_data"])),
        dev_data=fingerprint(dev_utterances, str(values["dev_data"])),
        tokenizer=tokenizer.sha256,
        teacher=model_hash(teacher) if teacher else None,
        init_from=model_hash(start) if start else None,
    )


def read_run(folder: str | Path) -> RunRecord | None:
    """Return what `run.json` says of a run: each start, and what it is made from; None where none began."""
    path = Path(folder) / RUN
    if not path.exists():
        return None
    advice = "copy it again, or --restart true to train again from the start"
    return RunRecord.from_json(read_record(path, {"starts": list}, advice), str(path), advice)


def refuse_other_run(folder: Path, before: Sources | None, now: Sources, changed: list[Difference]) -> None:
    """Raise if a folder's run has other settings than a new start, or is made from something else."""
    if before is None:
        logger.warning("%s: %s does not say what the run is made from; its data are not compared", folder, RUN)
    else:
        for name in ("train_data", "dev_data"):
            data = getattr(now, name)
            what = changes(getattr(before, name), data)
            if what:
                raise DldError(
                    f"{name} {data.path} changed since the run in {folder} began: {what}; "
                    f"put the data back, or {ELSEWHERE}"
                )
        for name in ("tokenizer", "teacher", "init_from"):
            if getattr(before, name) != getattr(now, name):
                raise DldError(f"the run in {folder} began with another {name}; put that back, or {ELSEWHERE}")
    if {"brain", "objectives"} <= {change.key for change in changed}:
        raise DldError(f"{folder} holds a run that an older version of dld began, with other keys; {ELSEWHERE}")
    if changed:
        raise DldError(f"{folder} holds a run with other settings ({summary(changed)}); {ELSEWHERE}")


def changed_settings(path: Path, config: Config) -> list[Difference]:
    """Return what a user changed since the settings of a run were written; nothing is built, whatever they ask for."""
    texts = (None, config.text.encode(), config.written.encode())
    old, new, written = (Settings(path, text, finished=False).values for text in texts)
    old, new = ({"compile": False, "auto_batch": False, **_without_caches(values)} for values in (old, new))
    return differences(old, new, written, NOT_OF_TRAINING)


def _without_caches(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out where a cache of the teacher's posteriors is; that there is one counts."""
    if isinstance(values.get("teacher_cache"), str):
        values = {**values, "teacher_cache": True}
    source = values.get("soft_targets")
    if not isinstance(source, dict):
        return values
    kept = {tag: arguments and _without_cache(arguments) for tag, arguments in source.items()}
    return {**values, "soft_targets": kept}


def _without_cache(arguments: dict[str, Any]) -> dict[str, Any]:
    return {**arguments, "cache": True} if isinstance(arguments.get("cache"), str) else arguments


def check_epochs(folder: Path, change: Difference) -> None:
    """Raise if a run cannot take another number of epochs.

    It can take more, also when it is finished, and fewer than were planned while those are not reached. From there on
    the learning rate follows the schedule of the new number.

    Raises
    ------
    DldError
        They are reached already, or there is nothing to continue from.
    """
    planned, done, checkpoints = change.new, trained_epochs(folder), epochs_begun(folder / CHECKPOINTS)
    if done is not None and done < planned and not checkpoints:
        raise DldError(
            f"{folder} is trained to epoch {done}, and its checkpoints ({folder / CHECKPOINTS}) are gone, so that it "
            f"cannot be continued to {planned}; start another run from its weights (--exp_dir OTHER --init_from "
            f"{folder}), or --restart true to train again from the start"
        )
    reached = max(done or 0, checkpoints)
    if planned <= reached and planned != done:
        raise DldError(
            f"{folder} has reached epoch {reached} of {change.old}, num_epochs {planned} is not above that; give more "
            "epochs, --finish true for a model of what is trained so far, or another exp_dir"
        )
    logger.info("%s: %d epochs, planned were %s", folder, planned, change.old)


def trained_epochs(folder: Path) -> int | None:
    """Return how many epochs the final model of a run had, None where there is none."""
    if not (folder / ABOUT).exists():
        return None
    # The first version did not write it; its runs were trained to the end of their logs.
    last = logged(folder)
    return read_about(folder).epochs or (last.epoch if last else None)


def remove_run(folder):
    """Remove what a training made in a folder, each file by its name; other files stay.

    Decodes stay too: each says of which model it is.
    """
    (folder / ABOUT).unlink(missing_ok=True)
    # Before the settings that they belong to: if this is interrupted, no start takes them for its own.
    remove_checkpoints(folder / CHECKPOINTS)
    for name in (MODEL, GATE_TABLE, CONFIDENCE, BATCH_SIZES, *LOGS, TOKENIZER, RUN, HYPERPARAMS):
        (folder / name).unlink(missing_ok=True)
    remove_folder(folder / POSTERIORS)


def save_model(folder, network, about):
    """Write the final weights (safetensors) and their description (JSON, written last).

    Next to the hashes of weights and tokenizer, `model.json` has that of the start, where there was one.
    """
    folder = Path(folder)
    (folder / ABOUT).unlink(missing_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with atomic_write(folder / MODEL, "wb") as out:
        out.write(save(state))
    made_from = (read_run(folder) or RunRecord()).made_from
    record = ModelRecord(
        num_blocks=network.num_blocks,
        vocab_size=network.vocab_size,
        tokenizer_sha256=Tokenizer(folder / TOKENIZER).sha256,
        state_sha256=tensors_hash(state),
        init_sha256=made_from and made_from.init_from,
        git=git_hash(),
        **about,
    )
    write_json(folder / ABOUT, record.to_json())
