"""The folder of a run: made or re-entered when training begins, and its final model when it ends."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import save

from dld.data.fingerprint import Fingerprint, changes, fingerprint
from dld.data.tokenizer import Tokenizer
from dld.errors import DldError
from dld.experiment import ABOUT, GATE_TABLE, HYPERPARAMS, MODEL, TOKENIZER, ModelRecord, model_hash, tensors_hash
from dld.files import atomic_write, read_record, remove_folder, write_json
from dld.provenance import command_line, git_hash, processor, versions
from dld.records import Record
from dld.saved import Settings
from dld.training.checkpoints import has_checkpoints, remove_checkpoints
from dld.training.posteriors import POSTERIORS

logger = logging.getLogger(__name__)

RUN = "run.json"
LOGS = ("train_log.txt", "train_log.jsonl")
CHECKPOINTS = "save"


@dataclass(frozen=True)
class Start(Record):
    """One start of a run: the command, and what it ran on."""

    command: str
    seed: int
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


# Where a run is and on what machine, and what decoding alone reads: with others it is still the same run.
NOT_OF_TRAINING = {"exp", "exp_dir", "decode_depths", "decode_policy", "num_workers", "ckpt_interval_minutes"}
# Paths that may move: what is meant is compared by its hash.
BY_HASH = {"data", "train_data", "dev_data", "lang_dir", "teacher", "init_from"}


def begin(config, made_from, restart=False):
    """Make or re-enter an experiment folder.

    Keeps the fully resolved YAML, the tokenizer, what the run is made from, and one line for each start: command, git
    hash, versions, seed. Folder, data, teacher and start may have been moved, and what decoding alone reads may differ
    from before: dld decode takes what is new.

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
        refuse_other_run(folder, run.made_from, made_from, _changed_keys(settings, config.text))
    with atomic_write(settings) as out:
        out.write(config.text)
    try:
        Settings(settings).check_network()
    except DldError as error:
        logger.warning("this network can be trained, but dld decode will not load it: %s", error)
    source = Path(config.values["lang_dir"]) / TOKENIZER
    with atomic_write(folder / TOKENIZER, "wb") as out:
        out.write(source.read_bytes())
    start = Start(command_line(), config.values["seed"], git_hash(), versions(), processor())
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


def refuse_other_run(folder, before, now, changed):
    """Raise if a folder's run has other settings than a new start, or is made from something else."""
    advice = "give another exp_dir, or --restart true to train again from the start"
    if before is None:
        logger.warning("%s: %s does not say what the run is made from; its data are not compared", folder, RUN)
    else:
        for name in ("train_data", "dev_data"):
            data = getattr(now, name)
            what = changes(getattr(before, name), data)
            if what:
                raise DldError(
                    f"{name} {data.path} changed since the run in {folder} began: {what}; "
                    f"put the data back, or {advice}"
                )
        for name in ("tokenizer", "teacher", "init_from"):
            if getattr(before, name) != getattr(now, name):
                raise DldError(f"the run in {folder} began with another {name}; put that back, or {advice}")
    if "brain" in changed and "objectives" in changed:
        raise DldError(f"{folder} holds a run that an older version of dld began, with other keys; {advice}")
    if changed:
        raise DldError(f"{folder} holds a run with other settings ({', '.join(changed)}); {advice}")


def remove_run(folder):
    """Remove what a training made in a folder, each file by its name; other files stay.

    Decodes stay too: each says of which model it is.
    """
    (folder / ABOUT).unlink(missing_ok=True)
    # Before the settings that they belong to: if this is interrupted, no start takes them for its own.
    remove_checkpoints(folder / CHECKPOINTS)
    for name in (MODEL, GATE_TABLE, *LOGS, TOKENIZER, RUN, HYPERPARAMS):
        (folder / name).unlink(missing_ok=True)
    remove_folder(folder / POSTERIORS)


def _changed_keys(path, new):
    # Neither text is built, whatever it asks for.
    old, new = (_without_paths(Settings(path, *text, finished=False).values) for text in ((), (new.encode(),)))
    keys = sorted((old.keys() | new.keys()) - NOT_OF_TRAINING - BY_HASH)
    return [key for key in keys if key not in old or key not in new or old[key] != new[key]]


def _without_paths(values):
    """Leave out the folder of the teacher, which is compared by its hash, and that of a cache of its posteriors."""
    if isinstance(values.get("teacher_cache"), str):
        values = {**values, "teacher_cache": True}
    source = values.get("soft_targets")
    if not isinstance(source, dict):
        return values
    kept = {tag: _without_folders(arguments or {}) for tag, arguments in source.items()}
    return {**values, "soft_targets": kept}


def _without_folders(arguments):
    cached = {"cache": True} if isinstance(arguments.get("cache"), str) else {}
    return {name: value for name, value in {**arguments, **cached}.items() if name != "experiment"}


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
