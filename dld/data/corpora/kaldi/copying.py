"""Copies of data directories in one folder, which holds those of one set of sources and no others."""

import hashlib
import logging
import shlex
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from dld.data import kaldi
from dld.data.audio import is_pipe
from dld.data.corpora import Prepared
from dld.data.kaldi.tables import TABLES, read_table
from dld.errors import DldError
from dld.files import atomic_write, read_json, remove_folder, sha256, write_json

logger = logging.getLogger(__name__)

#: Which sources the directories of a folder are copies of; written last.
STAMP = "kaldi.json"
#: Names of the test sets, for later stages.
TEST_SETS = "test_sets"
#: Names that are used for something else in the folder.
TAKEN = ("train", "lang", "lm", STAMP, TEST_SETS)
#: What sclite scores against.
SCORING = ("stm", "glm", "reco2file_and_channel")
#: The share of train that is held out as dev, and the most seconds of it.
HELD_OUT, MOST = 0.1, 3600.0


def copy(destination: Path, options) -> Prepared:
    """Copy the directories that the options name, unless the same ones are there.

    Raises
    ------
    DldError
        Two directories have the same name, the folder holds copies of others, or a directory is faulty.
    """
    root = Path(options.audio_root or ".").absolute()
    sources = _sources(options)
    for source in sources.values():
        if source.resolve().is_relative_to(destination.resolve()):
            raise DldError(f"{source}: is in {destination}, which receives the copies; give another --data")
    identity = {
        "audio_root": str(root) if any(map(_depends_on_folder, sources.values())) else None,
        "sources": {name: str(path.resolve()) for name, path in sources.items()},
    }
    state = {name: _state(source) for name, source in sources.items()}
    tests = list(dict.fromkeys(path.absolute().name for path in _test_folders(options)))
    notes = [] if "dev" in sources else ["no --dev: a part of train is held out as dev"]
    if not tests:
        tests, notes = ["dev"], [*notes, "no --test: dev is decoded, on which checkpoints and gates are chosen, too"]
    names = list(dict.fromkeys(("train", "dev", *sources)))
    if _is_there(destination, identity, state, names):
        notes.append(f"{destination}: has these directories already")
        return Prepared(before=tuple(notes))
    sets = {name: _load(source, root) for name, source in sources.items()}
    if "dev" not in sets:
        sets["train"], sets["dev"], said = hold_out(sets["train"], sources["train"])
        notes.append(said)
    _warn_of_shared(sets)
    destination.mkdir(parents=True, exist_ok=True)
    # Without tables the stamp says whose the directories are, and that they are not finished.
    write_json(destination / STAMP, identity)
    _publish(destination, sources, {name: sets[name] for name in names})
    with atomic_write(destination / TEST_SETS) as out:
        out.writelines(f"{name}\n" for name in tests)
    write_json(destination / STAMP, {**identity, "tables": state})
    return Prepared({name: _counts(kaldi.load(destination / name)) for name in names}, before=tuple(notes))


def _sources(options) -> dict[str, Path]:
    """Return name → directory; test sets keep the name of their directory."""
    sources = {"train": Path(options.train)}
    if options.dev:
        sources["dev"] = Path(options.dev)
    for path in _test_folders(options):
        name = path.absolute().name
        if name == "dev" and options.dev and path.resolve() == sources["dev"].resolve():
            continue
        if name in sources:
            raise DldError(f"{path} and {sources[name]} would both be {name}; give one another name, by a link to it")
        if name in (*TAKEN, "dev"):
            raise DldError(f"{path}: a test set cannot be named {name}; give it another name, by a link to it")
        sources[name] = path
    for path in sources.values():
        if not path.is_dir():
            raise DldError(f"{path}: no such folder; a Kaldi data directory was expected")
    return sources


def _test_folders(options) -> list[Path]:
    try:
        return [Path(word) for word in shlex.split(options.test or "")]
    except ValueError as error:
        raise DldError(f"--test: {error}: {options.test}") from None


def _state(source: Path) -> str:
    """Return a hash of the tables of a directory."""
    digest = hashlib.sha256()
    for name in (*TABLES, *SCORING):
        if (source / name).is_file():
            digest.update(f"{name} {sha256(source / name)}\n".encode())
    return digest.hexdigest()


