"""What a run says at its start: network, data, plan, device, and where it begins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from dld.distributed import processes
from dld.gates import parse_depths
from dld.provenance import processor


def describe_start(values: dict[str, Any], data: Any, device: str, newest: Any) -> Iterator[str]:
    """Yield the lines, each with its key first.

    Parameters
    ----------
    values : dict
        Values of an experiment file.
    data : dld.training.run.Data
    device : str
    newest : Checkpoint or None
        What the run resumes from.
    """
    rows = {
        "run": f"{values['system']} in {values['exp_dir']}, seed {values['seed']}",
        "network": _network(values["network"]),
        "train": _train(values, data),
        "dev": _dev(values, data),
        "device": _device(values, device),
        "start": _start(values, newest),
    }
    if values.get("logger"):
        rows["curves"] = f"{values['logger']}, below {values['exp_dir']}"
    width = max(map(len, rows))
    yield from (f"{name:{width}}  {text}" for name, text in rows.items())


def _network(network):
    encoder, whole = (sum(p.numel() for p in part.parameters()) for part in (network.encoder, network))
    name = type(network.encoder).__name__
    return f"{name} of {network.num_blocks} blocks: {whole:,} parameters, {encoder:,} of them in the encoder"


def _train(values, data):
    if values.get("auto_batch"):
        return f"{values['train_data']}: {_amount(data.utterances)}; batches by auto_batch"
    batches, epochs = len(data.train.batch_sampler), values["num_epochs"]
    updates = -(-batches // values["grad_accumulation_factor"])
    return (
        f"{values['train_data']}: {_amount(data.utterances)}; an epoch has {_count(batches, 'batch', 'batches')} and "
        f"{_count(updates, 'update')}, {_count(epochs, 'epoch')} have {epochs * updates}"
    )


def _dev(values, data):
    depths = parse_depths(values["valid_depths"], values["network"].num_blocks)
    where = f"depth{'s' * (len(depths) > 1)} {' '.join(map(str, depths))} ({values['eval_policy']})"
    return f"{values['dev_data']}: {_amount(data.dev_utterances)}; measured at {where}"


def _device(values, device):
    gpu = torch.device(device).type == "cuda"
    parts = [
        f"{device}: {torch.cuda.get_device_name(device) if gpu else processor()}",
        values["precision"],
        _count(torch.get_num_threads(), "thread"),
        _count(processes(), "process", "processes"),
        f"audio read by {_count(values['num_workers'], 'more process', 'more processes')}"
        if values["num_workers"]
        else "audio read by the same process",
    ]
    return ", ".join(parts)


def _start(values, newest):
    if newest is not None:
        meta = newest.meta
        where = f"after epoch {meta['epoch']}" if "epoch" in meta else f"within epoch {meta.get('within_epoch', '?')}"
        update = f", update {meta['updates']}" if "updates" in meta else ""
        return f"resumes {where}{update}, from {newest.path}"
    if values["init_from"]:
        return f"from the weights of {values['init_from']}"
    if values.get("pretrained"):
        return f"from the published weights {values['pretrained']}"
    return "from scratch"


def _amount(utterances):
    return f"{len(utterances)} utterances, {sum(u.duration for u in utterances) / 3600:.2f} h"


def _count(number, one, many=None):
    return f"{number} {one if number == 1 else many or one + 's'}"
