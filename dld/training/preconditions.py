"""Check a built experiment before a training makes anything: no folder, no lock, no network.

The types and ranges of single values are checked when the file is read (`dld.config.keys`); here it is whether the
objects that were built of them fit each other, the folders that are read exist, and the optimizer takes its settings.
"""

import copy
import inspect
import math
import os
import re
from pathlib import Path

import torch

from dld.checks import complaint, no_argument, shown
from dld.config.keys import EXPERIMENT_KEYS, OPTIONAL_KEYS, WEIGHT
from dld.errors import DldError
from dld.experiment import ABOUT, MODEL
from dld.frontends import SpeedPerturb
from dld.gates import DropSchedule, parse_depths
from dld.network import GatedCTC
from dld.training.brain import DynamicBrain
from dld.training.curves import check_logger
from dld.training.objectives import MaskedKL, Objective, SoftTargets
from dld.training.targets import TargetSource


def check_run(values, path):
    """Raise a `DldError` that names the key where an experiment cannot be trained.

    Parameters
    ----------
    values : dict
        Values of a `Config`.
    path : str or Path
        The experiment file, for messages.
    """
    try:
        for check in (
            *(_complete, _network, _brain, _schedule, _objectives, _optimizer, _augmentation),
            *(_soft_targets, _start, _folders, _logger),
        ):
            check(values)
    except DldError as error:
        raise DldError(f"{path}: {error}") from None


def _complete(values):
    missing = [key for key in EXPERIMENT_KEYS if key not in values and key not in OPTIONAL_KEYS]
    if missing:
        raise DldError(f"no key {missing[0]!r} ({EXPERIMENT_KEYS[missing[0]]})")


def _logger(values):
    check_logger(values.get("logger"))


def _folders(values):
    for key in ("train_data", "dev_data", "lang_dir"):
        if not Path(values[key]).is_dir():
            raise DldError(f"{key}: {values[key]} is not a folder")

    exp_dir = Path(values["exp_dir"])
    read = {key: values.get(key) for key in ("train_data", "dev_data", "lang_dir", "init_from", "pretrained")}
    read["teacher"] = values["soft_targets"] and values["soft_targets"].experiment
    for key, path in read.items():
        if path and exp_dir.is_dir() and os.path.isdir(path) and os.path.samefile(path, exp_dir):
            raise DldError(f"exp_dir is {exp_dir}, and {key} the same folder; give the run a folder of its own")


def _network(values):
    network = values["network"]
    if not isinstance(network, GatedCTC):
        raise DldError("network must be a dld.network.GatedCTC")
    for key in ("valid_depths", "decode_depths"):
        try:
            parse_depths(values[key], network.num_blocks)
        except DldError as error:
            raise DldError(f"{key}: {error}") from None
    rate = getattr(network.frontend, "sample_rate", values["sample_rate"])
    if rate != values["sample_rate"]:
        name = type(network.frontend).__name__
        raise DldError(f"sample_rate is {values['sample_rate']}; the front end {name} takes {rate}")


def _brain(values):
    brain = values.get("brain", DynamicBrain)
    if not (inspect.isclass(brain) and issubclass(brain, DynamicBrain)):
        raise DldError("brain must be a subclass of dld.training.brain.DynamicBrain")


def _schedule(values):
    schedule, blocks = values["schedule"], values["network"].num_blocks
    if not isinstance(schedule, DropSchedule):
        raise DldError("schedule must be a drop schedule, a class of dld.gates")
    if schedule.num_blocks != blocks:
        raise DldError(f"the schedule is for {schedule.num_blocks} blocks, the encoder has {blocks}")


def _objectives(values):
    objectives, source = values["objectives"], values["soft_targets"]
    if not objectives:
        raise DldError("objectives: there are none; give at least ctc: !new:dld.training.objectives.CTC")
    for name, objective in objectives.items():
        if not isinstance(objective, Objective):
            raise DldError(f"objectives: {name} must be an objective, a class of dld.training.objectives")
        wrong = complaint(f"objectives.{name}.weight", objective.weight, WEIGHT)
        if wrong:
            raise DldError(wrong)
        if objective.needs_target and source is None:
            raise DldError(f"objectives: {name} needs soft_targets, such as !new:dld.training.targets.FrozenTeacher")
    if "loss" in objectives:
        raise DldError("objectives: loss is the name of their sum; give this one another name")


def _soft_targets(values):
    source = values["soft_targets"]
    if source is None:
        return
    if not isinstance(source, TargetSource):
        raise DldError("soft_targets must be a class of dld.training.targets, or null")
    source.check_draw(copy.deepcopy(values["schedule"]).draw())
    if not any(objective.needs_target for objective in values["objectives"].values()):
        names = ", ".join(values["objectives"])
        raise DldError(f"soft_targets: no objective uses them ({names}); add a SoftTargets, or give soft_targets: null")
    finished = (Path(values["exp_dir"]) / ABOUT).is_file()
    if source.experiment and not finished and not (Path(source.experiment) / ABOUT).is_file():
        raise DldError(f"teacher: {source.experiment}: no finished model there ({ABOUT} is missing); train it first")
    if source.cache:
        _cached(values["objectives"])


def _cached(objectives):
    divergences = {name: o.divergence for name, o in objectives.items() if isinstance(o, SoftTargets)}
    for name, divergence in divergences.items():
        if not isinstance(divergence, MaskedKL):
            raise DldError(
                f"objectives: {name}: {type(divergence).__name__} needs all logits of the teacher, and teacher_cache "
                "keeps posteriors for MaskedKL; give teacher_cache: false"
            )
    temperatures = sorted({divergence.temperature for divergence in divergences.values()})
    if len(temperatures) > 1:
        raise DldError(
            f"objectives: temperatures {temperatures[0]} and {temperatures[1]}, and teacher_cache keeps posteriors at "
            "one; give both the same, or teacher_cache: false"
        )


def _start(values):
    start, encoder = values["init_from"], values["network"].encoder
    # A run that resumes loads its weights from a checkpoint, not from there.
    if start and not (Path(start) / MODEL).is_file() and not (Path(values["exp_dir"]) / "save").is_dir():
        raise DldError(f"init_from: {start}: no finished model there ({MODEL} is missing); train it first")
    if not start and values.get("pretrained") and not hasattr(encoder, "load_pretrained"):
        raise DldError(f"pretrained: there are no published weights for {type(encoder).__name__}; set it to null")


def _optimizer(values):
    """Make the optimizer of a single number and the first and last learning rates: a wrong setting is found now."""
    optimizer = values["optimizer"]
    try:
        optimizer([{"params": [torch.nn.Parameter(torch.zeros(1))]}])
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        wrong = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        detail = no_argument(getattr(optimizer, "func", optimizer), wrong[1]) if wrong else " ".join(str(error).split())
        raise DldError(f"optimizer: {detail}") from None
    try:
        rates = [values["lr_schedule"](update, 10) for update in (1, 10)]
    except (TypeError, ValueError, ArithmeticError) as error:
        raise DldError(f"lr_schedule: {' '.join(str(error).split())}") from None
    for rate in rates:
        if not (math.isfinite(rate) and rate >= 0):
            raise DldError(f"lr_schedule returns the learning rate {shown(rate)}; it must be a number of at least 0")


def _augmentation(values):
    if values["speed_perturb"] is not None and not isinstance(values["speed_perturb"], SpeedPerturb):
        raise DldError("speed_perturb must be a dld.frontends.SpeedPerturb, or null")
    if values["spec_augment"] is not None and not callable(values["spec_augment"]):
        raise DldError("spec_augment must be a dld.frontends.SpecAugment, or null")