def _is_there(destination, identity, state, names) -> bool:
    """Return whether the folder has copies of these directories as they are now.

    Raises
    ------
    DldError
        It has directories of other sources.
    """
    if not (destination / STAMP).exists():
        there = [name for name in names if (destination / name).exists()]
        if there:
            raise DldError(f"{destination / there[0]}: is not a copy that this recipe made; give another --data")
        return False
    found = read_json(destination / STAMP)
    found = found if isinstance(found, dict) else {}
    if found.get("sources") != identity["sources"]:
        raise DldError(
            f"{destination}: has copies of other directories ({destination / STAMP} names them); give another --data "
            "and another --exp"
        )
    before, now = found.get("audio_root"), identity["audio_root"]
    if None not in (before, now) and before != now:
        raise DldError(
            f"{destination}: relative paths and pipes of wav.scp started at {before}, and now at {now}; "
            f"give --audio-root {shlex.quote(str(before))}, or another --data"
        )
    if found.get("tables") == state and all((destination / name / "wav.scp").exists() for name in names):
        return True
    logger.warning("%s: unfinished, or the directories have changed since; they are copied again", destination)
    return False


def _depends_on_folder(source: Path) -> bool:
    """Return whether audio of a directory is found from a certain folder only."""
    values = read_table(source / "wav.scp").values()
    return any(is_pipe(value) or not Path(value).is_absolute() for value in values)


def _load(source: Path, root: Path) -> list[kaldi.Utterance]:
    """Return the utterances of a directory, their audio independent of the current folder."""
    utterances = kaldi.load(source, need=("wav.scp", "text"))
    if not (source / "utt2spk").exists():
        logger.warning("%s: has no utt2spk; every utterance is taken as a speaker of its own", source)
    return kaldi.with_durations(replace(u, recording=_anchored(u.recording, root)) for u in utterances)


def _anchored(recording: str, root: Path) -> str:
    """Return a value of `wav.scp` that means the same in every folder as it did in `root`.

    Examples
    --------
    >>> root = Path("/my data")
    >>> _anchored("wav/a.wav", root), _anchored("/x/a.ark:12", root)
    ('/my data/wav/a.wav', '/x/a.ark:12')
    >>> _anchored("sph2pipe -f wav a.sph |", root)
    "cd '/my data' || exit; sph2pipe -f wav a.sph |"
    """
    if is_pipe(recording):
        return f"cd {shlex.quote(str(root))} || exit; {recording}"
    return str(root / recording)


def hold_out(utterances: list[kaldi.Utterance], source: Path) -> tuple[list, list, str]:
    """Divide train in what stays and what is held out as dev; always the same way.

    Parameters
    ----------
    utterances : list of kaldi.Utterance
    source : Path
        Their directory, for messages.

    Returns
    -------
    list, list, str
        What stays, what is held out, and a sentence about it.
    """
    lengths = {u.id: u.seconds for u in utterances}
    wanted = min(HELD_OUT * sum(lengths.values()), MOST)
    by_speaker: dict[str, list[str]] = defaultdict(list)
    for u in utterances:
        by_speaker[u.speaker].append(u.id)
    for groups in (by_speaker, {key: [key] for key in lengths}):
        chosen = _chosen({name: sum(lengths[key] for key in ids) for name, ids in groups.items()}, wanted)
        if chosen:
            break
    else:
        # Few utterances, all of them long.
        if len(lengths) == 1:
            raise DldError(f"{source}: one utterance cannot be divided into train and dev; give --dev")
        chosen = [min(lengths, key=lambda key: (lengths[key], key))]
    held = {key for name in chosen for key in groups[name]}
    what = "speakers" if groups is by_speaker else "utterances"
    said = f"dev: {len(held)} utterances of train ({len(chosen)} of its {len(groups)} {what}), which are not trained on"
    return [u for u in utterances if u.id not in held], [u for u in utterances if u.id in held], said


def _chosen(seconds: dict[str, float], wanted: float) -> list[str]:
    """Return groups that have about these seconds together, in an order that names decide; none if all are too long."""
    chosen: list[str] = []
    total = 0.0
    for name in sorted(seconds, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if total < 0.9 * wanted and total + seconds[name] <= 2 * wanted:
            chosen.append(name)
            total += seconds[name]
    return chosen


def _warn_of_shared(sets) -> None:
    train = {u.id: u.text for u in sets["train"]}
    for name in sets:
        shared = [u.id for u in sets[name] if train.get(u.id) == u.text] if name != "train" else []
        if shared:
            logger.warning("%s: %d utterances are in train, too (first: %s)", name, len(shared), shared[0])


def _publish(destination: Path, sources, sets) -> None:
    """Write the directories, each whole."""
    for name, utterances in sets.items():
        staging = destination / f".{name}.partial"
        remove_folder(staging)
        kaldi.write(staging, utterances)
        for extra in SCORING:
            if name in sources and (sources[name] / extra).is_file():
                shutil.copy2(sources[name] / extra, staging / extra)
        remove_folder(destination / name)
        staging.replace(destination / name)


def _counts(utterances) -> dict:
    return {
        "utterances": len(utterances),
        "speakers": len({u.speaker for u in utterances}),
        "seconds": sum(u.seconds for u in utterances),
    }
